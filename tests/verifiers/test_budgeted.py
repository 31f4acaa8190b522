"""A rule under a budget: it stops by itself, and comes back by itself."""

from __future__ import annotations

from proxy.evidence import Comparison, Label
from proxy.lexis.difference import compare
from proxy.lexis.reading import read
from proxy.verifiers.budgeted import NEWEST, Budgeted
from proxy.verifiers.static import Static

PAIR = Comparison(0.97, compare(read("How do I reset it?"), read("How can I reset it?")))


def audits(count: int, right: float) -> list[Label]:
    return [Label(PAIR, right, "audit", float(number)) for number in range(count)]


def test_the_rule_decides_while_the_budget_holds():
    verifier = Budgeted(Static(0.95), 0.05)
    assert verifier.judge(PAIR).serve
    assert not verifier.judge(PAIR._replace(similarity=0.9)).serve
    verifier.learn([*audits(40, 1.0), *audits(1, 0.0)])
    assert verifier.judge(PAIR).serve
    assert not verifier.standing().suspended


def test_one_wrong_answer_is_no_proof():
    verifier = Budgeted(Static(0.95), 0.05)
    verifier.learn(audits(1, 0.0))
    assert not verifier.standing().suspended


def test_over_the_budget_nothing_is_served_and_the_reason_says_why():
    verifier = Budgeted(Static(0.95), 0.05)
    verifier.learn([*audits(10, 1.0), *audits(10, 0.0)])
    assert verifier.standing().suspended
    assert verifier.judge(PAIR) == (False, 1.0, "budget")
    # What would not have been served is refused for its own reason.
    assert verifier.judge(PAIR._replace(similarity=0.9)).reason == "threshold"


def test_it_comes_back_when_new_audits_are_right():
    verifier = Budgeted(Static(0.95), 0.05)
    verifier.learn(audits(10, 0.0))
    assert verifier.standing().suspended
    verifier.learn(audits(NEWEST, 1.0))
    assert not verifier.standing().suspended
    assert verifier.judge(PAIR).serve


def test_labels_of_misses_say_nothing_of_hits():
    verifier = Budgeted(Static(0.95), 0.05)
    verifier.learn([Label(PAIR, 0.0, "miss", 0.0)] * 50)
    assert not verifier.standing().suspended
    assert verifier.standing().labels == 50
