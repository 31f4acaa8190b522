"""One request and its response over ASGI: reading the body within bounds, writing, noticing that the client left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from time import perf_counter
from typing import Final, cast

from starlette.types import Message, Receive, Scope, Send

from proxy.edge.guard import LINGER_S, REFUSAL, WHOLE, SendWhole
from proxy.edge.replies import valid_request_id
from proxy.errors import BadRequest, BodyTooLarge, RequestError
from proxy.streaming.codings import decode_all
from proxy.telemetry.ids import Ids
from proxy.telemetry.records import Served
from proxy.telemetry.tasks import Tasks
from proxy.telemetry.tracing.base import RequestSpan
from proxy.telemetry.tracing.off import NO_SPAN
from proxy.types import Outcome, Pairs


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may cost before it is understood. Bytes, output bytes for each input byte."""

    max_body: int
    max_ratio: int


BODILESS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class ClientLeft(Exception):
    """The client closed its connection."""


class Exchange:
    """Per-request state; made for each request and shared with nobody."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, ids: Ids) -> None:
        self.method: str = scope["method"]
        self.raw_path: bytes = scope.get("raw_path") or scope["path"].encode()
        self.query: bytes = scope["query_string"]
        self.headers: Pairs = tuple(scope["headers"])
        self.fields = dict(self.headers)
        """For looking one up; of several of a name the last."""
        self.request_id = self._own_request_id() or ids.next()
        client = scope.get("client")
        self.client: str = client[0] if client else ""
        self.endpoint = "other"
        """What the record calls it: a cached endpoint's path where it is one."""
        self.events = False
        """The response is server-sent events."""
        self.started = False
        """The response's head is sent: no other response can be."""
        self.began = perf_counter()
        self.span: RequestSpan = NO_SPAN
        self._receive = receive
        self._send = send
        self._whole: SendWhole | None = scope.get("extensions", {}).get(WHOLE)
        self._state: dict[str, object] = scope.get("state", {})
        self._body_is_read = False
        self._watched: asyncio.Event | None = None
        self._left = False

    def _own_request_id(self) -> bytes | None:
        given = self.fields.get(b"x-request-id")
        return given if given is not None and valid_request_id(given) else None

    # -- reading -------------------------------------------------------------------------------------------------

    async def body(self, limits: Limits) -> bytes:
        """The whole body, content codings undone. How long it may take is watched by the protocol (`guard`).

        Raises `errors.RequestError` kinds, `ClientLeft`.
        """
        self._check_length(limits)
        message = await self._message()
        body: bytes = message.get("body", b"")
        if message.get("more_body") and len(body) <= limits.max_body:
            body = await self._rest(body, limits)
        if len(body) > limits.max_body:
            raise _too_large(len(body), limits)
        coding = self.fields.get(b"content-encoding")
        if coding is None:
            return body
        return decode_all(coding, body, max_bytes=limits.max_body, max_ratio=limits.max_ratio)

    async def _rest(self, first: bytes, limits: Limits) -> bytes:
        """A body that comes in pieces; no further than one piece over the limit."""
        pieces, size = [first], len(first)
        async for piece in self.chunks():
            pieces.append(piece)
            size += len(piece)
            if size > limits.max_body:
                break
        return b"".join(pieces)

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
        """The body as it comes. Raises `ClientLeft`, `errors.RequestError`."""
        more = True
        while more:
            message = await self._message()
            more = message.get("more_body", False)
            if message.get("body"):
                yield message["body"]

    async def _message(self) -> Message:
        """The next piece of the body."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._left = True
            raise ClientLeft
        if not message.get("more_body"):
            self.without_body()
        elif REFUSAL in self._state:
            raise cast("RequestError", self._state[REFUSAL])
        return message

    async def refuse(self, status: int, fields: Pairs, body: bytes) -> None:
        """A response to a request whose body may still be coming. Closing then would reset the connection, and the
        client would never read why it was refused: what comes is thrown away for a while (RFC 9112 section 9.6)."""
        if self._body_is_read or self.method in BODILESS:
            await self.respond(status, fields, body)
            return
        await self.start(status, (*fields, (b"content-length", b"%d" % len(body))))
        await self.write(body)
        with suppress(TimeoutError, ClientLeft, RequestError):
            async with asyncio.timeout(LINGER_S):
                async for _ in self.chunks():
                    pass
        await self.end()

    def without_body(self) -> None:
        """There is no more to read."""
        self._body_is_read = True
        if self._watched is not None:
            self._watched.set()

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
        if not self._body_is_read:
            # Only one may receive at a time: while an upload is being passed on, that is who reads it.
            self._watched = asyncio.Event()
            await self._watched.wait()
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
        self.record.first_byte_s = self.seconds()
        await self._send({"type": "http.response.start", "status": status, "headers": fields})

    async def write(self, chunk: bytes) -> None:
        """Some of the body; waits while the client reads slowly."""
        self.record.bytes_sent += len(chunk)
        await self._send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def end(self, chunk: bytes = b"") -> None:
        """The last of the body."""
        self.record.bytes_sent += len(chunk)
        await self._send({"type": "http.response.body", "body": chunk, "more_body": False})

    def at_once(self, status: int, rest: bytes) -> bool:
        """Everything from the first field to the last byte in one write, if that can be. False: it cannot, and nothing
        was sent."""
        if self._whole is None:
            return False
        self.started = self._whole(status, rest)
        return self.started

    async def respond(self, status: int, fields: Pairs, body: bytes, *, events: bool = False) -> None:
        """A response that is all here."""
        length = () if events else ((b"content-length", b"%d" % len(body)),)
        await self.start(status, (*fields, *length), events=events)
        await self.end(body)

    # -- what is known of it ----------------------------------------------------------------------------------------

    @cached_property
    def record(self) -> Served:
        """Made when the first thing is noted: a hit that is answered at once needs none."""
        return Served(endpoint=self.endpoint, method=self.method, request_id=self.request_id.decode())

    def seconds(self) -> float:
        """Since it came."""
        return perf_counter() - self.began

    def ended(self, outcome: Outcome) -> Served:
        """The finished record."""
        self.record.outcome = outcome
        self.record.seconds = self.seconds()
        return self.record


def _too_large(size: int, limits: Limits) -> BodyTooLarge:
    return BodyTooLarge(
        f"the request's body has {size} bytes or more, over the limit of {limits.max_body} (server.max_body)"
    )
