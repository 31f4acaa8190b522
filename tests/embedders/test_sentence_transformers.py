"""The engine on torch, and the default engine beside it. `make test-torch` runs these where torch is."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

from proxy.embedders.onnx import OnnxEmbedder
from proxy.embedders.sentence_transformers import SentenceTransformersEmbedder
from proxy.errors import CacheFailure
from tests.embedders.make_reference import TEXTS
from tests.embedders.models import BUILT

HAS_TORCH = find_spec("sentence_transformers") is not None

with_torch = pytest.mark.skipif(not HAS_TORCH, reason="sentence-transformers is not installed: make test-torch")


@pytest.mark.skipif(HAS_TORCH, reason="sentence-transformers is installed")
async def test_without_the_library_it_says_which_extra_to_install():
    embedder = SentenceTransformersEmbedder(model="all-MiniLM-L6-v2")
    await embedder.open()
    with pytest.raises(CacheFailure, match=r"askonce\[sentence-transformers\]") as failure:
        await embedder.ready()
    assert failure.value.reason == "not_ready"
    await embedder.close()


def test_a_model_in_a_directory_is_called_by_its_folders_name(tmp_path):
    assert SentenceTransformersEmbedder(model=str(tmp_path / "mine")).identity == "mine/torch/fp32"
    assert SentenceTransformersEmbedder(model="org/theirs").identity == "org/theirs/torch/fp32"


@with_torch
async def test_the_default_engine_makes_the_same_vectors_in_fp32():
    torch = SentenceTransformersEmbedder(model="all-MiniLM-L6-v2")
    onnx = OnnxEmbedder(model="all-MiniLM-L6-v2", data_dir=BUILT, precision="fp32")
    for embedder in (torch, onnx):
        await embedder.open()
        await embedder.ready()
    for text in [*TEXTS, "card " * 198, "Straße, naïve façade; ﬁne… «œuvre» — 50 % off!", "\t a \n b "]:
        (one, _), (other, _) = await torch.embed(text), await onnx.embed(text)
        assert np.abs(one - other).max() < 1e-4, text
    for embedder in (torch, onnx):
        await embedder.close()


@with_torch
async def test_both_engines_count_word_pieces_alike():
    torch = SentenceTransformersEmbedder(model="all-MiniLM-L6-v2", max_pieces=1000)
    onnx = OnnxEmbedder(model="all-MiniLM-L6-v2", data_dir=BUILT, precision="fp32", max_pieces=1000)
    for embedder in (torch, onnx):
        await embedder.open()
        await embedder.ready()
        assert [(await embedder.embed("card " * number)).whole for number in (254, 255)] == [True, False]
        await embedder.close()


@with_torch
async def test_a_model_that_is_nowhere_is_a_failure(tmp_path):
    embedder = SentenceTransformersEmbedder(model=str(tmp_path / "nothing"))
    await embedder.open()
    with pytest.raises(CacheFailure, match=r"semantic\.embedder\.directory"):
        await embedder.ready()
    await embedder.close()


@with_torch
async def test_vectors_of_another_size_than_said_are_refused():
    embedder = SentenceTransformersEmbedder(model="all-MiniLM-L6-v2", dimensions=100)
    await embedder.open()
    with pytest.raises(CacheFailure, match="vectors of 384 numbers, not of 100"):
        await embedder.ready()
    await embedder.close()
