"""Keyspace notifications: which are wanted (notify-keyspace-events), and under which channels they are published.

A change of key "k" in database 0 by SET is told on two channels: `__keyspace@0__:k` with the message "set" (class K),
and `__keyevent@0__:set` with the message "k" (class E).

Source: https://redis.io/docs/latest/develop/pubsub/keyspace-notifications/
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from replicator.core.keyspace.database import (
    NOTIFY_EVICTED,
    NOTIFY_EXPIRED,
    NOTIFY_GENERIC,
    NOTIFY_HASH,
    NOTIFY_KEY_MISS,
    NOTIFY_LIST,
    NOTIFY_MODULE,
    NOTIFY_NEW,
    NOTIFY_SET,
    NOTIFY_SORTED_SET,
    NOTIFY_STREAM,
    NOTIFY_STRING,
    Database,
    Keyspace,
)

# Where to publish; beside the classes in database.py.
NOTIFY_KEYSPACE = 1 << 12  # K
NOTIFY_KEYEVENT = 1 << 13  # E
_CHANNELS = NOTIFY_KEYSPACE | NOTIFY_KEYEVENT

_KINDS = {
    "g": NOTIFY_GENERIC,
    "$": NOTIFY_STRING,
    "l": NOTIFY_LIST,
    "s": NOTIFY_SET,
    "h": NOTIFY_HASH,
    "z": NOTIFY_SORTED_SET,
    "x": NOTIFY_EXPIRED,
    "e": NOTIFY_EVICTED,
    "t": NOTIFY_STREAM,
    "d": NOTIFY_MODULE,
}
_ALL = sum(_KINDS.values())
_LETTERS = {
    **_KINDS,
    "A": _ALL,
    "n": NOTIFY_NEW,
    "m": NOTIFY_KEY_MISS,
    "K": NOTIFY_KEYSPACE,
    "E": NOTIFY_KEYEVENT,
}

Publish = Callable[[bytes, bytes], object]


def parse_classes(text: str) -> int | None:
    """The flags that the letters of notify-keyspace-events stand for, or None if a letter is unknown."""
    flags = 0
    for letter in text:
        flag = _LETTERS.get(letter)
        if flag is None:
            return None
        flags |= flag
    return flags


def format_classes(flags: int) -> str:
    """The letters in stock's canonical order: "AKE", "glE", "xetdnKEm"."""
    if flags & _ALL == _ALL:
        text = "A"
    else:
        text = "".join(letter for letter, flag in _KINDS.items() if flags & flag)
        if flags & NOTIFY_NEW:
            text += "n"
    return text + "".join(letter for letter in "KEm" if flags & _LETTERS[letter])


def notify(publish: Publish, flags: int, db_index: int, kind: int, event: bytes, key: bytes) -> None:
    """Publish one change of class `kind` on the channels that `flags` ask for; nothing if its class is not wanted."""
    if not flags & kind:
        return
    if flags & NOTIFY_KEYSPACE:
        publish(b"__keyspace@%d__:%b" % (db_index, key), event)
    if flags & NOTIFY_KEYEVENT:
        publish(b"__keyevent@%d__:%b" % (db_index, event), key)


def _told(publish: Publish, flags: int, db: Database, kind: int, event: bytes, key: bytes) -> None:
    notify(publish, flags, db.index, kind, event, key)


def configure(keyspace: Keyspace, publish: Publish, text: str) -> None:
    """Let the keyspace publish what notify-keyspace-events (already checked) asks for; to be called when it changes."""
    flags = parse_classes(text)
    assert flags is not None, text
    if not flags & _CHANNELS:
        flags = 0  # without a channel nothing is published, whatever the classes: commands need not even ask
    keyspace.notify_flags = flags & ~_CHANNELS
    keyspace.on_notify = partial(_told, publish, flags) if flags else None
    if flags & NOTIFY_NEW:
        for db in keyspace.databases:
            db.indexed_keys()
