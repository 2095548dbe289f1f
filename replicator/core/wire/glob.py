r"""Glob patterns as KEYS, SCAN, PSUBSCRIBE, CONFIG GET and ACL keys understand them.

`?` any byte, `*` any run of bytes, `[abc]` `[a-z]` `[^a]` one byte of (or not of) a class, `\x` the byte x.
Oddities of stock servers that are kept (asked of Redis 7.0): a class that is not closed ends with the pattern; in
`[a-]` the range goes from `a` to `]`; `[]` matches nothing; a backslash at the very end stands for itself; `**` (not
`*`) does not match b""; bytes from 128 on are negative numbers to a range, so `[\xff-a]` is 255 and 0 to 97.

A matcher takes time proportional to pattern times subject at worst: the parts between stars have a fixed length, and
the leftmost place for each part is always as good as any later one, so nothing is ever tried twice.

Source: https://redis.io/docs/latest/commands/keys/
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import TypeAlias

Matcher: TypeAlias = Callable[[bytes], bool]

# Longer patterns are matched without compiling them: compiling costs much more than the single use they may get, and
# the caches must stay small whatever patterns peers send.
MAX_COMPILED = 256
MAX_CACHED = 1024

_ANY = frozenset(range(256))
# One position of the pattern: the bytes that may stand there; None is a star.
_Token: TypeAlias = "frozenset[int] | None"

_BACKSLASH, _STAR, _QUESTION, _OPEN, _CLOSE, _CARET, _DASH = b"\\*?[]^-"
_MAGIC = re.compile(rb"[\\*?\[]")


def matcher(pattern: bytes, *, ignore_case: bool = False) -> Matcher:
    """A function that says whether a whole byte string matches the pattern. Matchers of short patterns are cached."""
    if len(pattern) <= MAX_COMPILED:
        return _cached(pattern, ignore_case)
    if not _MAGIC.search(pattern) and not ignore_case:
        return pattern.__eq__
    return _Walk(_tokens(pattern, ignore_case))


@lru_cache(maxsize=MAX_CACHED)
def _cached(pattern: bytes, ignore_case: bool) -> Matcher:
    if pattern == b"*":
        return _everything
    if not ignore_case:
        if not _MAGIC.search(pattern):
            return pattern.__eq__
        if pattern[-1] == _STAR and not _MAGIC.search(pattern[:-1]):
            prefix = pattern[:-1]
            return lambda subject: subject.startswith(prefix)
    tokens = _tokens(pattern, ignore_case)
    compiled = re.compile(_expression(tokens), re.DOTALL).fullmatch
    if tokens and all(token is None for token in tokens):
        return bool
    return lambda subject: compiled(subject) is not None


def _everything(subject: bytes) -> bool:
    return True


def _both_cases(members: frozenset[int]) -> frozenset[int]:
    lowered = frozenset(bytes(members).lower())
    return frozenset(byte for byte in range(256) if bytes((byte,)).lower()[0] in lowered)


def _tokens(pattern: bytes, ignore_case: bool) -> list[_Token]:
    tokens: list[_Token] = []
    at, end = 0, len(pattern)
    while at < end:
        byte = pattern[at]
        members: frozenset[int]
        if byte == _STAR:
            if not tokens or tokens[-1] is not None:
                tokens.append(None)
            at += 1
            continue
        if byte == _QUESTION:
            members = _ANY
            at += 1
        elif byte == _OPEN:
            members, at = _character_class(pattern, at + 1, ignore_case)
        else:
            if byte == _BACKSLASH and at + 1 < end:
                at += 1
            members = frozenset((pattern[at],))
            if ignore_case:
                members = _both_cases(members)
            at += 1
        tokens.append(members)
    return tokens


def _signed(byte: int) -> int:
    return byte - 256 if byte > 127 else byte


def _character_class(pattern: bytes, at: int, ignore_case: bool) -> tuple[frozenset[int], int]:
    """The members of the class whose inside begins at `at`, and where the pattern goes on."""
    end = len(pattern)
    negated = at < end and pattern[at] == _CARET
    if negated:
        at += 1
    members: set[int] = set()
    while at < end:
        byte = pattern[at]
        if byte == _BACKSLASH and at + 1 < end:
            members.add(pattern[at + 1])
            at += 2
        elif byte == _CLOSE:
            at += 1
            break
        elif at + 2 < end and pattern[at + 1] == _DASH:
            low, high = sorted((_signed(byte), _signed(pattern[at + 2])))
            members.update(value & 0xFF for value in range(low, high + 1))
            at += 3
        else:
            members.add(byte)
            at += 1
    found = _both_cases(frozenset(members)) if ignore_case else frozenset(members)
    return (_ANY - found if negated else found), at


def _expression(tokens: list[_Token]) -> bytes:
    """A regular expression without backtracking: each part after a star is an atomic group at its leftmost place."""
    parts: list[bytes] = []
    stars = 0
    last_star = max((i for i, token in enumerate(tokens) if token is None), default=-1)
    for at, token in enumerate(tokens):
        if token is None:
            if stars:
                parts.append(b")")
            stars += 1
            # Behind the last star the part has its fixed place at the end: a possessive run would eat it.
            parts.append(b".*" if at == last_star else b"(?>.*?")
        else:
            parts.append(_one(token))
    return b"".join(parts)


def _one(members: frozenset[int]) -> bytes:
    if members is _ANY or len(members) == 256:
        return b"."
    if not members:
        return b"(?!)"
    if len(members) == 1:
        return re.escape(bytes(members))
    return b"[" + b"".join(b"\\x%02x" % byte for byte in sorted(members)) + b"]"


class _Walk:
    """The same by hand, for patterns too long to compile: on a mismatch the last star takes one byte more."""

    __slots__ = ("_tokens",)

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens

    def __call__(self, subject: bytes) -> bool:
        tokens = self._tokens
        if not subject and tokens:
            return False
        at = place = 0
        star = mark = -1
        while place < len(subject):
            token = tokens[at] if at < len(tokens) else _NOTHING
            if token is None:
                star, mark = at, place
                at += 1
            elif subject[place] in token:
                at += 1
                place += 1
            elif star >= 0:
                mark += 1
                at, place = star + 1, mark
            else:
                return False
        return all(token is None for token in tokens[at:])


_NOTHING: frozenset[int] = frozenset()
