"""What every balancer promises, on every one there is."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.types import Call
from proxy.upstream.balancing.base import Balancer, Load
from proxy.upstream.balancing.least_loaded import LeastLoaded
from proxy.upstream.balancing.prefix import PrefixBalancer
from proxy.upstream.balancing.round_robin import RoundRobin
from tests.upstream.balancing.asking import asked, call, chat, fleet

MAKERS = {
    "prefix": PrefixBalancer,
    "prefix, nothing remembered": lambda: PrefixBalancer(conversations=0),
    "least_loaded": LeastLoaded,
    "round_robin": RoundRobin,
}
LOADS = st.lists(
    st.builds(Load, st.just(""), st.integers(0, 20), st.integers(0, 20), st.booleans()), min_size=2, max_size=64
).map(lambda loads: [replace(load, address=f"10.0.0.{place}:8000") for place, load in enumerate(loads)])
CALLS = st.sampled_from(
    [chat(asked(text)) for text in "abcdefgh"]
    + [call({"prompt": "a"}, "/completions"), call({}, "/models"), Call("POST", "/chat/completions", (), b"{")]
)
STEPS = st.lists(st.tuples(CALLS, LOADS, st.integers(0, 63)), max_size=8)


@pytest.fixture(params=MAKERS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def balancer(name: str) -> Balancer:
    return MAKERS[name]()


def walked(balancer: Balancer, steps: list[tuple[Call, list[Load], int]]) -> list[list[int]]:
    """The orders a balancer gives, told each time that one endpoint or another served."""
    orders = []
    for each, loads, place in steps:
        plan = balancer.plan(each, loads)
        orders.append(list(plan.order))
        plan.served(place % len(loads))
    return orders


@pytest.mark.parametrize("name", MAKERS)
@given(STEPS)
def test_every_endpoint_is_in_the_order_once(name, steps):
    for order, (_, loads, _) in zip(walked(MAKERS[name](), steps), steps, strict=True):
        assert sorted(order) == list(range(len(loads)))


@pytest.mark.parametrize("name", MAKERS)
@given(STEPS)
def test_equal_histories_give_equal_orders(name, steps):
    assert walked(MAKERS[name](), steps) == walked(MAKERS[name](), steps)


@pytest.mark.parametrize("name", MAKERS)
@given(STEPS)
def test_the_full_ones_come_last(name, steps):
    for order, (_, loads, _) in zip(walked(MAKERS[name](), steps), steps, strict=True):
        full = [loads[place].full for place in order]
        assert full == sorted(full)


def test_an_order_stays_what_it_was_while_others_are_planned(balancer):
    loads = fleet(4)
    plan = balancer.plan(chat(asked("a")), loads)
    order = list(plan.order)
    for text in "bcd":
        balancer.plan(chat(asked(text)), loads).served(0)
    assert list(plan.order) == order


def test_a_plan_may_be_dropped_and_its_endpoint_may_serve_twice(balancer):
    balancer.plan(chat(asked("a")), fleet(2))
    plan = balancer.plan(chat(asked("a")), fleet(2))
    plan.served(1)
    plan.served(0)


@pytest.mark.parametrize("count", [2, 3, 64])
def test_calls_without_a_prompt_spread_evenly_over_an_idle_fleet(balancer, count):
    chosen = Counter(balancer.plan(call({}, "/models"), fleet(count)).order[0] for _ in range(count * 5))
    assert set(chosen.values()) == {5}
    assert len(chosen) == count
