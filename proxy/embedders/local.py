"""What embedders that compute in this process have in common: a model that loads in the background, and a thread."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Final, Protocol

from proxy.embedders.base import EmbedderReport, Embedding
from proxy.embedders.gather import Gather
from proxy.errors import CacheFailure
from proxy.telemetry.tasks import Tasks

_CHARACTERS_A_PIECE: Final = 16
"""Far more than a word piece has on average: so much of a long text is looked at first."""


class Engine(Protocol):
    """A loaded model."""

    def embed(self, texts: list[str]) -> list[Embedding]:
        """One for each text. Computes, so it belongs in a thread; one at a time. Raises CacheFailure (`failed`)."""


def check_size(engine: Engine, dimensions: int, model: str) -> None:
    """Raises CacheFailure (`not_ready`) where its vectors are of another size than they should be. `model`: which, in
    words."""
    if (made := len(engine.embed(["?"])[0].vector)) != dimensions:
        raise CacheFailure(
            f"the model {model} makes vectors of {made} numbers, not of {dimensions}: say so in "
            "semantic.embedder.dimensions",
            code="not_ready",
        )


class LocalEmbedder(ABC):
    """batch, queue: questions embedded together, and questions that may wait.
    noted: called on the loop with the size of each batch.
    """

    kind: ClassVar[str]

    def __init__(self, *, batch: int, queue: int, noted: Callable[[int], None]) -> None:
        self._gather = Gather[Embedding](f"askonce-{self.kind}", self._embed, batch=batch, queue=queue, noted=noted)
        self._tasks = Tasks()
        self._loading: asyncio.Task[None] | None = None
        self._engine: Engine | None = None
        self._trouble: str | None = "the model is not loaded yet"

    @property
    @abstractmethod
    def identity(self) -> str:
        """See `Embedder`."""

    @property
    @abstractmethod
    def dimensions(self) -> int:
        """See `Embedder`."""

    @abstractmethod
    async def _load(self) -> Engine:
        """May take long. Raises CacheFailure, which says what to do."""

    async def open(self) -> None:
        """Begin to load the model."""
        if self._loading is None:
            self._loading = self._tasks.spawn(self._begin(), name="load the embedder", expected=CacheFailure)

    async def ready(self) -> None:
        """Until it is loaded. Raises CacheFailure, which says what to do."""
        if self._loading is None or self._loading.cancelled():
            raise CacheFailure(self._trouble or "the embedder is closed", code="not_ready")
        await asyncio.shield(self._loading)

    async def embed(self, text: str, *, patient: bool = False) -> Embedding:
        """Raises CacheFailure: `not_ready`, `busy`, `failed`."""
        if self._engine is None:
            raise CacheFailure(self._trouble or "the embedder is closed", code="not_ready")
        return await self._gather.ask(text, patient=patient)

    def report(self) -> EmbedderReport:
        """Degraded until the model is there, and for good when it cannot be had."""
        return EmbedderReport(self.kind, self.identity, self._trouble, self._gather.done, self._gather.refused)

    async def close(self) -> None:
        """Give up loading, end the thread, forget the model."""
        self._trouble = "the embedder is closed"
        await self._tasks.drain(0)
        await self._gather.stop()
        self._engine = None

    async def _begin(self) -> None:
        try:
            engine = await self._load()
        except CacheFailure as failure:
            self._trouble = failure.message
            raise
        self._gather.start()
        self._engine, self._trouble = engine, None

    def _embed(self, texts: list[str]) -> list[Embedding]:
        if self._engine is None:
            raise CacheFailure("the embedder is closed", code="not_ready")
        return self._engine.embed(texts)


def pieces_within(encode: Callable[[str], list[int]], text: str, most: int) -> list[int] | None:
    """A text's word pieces; None when there are more than `most`. A very long text is not read to its end for that."""
    look = most * _CHARACTERS_A_PIECE
    while True:
        pieces = encode(text[:look])
        if len(pieces) > most:
            return None
        if look >= len(text):
            return pieces
        look *= 4
