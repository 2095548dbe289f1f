"""All that a node knows of scripts: the cache by SHA1, the libraries of functions, and the script that runs.

Theory of operation
- A script runs to its end inside one call of `eval` or `fcall`: the node is one thread and time stands still for the
  data set.
- Each command of a script goes to `host.run_script_command` with a context of its own (RESP2 at first, no blocking).
  What it changes is recorded as effects by that command; the script itself is never replicated. redis.set_repl drops
  effects.
- Every HOOK_EVERY instructions Lua asks `_slow`. Below busy-reply-threshold nothing happens. Behind it the run is
  marked slow, and the driver's `on_slow` is called each time: it lets other connections be served (with busy_error,
  SCRIPT KILL, SHUTDOWN NOSAVE). A script that has called a write command cannot be killed, for half of its writes
  would stay.
- The interpreter is made when the first script comes: a server without scripts never loads it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha1
from typing import TYPE_CHECKING, Any, NamedTuple

from replicator.core import limits
from replicator.core.errors import CommandError, CountedError
from replicator.core.scripting import api
from replicator.core.scripting.api import Kind, Run
from replicator.core.scripting.sources import SourceError, library_source, script_source

if TYPE_CHECKING:
    from replicator.core.command_table.context import Context
    from replicator.core.scripting.engine import Engine

# How long the code of a library may run when it is loaded.
_LOAD_LIMIT_US = 500_000


class ScriptError(Exception):
    """An error reply; the text with its code ("ERR ..."). counted: a command of the script answered with it before."""

    def __init__(self, text: str, counted: bool = False) -> None:
        super().__init__(text)
        self.counted = counted

    def refusal(self) -> CommandError:
        """What the command that runs the script raises."""
        return (CountedError if self.counted else CommandError)(str(self))


@dataclass(slots=True)
class Script:
    """A compiled script. pinned: SCRIPT LOAD put it there, it stays."""

    sha: bytes
    body: bytes
    flags: int
    legacy: bool
    chunk: Any
    pinned: bool


@dataclass(slots=True)
class Function:
    """A registered function."""

    name: bytes
    library: Library
    description: bytes | None
    flags: int
    body: Any


@dataclass(slots=True)
class Library:
    """A library: its code as given, and its functions by name."""

    name: bytes
    code: bytes
    functions: dict[bytes, Function]


class Libraries(NamedTuple):
    """A set of libraries, and all their functions by name in lower case."""

    libraries: dict[bytes, Library]
    functions: dict[bytes, Function]


class Scripting:
    """The node's scripts and functions (server.scripting). host: the node, see api.Host."""

    host: api.Host  # told when the node stands: it needs this to be made

    def __init__(self, version: str = "7.0.15") -> None:
        self.version = version
        self.scripts: dict[bytes, Script] = {}  # by sha1 in lower-case hex
        self.libraries: dict[bytes, Library] = {}
        self.functions: dict[bytes, Function] = {}  # by name in lower case: FCALL does not mind the case
        self.running: Run | None = None
        self.lenient = False  # DEBUG SET-DISABLE-DENY-SCRIPTS
        self.on_slow: api.OnSlow | None = None
        self._by_body: dict[bytes, Script] = {}
        self._engine: Engine | None = None
        self.context: Context | None = (
            None  # in which scripts run their commands; made by the first command that runs one
        )
        self._unpinned = 0

    # -- what the node asks ------------------------------------------------------------------------------------------

    @property
    def engine(self) -> Engine:
        """The interpreter, made on first use."""
        if self._engine is None:
            from replicator.core.scripting.engine import Calls, Engine

            calls = Calls(self._command, self._may_run, self._slow, self._log, self._set_resp3, self._set_replication)
            self._engine = Engine(calls, self.version)
        return self._engine

    def busy_error(self) -> str | None:
        """What other clients are told while a script runs too long; None: none does."""
        run = self.running
        if run is None or not run.slow:
            return None
        return api.BUSY_FUNCTION if run.kind is Kind.FUNCTION else api.BUSY_EVAL

    @property
    def memory_used(self) -> int:
        """Bytes that the interpreter holds (INFO used_memory_vm_eval)."""
        return self._engine.memory_used if self._engine is not None else 0

    def scripts_size(self) -> int:
        """Bytes of the code of scripts that are remembered."""
        return sum(map(len, self._by_body))

    def time_in_script(self) -> int:
        """Microseconds since the running script began (0: none runs): TIME must move while it does.

        Where no time passes, each question is taken for a microsecond, so that a script that waits comes to its end.
        """
        run = self.running
        if run is None:
            return 0
        run.time_us = max(run.time_us + 1, self.host.meter() - run.started_us)
        return run.time_us

    def kill(self, kind: Kind) -> None:
        """SCRIPT KILL (EVAL) or FUNCTION KILL: end the running script at its next instructions. Raises ScriptError."""
        run = self.running
        if run is None or run.kind is Kind.LOAD:
            raise ScriptError(api.NOT_BUSY)
        if run.kind is not kind:
            raise ScriptError(api.BUSY_FUNCTION if run.kind is Kind.FUNCTION else api.BUSY_EVAL)
        if run.from_primary:
            raise ScriptError(api.UNKILLABLE_PRIMARY)
        if run.wrote:
            raise ScriptError(api.UNKILLABLE)
        run.killed = True

    def declared_flags(self, *, body: bytes = b"", digest: bytes = b"", function: bytes = b"") -> int | None:
        """The flags that a script or function declares; None if it declares none, or is not known."""
        if function:
            known = self.functions.get(function.lower())
            return None if known is None else known.flags
        script = self._by_body.get(body) if body else self.scripts.get(digest.lower())
        if script is not None:
            return None if script.legacy else script.flags
        if not body.startswith(b"#!"):
            return None
        try:
            source = script_source(body)
        except SourceError:
            return None
        return None if source.legacy else source.flags

    # -- scripts -----------------------------------------------------------------------------------------------------

    def script(self, body: bytes, *, pin: bool = False) -> Script:
        """The script with this body, compiled and remembered. Raises ScriptError."""
        known = self._by_body.get(body)
        if known is None:
            known = self._compile(body)
        if pin and not known.pinned:
            known.pinned = True
            self._unpinned -= 1
        return known

    def _compile(self, body: bytes) -> Script:
        from replicator.core.scripting.engine import CompileError

        try:
            source = script_source(body)
            chunk = self.engine.compile(source.code, b"@user_script")
        except SourceError as problem:
            raise ScriptError(f"ERR {problem}") from None
        except CompileError as problem:
            raise ScriptError(f"ERR Error compiling script (new function): {problem}") from None
        script = Script(sha1(body).hexdigest().encode(), body, source.flags, source.legacy, chunk, False)
        self.scripts[script.sha] = script
        self._by_body[body] = script
        self._unpinned += 1
        if self._unpinned > limits.MAX_EVAL_SCRIPTS:
            self._drop_oldest()
        return script

    def _drop_oldest(self) -> None:
        for script in list(self.scripts.values())[: limits.MAX_EVAL_SCRIPTS // 10]:
            if not script.pinned:
                del self.scripts[script.sha], self._by_body[script.body]
                self._unpinned -= 1

    def flush_scripts(self) -> None:
        """Forget all scripts."""
        self.scripts.clear()
        self._by_body.clear()
        self._unpinned = 0

    def eval(self, ctx: Context, script: Script, argv: list[bytes], count: int, *, read_only: bool) -> bytes:
        """Run a script for ctx; argv[3:] are `count` keys and the arguments. Returns its reply. Raises ScriptError."""
        if read_only and not script.legacy and not script.flags & api.NO_WRITES:
            raise ScriptError(api.READ_ONLY_COMMAND_WRITES)
        run = Run(
            Kind.EVAL,
            script.sha,
            argv,
            script.flags,
            script.legacy,
            read_only or bool(script.flags & api.NO_WRITES),
            0,
            ctx.is_primary_link,
        )
        return self._run(ctx, run, self.engine.eval, script.chunk, count)

    def fcall(self, ctx: Context, function: Function, argv: list[bytes], count: int, *, read_only: bool) -> bytes:
        """Run a function for ctx; argv[3:] are `count` keys and the arguments. Its reply. Raises ScriptError."""
        writes = not function.flags & api.NO_WRITES
        if read_only and writes:
            raise ScriptError(api.READ_ONLY_COMMAND_WRITES)
        run = Run(Kind.FUNCTION, function.name, argv, function.flags, False, not writes, 0, ctx.is_primary_link)
        return self._run(ctx, run, self.engine.fcall, function.body, count)

    def _run(self, ctx: Context, run: Run, call: Any, chunk: Any, count: int) -> bytes:
        from replicator.core.scripting.engine import Failure

        host = self.host
        refusal = host.script_refusal(ctx, run.flags, run.legacy)
        if refusal is not None:
            raise ScriptError(refusal)
        run.started_us = host.meter()
        assert self.running is None, "a script inside a script"
        self._prepare(ctx, run)
        self.running = run
        argv = run.argv
        first = 3 + count
        try:
            answer: bytes = call(chunk, ctx.resp3, argv[3:first], argv[first:])
        except Failure as failure:
            raise ScriptError(_told(run, failure), failure.text in run.errors) from None
        finally:
            self.running = None
            ctx.keyspace.verbatim = False
        if answer[:1] == b"-":
            raise ScriptError(_shown(answer[1:-2]), answer[1:-2] in run.errors)
        return answer

    def _prepare(self, caller: Context, run: Run) -> None:
        """The context in which the script's commands run."""
        context = self.context
        assert context is not None
        context.db = caller.db
        context.user = caller.user
        context.id, context.conn, context.peer, context.local = caller.id, caller.conn, caller.peer, caller.local
        context.is_primary_link = caller.is_primary_link
        context.script = run
        if context.resp3:
            context.use_protocol(2)

    # -- functions ---------------------------------------------------------------------------------------------------

    def load_library(self, code: bytes, *, replace: bool = False) -> bytes:
        """FUNCTION LOAD; the library's name. Nothing has changed when it raises ScriptError."""
        library = self._build(code, self.libraries, {} if not replace else None)
        self._install(library)
        return library.name

    def _build(self, code: bytes, there: dict[bytes, Library], refused: dict[bytes, Library] | None) -> Library:
        """Compile and run a library's code. refused: None if the library may replace one of the same name."""
        from replicator.core.scripting.engine import CompileError, Failure

        try:
            name, source = library_source(code)
        except SourceError as problem:
            raise ScriptError(f"ERR {problem}") from None
        if refused is not None and name in there:
            raise ScriptError(f"ERR Library '{_shown(name)}' already exists")
        self.running = Run(Kind.LOAD, name, [], 0, False, True, self.host.meter())
        try:
            chunk = self.engine.compile(source, b"@user_function", functions=True)
            made = self.engine.load(chunk)
        except CompileError as problem:
            raise ScriptError(f"ERR Error compiling function: {problem}") from None
        except Failure as failure:
            raise ScriptError(f"ERR Error registering functions: {_shown(failure.text)}") from None
        finally:
            self.running = None
        if not made:
            raise ScriptError("ERR No functions registered")
        library = Library(name, code, {})
        for own, body, description, flags in made:
            known = self.functions.get(own.lower())
            if known is not None and known.library.name != name:
                raise ScriptError(f"ERR Function {_shown(own)} already exists")
            library.functions[own] = Function(own, library, description, flags, body)
        return library

    def _install(self, library: Library) -> None:
        if library.name in self.libraries:
            self.delete_library(library.name)
        self.libraries[library.name] = library
        for own, function in library.functions.items():
            self.functions.setdefault(own.lower(), function)

    def delete_library(self, name: bytes) -> bool:
        """FUNCTION DELETE; whether it was there."""
        library = self.libraries.pop(name, None)
        if library is None:
            return False
        self.functions = {own: function for own, function in self.functions.items() if function.library is not library}
        return True

    def flush_libraries(self) -> None:
        """Forget all libraries."""
        self.libraries.clear()
        self.functions.clear()

    def library_codes(self) -> list[bytes]:
        """The libraries' codes, for snapshots and FUNCTION DUMP."""
        return [library.code for library in self.libraries.values()]

    def built_libraries(self, codes: Iterable[bytes]) -> Libraries:
        """The libraries of a snapshot, compiled; ours stay. Raises ScriptError, which names the library."""
        before = self.libraries, self.functions
        self.libraries, self.functions = {}, {}
        code = b""
        try:
            for code in codes:
                self._restore_one(code, replace=False)
            return Libraries(self.libraries, self.functions)
        except ScriptError as problem:
            shown = _shown(code[:100].split(b"\n", 1)[0])
            raise ScriptError(f"library '{shown}': {str(problem).removeprefix('ERR ')}") from None
        finally:
            self.libraries, self.functions = before

    def adopt_libraries(self, built: Libraries) -> None:
        """These in place of ours."""
        self.libraries, self.functions = built

    def load_libraries(self, codes: Iterable[bytes]) -> None:
        """The libraries of a snapshot in place of ours. Raises ScriptError, and ours stay."""
        self.adopt_libraries(self.built_libraries(codes))

    def restore_libraries(self, codes: Iterable[bytes], *, flush: bool, replace: bool) -> None:
        """FUNCTION RESTORE: all of them or, with a ScriptError, none."""
        before = dict(self.libraries), dict(self.functions)
        if flush:
            self.flush_libraries()
        try:
            for code in codes:
                self._restore_one(code, replace)
        except ScriptError:
            self.libraries, self.functions = before
            raise

    def _restore_one(self, code: bytes, replace: bool) -> None:
        try:
            name, _ = library_source(code)
        except SourceError as problem:
            raise ScriptError(f"ERR {problem}") from None
        if name in self.libraries and not replace:
            raise ScriptError(f"ERR Library {_shown(name)} already exists")
        self._install(self._build(code, self.libraries, None))

    # -- called while a script runs ----------------------------------------------------------------------------------

    def _command(self, argv: list[bytes]) -> bytes:
        run, context = self.running, self.context
        assert run is not None and context is not None
        if run.replication & api.REPLICATE_REPLICAS:
            answer: bytes = self.host.run_script_command(context, run, argv)
            if answer[:1] == b"-":
                self._remember(run, answer)
            return answer
        keyspace = context.keyspace
        mark, expired = len(keyspace.recorded), keyspace.expired
        answer = self.host.run_script_command(context, run, argv)
        made = keyspace.recorded[mark:]
        # what expired meanwhile is not the script's doing: replicas must hear of it
        deletions = [effect for effect in made if len(effect[1]) == 2 and effect[1][0] == keyspace.delete_name]
        keyspace.recorded[mark:] = deletions[: keyspace.expired - expired]
        if answer[:1] == b"-":
            self._remember(run, answer)
        return answer

    def _remember(self, run: Run, answer: bytes) -> None:
        if len(run.errors) < limits.SCRIPT_ERRORS:
            run.errors.add(answer[1:-2])

    def _may_run(self, argv: list[bytes]) -> bool | None:
        assert self.context is not None
        return self.host.script_may_run(self.context, argv)

    def _slow(self) -> int:
        from replicator.core.scripting.engine import GO_ON, KILL, LOAD_TIMEOUT

        run = self.running
        if run is None:
            return GO_ON
        elapsed = self.host.meter() - run.started_us
        if run.kind is Kind.LOAD:
            return LOAD_TIMEOUT if elapsed > _LOAD_LIMIT_US else GO_ON
        threshold_ms = self.host.busy_threshold_ms()
        if threshold_ms <= 0 or elapsed < 1000 * threshold_ms:
            return GO_ON
        run.slow = True
        if self.on_slow is not None and self.on_slow() and not run.wrote:
            run.killed = True
        return KILL if run.killed else GO_ON

    def _log(self, level: int, message: bytes) -> None:
        self.host.script_log(level, message)

    def _set_resp3(self, resp3: bool) -> None:
        if self.context is not None:
            self.context.use_protocol(3 if resp3 else 2)

    def _set_replication(self, mask: int) -> None:
        if self.running is not None:
            self.running.replication = mask


def _told(run: Run, failure: Any) -> str:
    """The text of the reply about a script that failed."""
    text = failure.text.partition(b"\x00")[0]  # stock prints it as a C string
    if failure.source is None:
        return _shown(text)
    return _shown(b"%b script: %b, on %b:%d." % (text, run.name, failure.source, failure.line))


def _shown(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")
