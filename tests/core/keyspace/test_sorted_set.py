"""SortedSet against a dumb twin: a dict that is sorted whenever somebody asks."""

from __future__ import annotations

from bisect import bisect_left
from math import inf

from hypothesis import given
from hypothesis import strategies as st

from replicator.core.keyspace.sorted_set import FLAT_BOUNDS, LexRange, ScoreRange, SortedSet

members = st.sampled_from([b"", b"a", b"b", b"c", b"d", b"\xff", b"aa"])
scores = st.sampled_from([-inf, -1.5, 0.0, 1.0, 1.0000000000000002, 2.0, inf])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), members, scores),
        st.tuples(st.just("remove"), members, st.none()),
        st.tuples(st.just("order"), st.none(), st.none()),
        st.tuples(st.just("number"), st.none(), st.none()),
        st.tuples(st.just("pop"), st.booleans(), st.none()),
        st.tuples(st.just("slice"), st.integers(0, 4), st.integers(0, 4)),
    ),
    max_size=40,
)


def check(zset: SortedSet, twin: dict[bytes, float]) -> None:
    order = sorted((score, member) for member, score in twin.items())
    assert zset.scores == twin
    assert list(zset.slice(0, len(twin))) == order
    assert list(zset.slice(0, len(twin), True)) == order[::-1]
    assert [zset.rank(member) for _, member in order] == list(range(len(order)))
    assert sorted(zset.numbered().items) == sorted(twin)


@given(steps)
def test_a_sorted_set_is_a_dict_sorted_by_score_then_member_whenever_its_order_is_first_asked_for(
    history: list[tuple[str, object, object]],
) -> None:
    zset, twin = SortedSet(), dict[bytes, float]()
    for what, one, other in history:
        if what == "add":
            assert isinstance(one, bytes) and isinstance(other, float)
            assert zset.add(one, other) == (one not in twin)
            twin[one] = other
        elif what == "remove":
            assert isinstance(one, bytes)
            assert zset.remove(one) == (twin.pop(one, None) is not None)
        elif what == "order":
            zset.ordered()
        elif what == "number":
            zset.numbered()
        elif what == "pop" and twin:
            score, member = (max if one else min)((score, member) for member, score in twin.items())
            assert zset.pop(bool(one)) == (score, member)
            del twin[member]
        elif what == "slice":
            assert isinstance(one, int) and isinstance(other, int)
            gone = sorted((score, member) for member, score in twin.items())[one:other]
            assert zset.remove_slice(one, other) == len(gone)
            for _, member in gone:
                del twin[member]
    check(zset, twin)


@given(st.dictionaries(members, scores), scores, scores, st.booleans(), st.booleans())
def test_a_score_window_holds_exactly_the_scores_inside(
    pairs: dict[bytes, float], least: float, most: float, above: bool, below: bool
) -> None:
    zset = SortedSet.from_pairs(pairs.items())
    start, stop = zset.score_window(ScoreRange(least, most, above, below))
    inside = [
        (score, member)
        for score, member in sorted((score, member) for member, score in pairs.items())
        if (score > least if above else score >= least) and (score < most if below else score <= most)
    ]
    assert (list(zset.slice(start, stop)) if start < stop else []) == inside


@given(st.sets(members), st.none() | members, st.none() | members, st.booleans(), st.booleans())
def test_a_lexicographic_window_holds_exactly_the_members_inside(
    names: set[bytes], least: bytes | None, most: bytes | None, above: bool, below: bool
) -> None:
    zset = SortedSet.from_pairs((name, 1.0) for name in names)
    wanted = LexRange(least, most, above, below)
    start, stop = zset.lex_window(wanted)
    inside = [name for name in sorted(names) if wanted.reaches(name) and wanted.holds_back(name)]
    assert ([member for _, member in zset.slice(start, stop)] if start < stop else []) == inside


def test_adding_and_reading_scores_makes_no_order() -> None:
    zset = SortedSet()
    for i in range(1000):
        zset.add(b"%d" % i, float(i % 7))
    zset.remove(b"3")
    assert zset.order is None
    assert zset.index is None


def test_a_set_stays_outgrown_once_it_was() -> None:
    zset = SortedSet.from_pairs((b"%d" % i, 0.0) for i in range(FLAT_BOUNDS[0]))
    assert zset.flat
    zset.add(b"one more", 1.0)
    zset.remove(b"one more")
    assert not zset.flat
    zset.add(b"0", -0.0)
    assert str(zset.scores[b"0"]) == "0.0"  # equal scores change nothing
    zset.add(b"new", -0.0)
    assert str(zset.scores[b"new"]) == "-0.0"


def test_a_flat_set_has_no_negative_zero() -> None:
    zset = SortedSet.from_pairs([(b"a", -0.0)])
    zset.add(b"b", -0.0)
    assert [str(score) for score in zset.scores.values()] == ["0.0", "0.0"]


def test_a_rank_is_found_by_bisection() -> None:
    zset = SortedSet.from_pairs((b"%d" % i, float(i)) for i in range(5000))
    order = list(zset.slice(0, 5000))
    assert zset.rank(b"777") == bisect_left(order, (777.0, b"777")) == 777
