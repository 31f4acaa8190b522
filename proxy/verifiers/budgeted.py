"""A plain rule under a budget: suspended while audits leave no doubt that too many of its answers are wrong.

A rule cannot learn, so this is all that keeps it from going on: `learned` has its own way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from proxy.evidence import Comparison, Label
from proxy.verifiers.base import Judgement, Standing, Verifier
from proxy.verifiers.intervals import lower

NEWEST: Final = 200
"""Audits that are looked at: enough to tell 5 % from 10 %, few enough to see a change."""
OVERRUN: Final = 0.99
"""How sure it must be that the budget is overrun: it is looked at again with each audit."""


class Budgeted:
    """rule: decides while the budget holds. budget: share of wrong ones among hits that is accepted, 0 to 1."""

    def __init__(self, rule: Verifier, budget: float) -> None:
        self._rule = rule
        self._budget = budget
        self._wrong: deque[float] = deque(maxlen=NEWEST)
        self._suspended = False

    def judge(self, comparison: Comparison) -> Judgement:
        judgement = self._rule.judge(comparison)
        # While suspended every would-be hit goes upstream and is an audit: so it comes back when it has become right.
        return Judgement(False, judgement.bound, "budget") if judgement.serve and self._suspended else judgement

    def learn(self, labels: Sequence[Label]) -> None:
        self._rule.learn(labels)
        self._wrong.extend(1 - label.right for label in labels if label.source == "audit")
        wrong, audits = sum(self._wrong), len(self._wrong)
        if self._suspended:
            self._suspended = wrong > self._budget * audits
        else:
            self._suspended = lower(wrong, audits, OVERRUN) > self._budget

    def standing(self) -> Standing:
        return replace(self._rule.standing(), suspended=self._suspended)
