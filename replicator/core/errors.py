"""What a client is told of a command that does not exist, as stock words it."""

from __future__ import annotations

from replicator.core.wire.request import Argv


def shown_in_error(data: bytes) -> str:
    """Bytes of a client inside an error text: up to the first zero byte, as a text of C."""
    return data.partition(b"\x00")[0].decode("utf-8", "surrogateescape")


def unknown_command(argv: Argv) -> str:
    """The error about a command name that is none, with about 128 bytes of its arguments."""
    arguments = ""
    for argument in argv[1:]:
        if len(arguments) >= 128:
            break
        arguments += f"'{shown_in_error(argument[: 128 - len(arguments)])}' "
    return f"ERR unknown command '{shown_in_error(argv[0][:128])}', with args beginning with: {arguments}"
