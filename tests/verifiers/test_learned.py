"""Policy `learned`: it serves as far as its labels prove that the budget holds."""

from __future__ import annotations

import random

import pytest

from proxy.verifiers.learned import Learned
from proxy.verifiers.prior import Prior, read_prior
from tests.verifiers import MORE_WORDS, OTHER_WORDS, SAME_WORDS, label, pair, traffic

PROBES = [
    pair(step / 100, difference) for step in range(70, 101) for difference in (SAME_WORDS, OTHER_WORDS, MORE_WORDS)
]


@pytest.fixture(scope="module")
def prior() -> Prior:
    return read_prior()


def taught(prior: Prior, labels, budget: float = 0.05) -> Learned:
    verifier = Learned(budget, prior)
    verifier.learn(list(labels))
    return verifier


def served(verifier: Learned) -> int:
    return sum(verifier.judge(probe).serve for probe in PROBES)


def test_it_begins_with_the_canonical_tier_alone(prior):
    verifier = Learned(0.05, prior)
    assert verifier.judge(pair(0.8, SAME_WORDS)).serve
    assert verifier.judge(pair(0.8, SAME_WORDS)).reason == "canonical"
    assert not verifier.judge(pair(1.0, OTHER_WORDS)).serve
    assert not verifier.judge(pair(1.0, MORE_WORDS)).serve


def test_right_labels_open_it_for_other_words(prior):
    assert taught(prior, traffic(1, 0.0, 1000)).judge(pair(0.95, OTHER_WORDS)).serve


def test_it_opens_by_proof_and_not_by_a_few(prior):
    assert not taught(prior, traffic(1, 0.0, 20)).judge(pair(0.9, OTHER_WORDS)).serve


def test_wrong_labels_close_everything_the_very_same_words_too(prior):
    assert served(taught(prior, traffic(1, 1.0, 60))) == 0


def test_a_dozen_wrong_labels_close_the_canonical_tier(prior):
    labels = [label(pair(0.9, SAME_WORDS), 0.0, at=float(at)) for at in range(12)]
    assert served(taught(prior, labels)) == 0


def test_it_closes_when_traffic_turns_and_opens_again_when_it_turns_back(prior):
    verifier = taught(prior, traffic(1, 0.0, 1000))
    assert served(verifier) > 0
    verifier.learn(list(traffic(2, 0.5, 600)))
    assert served(verifier) == 0
    verifier.learn(list(traffic(3, 0.0, 3600)))
    assert served(verifier) > 0


@pytest.mark.parametrize("wrong", [0.02, 0.07, 0.1, 0.2, 0.4])
def test_where_every_pair_is_wrong_oftener_than_the_budget_says_nothing_is_served(prior, wrong):
    assert (served(taught(prior, traffic(4, wrong, 2000))) > 0) == (wrong < 0.05)


def test_it_widens_only_when_labels_have_said_so_for_a_while_and_narrows_at_once(prior):
    verifier, probe = taught(prior, traffic(13, 0.5, 200)), pair(0.97, OTHER_WORDS)
    right = [label(probe, 1.0, at=1000.0 + at) for at in range(4000)]
    opened = next(begin for begin in range(0, 4000, 25) if opens(verifier, right[begin : begin + 25], probe))
    assert opened >= 20 * 25
    wrong = [label(probe, 0.0, at=9000.0 + at) for at in range(1000)]
    closed = next(begin for begin in range(0, 1000, 25) if not opens(verifier, wrong[begin : begin + 25], probe))
    assert closed < opened / 4


def opens(verifier: Learned, labels, probe) -> bool:
    verifier.learn(labels)
    return verifier.judge(probe).serve


def test_a_smaller_budget_serves_no_more(prior):
    labels = list(traffic(5, 0.01, 1500))
    counts = [served(taught(prior, labels, budget)) for budget in (0.01, 0.02, 0.05, 0.1)]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]


def test_the_order_of_the_labels_of_a_batch_does_not_matter(prior):
    labels = list(traffic(6, 0.03, 800))
    shuffled = random.Random(1).sample(labels, len(labels))
    one, other = taught(prior, labels), taught(prior, shuffled)
    assert [one.judge(probe) for probe in PROBES] == [other.judge(probe) for probe in PROBES]


def test_labels_in_batches_come_to_the_same_as_all_at_once(prior):
    labels, verifier = list(traffic(6, 0.03, 800)), Learned(0.05, prior)
    for begin in range(0, 800, 100):
        verifier.learn(labels[begin : begin + 100])
    together = taught(prior, labels)
    assert [verifier.judge(probe) for probe in PROBES] == [together.judge(probe) for probe in PROBES]


def test_bad_feedback_counts_more_than_a_judge_s_label(prior):
    good = list(traffic(8, 0.0, 400))
    complaints = [pair(0.97, OTHER_WORDS)] * 8
    judged = taught(prior, good + [label(each, 0.0, at=1000.0) for each in complaints])
    told = taught(prior, good + [label(each, 0.0, "feedback", at=1000.0) for each in complaints])
    assert told.judge(complaints[0]).bound < judged.judge(complaints[0]).bound


def test_feedback_alone_can_be_learned_from(prior):
    verifier = taught(prior, [label(pair(0.9, SAME_WORDS), 0.0, "feedback", float(at)) for at in range(30)])
    assert served(verifier) == 0


def noisy(seed: int, number: int, *, measured: bool):
    rng = random.Random(seed)
    for each in traffic(seed, 0.0, number, mislabelled=0.05):
        yield each
        if measured and rng.random() < 0.3:
            yield label(each.comparison, float(rng.random() >= 0.05), "same", each.at)
            yield label(each.comparison, float(rng.random() < 0.05), "other", each.at)


def test_a_judge_that_is_known_to_err_does_not_close_it(prior):
    assert served(taught(prior, noisy(9, 1500, measured=True))) > 0


def test_a_judge_is_not_taken_to_err_unless_it_is_measured(prior):
    assert served(taught(prior, noisy(9, 1500, measured=False))) == 0


def test_the_measured_noise_is_said(prior):
    assert taught(prior, noisy(9, 1500, measured=True)).standing().noise == pytest.approx(0.05, abs=0.02)


def test_audits_that_prove_an_overrun_suspend_it_until_labels_say_otherwise(prior):
    verifier = taught(prior, traffic(10, 0.0, 2500))
    assert verifier.judge(pair(0.97, OTHER_WORDS)).serve
    verifier.learn([label(pair(0.97, OTHER_WORDS), 0.0, "audit", 5000.0 + at) for at in range(30)])
    assert not verifier.judge(pair(0.97, OTHER_WORDS)).serve
    standing = verifier.standing()
    assert (standing.audited, standing.upper, standing.suspended) == (30, 1.0, True)
    assert not any(verifier.judge(probe).serve for probe in PROBES)
    verifier.learn([label(pair(0.97, OTHER_WORDS), 1.0, "miss", 9000.0 + at) for at in range(2000)])
    assert verifier.judge(pair(0.97, OTHER_WORDS)).serve
    assert not verifier.standing().suspended


def test_only_the_last_three_thousand_labels_are_kept(prior):
    verifier = taught(prior, traffic(11, 1.0, 500))
    verifier.learn(list(traffic(12, 0.0, 3600)))
    fresh = taught(prior, traffic(12, 0.0, 3600))
    assert [verifier.judge(probe) for probe in PROBES] == [fresh.judge(probe) for probe in PROBES]
    assert verifier.standing().labels == 3000


def test_only_what_would_be_served_is_said_to_be_held_back_for_the_budget(prior):
    verifier = taught(prior, traffic(10, 0.0, 2500))
    verifier.learn([label(pair(0.99, SAME_WORDS), 0.0, "audit", 5000.0 + at) for at in range(25)])
    assert verifier.judge(pair(0.71, MORE_WORDS)).reason != "budget"
    assert {verifier.judge(probe).reason for probe in PROBES} <= {"bound", "canonical", "budget"}
