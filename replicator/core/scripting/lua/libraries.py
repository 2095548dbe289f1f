"""The libraries that scripts find beside Lua's own, as Lua code: cjson, cmsgpack, struct, bit."""

from __future__ import annotations

from replicator.core.scripting.lua.bit import BIT
from replicator.core.scripting.lua.cjson import CJSON
from replicator.core.scripting.lua.cmsgpack import CMSGPACK
from replicator.core.scripting.lua.struct import STRUCT

LIBRARIES: tuple[tuple[str, str], ...] = (("bit", BIT), ("cjson", CJSON), ("cmsgpack", CMSGPACK), ("struct", STRUCT))
