"""What every embedder promises, on each of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from proxy.embedders.base import Embedder
from proxy.embedders.onnx import OnnxEmbedder
from proxy.embedders.openai import OpenAIEmbedder
from proxy.embedders.sentence_transformers import SentenceTransformersEmbedder
from proxy.errors import CacheFailure
from tests.embedders.endpoint import DIMENSIONS, Endpoint
from tests.embedders.models import HIDDEN, tiny_model

WITHOUT_TORCH = pytest.mark.skipif(
    find_spec("sentence_transformers") is None, reason="sentence-transformers is not installed: make test-torch"
)

TEXTS = ["Where is my card?", "I lost it", "lost is my card, where is new?", "?"]


@dataclass
class Made:
    """An embedder that is not open yet."""

    embedder: Embedder
    identity: str
    dimensions: int
    tolerance: float
    """By how much two vectors of one text may differ, in any number."""


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is built of it is built once."""
    return tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(params=["onnx int8", "onnx fp32", pytest.param("sentence-transformers", marks=WITHOUT_TORCH), "openai"])
async def made(request: pytest.FixtureRequest, tiny: Path) -> AsyncIterator[Made]:
    bounds: dict[str, Any] = {"batch": 4, "queue": 3}
    async with Endpoint() as endpoint:
        match request.param:
            case "onnx int8":
                # One scale for each word piece: its company does not matter to a text in int8 either.
                embedder: Embedder = OnnxEmbedder(model="tiny", directory=tiny, data_dir=tiny / "data", **bounds)
                yield Made(embedder, "tiny/onnx/int8/mean", HIDDEN, 1e-5)
            case "onnx fp32":
                arguments = bounds | {"directory": tiny, "data_dir": tiny / "data", "precision": "fp32"}
                embedder = OnnxEmbedder(model="tiny", **arguments)
                yield Made(embedder, "tiny/onnx/fp32/mean", HIDDEN, 1e-5)
            case "sentence-transformers":
                embedder = SentenceTransformersEmbedder(model="all-MiniLM-L6-v2", **bounds)
                yield Made(embedder, "all-MiniLM-L6-v2/torch/fp32", 384, 1e-5)
            case _:
                embedder = OpenAIEmbedder(model="any", base_url=endpoint.url, dimensions=DIMENSIONS, **bounds)
                yield Made(embedder, f"any/openai/{DIMENSIONS}", DIMENSIONS, 1e-6)
        await embedder.close()


@pytest.fixture
async def embedder(made: Made) -> Embedder:
    """Ready."""
    await made.embedder.open()
    await made.embedder.ready()
    return made.embedder


async def test_its_identity_and_dimensions_are_known_before_it_is_opened(made):
    assert made.embedder.identity == made.identity
    assert made.embedder.dimensions == made.dimensions


async def test_before_the_model_is_there_everything_is_refused_at_once(made):
    for _ in range(2):
        with pytest.raises(CacheFailure) as refused:
            await made.embedder.embed("Where is my card?")
        assert refused.value.reason == "not_ready"
        assert made.embedder.report().degraded
        await made.embedder.open()


async def test_ready_without_opening_is_a_failure(made):
    with pytest.raises(CacheFailure):
        await made.embedder.ready()


async def test_a_vector_has_length_1_and_its_dimensions_in_float32(embedder):
    for text in TEXTS:
        vector, whole = await embedder.embed(text)
        assert vector.dtype == np.float32
        assert vector.shape == (embedder.dimensions,)
        assert float(vector @ vector) == pytest.approx(1, abs=1e-5)
        assert whole


async def test_a_text_has_the_same_vector_alone_and_in_company_and_nobody_gets_anothers(made, embedder):
    alone = [(await embedder.embed(text)).vector for text in TEXTS[:3]]
    together = await asyncio.gather(*map(embedder.embed, TEXTS[:3]))
    for one, other in zip(alone, together, strict=True):
        assert np.abs(one - other.vector).max() < made.tolerance
    assert np.abs(alone[0] - alone[1]).max() > 100 * made.tolerance


async def test_over_the_bound_it_is_busy_and_says_how_often(embedder):
    outcomes = await asyncio.gather(*(embedder.embed(f"card {n}") for n in range(40)), return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, CacheFailure)]
    assert {failure.reason for failure in refused} == {"busy"}
    assert embedder.report().skipped == len(refused)
    assert embedder.report().embedded >= 3


async def test_cancelling_leaves_room_for_others(embedder):
    tasks = [asyncio.create_task(embedder.embed(f"card {n}")) for n in range(3)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert all(embedding.whole for embedding in await asyncio.gather(*map(embedder.embed, TEXTS[:3])))


async def test_background_work_is_done_too(embedder):
    assert (await embedder.embed("card", patient=True)).whole


async def test_a_text_over_the_window_is_not_embedded(embedder):
    vector, whole = await embedder.embed("card " * 300)
    assert not whole
    assert not vector.any()
    together = await asyncio.gather(*map(embedder.embed, ("lost", "card " * 300, "found")))
    assert [embedding.whole for embedding in together] == [True, False, True]


async def test_when_all_is_well_it_says_so(embedder):
    assert embedder.report().degraded is None
    assert embedder.report().identity == embedder.identity


async def test_closed_it_refuses_and_can_be_closed_again(embedder):
    await embedder.close()
    await embedder.close()
    with pytest.raises(CacheFailure) as refused:
        await embedder.embed("card")
    assert refused.value.reason == "not_ready"


async def test_it_can_be_closed_before_it_is_ready_and_before_it_is_open(made):
    await made.embedder.close()
    await made.embedder.open()
    await made.embedder.close()
    with pytest.raises(CacheFailure):
        await made.embedder.ready()


def test_nothing_heavy_is_imported_with_the_rooms_base(tmp_path: Path):
    import subprocess
    import sys

    program = (
        "import sys, proxy.embedders.base, proxy.embedders.gather, proxy.embedders.local, proxy.embedders.model_files\n"
        "sys.exit(bool({'numpy', 'onnxruntime', 'onnx', 'tokenizers', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
