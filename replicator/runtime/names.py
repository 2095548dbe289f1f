"""Names of hosts as C takes them: any bytes, up to the first NUL.

A str would be encoded as a domain name on its way to the resolver, which raises errors of its own for what is none: for
bytes that are no UTF-8, for a label of more than 63 letters, for an empty one.
"""

from __future__ import annotations

# What may come of a name beside the resolver's and the system's own refusal.
NAME_ERRORS = (OSError, ValueError, OverflowError)


def host_name(host: str) -> bytes:
    """The bytes that the configuration or a client gave for this name (surrogates stand for what is no UTF-8)."""
    return host.encode("utf-8", "surrogateescape").partition(b"\0")[0]
