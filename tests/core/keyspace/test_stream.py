"""Stream against a dumb twin: a list of entries; and its nodes and pending lists."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from replicator.core.keyspace.stream import (
    LARGEST_ID,
    LARGEST_PART,
    ZERO_ID,
    Consumer,
    Group,
    Id,
    PendingList,
    Stream,
    next_id,
    previous_id,
)

FIELDS = (b"f", b"v")
steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 3), st.integers(0, 2)),
        st.tuples(st.just("delete"), st.integers(0, 40), st.integers(0, 2)),
        st.tuples(st.just("length"), st.integers(0, 30), st.just(0)),
        st.tuples(st.just("before"), st.integers(0, 60), st.just(0)),
    ),
    max_size=60,
)


@given(steps, st.integers(1, 5), st.integers(0, 60), st.integers(0, 60))
def test_a_stream_is_a_list_of_entries(history: list[tuple[str, int, int]], node: int, low: int, high: int) -> None:
    stream, twin = Stream(), list[Id]()
    for what, one, other in history:
        if what == "append":
            id = (stream.last_id[0] + one, other)
            stream.append(id, FIELDS, node)
            twin.append(id)
        elif what == "delete":
            assert stream.delete((one, other)) == ((one, other) in twin)
            twin = [id for id in twin if id != (one, other)]
        elif what == "length":
            assert stream.trim_length(one, False, 0) == max(0, len(twin) - one)
            twin = twin[max(0, len(twin) - one) :]
        else:
            assert stream.trim_before((one, 0), False, 0) == len([id for id in twin if id < (one, 0)])
            twin = [id for id in twin if id >= (one, 0)]
        assert stream.length == len(twin)
        assert stream.first_id == (twin[0] if twin else ZERO_ID)
        assert stream.top_id == (twin[-1] if twin else ZERO_ID)
    assert [id for id, _ in stream.entries()] == twin
    inside = [id for id in twin if (low, 1) <= id <= (high, 1)]
    assert [id for id, _ in stream.range((low, 1), (high, 1))] == inside
    assert [id for id, _ in stream.range_back((low, 1), (high, 1))] == inside[::-1]
    assert all((id in stream) == (id in twin) for id in [(ms, seq) for ms in range(60) for seq in range(3)])
    assert all(len(part.ids) + part.deleted <= node for part in stream.nodes)


def filled(count: int) -> Stream:
    stream = Stream()
    for i in range(1, count + 1):
        stream.append((i, 0), FIELDS)
    return stream


def test_approximate_trimming_drops_whole_nodes_only() -> None:
    stream = filled(350)
    assert stream.trim_length(240, True, 0) == 100
    assert stream.trim_length(151, True, 0) == 0
    assert stream.trim_before((201, 0), True, 0) == 100
    assert stream.trim_before((300, 0), True, 0) == 0
    assert stream.length == 150


def test_a_limit_holds_an_approximate_trim_back() -> None:
    stream = filled(350)
    assert stream.trim_length(0, True, 250) == 200
    assert stream.trim_length(0, True, 99) == 0


def test_a_node_takes_no_entries_in_place_of_deleted_ones() -> None:
    stream = filled(99)
    for i in range(1, 51):
        stream.delete((i, 0))
    stream.append((200, 0), FIELDS)
    stream.append((201, 0), FIELDS)
    assert [len(node.ids) for node in stream.nodes] == [50, 1]


def test_a_node_ends_where_stocks_listpack_would_be_full() -> None:
    stream = Stream()
    for i in range(1, 21):
        stream.append((i, 0), (b"f", b"x" * 1000))
    assert [len(node.ids) for node in stream.nodes] == [4] * 5


def test_ids_count_up_and_down_to_their_ends() -> None:
    assert next_id((5, LARGEST_PART)) == (6, 0)
    assert next_id(LARGEST_ID) is None
    assert previous_id((6, 0)) == (5, LARGEST_PART)
    assert previous_id(ZERO_ID) is None


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 20)), max_size=40), st.integers(0, 20), st.integers(0, 20))
def test_a_pending_list_knows_its_order_whenever_it_is_asked(
    history: list[tuple[bool, int]], low: int, high: int
) -> None:
    group = Group(ZERO_ID, 0)
    consumer = Consumer(b"c", 0)
    pending, twin = PendingList(), set[Id]()
    for at, (adds, number) in enumerate(history):
        id = (number, 0)
        if adds:
            pending.add(id, group.add_pending(id, consumer, 0, 1))
            twin.add(id)
        else:
            assert (pending.remove(id) is not None) == (id in twin)
            twin.discard(id)
        if at == len(history) // 2:
            assert list(pending.ids()) == sorted(twin)
    assert list(pending.ids((low, 0), (high, 0))) == sorted(id for id in twin if (low, 0) <= id <= (high, 0))
    if twin:
        assert pending.edges() == (min(twin), max(twin))


def test_an_entry_is_pending_for_one_consumer_at_a_time() -> None:
    group = Group(ZERO_ID, 0)
    one, other = Consumer(b"one", 0), Consumer(b"other", 0)
    group.consumers.update({b"one": one, b"other": other})
    group.add_pending((1, 0), one, 10, 1)
    group.add_pending((1, 0), other, 20, 2)
    assert (len(one.pending), len(other.pending), len(group.pending)) == (0, 1, 1)
    assert group.remove_consumer(b"other") == 1
    assert len(group.pending) == 0
    assert not group.acknowledge((1, 0))
