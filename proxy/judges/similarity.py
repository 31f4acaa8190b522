"""How alike two answers are: their embeddings, their words, and the figures they share, weighed into a probability.

The weights are those of a logistic regression (ridge 2, both classes counted alike) on the pairs of
`tests/judges/answers.jsonl` in which `figures` finds no conflict, and hold for the default embedder. Left out because
they changed nothing on pairs held out: matching the answers sentence by sentence (with thirteen times the embeddings),
shared pairs of words, words of code. Left out on purpose: the two questions. How they compare is what the verifier
learns from; a judge who looked at it too would only agree with itself.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from proxy.judges.base import Answers, Opinion
from proxy.judges.figures import find
from proxy.judges.plain import plain, sentences, stems
from proxy.lexis.difference import splits_antonyms
from proxy.lexis.reading import read
from proxy.types import Vector

Embed: TypeAlias = "Callable[[str], Awaitable[Vector | None]]"
"""Text to a vector of length 1; None for a text that is longer than the model's window. Raises only
`errors.CacheFailure`."""

EMBEDDED_CHARS: Final = 800
"""Of each answer's beginning. 200 word pieces of English; code has more to the character, and then half is tried."""
_FEWEST_CHARS: Final = 100

_BIAS: Final = -7.73
_COSINE: Final = 7.32
_CONTAINED: Final = 3.6
"""Share of the content words of the answer with fewer that the other has."""
_AGREEING: Final = 1.38
"""For each unit of which both state a figure and agree, two at most."""
_ANTONYMS: Final = -2.24
_SUREST: Final = 0.97
"""However alike they are. Words alone are never surer."""


class SimilarityJudge:
    """Weighs likeness.

    unsure: probabilities between these two bounds are no opinion, because a better judge follows; None: every
    probability is one, since one near .5 is honest and teaches little.
    """

    name: Final = "similarity"

    def __init__(self, embed: Embed, *, unsure: tuple[float, float] | None = None) -> None:
        self._embed = embed
        self._unsure = unsure

    async def compare(self, answers: Answers) -> Opinion | None:
        """Embeds the beginning of both answers."""
        if answers.fresh == answers.stored:
            return Opinion(_SUREST, self.name)
        # In an order of their own, so that it does not matter which of them is the fresh one.
        one, other = sorted((answers.fresh, answers.stored))
        a, b = plain(one), plain(other)
        first, second = await self._vector(_beginning(a)), await self._vector(_beginning(b))
        if first is None or second is None:
            return None
        cosine = float(first @ second)
        right = _probability(_BIAS + _COSINE * cosine + _of_words(a, b) + _AGREEING * _agreements(one, other))
        if self._unsure and self._unsure[0] < right < self._unsure[1]:
            return None
        return Opinion(right, self.name)

    async def _vector(self, text: str) -> Vector | None:
        vector = await self._embed(text)
        while vector is None and len(text) > _FEWEST_CHARS:
            text = text[: len(text) // 2]
            vector = await self._embed(text)
        return vector


def _beginning(text: str) -> str:
    return " ".join(sentences(text))[:EMBEDDED_CHARS] or text[:EMBEDDED_CHARS]


def _of_words(a: str, b: str) -> float:
    some, others = set(stems(a)), set(stems(b))
    contained = len(some & others) / max(1, min(len(some), len(others)))
    return _CONTAINED * contained + _ANTONYMS * splits_antonyms(read(a), read(b))


def _agreements(one: str, other: str) -> int:
    return min(2, find(one, other).agreements)


def _probability(score: float) -> float:
    return min(max(1 / (1 + math.exp(-score)), 1 - _SUREST), _SUREST)
