"""Pairs of answers, and an embedder without a model."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np

from proxy.judges.base import Answers
from proxy.types import Vector

GROUPS = Path(__file__).with_name("answers.jsonl")
"""Groups of answers about one thing. Two of a group say the same exactly when what they mean (`means`) is the same."""


class Pair(NamedTuple):
    about: str
    answers: Answers
    same: bool


def pairs() -> Iterator[Pair]:
    for line in GROUPS.read_text(encoding="utf-8").splitlines():
        group = json.loads(line)
        if group["kind"] == "refusal":
            continue
        for one, other in combinations(group["answers"], 2):
            yield Pair(
                group["about"],
                Answers(one["question"], one["answer"], other["question"], other["answer"], "model"),
                one["means"] == other["means"],
            )


def answers(fresh: str, stored: str) -> Answers:
    return Answers("How?", fresh, "How so?", stored, "model")


def swapped(given: Answers) -> Answers:
    return Answers(given.stored_question, given.stored, given.asked, given.fresh, given.model)


async def embed(text: str) -> Vector | None:
    """A bag of words thrown into 64 places. Knows nothing of meaning; a long text is too long for it."""
    words = text.lower().split()
    if len(words) > 200:
        return None
    vector = np.full(64, 1e-6, np.float32)
    for word in words:
        vector[zlib.crc32(word.encode()) % 64] += 1
    return vector / np.float32(np.linalg.norm(vector))
