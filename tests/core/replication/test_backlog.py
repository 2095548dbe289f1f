"""The window against its dumb twin: one bytes object and arithmetic."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from replicator.core import limits
from replicator.core.replication.backlog import Cursor, Window


class Twin:
    """All bytes ever, and where each reader stands."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.data = b""
        self.readers: list[int] = []
        self.start = 0

    def trim(self) -> None:
        self.start = max(self.start, min([len(self.data) - self.size, *self.readers]))


actions = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 300)),
        st.tuples(st.just("attach"), st.floats(0, 1)),
        st.tuples(st.just("pull"), st.integers(0, 5), st.integers(1, 200)),
        st.tuples(st.just("detach"), st.integers(0, 5)),
        st.tuples(st.just("resize"), st.integers(1, 500)),
    ),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 400), actions)
def test_the_window_is_its_dumb_twin(size: int, plan: list[tuple[object, ...]]) -> None:
    window, twin = Window(size), Twin(size)
    cursors: list[Cursor] = []
    block, limits.WINDOW_BLOCK = limits.WINDOW_BLOCK, 64  # many small blocks
    try:
        for step, (name, *values) in enumerate(plan):
            if name == "append":
                data = bytes((step + n) % 256 for n in range(int(values[0])))
                window.append(data)
                twin.data += data
                twin.trim()
            elif name == "attach":
                position = window.start + round((window.end - window.start) * float(values[0]))
                cursors.append(window.attach(position))
                twin.readers.append(position)
            elif name == "pull" and cursors:
                at = int(values[0]) % len(cursors)
                got = window.pull(cursors[at], int(values[1]))
                begin = twin.readers[at]
                assert got == twin.data[begin : begin + len(got)]
                assert bool(got) == (begin < len(twin.data))
                twin.readers[at] += len(got)
                twin.trim()
            elif name == "detach" and cursors:
                at = int(values[0]) % len(cursors)
                window.detach(cursors.pop(at))
                twin.readers.pop(at)
                twin.trim()
            elif name == "resize":
                window.resize(int(values[0]))
                twin.size = int(values[0])
                twin.trim()
            window.check_invariants()
            assert (window.start, window.end) == (twin.start, len(twin.data))
            assert window.end - window.start <= max([twin.size, *(window.end - r for r in twin.readers)])
    finally:
        limits.WINDOW_BLOCK = block


def test_a_waiting_cursor_keeps_what_it_needs_and_is_counted_once() -> None:
    window = Window(100)
    first, second = window.attach(0), window.attach(0)
    for _ in range(50):
        window.append(b"x" * 100)
    assert len(window) == 5000
    assert window.memory == 5000  # not twice
    while window.pull(first, 1000):
        pass
    assert len(window) == 5000
    while window.pull(second, 1000):
        pass
    assert len(window) == 100


def test_memory_is_let_go_when_the_slow_reader_leaves() -> None:
    window = Window(100)
    slow = window.attach(0)
    for _ in range(100):
        window.append(b"x" * limits.WINDOW_BLOCK)
    assert window.memory == 100 * limits.WINDOW_BLOCK
    window.detach(slow)
    assert window.memory <= limits.WINDOW_BLOCK
