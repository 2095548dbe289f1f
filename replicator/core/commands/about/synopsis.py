"""A synopsis as people read it -> the tree of arguments that COMMAND DOCS tells clients.

    key value [NX | XX] [EX seconds | KEEPTTL]  ->  key, value, an optional oneof of two tokens, an optional oneof ...

Words in capitals are tokens and take the words that follow as their values; [x] is optional; <a | b> is a choice;
brackets that end with dots say that what stands before them may come again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_WORD = re.compile(r"[\[\]<>|]|[^\s\[\]<>|]+")
_KEYS = frozenset(("key", "key1", "key2", "destkey", "sourcekey", "source", "destination", "newkey", "dst", "src"))
_DOUBLES = frozenset(("score", "longitude", "latitude", "radius", "width", "height", "weight"))
_INTEGERS = frozenset(
    (
        *("bit", "bits", "client-id", "count", "cursor", "database", "db", "destination-db", "end", "entries-added"),
        *("entries-read", "index", "index1", "index2", "increment", "len", "limit", "milliseconds", "min-idle-time"),
        *("ms", "num-matches", "numkeys", "numreplicas", "offset", "port", "protover", "rank", "seconds", "start"),
        *("stop", "timeout", "ttl", "frequency"),
    )
)


@dataclass(slots=True)
class Argument:
    """One argument: its type is string, integer, double, key, pattern, unix-time, pure-token, oneof or block."""

    name: str
    type: str
    token: str = ""
    optional: bool = False
    multiple: bool = False
    parts: list[Argument] = field(default_factory=list)
    open: bool = False  # a token that still takes words

    def close(self) -> Argument:
        """A token with its values: alone a pure token, with one value that value, with several a block."""
        if self.type != "token":
            return self
        if not self.parts:
            self.type = "pure-token"
        elif len(self.parts) == 1:
            inner = self.parts[0]
            inner.token, inner.optional, inner.multiple = self.token, self.optional, inner.multiple or self.multiple
            return inner
        else:
            self.name, self.type = "_".join(part.name for part in self.parts), "block"
        return self


def _type_of(name: str) -> str:
    if name in _KEYS:
        return "key"
    if name.startswith("unix-time"):
        return "unix-time"
    if name in _INTEGERS:
        return "integer"
    if name in _DOUBLES:
        return "double"
    return "pattern" if name == "pattern" else "string"


def _is_token(word: str) -> bool:
    return not any(letter.islower() for letter in word)


def _joined(terms: list[Argument]) -> Argument:
    if len(terms) == 1:
        return terms[0]
    return Argument("_".join(term.name for term in terms), "block", parts=terms)


class _Reader:
    def __init__(self, text: str) -> None:
        self.words = _WORD.findall(text)
        self.at = 0

    def sequence(self, closing: str) -> tuple[list[list[Argument]], bool]:
        """Terms up to the closing bracket, by alternatives; whether they end with dots. "": up to the end."""
        rows: list[list[Argument]] = [[]]
        dots = choice = False
        while self.at < len(self.words):
            word = self.words[self.at]
            self.at += 1
            if word == closing:
                break
            if word == "...":
                dots = True
            elif word == "|":
                if closing:
                    rows.append([])
                else:
                    choice = True
            elif word in "[<":
                self._group(word, rows[-1])
            elif choice:
                self._choose(rows[-1], Argument(word.lower(), "pure-token", word))
                choice = False
            else:
                self._word(word, rows[-1])
        return [[term.close() for term in row] for row in rows], dots

    def _word(self, word: str, terms: list[Argument]) -> None:
        if _is_token(word):
            terms.append(Argument(word.lower(), "token", word, open=True))
        elif terms and terms[-1].open:
            terms[-1].parts.append(Argument(word, _type_of(word)))
        else:
            terms.append(Argument(word, _type_of(word)))

    def _choose(self, terms: list[Argument], other: Argument) -> None:
        """Outside of brackets a bar stands between two single words."""
        last = terms[-1].close()
        if last.type != "oneof":
            last = Argument(last.name, "oneof", parts=[last])
        last.name = f"{last.name}_{other.name}"
        last.parts.append(other)
        terms[-1] = last

    def _group(self, bracket: str, terms: list[Argument]) -> None:
        rows, dots = self.sequence("]" if bracket == "[" else ">")
        rows = [row for row in rows if row]
        if not rows:
            return
        if bracket == "[" and dots and len(rows) == 1 and self._repeats(terms, rows[0]):
            return
        if len(rows) > 1:
            choices = [_joined(row) for row in rows]
            made = Argument("_".join(choice.name for choice in choices), "oneof", parts=choices)
        else:
            made = _joined(rows[0])
        if bracket == "[":
            made.optional = True
            if terms:
                terms[-1].open = False
        if bracket == "<" and terms and terms[-1].open:
            terms[-1].parts.append(made)
        else:
            terms.append(made)

    def _repeats(self, terms: list[Argument], again: list[Argument]) -> bool:
        """Mark the terms before the bracket that its content repeats; False if it repeats nothing."""
        if terms and terms[-1].open and terms[-1].parts:
            terms, owner = terms[-1].parts, terms[-1]
            if again[0].token == owner.token:
                owner.multiple = True
                return True
        before = terms[-len(again) :]
        if [term.name for term in before] != [term.name for term in again]:
            return False
        made = _joined(before)
        made.multiple = True
        terms[-len(again) :] = [made]
        return True


def parse(text: str) -> list[Argument]:
    """The arguments of a synopsis (what stands behind the command's name)."""
    rows, _ = _Reader(text).sequence("")
    return rows[0]
