"""Error replies: how a command refuses, and what is said of one that does not exist, as stock words it."""

from __future__ import annotations

from replicator.core.wire.request import Argv


class CommandError(Exception):
    """An error reply: the text with its code, as it goes on the wire without the dash ("ERR syntax error")."""


class CountedError(CommandError):
    """An error reply that was counted where it arose: in a command of the script that now answers with it."""


class Redirect(CommandError):
    """The command does not belong to this node of a cluster. A transaction is over, in this error's own words."""


SYNTAX = "ERR syntax error"
NOT_AN_INTEGER = "ERR value is not an integer or out of range"
NOT_A_FLOAT = "ERR value is not a valid float"
WRONG_TYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"
NO_SUCH_KEY = "ERR no such key"
OUT_OF_RANGE = "ERR index out of range"
NO_NEGATION = "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807"


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


class UnknownCommand(Exception):
    """A file holds a command that there is not. at: its place among those that were to be run."""

    def __init__(self, at: int, name: str) -> None:
        super().__init__(name)
        self.at, self.name = at, name
