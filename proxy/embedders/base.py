"""Where in the space of meanings does this question lie? One file in this folder for each thing that can tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from proxy.types import Vector


class Embedding(NamedTuple):
    """What an embedder made of a text."""

    vector: Vector
    whole: bool
    """False: the text is longer than the model's window or `max_pieces`. It was not embedded (its vector is zeros), and
    is not matched by meaning."""


@dataclass(frozen=True, slots=True)
class EmbedderReport:
    """What an embedder says of itself, for `/readyz`, `/admin/semantic` and metrics."""

    kind: str
    identity: str
    degraded: str | None = None
    """Why it does not do all it should, in a sentence for the operator; None when all is well."""
    embedded: int = 0
    skipped: int = 0
    """Texts turned away because too many waited."""


class Embedder(Protocol):
    """Text to vector. A constructor does no I/O and imports nothing heavy; after `open` and before the model is there
    every `embed` is refused at once, so that nothing waits for a model to load."""

    @property
    def identity(self) -> str:
        """Model, backend, precision and pooling in one word, e.g. `all-MiniLM-L6-v2/onnx/int8/mean`. Vectors of two
        identities must never be compared; thresholds belong to one. Known before `open`."""

    @property
    def dimensions(self) -> int:
        """Numbers in a vector. Known before `open`."""

    async def open(self) -> None:
        """Begin to get ready, in the background: readiness of the server does not wait for it."""

    async def ready(self) -> None:
        """Until the model is there. Raises `errors.CacheFailure` with what to do when it cannot be had."""

    async def embed(self, text: str, *, patient: bool = False) -> Embedding:
        """Raises `errors.CacheFailure`; its `reason` is `busy` (too many wait: skip matching by meaning), `not_ready`
        or `failed`. Cancelling it takes the text out of the queue. `patient`: background work (re-embedding), which
        is taken only when nobody's request waits."""

    def report(self) -> EmbedderReport:
        """How it is, without waiting."""

    async def close(self) -> None:
        """Let go. More than once is harmless."""
