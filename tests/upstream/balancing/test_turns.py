"""Turns among equals."""

from __future__ import annotations

from collections import Counter

import pytest

from proxy.upstream.balancing.turns import Turns
from tests.upstream.balancing.asking import fleet


def chosen(turns, loads):
    return loads[turns.plan(loads, lambda load: load.in_flight).order[0]].address


def test_equals_are_chosen_in_the_order_of_the_configuration_and_again():
    turns, loads = Turns(), fleet(3)
    assert [chosen(turns, loads) for _ in range(6)] == [load.address for load in loads] * 2


@pytest.mark.parametrize("left_out", [0, 1, 2])
def test_those_that_are_left_have_equal_shares(left_out):
    turns, loads = Turns(), fleet(3)
    chosen(turns, loads)
    cheap = [load for place, load in enumerate(loads) if place != left_out]
    busy = fleet(3, [9 if place == left_out else 0 for place in range(3)])
    for shown in (cheap, busy):
        counted = Counter(chosen(turns, shown) for _ in range(10))
        assert set(counted.values()) == {5}


def test_one_that_comes_back_is_no_more_than_the_next():
    turns, loads = Turns(), fleet(3)
    for _ in range(30):
        chosen(turns, loads[1:])
    counted = Counter(chosen(turns, loads) for _ in range(9))
    assert set(counted.values()) == {3}


def test_it_is_addresses_that_take_turns_not_places():
    turns, loads = Turns(), fleet(2)
    assert chosen(turns, loads) != chosen(turns, loads[::-1])


def test_whoever_is_behind_the_first_is_in_turn_too():
    turns, loads = Turns(), fleet(4)
    chosen(turns, loads)
    assert turns.plan(loads, lambda _load: 0).order == [1, 2, 3, 0]
