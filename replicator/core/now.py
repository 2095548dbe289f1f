"""The two clocks of an event: one for deadlines, one for the keys' expiry."""

from __future__ import annotations

from msgspec import Struct


class Now(Struct, frozen=True, gc=False):
    """The instant at which an event reaches a machine.

    mono_ms: milliseconds of a clock that never steps back; every deadline and timeout is measured with it.
    unix_ms: milliseconds since 1970 (wall clock, may step); key expiry and the times that users see.
    """

    mono_ms: int
    unix_ms: int
