"""One request and its response over ASGI: reading the body within bounds, writing, noticing that the client left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import perf_counter

from starlette.types import Receive, Scope, Send

from proxy.edge.guard import LATE
from proxy.errors import BadRequest, BodyTooLarge, RequestTimeout
from proxy.streaming.codings import decode_all
from proxy.telemetry.records import Served
from proxy.telemetry.tasks import Tasks
from proxy.types import Outcome, Pairs


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may cost before it is understood. Bytes, output bytes for each input byte."""

    max_body: int
    max_ratio: int


class ClientLeft(Exception):
    """The client closed its connection."""


class Exchange:
    """Per-request state; made for each request and shared with nobody."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, request_id: bytes) -> None:
        self.method: str = scope["method"]
        self.raw_path: bytes = scope.get("raw_path") or scope["path"].encode()
        self.query: bytes = scope["query_string"]
        self.headers: Pairs = tuple(scope["headers"])
        self.fields = dict(self.headers)
        """For looking one up; of several of a name the last."""
        self.request_id = request_id
        client = scope.get("client")
        self.client: str = client[0] if client else ""
        self.events = False
        """The response is server-sent events."""
        self.started = False
        """The response's head is sent: no other response can be."""
        self.began = perf_counter()
        self.record = Served(method=self.method, request_id=request_id.decode())
        self._receive = receive
        self._send = send
        self._state: dict[str, object] = scope.get("state", {})
        self._body_read = asyncio.Event()
        self._left = False

    # -- reading -------------------------------------------------------------------------------------------------

    async def body(self, limits: Limits) -> bytes:
        """The whole body, content codings undone. How long it may take is watched by the protocol (`lane`).

        Raises `errors.RequestError` kinds, `ClientLeft`.
        """
        self._check_length(limits)
        chunks: list[bytes] = []
        size = 0
        async for chunk in self.chunks():
            size += len(chunk)
            if size > limits.max_body:
                raise _too_large(size, limits)
            chunks.append(chunk)
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        coding = self.fields.get(b"content-encoding")
        if coding is None:
            return body
        return decode_all(coding, body, max_bytes=limits.max_body, max_ratio=limits.max_ratio)

    def _check_length(self, limits: Limits) -> None:
        """Refuse by Content-Length before a byte is read (and before `100 Continue` is sent)."""
        length = self.fields.get(b"content-length")
        if length is None:
            return
        if not length.isdigit():
            raise BadRequest("Content-Length is not a number", code="invalid_header")
        if int(length) > limits.max_body:
            raise _too_large(int(length), limits)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises `ClientLeft`."""
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._left = True
                raise ClientLeft
            if message.get("body"):
                yield message["body"]
            if not message.get("more_body"):
                self._body_read.set()
                return
            if LATE in self._state:
                raise RequestTimeout("the request's body did not arrive in time (server.body_timeout)")

    def without_body(self) -> None:
        """There is none to read."""
        self._body_read.set()

    @asynccontextmanager
    async def watching(self, tasks: Tasks) -> AsyncIterator[None]:
        """Leave the block with `ClientLeft` when the client hangs up, once its body is read."""
        handler = asyncio.current_task()
        assert handler is not None  # noqa: S101 - for the type: a coroutine always runs in a task
        watcher = tasks.spawn(self._watch(handler), name="watch client")
        try:
            yield
        except asyncio.CancelledError:
            if not self._left or handler.uncancel() > 0:
                raise
            raise ClientLeft from None
        finally:
            watcher.cancel()

    async def _watch(self, handler: asyncio.Task[object]) -> None:
        await self._body_read.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._left = True
        handler.cancel()

    # -- writing -------------------------------------------------------------------------------------------------

    async def start(self, status: int, fields: Iterable[tuple[bytes, bytes]], *, events: bool = False) -> None:
        """The response's head."""
        self.started = True
        self.events = events
        self.record.status = status
        self.record.first_byte_s = perf_counter() - self.began
        await self._send({"type": "http.response.start", "status": status, "headers": list(fields)})

    async def write(self, chunk: bytes) -> None:
        """Some of the body; waits while the client reads slowly."""
        self.record.bytes_sent += len(chunk)
        await self._send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def end(self, chunk: bytes = b"") -> None:
        """The last of the body."""
        self.record.bytes_sent += len(chunk)
        await self._send({"type": "http.response.body", "body": chunk, "more_body": False})

    async def respond(self, status: int, fields: Pairs, body: bytes) -> None:
        """A response that is all here."""
        await self.start(status, (*fields, (b"content-length", b"%d" % len(body))))
        await self.end(body)

    def ended(self, outcome: Outcome) -> Served:
        """The finished record."""
        self.record.outcome = outcome
        self.record.seconds = perf_counter() - self.began
        return self.record


def _too_large(size: int, limits: Limits) -> BodyTooLarge:
    return BodyTooLarge(
        f"the request's body has {size} bytes or more, over the limit of {limits.max_body} (server.max_body)"
    )
