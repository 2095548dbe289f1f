"""The kinds of configuration values: how each is read, printed and written back to redis.conf.

A kind turns the words of a directive into a typed value (`parse`), a value into what CONFIG GET prints (`text`), and a
value into the lines that CONFIG REWRITE writes (`lines`). Reasons of refusal are stock's texts, asked of Redis 7.0.15.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from replicator.core.errors import CommandError
from replicator.core.wire.numbers import parse_int

INT = 2**31 - 1
UINT = 2**32 - 1
LONG = 2**63 - 1
ULONG = 2**64 - 1
PORT = 65535

Check = Callable[[str], str | None]  # a reason to refuse the text, or None


class ConfigError(CommandError):
    """A directive or value that is refused; the text is the reason as stock words it, without "ERR".

    Where it leaves Config's set_many and save_file it is a whole error reply, and so an error of the CONFIG command.
    """


def as_bytes(text: str) -> bytes:
    """Configuration text as the bytes it came from (any bytes survive the round trip)."""
    return text.encode("utf-8", "surrogateescape")


def as_text(data: bytes) -> str:
    """The other direction of as_bytes."""
    return data.decode("utf-8", "surrogateescape")


_ESCAPES = {0x0A: "\\n", 0x0D: "\\r", 0x09: "\\t", 0x07: "\\a", 0x08: "\\b", 0x22: '\\"', 0x5C: "\\\\"}


def quoted(text: str) -> str:
    """The word in double quotes, readable by split_words: what is not printable ASCII becomes an escape."""
    parts = [_ESCAPES.get(byte) or (chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}") for byte in as_bytes(text)]
    return '"' + "".join(parts) + '"'


class Kind:
    """One kind of value. `several`: the directive takes several words (CONFIG SET splits its argument at spaces)."""

    several = False

    def parse(self, words: list[str], before: Any) -> Any:
        """The value that the words spell; `before` is the present one. Raises ConfigError."""
        return self.one(words[0])

    def one(self, word: str) -> Any:
        """The value of a directive with one word."""
        raise AssertionError("a kind parses one word or several")

    def text(self, value: Any) -> str:
        """As CONFIG GET prints it."""
        return str(value)

    def lines(self, name: str, value: Any, default: Any, present: int) -> list[str]:
        """The lines for the configuration file; none for the default, unless the old file has some (present)."""
        return [f"{name} {self.words(value)}"] if present or value != default else []

    def words(self, value: Any) -> str:
        """What stands behind the name in the file."""
        return self.text(value)


class Flag(Kind):
    """yes or no."""

    def one(self, word: str) -> bool:
        if word.lower() not in ("yes", "no"):
            raise ConfigError("argument must be 'yes' or 'no'")
        return word.lower() == "yes"

    def text(self, value: Any) -> str:
        return "yes" if value else "no"


class Number(Kind):
    """A whole number within bounds (both included); outside `clamp` it is silently moved inside, as stock does."""

    def __init__(self, low: int, high: int, clamp: tuple[int, int] | None = None) -> None:
        self.low = low
        self.high = high
        self.clamp = clamp

    def one(self, word: str) -> int:
        value = self._read(word)
        if not self.low <= value <= self.high:
            bounds = f"{self._shown(self.low)} and {self._shown(self.high)}"
            raise ConfigError(f"argument must be between {bounds} inclusive")
        return value if self.clamp is None else min(max(value, self.clamp[0]), self.clamp[1])

    def _read(self, word: str) -> int:
        value = parse_int(as_bytes(word))
        if value is None:
            raise ConfigError("argument couldn't be parsed into an integer")
        return value

    def _shown(self, bound: int) -> str:
        return str(bound)


class Octal(Number):
    """A number written in octal digits (permissions)."""

    def _read(self, word: str) -> int:
        if not word or word.strip("01234567") or len(word) > 20:
            raise ConfigError("argument couldn't be parsed as an octal number")
        return int(word, 8)

    def _shown(self, bound: int) -> str:
        return f"{bound:o}"

    def text(self, value: Any) -> str:
        return f"{value:o}"


_UNITS = {"": 1, "b": 1, "k": 10**3, "kb": 1 << 10, "m": 10**6, "mb": 1 << 20, "g": 10**9, "gb": 1 << 30}


def parse_size(word: str) -> int | None:
    """Bytes that a memory size spells ("10mb", "1k" is 1000, "512"), at most 2**64 - 1; None if it is none."""
    digits = len(word) - len(word.lstrip("0123456789"))
    unit = _UNITS.get(word[digits:].lower())
    if unit is None or digits > 127:
        return None
    return min(int(word[:digits] or "0") * unit, ULONG)


def size_words(value: int) -> str:
    """A size as the configuration file has it: with the largest unit that divides it."""
    for name, unit in (("gb", 1 << 30), ("mb", 1 << 20), ("kb", 1 << 10)):
        if value and value % unit == 0:
            return f"{value // unit}{name}"
    return str(value)


class Size(Number):
    """A memory size, in bytes. With `percent`, a share of maxmemory too: the value is then negative (-5 is 5 %)."""

    def __init__(self, low: int, high: int, clamp: tuple[int, int] | None = None, percent: bool = False) -> None:
        super().__init__(low, high, clamp)
        self.percent = percent

    def one(self, word: str) -> int:
        share = parse_int(as_bytes(word[:-1])) if self.percent and word.endswith("%") else None
        if share is not None and share >= 0:
            if share > 100:
                raise ConfigError("percentage argument must be less or equal to 100")
            return -share
        return super().one(word)

    def _read(self, word: str) -> int:
        value = parse_size(word)
        if value is None:
            raise ConfigError(f"argument must be a memory{' or percent' if self.percent else ''} value")
        return value

    def text(self, value: Any) -> str:
        return f"{-value}%" if value < 0 else str(value)

    def words(self, value: Any) -> str:
        return f"{-value}%" if value < 0 else size_words(value)


class Choice(Kind):
    """One of some words."""

    def __init__(self, allowed: str) -> None:
        self.allowed = tuple(allowed.split())

    def one(self, word: str) -> str:
        if word.lower() not in self.allowed:
            raise ConfigError(f"argument(s) must be one of the following: {', '.join(self.allowed)}")
        return word.lower()


class ShutdownOptions(Choice):
    """What a signal's shutdown does: a tuple of words out of "save nosave now force"; () is the default."""

    several = True

    def parse(self, words: list[str], before: Any) -> tuple[str, ...]:
        given = {self.one(word): None for word in words}
        if not words:
            self.one("")
        if "save" in given and "nosave" in given:
            raise ConfigError("shutdown options SAVE and NOSAVE can't be used simultaneously")
        return tuple(word for word in self.allowed[1:] if word in given)

    def text(self, value: Any) -> str:
        return " ".join(value) or "default"


class Text(Kind):
    """Any one word. It ends at a NUL, as a string of C's does, unless it is binary (a password)."""

    def __init__(self, check: Check | None = None, binary: bool = False) -> None:
        self.check = check
        self.binary = binary

    def one(self, word: str) -> str:
        if not self.binary:
            word = word.partition("\0")[0]
        reason = self.check(word) if self.check else None
        if reason:
            raise ConfigError(reason)
        return word

    def words(self, value: Any) -> str:
        return quoted(value)


class Words(Kind):
    """Several words: a tuple of strings."""

    several = True

    def __init__(self, most: int, too_many: str) -> None:
        self.most = most
        self.too_many = too_many

    def parse(self, words: list[str], before: Any) -> tuple[str, ...]:
        if len(words) > self.most:
            raise ConfigError(self.too_many)
        return () if words == [""] else tuple(word.partition("\0")[0] for word in words)

    def text(self, value: Any) -> str:
        return " ".join(value)

    def words(self, value: Any) -> str:
        return " ".join(value) or '""'


class ReplicaOf(Kind):
    """The primary: (host, port) as strings, or () for none."""

    several = True

    def parse(self, words: list[str], before: Any) -> tuple[str, ...]:
        if len(words) != 2:
            raise ConfigError("wrong number of arguments")
        if [word.lower() for word in words] == ["no", "one"]:
            return ()
        port = parse_int(as_bytes(words[1]))
        if port is None or not 0 <= port <= PORT:
            raise ConfigError("Invalid master port")
        return words[0], words[1]

    def text(self, value: Any) -> str:
        return " ".join(value)

    def lines(self, name: str, value: Any, default: Any, present: int) -> list[str]:
        return [f"{name} {' '.join(value)}"] if value else []


class SavePoints(Kind):
    """When to save by itself: a tuple of (seconds, changes)."""

    several = True

    def parse(self, words: list[str], before: Any) -> tuple[tuple[int, int], ...]:
        if words in ([], [""]):
            return ()
        numbers = [parse_int(as_bytes(word)) for word in words]
        points = []
        if len(numbers) % 2:
            raise ConfigError("Invalid save parameters")
        for seconds, changes in zip(numbers[::2], numbers[1::2], strict=True):
            if seconds is None or changes is None or seconds < 1 or changes < 0:
                raise ConfigError("Invalid save parameters")
            points.append((seconds, changes))
        return tuple(points)

    def text(self, value: Any) -> str:
        return " ".join(f"{seconds} {changes}" for seconds, changes in value)

    def lines(self, name: str, value: Any, default: Any, present: int) -> list[str]:
        if value == default and not present:
            return []
        return [f"{name} {seconds} {changes}" for seconds, changes in value] or [f'{name} ""']


BufferLimits = dict[str, tuple[int, int, int]]
_CLASSES = {"normal": "normal", "slave": "replica", "replica": "replica", "pubsub": "pubsub"}


class OutputBufferLimits(Kind):
    """Per class of clients (normal, replica, pubsub): (hard bytes, soft bytes, seconds above soft); 0 is no limit."""

    several = True

    def parse(self, words: list[str], before: Any) -> BufferLimits:
        if words == [""]:
            words = []
        if len(words) % 4:
            raise ConfigError("Wrong number of arguments in buffer limit configuration.")
        limits: BufferLimits = dict(before)
        for at in range(0, len(words), 4):
            name = _CLASSES.get(words[at].lower())
            if name is None:
                raise ConfigError("Invalid client class specified in buffer limit configuration.")
            hard, soft = parse_size(words[at + 1]), parse_size(words[at + 2])
            seconds = parse_int(as_bytes(words[at + 3]))
            if hard is None or soft is None or seconds is None or seconds < 0:
                raise ConfigError("Error in hard, soft or soft_seconds setting in buffer limit configuration.")
            limits[name] = (hard, soft, seconds)
        return limits

    def text(self, value: Any) -> str:
        shown = {"replica": "slave"}
        return " ".join(
            f"{shown.get(name, name)} {hard} {soft} {seconds}" for name, (hard, soft, seconds) in value.items()
        )

    def lines(self, name: str, value: Any, default: Any, present: int) -> list[str]:
        lines: list[str] = []
        for client, (hard, soft, seconds) in value.items():
            if value[client] != default[client] or present > len(lines):
                lines.append(f"{name} {client} {size_words(hard)} {size_words(soft)} {seconds}")
        return lines


_EVENT_CLASSES = "g$lshzxetd"


class EventClasses(Kind):
    """Which keyspace notifications are sent, in stock's canonical order of letters ("AKE")."""

    def one(self, word: str) -> str:
        if any(letter not in "Ag$lshzxeKEtmdn" for letter in word):
            raise ConfigError("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")
        letters = word.replace("A", _EVENT_CLASSES)
        if all(letter in letters for letter in _EVENT_CLASSES):
            kinds = "A"
        else:
            kinds = "".join(letter for letter in _EVENT_CLASSES + "n" if letter in letters)
        return kinds + "".join(letter for letter in "KEm" if letter in letters)

    def words(self, value: Any) -> str:
        return quoted(value)


class Percentiles(Kind):
    """A tuple of percentages between 0 and 100, as floats."""

    several = True

    def parse(self, words: list[str], before: Any) -> tuple[float, ...]:
        if words == [""]:
            return ()
        values = []
        for word in words:
            try:
                values.append(float("" if "_" in word else word))
            except ValueError:
                raise ConfigError("Invalid latency-tracking-info-percentiles parameters") from None
            if not 0 <= values[-1] <= 100:
                raise ConfigError("latency-tracking-info-percentiles parameters should sit between [0.0,100.0]")
        return tuple(values)

    def text(self, value: Any) -> str:
        return " ".join(f"{percent:.17g}" if percent != round(percent, 6) else f"{percent:g}" for percent in value)

    def words(self, value: Any) -> str:
        return self.text(value) or '""'


class OomScores(Kind):
    """Three numbers between -2000 and 2000."""

    several = True

    def parse(self, words: list[str], before: Any) -> tuple[int, ...]:
        if len(words) != 3:
            raise ConfigError("wrong number of arguments")
        numbers = [parse_int(as_bytes(word)) for word in words]
        if any(number is None or not -2000 <= number <= 2000 for number in numbers):
            raise ConfigError("Invalid oom-score-adj-values, elements must be between -2000 and 2000.")
        return tuple(number for number in numbers if number is not None)

    def text(self, value: Any) -> str:
        return " ".join(map(str, value))


def file_name(directive: str, *, may_be_empty: bool = False) -> Check:
    """A check that refuses paths (the file lies in `dir`)."""

    def check(word: str) -> str | None:
        if not word and not may_be_empty:
            return f"{directive} can't be empty"
        return f"{directive} can't be a path, just a filename" if "/" in word else None

    return check


def host_name(word: str) -> str | None:
    """Refuse what is no host name."""
    if len(word) >= 256:
        return "Hostnames must be less than 256 characters"
    if not all(letter.isascii() and (letter.isalnum() or letter in "-.") for letter in word):
        return "Hostnames may only contain alphanumeric characters, hyphens or dots"
    return None


_TITLE_VARIABLES = ("title", "listen-addr", "server-mode", "port", "tls-port", "unixsocket", "config-file")


def title_template(word: str) -> str | None:
    """Refuse a process title that is empty or names unknown variables."""
    rest = word
    for variable in _TITLE_VARIABLES:
        rest = rest.replace("{" + variable + "}", "x")
    if not rest.strip() or "{" in rest:
        return "template format is invalid or contains unknown variables"
    return None
