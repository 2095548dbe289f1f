"""The first line of scripts and libraries: ``#!lua flags=no-writes``, ``#!lua name=mylib``.

Source: https://redis.io/docs/latest/develop/interact/programmability/lua-api/#script-flags; the error texts are those
of Redis 7.0.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from replicator.core.scripting import api
from replicator.core.wire.request import split_words

BAD_NAME = "Library names can only contain letters, numbers, or underscores(_) and must be at least one character long"
_NAME = re.compile(rb"[A-Za-z0-9_]+\Z")
_ENGINE = b"lua"


class SourceError(Exception):
    """The first line is wrong; the text is the reply's, behind "ERR "."""


class ScriptSource(NamedTuple):
    """flags: of api.FLAG_NAMES. legacy: no first line of that kind. code: what is compiled (line numbers kept)."""

    flags: int
    legacy: bool
    code: bytes


def script_source(body: bytes) -> ScriptSource:
    """Split a script given to EVAL or SCRIPT LOAD. Raises SourceError."""
    if not body.startswith(b"#!"):
        return ScriptSource(0, True, body)
    end = body.find(b"\n")
    if end < 0:
        raise SourceError("Invalid script shebang")
    words = split_words(body[:end])
    if not words:
        raise SourceError("Invalid engine in script shebang")
    if words[0] != b"#!" + _ENGINE:
        raise SourceError(f"Unexpected engine in script shebang: {_shown(words[0])}")
    flags = 0
    for word in words[1:]:
        if not word.startswith(b"flags="):
            raise SourceError(f"Unknown lua shebang option: {_shown(word)}")
        for name in word[6:].split(b","):
            if name and name not in api.FLAGS:
                raise SourceError(f"Unexpected flag in script shebang: {_shown(name)}")
            flags |= api.FLAGS.get(name, 0)
    return ScriptSource(flags, False, body[end:])


def library_source(code: bytes) -> tuple[bytes, bytes]:
    """A library's name, and the code behind its first line (line numbers kept). Raises SourceError."""
    if not code.startswith(b"#!"):
        raise SourceError("Missing library metadata")
    end = code.find(b"\n")
    words = split_words(code[:end]) if end >= 0 else None
    if not words:
        raise SourceError("Invalid library metadata")
    engine = words[0][2:]
    name: bytes | None = None
    for word in words[1:]:
        if not word.lower().startswith(b"name="):
            raise SourceError(f"Invalid metadata value given: {_shown(word)}")
        if name is not None:
            raise SourceError("Invalid metadata value, name argument was given multiple times")
        name = word[5:]
    if name is None:
        raise SourceError("Library name was not given")
    if not _NAME.match(name):
        raise SourceError(BAD_NAME)
    if engine.lower() != _ENGINE:
        raise SourceError(f"Engine '{_shown(engine)}' not found")
    return name, code[end:]


def _shown(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")
