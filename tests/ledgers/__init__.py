"""Tests of the ledgers, and what they share: labels."""

from __future__ import annotations

import hashlib
from typing import Any

from proxy.evidence import Comparison, Label
from proxy.lexis.base import Difference, Residual
from proxy.types import Digest

PARTITION = Digest(b"partition of one")
OTHER_PARTITION = Digest(b"another one.....")


def pair_of(number: int) -> Digest:
    """Spread like a MAC."""
    return Digest(hashlib.sha256(number.to_bytes(8, "big")).digest()[:16])


def label(number: int = 0, **other: Any) -> Label:
    """One that can be told from others by its time."""
    difference = Difference(
        residual=Residual.ONE,
        jaccard=1 / 3,
        question_word=False,
        order=0.1,
        length=0.75,
        numbers=True,
        names=False,
        calendar=True,
        polarity=False,
    )
    members: dict[str, Any] = {"right": 0.9, "source": "miss", "at": 1_800_000_000.0 + number}
    return Label(Comparison(0.91, difference), **members | other)
