"""Beginnings stay where they are, as far as load and endpoints that come and go allow."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.upstream.balancing.base import Load
from proxy.upstream.balancing.least_loaded import calls
from proxy.upstream.balancing.prefix import PrefixBalancer, most, ranked
from tests.upstream.balancing.asking import SYSTEM, asked, call, chat, fleet, said

HOMES = st.binary(min_size=16, max_size=16)
FREE = 10**9
ADDRESSES = st.lists(
    st.integers(0, 255).map(lambda number: f"10.0.0.{number}:8000"), min_size=3, max_size=64, unique=True
)


def idle(addresses):
    return [Load(address, 0) for address in addresses]


def ring(home, addresses):
    """Addresses in a home's order, all idle."""
    return [addresses[place] for place in ranked(home, idle(addresses), FREE)]


def first(balancer, one, loads):
    return loads[balancer.plan(one, loads).order[0]].address


# -- consistent hashing ----------------------------------------------------------------------------------------------


@given(HOMES, ADDRESSES, st.randoms(use_true_random=False))
def test_the_order_of_the_configuration_does_not_matter(home, addresses, chance):
    shuffled = chance.sample(addresses, len(addresses))
    assert ring(home, addresses) == ring(home, shuffled)


@given(HOMES, ADDRESSES, st.data())
def test_without_one_endpoint_all_others_keep_their_order(home, addresses, data):
    """So only the homes of the one that went move, each to the next in its order; and one that comes takes only those
    it is first for."""
    gone = data.draw(st.sampled_from(addresses))
    left = [address for address in addresses if address != gone]
    assert ring(home, left) == [address for address in ring(home, addresses) if address != gone]


@pytest.mark.parametrize("count", [2, 8, 64])
def test_homes_are_spread_evenly(count):
    chance, homes = random.Random(7), 100 * count
    found = Counter(ring(chance.randbytes(16), [load.address for load in fleet(count)])[0] for _ in range(homes))
    assert len(found) == count
    assert 50 < min(found.values()) <= max(found.values()) < 150  # 100, more or less 5 standard deviations


def test_the_homes_of_one_endpoint_go_to_all_others_when_it_goes():
    chance, addresses = random.Random(7), [load.address for load in fleet(5)]
    homes = [home for home in (chance.randbytes(16) for _ in range(1000)) if ring(home, addresses)[0] == addresses[0]]
    heirs = Counter(ring(home, addresses[1:])[0] for home in homes)
    assert set(heirs) == set(addresses[1:])
    assert max(heirs.values()) < len(homes) / 2


# -- bounded loads ---------------------------------------------------------------------------------------------------

LOADS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30), st.booleans()), min_size=2, max_size=64).map(
    lambda loads: [Load(f"10.0.0.{place}:8000", *load) for place, load in enumerate(loads)]
)
BOUNDS = st.sampled_from([1.01, 1.25, 2.0])


@given(LOADS, BOUNDS, st.integers(1, 8))
def test_the_bound_is_the_factor_times_the_mean_rounded_up(loads, bound, slack):
    total = sum(map(calls, loads)) + 1
    exact = Fraction(bound) * total / len(loads)
    limit = most(loads, bound=bound, slack=slack)
    assert limit == slack or exact <= limit <= exact + 1 + Fraction(1, 10**6)
    assert limit >= slack


@given(LOADS, BOUNDS, st.integers(1, 8))
def test_there_is_always_one_that_has_room(loads, bound, slack):
    assert min(map(calls, loads)) < most(loads, bound=bound, slack=slack)


@given(HOMES, LOADS, BOUNDS, st.integers(1, 8))
def test_those_with_room_come_first_each_group_in_its_homes_order(home, loads, bound, slack):
    limit = most(loads, bound=bound, slack=slack)
    order = ranked(home, loads, limit)
    groups = [(loads[place].full, calls(loads[place]) >= limit) for place in order]
    assert groups == sorted(groups)
    whole = ring(home, [load.address for load in loads])
    for group in set(groups):
        members = [loads[place].address for place, its in zip(order, groups, strict=True) if its == group]
        assert members == [address for address in whole if address in members]


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.integers(0, 10**6)), max_size=150), st.integers(2, 8))
def test_no_endpoint_is_ever_given_more_than_its_bound(steps, count):
    """Few prompts, so that their homes are crowded; calls come, and end in any order."""
    balancer, in_flight, there = PrefixBalancer(bound=1.25, slack=2), [0] * count, []
    for prompt, comes, number in steps:
        if comes or not there:
            loads = fleet(count, in_flight)
            plan = balancer.plan(chat(asked(str(prompt))), loads)
            place = plan.order[0]
            assert in_flight[place] + 1 <= most(loads, bound=1.25, slack=2)
            plan.served(place)
            in_flight[place] += 1
            there.append(place)
        else:
            in_flight[there.pop(number % len(there))] -= 1


def test_a_beginning_that_everybody_uses_goes_on_to_the_next_in_its_order():
    balancer, in_flight = PrefixBalancer(slack=1, bound=1.25, conversations=0), [0] * 4
    one = chat(asked("a"))
    order = balancer.plan(one, fleet(4)).order
    went = []
    for _ in range(8):
        went.append(balancer.plan(one, fleet(4, in_flight)).order[0])
        in_flight[went[-1]] += 1
    # Of one call in all, then two, ... each may have 1.25 times the mean, rounded up.
    assert went == [order[place] for place in (0, 1, 2, 0, 1, 2, 0, 1)]


def test_a_few_calls_stay_together_whatever_the_mean():
    balancer = PrefixBalancer(slack=4)
    one, in_flight = chat(asked("a")), [0] * 8
    for _ in range(4):
        in_flight[balancer.plan(one, fleet(8, in_flight)).order[0]] += 1
    assert sorted(in_flight) == [0] * 7 + [4]


# -- beginnings ------------------------------------------------------------------------------------------------------


def test_prompts_that_begin_alike_go_together_and_others_spread():
    balancer, loads = PrefixBalancer(prefix_bytes=200, conversations=0), fleet(8)
    common = {"role": "system", "content": "x" * 200}
    assert len({first(balancer, chat(common, asked(str(number))), loads) for number in range(50)}) == 1
    assert len({first(balancer, chat(SYSTEM, asked(str(number))), loads) for number in range(50)}) == 8


def test_scopes_share_homes_only_where_they_share_what_is_computed():
    loads, scopes = fleet(8), [bytes([number]) * 16 for number in range(50)]
    for by_scope, homes in ((True, 8), (False, 1)):
        balancer = PrefixBalancer(by_scope=by_scope)
        assert len({first(balancer, chat(asked("a"), scope=scope), loads) for scope in scopes}) == homes


def test_two_processes_agree_without_a_word():
    one, other, loads = PrefixBalancer(), PrefixBalancer(), fleet(8)
    first(one, chat(asked("something else")), loads)
    for number in range(20):
        assert first(one, chat(asked(str(number))), loads) == first(other, chat(asked(str(number))), loads[::-1])


def test_a_call_without_a_prompt_goes_to_the_least_loaded():
    assert PrefixBalancer().plan(call({}, "/models"), fleet(3, [2, 0, 1])).order == [1, 2, 0]


# -- conversations ---------------------------------------------------------------------------------------------------

OPENING = [SYSTEM, asked("first")]
NEXT = [*OPENING, said("answer"), asked("second")]
LATER = [*NEXT, said("answer"), asked("third")]


def served_beside_home(balancer, messages=OPENING, count=4, **members):
    """Have a conversation begin at the last endpoint of its order; its address."""
    loads = fleet(count)
    plan = balancer.plan(chat(*messages, **members), loads)
    plan.served(plan.order[-1])
    return loads[plan.order[-1]].address


@pytest.mark.parametrize("messages", [OPENING, NEXT, LATER, [*OPENING, said("other words"), asked("second")]])
def test_the_next_turn_goes_where_the_last_one_was(messages):
    balancer = PrefixBalancer()
    where = served_beside_home(balancer)
    order = balancer.plan(chat(*messages), fleet(4)).order
    assert fleet(4)[order[0]].address == where
    home = PrefixBalancer().plan(chat(*messages), fleet(4)).order
    assert list(order[1:]) == [place for place in home if place != order[0]]


def test_a_conversation_is_followed_from_turn_to_turn():
    balancer, loads = PrefixBalancer(), fleet(4)
    where = served_beside_home(balancer)
    messages = list(OPENING)
    for number in range(100):
        plan = balancer.plan(chat(*messages), loads)
        assert loads[plan.order[0]].address == where
        plan.served(plan.order[0])
        messages += [said("answer"), {"role": "tool", "content": str(number)}, asked("more")]


def test_the_longest_beginning_counts():
    balancer, loads = PrefixBalancer(), fleet(4)
    served_beside_home(balancer)
    plan = balancer.plan(chat(*NEXT), loads)
    plan.served(plan.order[2])
    assert first(balancer, chat(*LATER), loads) == loads[plan.order[2]].address
    assert first(balancer, chat(*OPENING, said("x"), asked("else")), loads) == loads[plan.order[0]].address


def test_what_an_endpoint_did_not_serve_is_not_remembered():
    balancer = PrefixBalancer()
    plan = balancer.plan(chat(*OPENING), fleet(4))
    assert balancer.plan(chat(*NEXT), fleet(4)).order == plan.order


@pytest.mark.parametrize(
    "other",
    [
        chat(*NEXT, model="another"),
        chat(*NEXT, scope=b"another"),
        chat(*NEXT, tools=[{"type": "function", "function": {"name": "new"}}]),
        chat(SYSTEM, asked("First"), said("answer"), asked("second")),
        chat(asked("first"), said("answer"), asked("second")),
    ],
)
def test_another_conversation_is_not_taken_for_it(other):
    balancer = PrefixBalancer()
    served_beside_home(balancer)
    assert balancer.plan(other, fleet(4)).order == PrefixBalancer().plan(other, fleet(4)).order


def test_a_conversation_leaves_an_endpoint_without_room_and_then_stays_where_it_went():
    balancer = PrefixBalancer(slack=2)
    where = served_beside_home(balancer)
    busy = [replace(load, in_flight=2) if load.address == where else load for load in fleet(4)]
    plan = balancer.plan(chat(*NEXT), busy)
    assert busy[plan.order[-1]].address == where
    plan.served(plan.order[1])
    assert first(balancer, chat(*LATER), fleet(4)) == busy[plan.order[1]].address


def test_a_conversation_leaves_an_endpoint_that_is_full():
    balancer = PrefixBalancer()
    where = served_beside_home(balancer)
    full = [replace(load, full=load.address == where) for load in fleet(4)]
    assert full[balancer.plan(chat(*NEXT), full).order[-1]].address == where


def test_one_call_less_than_the_bound_is_room():
    balancer = PrefixBalancer(slack=2)
    where = served_beside_home(balancer)
    busy = [replace(load, in_flight=1) if load.address == where else load for load in fleet(4)]
    assert first(balancer, chat(*NEXT), busy) == where


def test_a_conversation_whose_endpoint_went_is_at_home_again_even_when_it_comes_back():
    balancer = PrefixBalancer()
    where = served_beside_home(balancer)
    left = [load for load in fleet(4) if load.address != where]
    assert balancer.plan(chat(*NEXT), left).order == PrefixBalancer().plan(chat(*NEXT), left).order
    assert balancer.plan(chat(*NEXT), fleet(4)).order == PrefixBalancer().plan(chat(*NEXT), fleet(4)).order


def test_what_went_with_an_endpoint_does_not_hide_an_earlier_turn_elsewhere():
    balancer, loads = PrefixBalancer(), fleet(4)
    where = served_beside_home(balancer)
    plan = balancer.plan(chat(*NEXT), loads)
    gone = loads[plan.order[2]].address
    plan.served(plan.order[2])
    assert first(balancer, chat(*LATER), [load for load in loads if load.address != gone]) == where


def test_addresses_are_remembered_not_places():
    balancer = PrefixBalancer()
    where = served_beside_home(balancer)
    assert first(balancer, chat(*NEXT), fleet(4)[::-1]) == where


# -- how many are remembered -----------------------------------------------------------------------------------------


def remembered(balancer, openings):
    """Which of these conversations are still where they began, beside their homes."""
    return [
        text
        for text in openings
        if balancer.plan(chat(asked(text), said("a"), asked("b")), fleet(4)).order
        != PrefixBalancer().plan(chat(asked(text), said("a"), asked("b")), fleet(4)).order
    ]


def test_exactly_so_many_are_remembered_the_latest():
    balancer, openings = PrefixBalancer(conversations=5), [str(number) for number in range(9)]
    for text in openings:
        served_beside_home(balancer, [asked(text)])
    assert remembered(balancer, openings) == openings[4:]


def test_one_that_goes_on_is_younger_than_those_that_do_not():
    balancer = PrefixBalancer(conversations=3)
    for text in ("a", "b", "c", "a", "d"):
        served_beside_home(balancer, [asked(text)])
    assert remembered(balancer, "abcd") == ["a", "c", "d"]


def test_a_long_conversation_takes_the_room_of_one():
    balancer, messages = PrefixBalancer(conversations=4), [asked("long")]
    for text in "abc":
        served_beside_home(balancer, [asked(text)])
    for _ in range(50):
        served_beside_home(balancer, messages)
        messages += [said("a"), asked("b")]
    assert remembered(balancer, "abc") == ["a", "b", "c"]
    plain = PrefixBalancer().plan(chat(*messages), fleet(4)).order
    assert balancer.plan(chat(*messages), fleet(4)).order != plain


def test_an_earlier_turn_can_be_gone_back_to_while_there_is_room():
    balancer, loads = PrefixBalancer(conversations=2), fleet(4)
    where = served_beside_home(balancer)
    plan = balancer.plan(chat(*NEXT), loads)
    plan.served(plan.order[0])
    assert first(balancer, chat(*OPENING, said("answer"), asked("another second")), loads) == where


def test_a_turn_that_was_forgotten_while_the_next_was_asked_is_no_harm():
    balancer, loads = PrefixBalancer(conversations=1), fleet(4)
    served_beside_home(balancer)
    plan = balancer.plan(chat(*NEXT), loads)
    served_beside_home(balancer, [asked("another")])
    plan.served(plan.order[2])
    assert first(balancer, chat(*LATER), loads) == loads[plan.order[2]].address


def test_with_none_to_remember_every_turn_goes_home():
    balancer = PrefixBalancer(conversations=0)
    served_beside_home(balancer)
    assert balancer.plan(chat(*NEXT), fleet(4)).order == PrefixBalancer().plan(chat(*NEXT), fleet(4)).order
