"""A Script as the text of a scenario file: what `replicator simulate` archives of a run that failed."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from replicator.scenario.script.script import Script
from replicator.scenario.script.units import Bytes, Milliseconds

# What TOML has no place for, and no scenario a use.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def as_toml(script: Script) -> str:
    """The file; loading it gives an equal script."""
    plain = _plain(script)
    assert isinstance(plain, dict)
    lines: list[str] = []
    for name, value in plain.items():
        if not _is_table(value):
            lines.append(f"{name} = {_text(value) if name == 'about' else _value(value)}")
    for name, value in plain.items():
        if _is_table(value):
            _table(name, value, lines)
    return "\n".join(lines) + "\n"


def _plain(value: Any) -> Any:
    """Structs as dicts of what is not at its default, units as their text."""
    if isinstance(value, msgspec.Struct):
        found: dict[str, Any] = {}
        defaults = {field.name: field for field in msgspec.structs.fields(type(value))}
        for name, field in defaults.items():
            inner = getattr(value, name)
            if field.default is not msgspec.NODEFAULT and inner == field.default:
                continue
            if field.default_factory is not msgspec.NODEFAULT and inner == field.default_factory():
                continue
            found[field.encode_name] = _plain(inner)
        return found
    if isinstance(value, Milliseconds):
        return f"{int(value)}ms"
    if isinstance(value, Bytes):
        return int(value)
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))


def _table(path: str, value: Any, lines: list[str]) -> None:
    entries = value if isinstance(value, list) else [value]
    for entry in entries:
        lines += ["", f"[[{path}]]" if isinstance(value, list) else f"[{path}]"]
        inner = {name: one for name, one in entry.items() if _is_table(one) and "." not in path}
        for name, one in entry.items():
            if name not in inner:
                lines.append(f"{_key(name)} = {_value(one)}")
        if isinstance(value, list):
            # The tables of an entry stand inside its lines, so that they need no path.
            lines += [f"{_key(name)} = {_value(one)}" for name, one in inner.items()]
        else:
            for name, one in inner.items():
                _table(f"{path}.{_key(name)}", one, lines)


def _key(name: str) -> str:
    return name if name.replace("-", "").replace("_", "").isalnum() else json.dumps(name)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(name)} = {_value(one)}" for name, one in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_value(one) for one in value) + "]"
    if isinstance(value, str):
        value = _CONTROL.sub(" ", value)
    return json.dumps(value, ensure_ascii=False)


def _text(value: str) -> str:
    value = _CONTROL.sub(" ", value)
    if "\n" not in value:
        return json.dumps(value, ensure_ascii=False)
    return '"""\n' + value.replace("\\", "\\\\").replace('"""', "'''") + '"""'
