"""Equal calls with a temperature above zero and no seed may be deliberate resampling.

Self-consistency, pass@k and an agent's second try all send the same bytes again and want another answer.
"""

from __future__ import annotations

from proxy.settings import Rule
from proxy.types import ALLOWED, Question, Verdict


def sampling(question: Question, rule: Rule) -> Verdict:
    """`temperature`: what `rules: sampling` says of a question that asks for diversity."""
    if not asks_for_diversity(question):
        return ALLOWED
    if rule.sampling == "bypass":
        return Verdict.bypass("temperature")
    return Verdict(pool=rule.pool_size if rule.sampling == "pool" else 0)


def asks_for_diversity(question: Question) -> bool:
    """An explicit temperature above 0 and no seed. An omitted one asks for nothing: reasoning models take none."""
    temperature = question.members.get("temperature")
    if temperature is None or question.members.get("seed") is not None:
        return False
    if isinstance(temperature, int | float):
        return temperature > 0  # True too: vLLM takes it for 1
    return True  # whatever the upstream makes of it ("0.7" is one to vLLM), it was meant to be one
