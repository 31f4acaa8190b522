"""The model under the learned policy: it finds what labels were made of, and knows how sure it can be."""

from __future__ import annotations

import numpy as np
import pytest

from proxy.verifiers.posterior import Belief, Evidence, Noise, fit, ladder

TRUE = np.array([1.0, 2.0, -1.0])
STEEP = np.array([2.0, 6.0, 0.0])
"""Where the second feature is high, hardly any is wrong by the model."""
CLEAN = Noise(0.5, 999.5)


def belief(missed: Noise = CLEAN, through: Noise = CLEAN) -> Belief:
    return Belief(np.array([0.0, 0.0, 0.0, -4.0]), np.array([2.0, 2.0, 2.0, 0.7]), missed, through, rising=(1,))


def labels(seed: int, number: int, *, weights=TRUE, lapse: float = 0.0, flipped: float = 0.0) -> Evidence:
    rng = np.random.default_rng(seed)
    features = np.column_stack([np.ones(number), rng.uniform(-1, 1, number), rng.integers(0, 2, number)])
    p = (1 - lapse) / (1 + np.exp(-features @ weights))
    right = (rng.random(number) < p) != (rng.random(number) < flipped)
    ones = np.ones(number)
    return Evidence(features, right.astype(float), ones, np.zeros(number, bool), ones)


def test_the_weights_that_made_the_labels_are_found():
    assert fit(labels(1, 20_000), belief()).weights == pytest.approx(TRUE, abs=0.2)


def test_its_spread_covers_the_truth():
    misses = []
    for seed in range(60):
        found = fit(labels(seed, 400), belief())
        misses.append(np.abs(found.weights - TRUE) / np.sqrt(np.diag(found.spread)[:3]))
    assert 0.9 < np.mean(np.array(misses) < 1.96) <= 1.0


def test_without_labels_it_is_the_prior():
    nothing = Evidence(np.zeros((0, 3)), np.zeros(0), np.zeros(0), np.zeros(0, bool), np.zeros(0))
    found = fit(nothing, belief())
    assert found.weights == pytest.approx([0, 0, 0])
    assert np.sqrt(np.diag(found.spread)[:3]) == pytest.approx([2, 2, 2])


def test_a_weight_that_may_not_fall_is_held_at_zero():
    found = fit(labels(2, 5000, weights=np.array([1.0, -2.0, 0.0])), belief())
    assert found.weights[1] == 0


def test_what_no_feature_shows_is_a_lapse():
    assert fit(labels(3, 8000, weights=STEEP, lapse=0.06), belief()).lapse == pytest.approx(0.06, abs=0.015)


def test_mistakes_of_a_measured_judge_are_not_taken_for_a_lapse():
    found = fit(labels(4, 8000, weights=STEEP, flipped=0.06), belief(missed=Noise(60, 940)))
    assert found.missed == pytest.approx(0.06, abs=0.015)
    assert found.lapse < 0.03


def test_what_is_certain_is_not_excused_by_the_judge_s_noise():
    evidence = labels(5, 4000, weights=STEEP, flipped=0.06)
    certain = Evidence(evidence.features, evidence.right, evidence.weight, np.ones(4000, bool), evidence.share)
    measured = belief(missed=Noise(60, 940))
    assert fit(certain, measured).lapse > fit(evidence, measured).lapse + 0.02


def test_a_ladder_goes_down_and_says_more_wrong_ones_at_each_rung():
    evidence = labels(6, 3000)
    steps = ladder(fit(evidence, belief()), evidence)
    assert np.all(np.diff(steps.scores) <= 0)
    assert np.all(np.diff(steps.wrong) >= -1e-12)
    assert steps.wrong[-1] == pytest.approx(1 - evidence.right.mean(), abs=0.02)
    assert steps.seen_wrong[-1] == pytest.approx(1 - evidence.right.mean(), abs=0.02)


def test_the_bound_of_a_share_holds_as_often_as_it_says():
    held = []
    for seed in range(200):
        evidence = labels(seed, 300)
        steps = ladder(fit(evidence, belief()), evidence)
        p = 1 / (1 + np.exp(-evidence.features @ TRUE))
        order = np.argsort(-evidence.features @ fit(evidence, belief()).weights, kind="stable")[:150]
        logit = np.log(steps.wrong[149] / (1 - steps.wrong[149])) + steps.spread[149]
        held.append(np.mean(1 - p[order]) <= 1 / (1 + np.exp(-logit)))
    # One standard deviation, one-sided: 84 %.
    assert np.mean(held) > 0.75


def test_labels_that_stand_for_no_traffic_teach_and_have_no_rung():
    evidence = labels(7, 100)
    silent = Evidence(evidence.features, evidence.right, evidence.weight, evidence.certain, np.zeros(100))
    found = fit(silent, belief())
    assert found.weights == pytest.approx(fit(evidence, belief()).weights)
    assert len(ladder(found, silent).scores) == 0
