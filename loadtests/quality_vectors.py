"""Vectors of many texts by the embedder that the proxy uses, kept on disk between runs."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from proxy.embedders.onnx import OnnxEmbedder

if TYPE_CHECKING:
    from numpy.typing import NDArray

MODEL = "all-MiniLM-L6-v2"
DIMENSIONS = 384
_AT_ONCE = 32

Precision = Literal["int8", "fp32"]


class Vectors(NamedTuple):
    """One row for each text."""

    vectors: NDArray[np.float32]
    whole: NDArray[np.bool_]
    """False: longer than the model's window, so not matched by meaning."""


def embed(texts: list[str], precision: Precision, cache: Path) -> Vectors:
    """From the cache where the very same texts were embedded before."""
    cache.mkdir(parents=True, exist_ok=True)
    key = hashlib.sha256("\0".join([MODEL, precision, *texts]).encode()).hexdigest()[:24]
    path = cache / f"{precision}-{key}.npz"
    if path.is_file():
        with np.load(path) as kept:
            return Vectors(kept["vectors"], kept["whole"])
    made = asyncio.run(_embed(texts, precision, cache.parent / "data"))
    with path.with_suffix(".part").open("wb") as file:
        np.savez(file, vectors=made.vectors, whole=made.whole)
    path.with_suffix(".part").rename(path)
    return made


async def _embed(texts: list[str], precision: Precision, data_dir: Path) -> Vectors:
    embedder = OnnxEmbedder(model=MODEL, data_dir=data_dir, precision=precision, dimensions=DIMENSIONS)
    await embedder.open()
    await embedder.ready()
    vectors, whole = np.zeros((len(texts), DIMENSIONS), np.float32), np.zeros(len(texts), np.bool_)
    # Texts of one length share a batch, so that none is padded far.
    order = iter(sorted(range(len(texts)), key=lambda index: len(texts[index])))

    async def work() -> None:
        for index in order:
            vectors[index], whole[index] = await embedder.embed(texts[index])

    try:
        await asyncio.gather(*(work() for _ in range(_AT_ONCE)))
    finally:
        await embedder.close()
    return Vectors(vectors, whole)
