"""An OpenAI-compatible `/v1/embeddings` endpoint: hosted, TEI, vLLM, or one of your own.

What waits goes out together. An endpoint that fails three times in a row is left alone for some seconds, so that one
that is down costs nothing. Chosen lazily by the composition root, so numpy stands at its top.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import httpx
import numpy as np
import orjson

from proxy.embedders.base import EmbedderReport, Embedding
from proxy.errors import CacheFailure
from proxy.telemetry.tasks import Tasks
from proxy.types import Vector

_REQUESTS_AT_ONCE: Final = 4
_FAILURES: Final = 3
"""In a row, after which it is left alone."""

_PIECES_A_WORD: Final = 1.3
_CHARACTERS_A_PIECE: Final = 4
"""Of English prose; the endpoint's own tokenizer is not known."""


class OpenAIEmbedder:
    """model, base_url, api_key: as the endpoint wants them; the address goes up to and with `/v1`.
    dimensions: numbers in a vector; an answer with others is a failure.
    batch, queue: texts in a request, and texts that may wait for one (and as many patient ones).
    max_pieces: word pieces of a text, which are estimated: 1.3 for a word, one for four characters, whichever is more.
    timeout_s: of a request.
    rest_s: how long a failing endpoint is left alone.
    noted: called with the size of each batch.
    """

    def __init__(
        self,
        *,
        model: str,
        base_url: str,
        api_key: str | None = None,
        dimensions: int = 384,
        batch: int = 8,
        queue: int = 64,
        max_pieces: int = 200,
        timeout_s: float = 2.0,
        rest_s: float = 5.0,
        noted: Callable[[int], None] = lambda _size: None,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._model, self._base_url, self._api_key = model, base_url.rstrip("/"), api_key
        self._dimensions, self._max_pieces = dimensions, max_pieces
        self._batch, self._queue, self._timeout_s = batch, queue, timeout_s
        self._rest_s, self._noted, self._steady = rest_s, noted, steady
        self._client: httpx.AsyncClient | None = None
        self._tasks = Tasks()
        self._first: asyncio.Task[None] | None = None
        self._waiting: deque[_Ask] = deque()
        self._patient: deque[_Ask] = deque()
        self._under_way = 0
        self._failures = _FAILURES
        self._again_at = float("inf")
        self._trouble: str | None = "the endpoint was not asked yet"
        self._embedded = self._skipped = 0

    @property
    def identity(self) -> str:
        """E.g. `text-embedding-3-small/openai/1536`."""
        return f"{self._model}/openai/{self._dimensions}"

    @property
    def dimensions(self) -> int:
        """As given."""
        return self._dimensions

    async def open(self) -> None:
        """Ask for one vector, in the background: whether it answers, and with what."""
        if self._client is None:
            headers = {"content-type": "application/json"}
            if self._api_key:
                headers["authorization"] = f"Bearer {self._api_key}"
            # Certificates are read for https alone: reading them takes longer than the rest of the start.
            secure = self._base_url.startswith("https:")
            self._client = httpx.AsyncClient(headers=headers, timeout=self._timeout_s, verify=secure)
            self._first = self._tasks.spawn(self._try_out(), name="try the embedder", expected=CacheFailure)

    async def ready(self) -> None:
        """Until it has answered. Raises CacheFailure when it did not; it is asked again all the same."""
        if self._first is None or self._first.cancelled():
            raise CacheFailure(self._trouble or "the embedder is closed", code="not_ready")
        await asyncio.shield(self._first)

    async def embed(self, text: str, *, patient: bool = False) -> Embedding:
        """Raises CacheFailure: `not_ready` (it is left alone these seconds), `busy`, `failed`."""
        if not self._may_ask():
            raise CacheFailure(self._trouble or "the embedder is closed", code="not_ready")
        if max(len(text.split()) * _PIECES_A_WORD, len(text) / _CHARACTERS_A_PIECE) > self._max_pieces:
            return Embedding(np.zeros(self._dimensions, np.float32), whole=False)
        queue = self._patient if patient else self._waiting
        if len(queue) >= self._queue:
            self._skipped += 1
            raise CacheFailure(f"{self._queue} texts wait already", code="busy")
        ask = _Ask(text)
        queue.append(ask)
        self._pump()
        try:
            return Embedding(await ask.future, whole=True)
        except asyncio.CancelledError:
            if ask in queue:
                queue.remove(ask)
            raise

    def report(self) -> EmbedderReport:
        """Degraded while the endpoint fails."""
        return EmbedderReport("openai", self.identity, self._trouble, self._embedded, self._skipped)

    async def close(self) -> None:
        """Turn away what waits, break off what is under way."""
        self._trouble, self._failures, self._again_at = "the embedder is closed", _FAILURES, float("inf")
        self._turn_away()
        await self._tasks.drain(0)
        if self._client is not None:
            await self._client.aclose()

    # -- when to ask -------------------------------------------------------------------------------------------------

    def _may_ask(self) -> bool:
        """Whether it is trusted, or it is time for one request that shows how things are."""
        if self._failures < _FAILURES:
            return True
        return self._steady() >= self._again_at and self._under_way == 0

    def _succeeded(self) -> None:
        self._failures, self._trouble = 0, None

    def _failed(self, failure: CacheFailure) -> None:
        self._failures += 1
        self._trouble = failure.message
        if self._failures >= _FAILURES:
            self._again_at = self._steady() + self._rest_s
            self._turn_away()

    def _turn_away(self) -> None:
        for queue in (self._waiting, self._patient):
            while queue:
                queue.popleft().fail(CacheFailure(self._trouble or "the endpoint fails", code="not_ready"))

    # -- asking ------------------------------------------------------------------------------------------------------

    async def _try_out(self) -> None:
        self._under_way += 1
        try:
            await self._request(["ready?"])
        except CacheFailure as failure:
            self._failures = _FAILURES
            self._failed(failure)
            raise
        finally:
            self._under_way -= 1
        self._succeeded()

    def _pump(self) -> None:
        while self._under_way < _REQUESTS_AT_ONCE and (batch := self._take()):
            self._under_way += 1
            self._tasks.spawn(self._send(batch), name="embed")

    def _take(self) -> list[_Ask]:
        if self._waiting:
            return [self._waiting.popleft() for _ in range(min(self._batch, len(self._waiting)))]
        # Background work has one request of its own at most.
        return [self._patient.popleft()] if self._patient and self._under_way == 0 else []

    async def _send(self, batch: list[_Ask]) -> None:
        try:
            vectors = await self._request([ask.text for ask in batch])
        except CacheFailure as failure:
            for ask in batch:
                ask.fail(failure)
            self._failed(failure)
        except asyncio.CancelledError:
            for ask in batch:
                ask.fail(CacheFailure("the embedder is closed", code="not_ready"))
            raise
        else:
            self._embedded += len(batch)
            self._noted(len(batch))
            for ask, vector in zip(batch, vectors, strict=True):
                ask.answer(vector)
            self._succeeded()
        finally:
            self._under_way -= 1
        self._pump()

    async def _request(self, texts: list[str]) -> list[Vector]:
        """Raises CacheFailure, which never holds what was sent or what came back."""
        if self._client is None:
            raise CacheFailure("the embedder was not opened", code="not_ready")
        body = orjson.dumps({"model": self._model, "input": texts, "encoding_format": "float"})
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._client.post(f"{self._base_url}/embeddings", content=body)
        except (httpx.HTTPError, TimeoutError) as failure:
            kind = type(failure).__name__
            raise CacheFailure(f"{self._base_url}/embeddings cannot be reached: {kind}", code="failed") from failure
        if response.status_code != httpx.codes.OK:
            raise CacheFailure(f"{self._base_url}/embeddings answers {response.status_code}", code="failed")
        try:
            return _vectors(orjson.loads(response.content), len(texts), self._dimensions)
        except (ValueError, TypeError, KeyError, IndexError, OverflowError):
            # Its cause is left out: it may quote the answer.
            raise CacheFailure(
                f"{self._base_url}/embeddings answers with something else than {len(texts)} vectors of "
                f"{self._dimensions} numbers",
                code="failed",
            ) from None


class _Ask:
    __slots__ = ("future", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.future: asyncio.Future[Vector] = asyncio.get_running_loop().create_future()

    def answer(self, vector: Vector) -> None:
        if not self.future.done():
            self.future.set_result(vector)

    def fail(self, failure: CacheFailure) -> None:
        if not self.future.done():
            self.future.set_exception(failure)


def _vectors(answer: Any, count: int, dimensions: int) -> list[Vector]:
    """In the order of the texts, of length 1. Raises ValueError, TypeError, KeyError, IndexError, OverflowError."""
    rows: dict[int, Any] = {item["index"]: item["embedding"] for item in answer["data"]}
    if len(answer["data"]) != count or set(rows) != set(range(count)):
        raise ValueError("not one for each")
    vectors = np.array([rows[index] for index in range(count)], np.float32)
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    if vectors.shape != (count, dimensions) or not np.isfinite(lengths).all() or not lengths.all():
        raise ValueError("not vectors of this size")
    return list(vectors / lengths)
