"""Any model of the sentence-transformers library, with torch: more models than the default engine has, and slower.

Chosen lazily by the composition root, so numpy stands at its top; torch is imported in a thread when it is opened.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from proxy.embedders.base import Embedding
from proxy.embedders.local import LocalEmbedder, check_size, pieces_within
from proxy.embedders.model_fetch import DEFAULT_MODEL
from proxy.embedders.model_files import installed, short_name
from proxy.errors import CacheFailure


class SentenceTransformersEmbedder(LocalEmbedder):
    """model: name on the hub, or a directory with the model's files. The default model is taken from its PyPI package,
    where that is installed.
    dimensions: numbers in a vector; a model that makes others is refused.
    threads: of torch, for the whole process.
    max_pieces: word pieces of a text, the model's own left out; a longer one is not embedded.
    batch, queue, noted: see `LocalEmbedder`.
    """

    kind = "sentence-transformers"

    def __init__(
        self,
        *,
        model: str,
        dimensions: int = 384,
        threads: int = 1,
        batch: int = 8,
        queue: int = 64,
        max_pieces: int = 200,
        noted: Callable[[int], None] = lambda _size: None,
    ) -> None:
        super().__init__(batch=batch, queue=queue, noted=noted)
        self._model, self._dimensions = model, dimensions
        self._threads, self._max_pieces = threads, max_pieces

    @property
    def identity(self) -> str:
        """E.g. `all-MiniLM-L6-v2/torch/fp32`: how it pools is the model's own affair."""
        name = Path(self._model).name if Path(self._model).is_absolute() else short_name(self._model)
        return f"{name}/torch/fp32"

    @property
    def dimensions(self) -> int:
        """As given."""
        return self._dimensions

    async def _load(self) -> TorchEngine:
        return await asyncio.to_thread(TorchEngine, self._model, self._threads, self._max_pieces, self._dimensions)


class TorchEngine:
    """A loaded model. Raises CacheFailure when it cannot be had, or makes vectors of another size than it should."""

    def __init__(self, model: str, threads: int, max_pieces: int, dimensions: int) -> None:
        try:
            import_module("torch").set_num_threads(threads)
            library = import_module("sentence_transformers")
        except ImportError as failure:
            raise CacheFailure(
                f"{failure}: install the extra, pip install 'askonce[sentence-transformers]'", code="not_ready"
            ) from failure
        own = installed() if short_name(model) == DEFAULT_MODEL else None
        try:
            self._model: Any = library.SentenceTransformer(str(own or model), device="cpu")
        except Exception as failure:
            raise CacheFailure(
                f"the model {model} cannot be loaded ({type(failure).__name__}): put its files into a directory and "
                "name it in semantic.embedder.directory",
                code="not_ready",
            ) from failure
        framing = len(self._model.tokenizer("")["input_ids"])
        self._most = min(max_pieces + framing, self._model.max_seq_length or max_pieces + framing)
        self._nothing = np.zeros(dimensions, np.float32)
        self._nothing.flags.writeable = False
        check_size(self, dimensions, model)

    def embed(self, texts: list[str]) -> list[Embedding]:
        """See `Engine`. One that is not whole has zeros for a vector."""
        fits = [pieces_within(self._pieces, text, self._most) is not None for text in texts]
        whole = [text for text, fit in zip(texts, fits, strict=True) if fit]
        vectors = iter(self._vectors(whole) if whole else ())
        return [Embedding(next(vectors), whole=True) if fit else Embedding(self._nothing, whole=False) for fit in fits]

    def _pieces(self, text: str) -> list[int]:
        pieces: list[int] = self._model.tokenizer(text, truncation=False, verbose=False)["input_ids"]
        return pieces

    def _vectors(self, texts: list[str]) -> Any:
        try:
            return self._model.encode(
                texts, batch_size=len(texts), normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=False
            )
        except Exception as failure:
            raise CacheFailure("the model failed", code="failed") from failure
