"""The fewest calls first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.upstream.balancing.base import Load
from proxy.upstream.balancing.least_loaded import LeastLoaded, calls
from tests.upstream.balancing.asking import asked, chat, fleet

ASKING = chat(asked("a"))


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=2, max_size=64))
def test_each_has_at_most_the_load_of_the_next(loads):
    shown = [Load(f"10.0.0.{place}", ours, others) for place, (ours, others) in enumerate(loads)]
    order = LeastLoaded().plan(ASKING, shown).order
    ordered = [calls(shown[place]) for place in order]
    assert ordered == sorted(ordered)


def test_what_others_have_there_counts_like_our_own():
    assert LeastLoaded().plan(ASKING, [Load("a", 0, 3), Load("b", 2, 0)]).order == [1, 0]


def test_calls_that_stay_are_spread_evenly():
    balancer, in_flight = LeastLoaded(), [0] * 5
    for _ in range(50):
        in_flight[balancer.plan(ASKING, fleet(5, in_flight)).order[0]] += 1
        assert max(in_flight) - min(in_flight) <= 1
    assert in_flight == [10] * 5
