"""The Lua side of the sandbox: what scripts see as globals, and the functions that start them.

The chunk is privileged: it alone sees Lua's real libraries and the Python callables. It is given a table `host` and
fills the table `engine` with the entry points that engine.py calls.

Rules it keeps
- No Python object ever reaches a script: callables are upvalues of Lua functions, and only numbers, strings and
  booleans cross the border. Python never raises through Lua.
- Lua 5.1 has no read-only tables. A library is shown through an empty proxy whose metatable reads from the real table
  and refuses writes; the functions that look at raw tables (next, pairs, rawget, getmetatable ...) know the proxies.
  The messages are stock's.
- What is written in Lua keeps the messages of what stock has in C: an argument error of a wrapped function names the
  script's line (error level 2).
- The count hook is set on every thread, so that no coroutine escapes the time limit; once killed, a script meets the
  hook at every instruction, so that pcall cannot keep it alive.
"""

from __future__ import annotations

from replicator.core.scripting.lua.api import API
from replicator.core.scripting.lua.guards import GUARDS
from replicator.core.scripting.lua.replies import REPLIES
from replicator.core.scripting.lua.worlds import WORLDS

# One chunk: the parts share their local variables.
SANDBOX = GUARDS + REPLIES + API + WORLDS
