"""The operator switched the cache off for this model or path (`rules: cache: false`)."""

from __future__ import annotations

from proxy.settings import Rule
from proxy.types import ALLOWED, Question, Verdict


def opt_out(_question: Question, rule: Rule) -> Verdict:
    """`rule`: the first matching rule says not to cache."""
    return ALLOWED if rule.cache else Verdict.bypass("rule")
