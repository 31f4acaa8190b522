"""Sets of pairs: how they compare, and what each policy would make of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from quality_sets import Pairs
from quality_streams import FLOOR
from quality_vectors import Precision, embed

from proxy.evidence import Comparison
from proxy.guards.lex import LEX, LEX2
from proxy.lexis.difference import compare
from proxy.lexis.reading import read
from proxy.verifiers.faq import Faq
from proxy.verifiers.static import Static
from proxy.verifiers.strict import Strict

MOST = 4000
"""Pairs of a set that are looked at: the first ones."""


class Compared(NamedTuple):
    comparison: Comparison
    right: bool


@dataclass(frozen=True)
class PairRow:
    """One policy on one set of pairs."""

    name: str
    policy: str
    served: int
    right: int
    equivalent: int
    """Pairs of the set that are."""


def compared(pairs: Pairs, precision: Precision, cache: Path, *, lex2: bool = False) -> list[Compared]:
    """The pairs that are near enough and that no guard refuses."""
    texts = [text for pair in pairs.pairs[:MOST] for text in pair]
    vectors = embed(texts, precision, cache).vectors
    similarity = np.einsum("ij,ij->i", vectors[::2], vectors[1::2])
    found = []
    for (asked, stored), near, right in zip(pairs.pairs, similarity.tolist(), pairs.equivalent, strict=False):
        if near < FLOOR:
            continue
        one, other = read(asked), read(stored)
        if not any(guard.refuses(one, other) for guard in (LEX2 if lex2 else LEX)):
            found.append(Compared(Comparison(near, compare(one, other)), right))
    return found


def table(pairs: Pairs, precision: Precision, cache: Path) -> list[PairRow]:
    """The policies that need no traffic to learn from."""
    passed, strictly = (compared(pairs, precision, cache, lex2=lex2) for lex2 in (False, True))
    policies = [(f"static {at:.2f}", Static(at), passed) for at in (0.80, 0.85, 0.90, 0.95)]
    equivalent = sum(pairs.equivalent[:MOST])
    rows = []
    for title, verifier, candidates in (*policies, ("faq", Faq(), passed), ("strict", Strict(), strictly)):
        served = [right for comparison, right in candidates if verifier.judge(comparison).serve]
        rows.append(PairRow(pairs.name, title, len(served), sum(served), equivalent))
    return rows
