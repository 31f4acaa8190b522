"""Labelled pairs to a threshold."""

from __future__ import annotations

import random

import pytest

from proxy.calibration import THRESHOLDS, Pair, Scored, fewest, halves, lowest, row, table


def scored(similarity: float, equivalent: bool, *, refused: bool = False, a: str = "a") -> Scored:
    return Scored(Pair(a, "b", equivalent), similarity, refused)


def some(number: int) -> list[Scored]:
    """The nearer, the more often equivalent."""
    draw = random.Random(7)
    return [
        scored(similarity, draw.random() < (similarity - 0.6) * 4, a=str(index // 2))
        for index, similarity in enumerate(draw.uniform(0.6, 1.0) for _ in range(number))
    ]


def test_a_row_counts_what_its_threshold_would_have_served():
    pairs = [scored(0.95, True), scored(0.9, False), scored(0.9, True, refused=True), scored(0.5, True)]
    bare, guarded = row(pairs, 0.9, guarded=False), row(pairs, 0.9, guarded=True)
    assert (bare.served, bare.right, bare.wanted) == (3, 2, 3)
    assert (guarded.served, guarded.right, guarded.wanted) == (2, 1, 3)
    assert (guarded.precision, guarded.recall) == (0.5, pytest.approx(1 / 3))


def test_the_interval_is_that_of_clopper_and_pearson():
    # R: binom.test(90, 100)$conf.int
    ninety = row([scored(0.9, index < 90) for index in range(100)], 0.9, guarded=True)
    assert (ninety.low, ninety.high) == (pytest.approx(0.8238, abs=1e-4), pytest.approx(0.9510, abs=1e-4))


def test_a_threshold_that_serves_nothing_promises_nothing():
    nothing = row([scored(0.5, True)], 0.9, guarded=True)
    assert (nothing.served, nothing.low, nothing.high) == (0, 0.0, 1.0)


def test_the_lowest_threshold_is_recommended_whose_lower_end_reaches_the_target():
    rows = table(some(4000), guarded=True)
    found = lowest(rows, 0.9)
    assert found is not None
    assert found.low >= 0.9
    assert all(each.low < 0.9 for each in rows if each.threshold < found.threshold)
    # Its precision alone is reached earlier: that is not enough.
    assert min(each.threshold for each in rows if each.precision >= 0.9) < found.threshold


def test_few_pairs_promise_nothing_however_right_they_are():
    pairs = [scored(0.99, True) for _ in range(fewest(0.99) - 1)]
    assert lowest(table(pairs, guarded=True), 0.99) is None
    assert lowest(table([*pairs, scored(0.99, True)], guarded=True), 0.99) is not None


def test_halves_are_of_the_same_size_share_no_first_text_and_follow_the_seed():
    pairs = some(1000)
    choose, check = halves(pairs, 3)
    assert sorted(map(repr, choose + check)) == sorted(map(repr, pairs))
    assert abs(len(choose) - len(check)) <= 2
    assert not {each.pair.a for each in choose} & {each.pair.a for each in check}
    assert halves(pairs, 3) == (choose, check)
    assert halves(pairs, 4) != (choose, check)


def test_thresholds_go_from_the_floor_to_all_but_equal():
    assert (THRESHOLDS[0], THRESHOLDS[-1], len(THRESHOLDS)) == (0.7, 0.99, 30)
