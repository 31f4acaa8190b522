"""httpx's transport interface on aiohttp, for a proxy.

httpx-aiohttp's own transport is written for clients. A proxy needs four things differently, so it replaces
`handle_async_request`:

- The request target goes out as it came in (httpx's `target` extension): no path is decoded, re-encoded or shortened.
- Nothing is added: aiohttp would put in `Accept`, `Accept-Encoding`, `User-Agent` and `Content-Type`.
- aiohttp's exceptions come out as they are. The usual mapping makes a connection that the server closed a connect
  time-out, and does not know certificate errors; `faults` translates them once, into ours.
- The body comes in the pieces it arrived in, and its first piece may take as long as the header section.
"""

from __future__ import annotations

import asyncio
import io
import socket
from collections.abc import AsyncIterable, AsyncIterator
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from ssl import SSLContext
from typing import Any, cast

import aiohttp
import httpx
from aiohttp.client_proto import ResponseHandler
from httpx_aiohttp import AiohttpTransport
from yarl import URL

LARGE_BODY_BYTES = 1024 * 1024
"""aiohttp sends more than this piece by piece, if it comes as a file, and so lets others run meanwhile."""

ADDED_BY_AIOHTTP = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """Seconds; 0 is without limit."""

    connect_s: float
    """For a free place in the pool, the name look-up, TCP and TLS together."""
    first_byte_s: float
    """From the request's last byte to the header section, and again to the first byte of the body: a server may send
    its headers long before it has a word to say."""
    idle_s: float
    """Between two pieces of the body, while we are ready to read."""
    total_s: float
    """For everything, to the last byte."""


@dataclass(slots=True)
class Attempt:
    """What is known of a request on its way."""

    connected: bool = False
    """It opened a connection of its own; if not, it went out on one that had been used before."""


class ProxyTransport(AiohttpTransport):
    """A pool of connections to one place. Belongs to the event loop it was made in."""

    def __init__(
        self, *, limits: TimeLimits, tls: SSLContext | None, max_connections: int, keepalive_expiry_s: float
    ) -> None:
        connector = aiohttp.TCPConnector(
            limit=max_connections,
            keepalive_timeout=keepalive_expiry_s,
            ssl=tls if tls is not None else False,
            socket_factory=_socket,
        )
        connector._factory = partial(_Connection, loop=asyncio.get_running_loop())  # type: ignore[assignment]
        # No cookie is kept, no redirect followed, and neither HTTP_PROXY nor ~/.netrc is read: where requests go and
        # with which credential is what the configuration says and nothing else.
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=ADDED_BY_AIOHTTP,
            auto_decompress=False,
            trust_env=False,
        )
        super().__init__(client=self._session, verify=tls if tls is not None else False, trust_env=False)
        self._limits = limits
        self._timeout = aiohttp.ClientTimeout(
            total=limits.total_s, connect=limits.connect_s, sock_read=limits.first_byte_s
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Extensions: `target` as in httpcore, `attempt` an `Attempt` to note in. Raises aiohttp's exceptions,
        `OSError`, and `UnicodeDecodeError` for a header that is not UTF-8 (aiohttp writes no other).
        """
        token = _ATTEMPT.set(request.extensions.get("attempt"))
        try:
            response = await self._session.request(
                request.method,
                _url(request),
                headers=[(name.decode(), value.decode()) for name, value in request.headers.raw],
                data=_body(request),
                allow_redirects=False,
                timeout=self._timeout,
            )
        finally:
            _ATTEMPT.reset(token)
        body = Body(response, idle_s=self._limits.idle_s)
        return httpx.Response(response.status, headers=response.raw_headers, stream=body, request=request)


class Upload(httpx.AsyncByteStream):
    """A request's body that is still arriving."""

    def __init__(self, pieces: AsyncIterable[bytes]) -> None:
        self._pieces = pieces

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._pieces)


class _Connection(ResponseHandler):
    """aiohttp tells a body that its connection broke. Of one that breaks its own framing (a chunk without a size) it
    tells nothing, and whoever reads it would wait until `total_s`."""

    def resume_reading(self, resume_parser: bool = True) -> None:
        # aiohttp asks for this after each piece that is read from a short buffer, paused or not, and wakes its parser
        # for nothing: of a stream in small chunks a good part of the work.
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def set_exception(self, exc: Any, *cause: Any) -> None:
        super().set_exception(exc, *cause)
        if self._payload is not None and isinstance(exc, aiohttp.http_exceptions.HttpProcessingError):
            failure = aiohttp.ClientPayloadError("the body breaks its framing")
            failure.__cause__ = exc
            self._payload.set_exception(failure)


class Body(httpx.AsyncByteStream):
    """A response's body. Reading to the end frees the connection for others; `aclose` before that closes it."""

    def __init__(self, response: aiohttp.ClientResponse, *, idle_s: float) -> None:
        self._response = response
        self._idle_s = idle_s
        self.begun = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        piece = await self._response.content.readany()
        if not piece:
            raise StopAsyncIteration
        if not self.begun:
            self._begin()
        return piece

    def _begin(self) -> None:
        self.begun = True
        connection = self._response.connection
        if connection is not None and connection.protocol is not None:
            # Safe only now: the buffer is empty, so reading is not paused and the clock may run.
            connection.protocol.read_timeout = self._idle_s
            connection.protocol.start_timeout()

    def close(self) -> None:
        """Now, without waiting for anybody."""
        self._response.close()

    async def aclose(self) -> None:
        self.close()


_ATTEMPT: ContextVar[Attempt | None] = ContextVar("attempt", default=None)


def _socket(address: tuple[int, int, int, str, tuple[object, ...]]) -> socket.socket:
    """aiohttp calls this for each connection it opens, in the context of the request that needs one."""
    family, kind, protocol, _, _ = address
    if (attempt := _ATTEMPT.get()) is not None:
        attempt.connected = True
    return socket.socket(family, kind, protocol)


def _url(request: httpx.Request) -> URL:
    target: bytes = request.extensions.get("target", request.url.raw_path)
    origin = f"{request.url.scheme}://{request.url.netloc.decode()}"
    return URL(origin + target.decode("ascii"), encoded=True)


def _body(request: httpx.Request) -> bytes | io.BytesIO | AsyncIterable[bytes] | None:
    if not isinstance(request.stream, httpx.ByteStream):
        return cast(httpx.AsyncByteStream, request.stream)
    content = b"".join(request.stream)
    return io.BytesIO(content) if len(content) > LARGE_BODY_BYTES else content or None
