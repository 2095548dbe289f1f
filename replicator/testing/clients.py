"""Clients of a topology: of redis-py or valkey-py, and the recording of one that the user has."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from functools import wraps
from importlib import import_module
from itertools import count
from typing import Any

from replicator.testing.record import Recorder

_numbers = count(1)
LIBRARIES = ("redis", "valkey")


def make(library: str, address: tuple[str, int], options: dict[str, Any]) -> Any:
    """A client of redis-py ("redis") or valkey-py ("valkey") for that address. Raises ValueError, ImportError."""
    if library not in LIBRARIES:
        raise ValueError(f"there is no client library {library!r} here; allowed: {', '.join(LIBRARIES)}")
    module = import_module(library)
    host, port = address
    return getattr(module, library.capitalize())(host=host, port=port, **options)


def from_sentinels(library: str, sentinels: Sequence[tuple[str, int]], name: str, options: dict[str, Any]) -> Any:
    """A client that asks the Sentinels where the primary is, before each connection."""
    if library not in LIBRARIES:
        raise ValueError(f"there is no client library {library!r} here; allowed: {', '.join(LIBRARIES)}")
    own = {key: value for key, value in options.items() if key.startswith("ssl")}
    asked = import_module(f"{library}.sentinel").Sentinel(list(sentinels), sentinel_kwargs={"socket_timeout": 1, **own})
    return asked.master_for(name, **options)


def record(client: Any, recorder: Recorder, node_of: Callable[[socket.socket], str], current: Callable[[], str]) -> Any:
    """The same client; each write that it tries from now on is recorded, retries and pipelines included.

    redis-py and valkey-py send every attempt of a command by one method that knows the connection: it is wrapped. Any
    other client with a method execute_command is recorded by that, an operation for all its retries.
    """
    name = f"{type(client).__module__.partition('.')[0]}{next(_numbers)}"

    def asked(connection: Any) -> str:
        sock = getattr(connection, "_sock", None)
        return (node_of(sock) if isinstance(sock, socket.socket) else "") or current()

    if hasattr(client, "_send_command_parse_response"):
        attempt = client._send_command_parse_response

        def one(connection: Any, command_name: Any, *words: Any, **options: Any) -> Any:
            return _recorded(recorder, name, words, asked(connection), lambda: attempt(
                connection, command_name, *words, **options))  # fmt: skip

        client._send_command_parse_response = wraps(attempt)(one)
        client.pipeline = _recording(client.pipeline, recorder, name, asked)
        return client
    if hasattr(client, "execute_command"):
        execute = client.execute_command

        def whole(*words: Any, **options: Any) -> Any:
            return _recorded(recorder, name, words, current(), lambda: execute(*words, **options))

        client.execute_command = wraps(execute)(whole)
        return client
    raise TypeError(f"{type(client).__name__} cannot be recorded: it has no method execute_command")


def _recorded(recorder: Recorder, name: str, words: Sequence[Any], node: str, send: Callable[[], Any]) -> Any:
    operations = recorder.begin(name, words, node)
    try:
        answer = send()
    except BaseException as problem:
        recorder.end(words, operations, problem)
        raise
    if hasattr(answer, "__await__"):
        return _awaited(recorder, words, operations, answer)
    recorder.end(words, operations, answer)
    return answer


async def _awaited(recorder: Recorder, words: Sequence[Any], operations: Any, answer: Any) -> Any:
    try:
        value = await answer
    except BaseException as problem:
        recorder.end(words, operations, problem)
        raise
    recorder.end(words, operations, value)
    return value


def _recording(pipeline: Any, recorder: Recorder, name: str, asked: Callable[[Any], str]) -> Any:
    """A method that makes pipelines which are recorded."""

    @wraps(pipeline)
    def make_pipeline(*arguments: Any, **options: Any) -> Any:
        made = pipeline(*arguments, **options)
        for method in ("_execute_pipeline", "_execute_transaction"):
            setattr(made, method, _batch(getattr(made, method), recorder, name, asked))
        return made

    return make_pipeline


def _batch(execute: Any, recorder: Recorder, name: str, asked: Callable[[Any], str]) -> Any:
    @wraps(execute)
    def run(connection: Any, commands: Any, raise_on_error: bool) -> Any:
        node = asked(connection)
        begun = [(words, recorder.begin(name, words, node)) for words, _ in commands]
        try:
            # What one command was answered is wanted although another was refused.
            answers = execute(connection, commands, False)
        except BaseException as problem:
            for words, operations in begun:
                recorder.end(words, operations, problem)
            raise
        if hasattr(answers, "__await__"):
            return _batch_awaited(recorder, begun, answers, raise_on_error)
        return _told(recorder, begun, answers, raise_on_error)

    return run


def _told(recorder: Recorder, begun: Any, answers: Any, raise_on_error: bool) -> Any:
    for (words, operations), answer in zip(begun, answers, strict=True):
        recorder.end(words, operations, answer)
    failed = next((answer for answer in answers if isinstance(answer, Exception)), None)
    if raise_on_error and failed is not None:
        raise failed
    return answers


async def _batch_awaited(recorder: Recorder, begun: Any, answers: Any, raise_on_error: bool) -> Any:
    try:
        value = await answers
    except BaseException as problem:
        for words, operations in begun:
            recorder.end(words, operations, problem)
        raise
    return _told(recorder, begun, value, raise_on_error)
