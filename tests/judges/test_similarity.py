"""How alike two answers are."""

from __future__ import annotations

import numpy as np
import pytest

from proxy.judges.similarity import EMBEDDED_CHARS, SimilarityJudge
from tests.judges import answers


def seeing(cosine: float, seen: list[str] | None = None):
    """An embedder by which any two texts lie so far apart."""
    vectors = {}

    async def embed(text):
        if seen is not None:
            seen.append(text)
        angle = np.arccos(cosine) * len(vectors)
        return vectors.setdefault(text, np.array([np.cos(angle), np.sin(angle)], np.float32))

    return embed


async def right(cosine: float, fresh: str, stored: str) -> float:
    return (await SimilarityJudge(seeing(cosine)).compare(answers(fresh, stored))).right


RICE = "Rinse the rice, then boil it with two cups of water and let it rest."


async def test_nearer_answers_are_more_likely_right():
    chances = [await right(cosine, RICE, "Rice: rinse, boil, rest.") for cosine in (0.2, 0.6, 0.8, 0.95)]
    assert chances == sorted(chances)
    assert chances[0] < 0.3 < 0.8 < chances[-1]


async def test_shared_words_and_figures_speak_for_it_and_antonyms_against():
    base = await right(0.8, "Switch the lamp to bright in 5 minutes", "Set this to full after 7 hours")
    assert await right(0.8, "Switch the lamp to bright", "Switch the lamp to bright soon") > base
    assert await right(0.8, "Take 5 minutes for it", "It needs 5 minutes") > await right(
        0.8, "Take time", "It needs a bit"
    )
    assert await right(0.8, "The door is open now", "The door is closed now") < await right(
        0.8, "The door is open now", "The door is green now"
    )


async def test_it_is_never_surer_than_words_allow():
    assert 0.9 < await right(1.0, RICE, RICE + " Done.") <= 0.97
    assert 0.03 <= await right(-1.0, RICE, "A poem about the sea") < 0.05


async def test_where_it_is_unsure_the_next_judge_is_asked():
    judge = SimilarityJudge(seeing(0.75), unsure=(0.2, 0.9))
    assert await judge.compare(answers(RICE, "Rice: rinse, boil, rest.")) is None
    sure = SimilarityJudge(seeing(0.1), unsure=(0.2, 0.9))
    assert (await sure.compare(answers(RICE, "A poem about the sea"))).right <= 0.2


async def test_long_answers_are_cut_before_they_are_embedded():
    seen = []
    await SimilarityJudge(seeing(0.9, seen)).compare(answers("word " * 5000, "other " * 5000))
    assert max(map(len, seen)) <= EMBEDDED_CHARS


async def test_what_is_too_long_for_the_model_is_tried_by_half():
    seen = []

    async def embed(text):
        seen.append(len(text))
        return np.array([1, 0], np.float32) if len(text) <= 300 else None

    assert await SimilarityJudge(embed).compare(answers("x" * 800, "short")) is not None
    assert sorted(seen) == [5, 200, 400, 800]


async def test_what_can_never_be_embedded_is_no_opinion():
    async def embed(text):
        return None

    assert await SimilarityJudge(embed).compare(answers("x" * 800, "short")) is None


@pytest.mark.parametrize("polite", ["Sure! ", "Of course. "])
async def test_politeness_is_not_embedded(polite):
    seen = []
    await SimilarityJudge(seeing(0.9, seen)).compare(answers(polite + RICE, "Boil it."))
    assert sorted(seen) == ["Boil it.", RICE]
