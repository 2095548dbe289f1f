"""Conformance: files."""

from __future__ import annotations

from replicator.core import effects as do
from replicator.core import events as told
from replicator.core.now import Now
from tests.conformance.streams import Check
from tests.conformance.world import Answer, Toy, World, answering, pattern


def _at_start(*effects: do.Effect) -> Answer:
    return lambda event, now: list(effects) if isinstance(event, told.Started) else []


def an_appended_and_committed_file_stands_under_its_final_name(world: World) -> None:
    toy = Toy(
        _at_start(
            do.AppendFile("temp", b"one ", True),
            do.AppendFile("temp", b"two ", False),
            do.SyncFile("temp"),
            do.AppendFile("temp", b"three", False),
            do.CommitFile("temp", "final"),
        )
    )
    host = world.start(toy)
    world.run_until(lambda: bool(toy.of(told.FileCommitted)))
    assert toy.seen[1:] == [told.FileCommitted("temp", "final")]
    assert host.read("final") == b"one two three"
    assert host.names() == ["final"]


def an_append_goes_on_where_the_file_ends(world: World) -> None:
    toy = Toy(
        answering(
            lambda event: [
                do.AppendFile("log", event.data, event.data == b"new"),
                do.SyncFile("log"),
                do.Send(event.conn, b"."),
            ]
        )
    )
    host = world.start(toy)
    host.write("log", b"old ")
    client = world.connect(host)
    for data, stands in ((b"a", b"old a"), (b"b", b"old ab"), (b"new", b"new"), (b"c", b"newc")):
        client.send(data)
        client.receive(1)
        assert host.read("log") == stands


def a_file_in_a_new_directory_is_made_with_it(world: World) -> None:
    toy = Toy(
        _at_start(
            do.AppendFile("folder/log", b"x", True),
            do.SyncFile("folder/log"),
            do.CommitFile("folder/log", "folder/final"),
        )
    )
    host = world.start(toy)
    world.run_until(lambda: bool(toy.of(told.FileCommitted)))
    assert host.read("folder/final") == b"x"


def appends_after_a_commit_go_to_the_committed_file(world: World) -> None:
    toy = Toy(
        _at_start(
            do.AppendFile("final", b"the old one", True),
            do.AppendFile("temp", b"new", True),
            do.CommitFile("temp", "final"),
            do.AppendFile("final", b" and more", False),
            do.SyncFile("final"),
            do.CommitFile("final", "checked"),
        )
    )
    host = world.start(toy)
    world.run_until(lambda: len(toy.of(told.FileCommitted)) == 2)
    assert host.read("checked") == b"new and more"


def a_missing_file_fails_as_missing(world: World) -> None:
    toy = Toy(_at_start(do.ReadFile("nothing", 100), do.CommitFile("nothing", "final"), do.RemoveFile("nothing")))
    world.start(toy)
    world.run_until(lambda: len(toy.of(told.FileFailed)) == 2)
    why = "No such file or directory"
    assert toy.seen[1:] == [told.FileFailed("nothing", why, True), told.FileFailed("nothing", why, True)]


def a_removed_file_is_gone(world: World) -> None:
    toy = Toy(
        _at_start(
            do.AppendFile("a", b"x", True), do.RemoveFile("a"), do.RemoveFile("b"), do.AppendFile("c", b"x", True)
        )
    )
    host = world.start(toy)
    host.write("b", b"x")
    world.run_until(lambda: "c" in host.names())
    assert [name for name in host.names() if name in "ac"] == ["c"]


def a_file_is_read_in_chunks_to_its_end(world: World) -> None:
    data = pattern(100_000)

    def answer(event: told.Event, now: Now) -> list[do.Effect]:
        return [do.ReadFile("data", 30_000)] if isinstance(event, told.Received) else []

    toy = Toy(answer)
    host = world.start(toy)
    host.write("data", data)
    world.connect(host).send(b"go")
    world.run_until(lambda: any(isinstance(event, told.FileChunk) and event.eof for event in list(toy.seen)))
    chunks = [event for event in toy.seen if isinstance(event, told.FileChunk)]
    assert b"".join(chunk.data for chunk in chunks) == data
    offset = 0
    for chunk in chunks:
        assert (chunk.name, chunk.offset, chunk.size) == ("data", offset, len(data))
        offset += len(chunk.data)
    assert [chunk.eof for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert len(chunks) >= 4


def an_empty_file_is_one_chunk_that_ends_it(world: World) -> None:
    toy = Toy(_at_start(do.AppendFile("empty", b"", True), do.ReadFile("empty", 100)))
    world.start(toy)
    world.run_until(lambda: len(toy.seen) == 2)
    world.run_for(20)
    assert toy.seen[1:] == [told.FileChunk("empty", 0, b"", 0, True)]


def clients_are_served_between_the_chunks_of_a_file(world: World) -> None:
    def answer(event: told.Event, now: Now) -> list[do.Effect]:
        if isinstance(event, told.Received):
            return [do.ReadFile("data", 10)] if event.data == b"read" else [do.Send(event.conn, b"served")]
        return []

    toy = Toy(answer)
    host = world.start(toy)
    host.write("data", b"x" * 200_000)
    client = world.connect(host)
    client.send(b"read")
    world.run_until(lambda: bool(toy.of(told.FileChunk)))
    client.send(b"ping")
    assert client.receive(6) == b"served"
    at_ping = [isinstance(event, told.Received) and event.data == b"ping" for event in toy.seen].index(True)
    world.run_until(lambda: any(isinstance(event, told.FileChunk) and event.eof for event in toy.seen[-1:]))
    assert any(isinstance(event, told.FileChunk) for event in toy.seen[at_ping:])


def a_reading_that_is_stopped_tells_no_more_chunks(world: World) -> None:
    def answer(event: told.Event, now: Now) -> list[do.Effect]:
        if isinstance(event, told.Received):
            return [do.ReadFile("data", 10)]
        if isinstance(event, told.FileChunk) and event.offset == 30:
            return [do.StopReading("data")]
        return []

    toy = Toy(answer)
    host = world.start(toy)
    host.write("data", b"x" * 1000)
    world.connect(host).send(b"go")
    world.run_until(lambda: len(toy.of(told.FileChunk)) == 4)
    world.run_for(30)
    assert len(toy.of(told.FileChunk)) == 4


def trouble_with_a_file_is_told_before_what_was_sent_behind_it_leaves(world: World) -> None:
    """Persist before speech: the machine may still take its word back."""

    def answer(event: told.Event, now: Now) -> list[do.Effect]:
        if isinstance(event, told.Received):
            return [
                do.Send(event.conn, b"first "),
                do.CommitFile("nothing", "final"),
                do.Send(event.conn, b"it is safe"),
            ]
        if isinstance(event, told.FileFailed):
            return [do.Close(1, "the disk fails")]
        return []

    toy = Toy(answer)
    client = world.connect(world.start(toy))
    client.send(b"x")
    assert b"safe" not in client.receive_to_end()
    assert toy.closed() == [(1, "the disk fails")]


def a_machine_that_bears_with_trouble_has_its_words_sent(world: World) -> None:
    def answer(event: told.Event, now: Now) -> list[do.Effect]:
        if isinstance(event, told.Received):
            return [do.SyncFile("nothing"), do.Send(event.conn, b"anyway")]
        if isinstance(event, told.FileFailed):
            return [do.Send(1, b" and on")]
        return []

    client = world.connect(world.start(Toy(answer)))
    client.send(b"x")
    assert client.receive(13) == b"anyway and on"


def file_events_come_before_further_bytes(world: World) -> None:
    def answer(event: told.Event, now: Now) -> list[do.Effect]:
        if isinstance(event, told.Received):
            return [do.AppendFile("t", event.data, True), do.CommitFile("t", "f"), do.Send(event.conn, b".")]
        return []

    toy = Toy(answer)
    host = world.start(toy)
    clients = [world.connect(host) for _ in range(10)]
    for client in clients:
        client.send(b"x")
    for client in clients:
        client.receive(1)
    world.run_until(lambda: len(toy.of(told.FileCommitted)) == 10)
    kinds = [type(event) for event in toy.of(told.Received, told.FileCommitted)]
    assert kinds == [told.Received, told.FileCommitted] * 10


CHECKS: list[Check] = [
    an_appended_and_committed_file_stands_under_its_final_name,
    an_append_goes_on_where_the_file_ends,
    a_file_in_a_new_directory_is_made_with_it,
    appends_after_a_commit_go_to_the_committed_file,
    a_missing_file_fails_as_missing,
    a_removed_file_is_gone,
    a_file_is_read_in_chunks_to_its_end,
    an_empty_file_is_one_chunk_that_ends_it,
    clients_are_served_between_the_chunks_of_a_file,
    a_reading_that_is_stopped_tells_no_more_chunks,
    trouble_with_a_file_is_told_before_what_was_sent_behind_it_leaves,
    a_machine_that_bears_with_trouble_has_its_words_sent,
    file_events_come_before_further_bytes,
]
