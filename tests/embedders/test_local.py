"""What embedders in this process have in common."""

from __future__ import annotations

import pytest

from proxy.embedders.base import Embedding
from proxy.embedders.local import LocalEmbedder, pieces_within
from proxy.errors import CacheFailure


def words(text: str) -> list[int]:
    return [len(word) for word in text.split()]


@pytest.mark.parametrize(("text", "fits"), [("", True), ("a b c", True), ("a b c d", False), ("a " * 10_000, False)])
def test_pieces_are_counted_up_to_the_bound(text, fits):
    assert pieces_within(words, text, 3) == (words(text) if fits else None)


def test_few_pieces_in_a_long_text_are_all_found():
    text = "a" + " " * 100_000 + "b" + " " * 100_000 + "c"
    assert pieces_within(words, text, 3) == [1, 1, 1]
    assert pieces_within(words, text, 2) is None


class Failing(LocalEmbedder):
    kind = "failing"
    identity = "failing/none"
    dimensions = 1

    def __init__(self, *, loads: bool) -> None:
        super().__init__(batch=1, queue=1, noted=lambda _size: None)
        self._loads = loads

    async def _load(self):
        if not self._loads:
            raise CacheFailure("buy a bigger one", code="not_ready")
        return Engine()


class Engine:
    def embed(self, texts: list[str]) -> list[Embedding]:
        raise CacheFailure("the model failed", code="failed")


async def test_a_model_that_cannot_be_had_says_what_to_do():
    embedder = Failing(loads=False)
    await embedder.open()
    with pytest.raises(CacheFailure, match="bigger"):
        await embedder.ready()
    with pytest.raises(CacheFailure, match="bigger") as refused:
        await embedder.embed("a")
    assert refused.value.reason == "not_ready"
    assert embedder.report().degraded == "buy a bigger one"
    await embedder.close()


async def test_a_model_that_fails_fails_the_text_alone():
    embedder = Failing(loads=True)
    await embedder.open()
    await embedder.ready()
    for _ in range(2):
        with pytest.raises(CacheFailure) as failure:
            await embedder.embed("a")
        assert failure.value.reason == "failed"
    assert embedder.report().degraded is None
    await embedder.close()
