"""Durations and sizes as people write them in scenario files: "1500ms", "2s", "64kb"."""

from __future__ import annotations

import re

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m)")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(b|kb|mb|gb)?(?:/s)?", re.IGNORECASE)
_DURATION_FACTORS = {"ms": 1, "s": 1000, "m": 60_000}
_SIZE_FACTORS = {"": 1, "b": 1, "kb": 1024, "mb": 1024**2, "gb": 1024**3}


class Milliseconds(int):
    """A duration. In a file: "250ms", "2s", "1.5s", "1m"; a bare 0 is allowed, other bare numbers are not."""

    @classmethod
    def parse(cls, text: object) -> Milliseconds:
        """Raises ValueError with what is allowed."""
        if isinstance(text, int) and not isinstance(text, bool) and text == 0:
            return cls(0)
        if isinstance(text, str):
            match = _DURATION.fullmatch(text.strip())
            if match:
                return cls(round(float(match[1]) * _DURATION_FACTORS[match[2]]))
        raise ValueError(f'{text!r} is no duration; write it with its unit, like "250ms", "2s" or "1.5s"')


class Bytes(int):
    """An amount of bytes, or bytes a second. In a file: 4096, "64kb", "2mb" (units of 1024, as in redis.conf)."""

    @classmethod
    def parse(cls, text: object) -> Bytes:
        """Raises ValueError with what is allowed."""
        if isinstance(text, int) and not isinstance(text, bool) and text >= 0:
            return cls(text)
        if isinstance(text, str):
            match = _SIZE.fullmatch(text.strip())
            if match:
                return cls(round(float(match[1]) * _SIZE_FACTORS[(match[2] or "").lower()]))
        raise ValueError(f'{text!r} is no size; write bytes or a unit of 1024, like 4096, "64kb" or "2mb"')


def human_bytes(count: int) -> str:
    """1536 -> "1.5 KB"."""
    value = float(count)
    for unit in ("B", "KB", "MB", "GB"):
        if abs(value) < 1024 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError


def human_ms(ms: int) -> str:
    """850 -> "850 ms", 2130 -> "2.13 s"."""
    if abs(ms) < 1000:
        return f"{ms} ms"
    return f"{ms / 1000:.2f}".rstrip("0").rstrip(".") + " s"
