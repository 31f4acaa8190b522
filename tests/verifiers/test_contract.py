"""What every policy promises."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.lexis.base import Residual
from proxy.verifiers.faq import Faq
from proxy.verifiers.learned import Learned
from proxy.verifiers.prior import read_prior
from proxy.verifiers.static import Static
from proxy.verifiers.strict import Strict
from tests.verifiers import MORE_WORDS, OTHER_WORDS, SAME_WORDS, label, pair, traffic

POLICIES = {
    "learned": lambda: Learned(0.05, read_prior()),
    "learned_long": lambda: taught(Learned(0.05, read_prior())),
    "strict": Strict,
    "faq": Faq,
    "static": lambda: Static(0.9),
}
DIFFERENCES = [
    SAME_WORDS,
    OTHER_WORDS,
    MORE_WORDS,
    replace(OTHER_WORDS, question_word=True),
    replace(SAME_WORDS, order=1.0),
    replace(MORE_WORDS, residual=Residual.ONE, names=True, polarity=True),
]


def taught(verifier):
    verifier.learn(list(traffic(1, 0.01, 600)))
    return verifier


@pytest.fixture(params=POLICIES)
def verifier(request):
    return POLICIES[request.param]()


@pytest.mark.parametrize("difference", DIFFERENCES)
def test_the_nearer_of_two_that_differ_in_nothing_else_is_served_if_the_other_is(verifier, difference):
    served = [verifier.judge(pair(step / 200, difference)).serve for step in range(-200, 201)]
    assert served == sorted(served)


@pytest.mark.parametrize("difference", DIFFERENCES)
def test_the_bound_of_the_nearer_is_no_lower(verifier, difference):
    bounds = [verifier.judge(pair(step / 200, difference)).bound for step in range(201)]
    assert bounds == sorted(bounds)
    assert all(0 <= bound <= 1 for bound in bounds)


@pytest.mark.parametrize("difference", DIFFERENCES)
def test_nothing_far_is_served(verifier, difference):
    assert not any(verifier.judge(pair(step / 100, difference)).serve for step in range(-100, 70))


def test_the_very_same_words_are_served_from_the_start(verifier):
    assert verifier.judge(pair(0.99, SAME_WORDS)).serve


def test_every_judgement_has_a_reason_of_the_closed_set(verifier):
    tokens = {verifier.judge(pair(step / 50, difference)).reason for step in range(51) for difference in DIFFERENCES}
    assert tokens <= {"bound", "threshold", "canonical", "residual", "question_word", "order", "budget"}


def test_the_same_labels_make_the_same_verifier():
    for make in POLICIES.values():
        one, other = make(), make()
        for each in (one, other):
            each.learn(list(traffic(7, 0.1, 200)))
        probes = [pair(step / 40, difference) for step in range(28, 41) for difference in DIFFERENCES]
        assert [one.judge(probe) for probe in probes] == [other.judge(probe) for probe in probes]
        assert one.standing() == other.standing()


def test_without_audits_the_false_hit_rate_is_unknown(verifier):
    standing = verifier.standing()
    assert (standing.audited, standing.wrong, standing.upper, standing.suspended) == (0, 0.0, 1.0, False)


def test_audits_are_counted_and_bounded(verifier):
    verifier.learn([label(pair(0.99, SAME_WORDS), 1.0, "audit", float(at)) for at in range(59)])
    standing = verifier.standing()
    assert standing.audited == 59
    assert standing.wrong == pytest.approx(0, abs=0.2)
    assert standing.upper == pytest.approx(0.05, abs=0.005)


def test_a_judge_that_errs_is_noticed_and_its_errors_are_taken_out_of_the_audits(verifier):
    verifier.learn([label(pair(0.9), float(at % 10 != 0), "same", float(at)) for at in range(1000)])
    verifier.learn([label(pair(0.99, SAME_WORDS), float(at % 10 != 0), "audit", float(at)) for at in range(100)])
    standing = verifier.standing()
    # A verifier that has seen a hundred labels without a mistake believes a little less of it.
    assert 0.06 < standing.noise < 0.11
    assert standing.wrong < 5


def test_labels_that_measure_the_judge_are_not_labels_of_pairs(verifier):
    before = verifier.standing().labels
    verifier.learn([label(pair(0.9), 1.0, "same"), label(pair(0.9), 0.0, "other")])
    assert verifier.standing().labels == before
