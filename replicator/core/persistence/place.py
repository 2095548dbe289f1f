"""Where in a history a snapshot stands, as its auxiliary fields tell.

They come from outside: what has not the form that it should have is as good as not there, and the data loads all the
same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from replicator.core.replication.history import is_id
from replicator.core.wire.numbers import parse_int


class Place(NamedTuple):
    """A replication id, and the offset at which the data was taken."""

    id: str
    offset: int


def place_of(aux: Mapping[bytes, bytes]) -> Place | None:
    """The place that a snapshot names, if it names one."""
    identity, offset = aux.get(b"repl-id", b""), parse_int(aux.get(b"repl-offset", b""))
    if not is_id(identity) or offset is None or offset < 0:
        return None
    return Place(identity.decode(), offset)


def stream_database(aux: Mapping[bytes, bytes], databases: int) -> int:
    """The database on which the stream goes on behind this snapshot; 0 if it names none of ours."""
    index = parse_int(aux.get(b"repl-stream-db", b"0"))
    return index if index is not None and 0 <= index < databases else 0
