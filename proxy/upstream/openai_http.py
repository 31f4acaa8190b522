"""One endpoint of an upstream: an OpenAI-compatible server over HTTP/1.1.

httpx's request, response and transport types on aiohttp's connections. `httpx.AsyncClient` itself is left out: its
redirects, cookies, authentication, hooks and environment are what a proxy must not do, and it costs more than the rest
of the relay together.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast
from urllib.parse import unquote_to_bytes, urlsplit, urlunsplit

import aiohttp
import certifi
import httpx

from proxy.errors import AskOnceError, BadRequest, NotFound, SettingsError, UpstreamError, UpstreamProtocolError
from proxy.streaming.codings import CodingError, Decoder
from proxy.telemetry.tracing.off import NO_SPAN
from proxy.types import Call, CallSpan, Pairs
from proxy.upstream.faults import FAILURES, Faults
from proxy.upstream.headers import target_without_credential, to_client, without_credential
from proxy.upstream.transport import Attempt, Body, ProxyTransport, TimeLimits, Upload

LOOK_BYTES = 8 << 20
"""Most that is read of what an endpoint says of itself. A list of ten thousand adapters is a third of it."""

LOOK_CONNECTIONS = 4
"""For looks alone, so that a pool full of calls does not make an endpoint look ill: as many as one look may ask for at
once (health, version, models, metrics)."""


class OpenAIHttp:
    """Sends calls, and is a `kinds.base.Wire`: how a kind looks at the endpoint.

    `name` is the upstream's. `base_url` ends where OpenAI's paths begin (`https://api.openai.com/v1`). `credential`
    says whose goes there: the caller's own, none, or `own` (`api_key`) in its place. Time limits in seconds, 0 for
    none: `transport.TimeLimits` says what each covers; `health_timeout_s` is the whole time of a `get`.
    `max_decoded_bytes` and `max_decompression_ratio` bound an answer that comes compressed although nobody asked.
    `ca_file` replaces the authorities that are trusted (by default the system's and certifi's).
    Nothing is bounded twice: an answer that needs no decoding may be endless, which is the flight's business.
    """

    def __init__(
        self,
        name: str,
        base_url: str,
        *,
        credential: Literal["own", "caller", "none"],
        api_key: str | None,
        health_timeout_s: float,
        connect_timeout_s: float,
        first_byte_timeout_s: float,
        idle_timeout_s: float,
        total_timeout_s: float,
        max_connections: int,
        keepalive_expiry_s: float,
        max_decompression_ratio: float,
        max_decoded_bytes: int,
        ca_file: Path | None,
    ) -> None:
        """Raises `errors.SettingsError`."""
        self._name = name
        self._base = Base.parse(base_url)
        if credential == "own" and api_key is None:
            raise SettingsError(f"upstreams: {name} has credential: own and no api_key: set one")
        self._passes_callers = credential == "caller"
        self._api_key = api_key.encode() if credential == "own" and api_key is not None else None
        self.address = base_url.rstrip("/")
        """As configured: what a consistent choice between endpoints goes by."""
        self.origin = self._base.origin
        """`host:port`."""
        self._limits = TimeLimits(connect_timeout_s, first_byte_timeout_s, idle_timeout_s, total_timeout_s)
        self._look_limits = TimeLimits(connect_s=0, first_byte_s=0, idle_s=0, total_s=health_timeout_s)
        self._faults = Faults(name, self.origin, self._limits)
        self._look_faults = Faults(name, self.origin, self._look_limits, total_setting="health_timeout")
        self._max_connections = max_connections
        self._keepalive_expiry_s = keepalive_expiry_s
        self._max_decoded_bytes = max_decoded_bytes
        self._max_ratio = max_decompression_ratio
        self._ca_file = ca_file
        self._transport: ProxyTransport | None = None
        self._look_transport: ProxyTransport | None = None

    @property
    def name(self) -> str:
        return self._name

    async def open(self) -> None:
        """Raises `errors.SettingsError` when `ca_file` cannot be used."""
        secure = self._base.url.scheme == "https"
        tls = await asyncio.to_thread(_trust, self._ca_file) if secure else None
        self._transport = self._connected(self._limits, tls, self._max_connections)
        self._look_transport = self._connected(self._look_limits, tls, LOOK_CONNECTIONS)

    def _connected(self, limits: TimeLimits, tls: ssl.SSLContext | None, most: int) -> ProxyTransport:
        expiry_s = self._keepalive_expiry_s
        return ProxyTransport(limits=limits, tls=tls, max_connections=most, keepalive_expiry_s=expiry_s)

    async def close(self) -> None:
        for transport in (self._transport, self._look_transport):
            if transport is not None:
                await transport.aclose()

    async def send(self, call: Call) -> HttpReply:
        """The reply as the client may see it, with `x-upstream`, this upstream's name.

        Raises `errors.UpstreamError` kinds (`faults.never_left` tells those of a call that nobody has seen),
        `errors.NotFound` for a target outside the base address, and whatever a streamed request body raises.
        """
        decoding = not _has(call.headers, b"accept-encoding")
        headers, target = call.headers, call.target
        if not self._passes_callers:
            headers, target = without_credential(headers), target_without_credential(target)
        target = self._base.target(target)
        request = self._request(call.method, target, self._with_own(headers, call.target), call.body, decoding=decoding)
        request.extensions["repeatable"] = call.repeatable
        replayable = isinstance(call.body, bytes)
        response = await self._exchange(self._transport, self._faults, request, replayable=replayable)
        return self._reply(response, self._faults, decoding=decoding)

    async def get(self, path: str, *, beside: bool = False) -> tuple[int, bytes]:
        """As `Wire`: within `health_timeout_s`, at most `LOOK_BYTES`, over connections of its own."""
        target = self._base.target(path, beside=beside)
        request = self._request("GET", target, self._with_own((), path), b"", decoding=True)
        response = await self._exchange(self._look_transport, self._look_faults, request, replayable=True)
        reply = self._reply(response, self._look_faults, decoding=True)
        body = bytearray()
        try:
            async for piece in reply:
                body += piece
                if len(body) > LOOK_BYTES:
                    raise UpstreamProtocolError(
                        f"upstream {self._name}: what it says of itself has more than {LOOK_BYTES} bytes. Check "
                        "upstreams.base_url"
                    )
        finally:
            await reply.aclose()
        return reply.status, bytes(body)

    def why(self, error: UpstreamError) -> str:
        """What went wrong, in a sentence for the operator that does not name the upstream."""
        return self._faults.why(error)

    def _with_own(self, headers: Pairs, path: str) -> Pairs:
        return headers if self._api_key is None else (*headers, _credential(path, self._api_key))

    def _request(
        self, method: str, target: str, headers: Pairs, body: bytes | AsyncIterable[bytes], *, decoding: bool
    ) -> httpx.Request:
        fields = list(headers)
        if decoding:
            # Compressing a stream delays its words, and what we fold we would have to undo.
            fields.append((b"accept-encoding", b"identity"))
        extensions = {"target": target.encode("ascii"), "attempt": Attempt()}
        # Given a stream and not content, httpx adds no fields of its own.
        stream = httpx.ByteStream(body) if isinstance(body, bytes) else Upload(body)
        return httpx.Request(method, self._base.url, headers=fields, stream=stream, extensions=extensions)

    async def _exchange(
        self, transport: ProxyTransport | None, faults: Faults, request: httpx.Request, *, replayable: bool
    ) -> httpx.Response:
        """The header section, at the second try if the first cannot have reached the upstream."""
        if transport is None:
            raise RuntimeError("open() comes first")
        try:
            try:
                return await transport.handle_async_request(request)
            except FAILURES as error:
                if not (replayable and _never_arrived(error, request)):
                    raise
                return await self._once_more(transport, request, error)
        except FAILURES as error:
            raise faults.translate(error, connected=request.extensions["attempt"].connected) from error
        except UnicodeDecodeError as error:
            raise BadRequest("a header field is not UTF-8 and cannot be sent on", code="invalid_header") from error

    async def _once_more(self, transport: ProxyTransport, request: httpx.Request, first: Exception) -> httpx.Response:
        try:
            return await transport.handle_async_request(request)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            if isinstance(first, aiohttp.ClientConnectorError):
                raise
            # The idle connection was closed because the server went away, maybe with the call in its hands: only the
            # first failure tells whether anybody can have seen it.
            raise first from None

    def _reply(self, response: httpx.Response, faults: Faults, *, decoding: bool) -> HttpReply:
        decoder = self._decoder(response) if decoding else None
        received = tuple((name.lower(), value) for name, value in response.headers.raw)
        headers = self._base.pointing_here(to_client(received, passthrough_credential=self._passes_callers))
        return HttpReply(response, (*headers, (b"x-upstream", self._name.encode())), decoder, faults)

    def _decoder(self, response: httpx.Response) -> Decoder | None:
        encoding = b",".join(value for name, value in response.headers.raw if name.lower() == b"content-encoding")
        if not encoding:
            return None
        try:
            return Decoder(encoding, max_bytes=self._max_decoded_bytes, max_ratio=self._max_ratio)
        except CodingError as error:
            _body(response).close()
            raise UpstreamProtocolError(f"upstream {self._name}: {error}") from error


class HttpReply:
    """A `Reply`. Its headers are what the client may see of the upstream's (`headers.to_client`).

    Iterating gives bytes as they arrive. It ends normally only where the body ends by its framing (the last chunk, the
    last of `Content-Length` bytes; with neither, the server's closing is the end by RFC 9112 section 6.3).
    """

    def __init__(self, response: httpx.Response, headers: Pairs, decoder: Decoder | None, faults: Faults) -> None:
        self.status = response.status_code
        self.headers = headers if decoder is None else _without_coding(headers)
        length = response.headers.get("content-length", "")
        self.length = int(length) if decoder is None and length.isdigit() else None
        self.origin = faults.origin
        self._body = _body(response)
        self._decoder = decoder
        self._faults = faults
        self._told: Callable[[], None] | None = None
        self.span: CallSpan = NO_SPAN

    def seen_by(self, span: CallSpan) -> None:
        """It is traced from here on."""
        self.span = span
        span.departed(self.status)

    def when_over(self, told: Callable[[], None]) -> None:
        """To be called once: when the body has ended, failed, or was let go."""
        self._told = told

    async def __aiter__(self) -> AsyncIterator[bytes]:
        begun = False
        try:
            async for piece in self._body:
                if not begun:
                    begun = True
                    self.span.first_byte()
                data = piece if self._decoder is None else self._decoder.decode(piece)
                if data:
                    yield data
            if self._decoder is not None:
                self._decoder.flush()
            self.span.over()
        except FAILURES as error:
            raise self._broken(self._faults.translate(error, body_begun=self._body.begun)) from error
        except CodingError as error:
            told = f"upstream {self._faults.upstream}: its answer does not decode: {error}"
            raise self._broken(UpstreamProtocolError(told)) from error
        finally:
            # Read to the end, the connection is in the pool already; else nobody can make sense of what is left on it.
            self._let_go()

    def _broken(self, error: AskOnceError) -> AskOnceError:
        self.span.failed(error.reason)
        return error

    async def aclose(self) -> None:
        self._let_go()
        self.span.end()

    def _let_go(self) -> None:
        self._body.close()
        told, self._told = self._told, None
        if told is not None:
            told()


@dataclass(frozen=True, slots=True)
class Base:
    """An upstream's address, and the paths below it.

    >>> Base.parse("https://host/v1").target("/models?x=1")
    '/v1/models?x=1'
    >>> Base.parse("https://host/proxy/v1").target("/openai/deployments/d/embeddings")
    '/proxy/openai/deployments/d/embeddings'
    """

    url: httpx.URL
    path: str
    beside: str
    """Where Azure's `/openai/...` paths begin, and what a server has next to its `/v1`."""

    @classmethod
    def parse(cls, base_url: str) -> Base:
        """Raises `errors.SettingsError`."""
        try:
            url = httpx.URL(base_url)
        except httpx.InvalidURL as error:
            raise SettingsError(f"upstreams.base_url is not a URL: {error}") from error
        if url.scheme not in ("http", "https") or not url.host:
            raise SettingsError("upstreams.base_url must begin with http:// or https:// and name a host")
        if url.userinfo or url.query or url.fragment:
            raise SettingsError("upstreams.base_url takes no credential, query or fragment; a key belongs in api_key")
        path = url.raw_path.decode("ascii").rstrip("/")
        return cls(url, path, re.sub(r"(/openai/v1|/openai|/v1)$", "", path))

    @property
    def origin(self) -> str:
        """`host:port`."""
        host = f"[{self.url.host}]" if ":" in self.url.host else self.url.host
        return f"{host}:{self.url.port or (443 if self.url.scheme == 'https' else 80)}"

    def pointing_here(self, headers: Pairs) -> Pairs:
        """A redirect within this upstream leads back through us: its address is nobody's business, and a caller who
        went there would go past us."""
        return tuple((name, self._here(value) if name == b"location" else value) for name, value in headers)

    def _here(self, location: bytes) -> bytes:
        there = urlsplit(location.decode("latin-1"))
        if there.netloc.lower() != self.url.netloc.decode("ascii"):
            return location
        inside = there.path.startswith(self.path + "/")
        path = "/v1" + there.path.removeprefix(self.path) if inside else there.path
        return urlunsplit(("", "", path, there.query, there.fragment)).encode("latin-1")

    def target(self, target: str, *, beside: bool = False) -> str:
        """The request target for a path below this address, or `beside` it, unchanged. Raises `errors.NotFound` if it
        leads out."""
        path = target.partition("?")[0]
        if not _VISIBLE.fullmatch(target) or (("." in path or "%" in path) and _leads_out(path)):
            raise NotFound("the path cannot be sent upstream as it is: it holds dot segments or forbidden characters")
        return (self.beside if beside or target.startswith("/openai/") else self.path) + target


_VISIBLE = re.compile(r"/[!-\"$-\[\]-~]*")
"""ASCII that can be seen, but `#`, which ends a target, and the backslash, which some servers take for a slash."""


def _leads_out(path: str) -> bool:
    """Some server may read a segment of it as `.` or `..`: decoded, behind a backslash, or with a parameter."""
    segments = re.split(rb"[/\\]", unquote_to_bytes(path))
    return any(segment.partition(b";")[0] in (b".", b"..") for segment in segments)


def _never_arrived(error: BaseException, request: httpx.Request) -> bool:
    """No connection was made, or the server had closed the idle one that was used (RFC 9112 section 9.3.1)."""
    if isinstance(error, aiohttp.ClientConnectorError):
        # A certificate will not be better at the second look.
        return not isinstance(error, (aiohttp.ClientSSLError, aiohttp.ClientConnectorCertificateError))
    # A server that closes a connection while it is being written to may have read what came.
    if not request.extensions.get("repeatable", True):
        return False
    if request.extensions["attempt"].connected or request.method in _RETRIED_BY_AIOHTTP:
        return False
    if isinstance(error, aiohttp.ServerDisconnectedError):
        # The message is otherwise the part of the header section that came.
        return isinstance(error.message, str)
    return isinstance(error, aiohttp.ClientOSError)


_RETRIED_BY_AIOHTTP = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
"""Idempotent (RFC 9110 section 9.2.2): aiohttp repeats them itself, once."""


def _credential(path: str, api_key: bytes) -> tuple[bytes, bytes]:
    """Azure wants keys in a field of its own; `Authorization` is for its directory's tokens."""
    return (b"api-key", api_key) if path.startswith("/openai/") else (b"authorization", b"Bearer " + api_key)


def _trust(ca_file: Path | None) -> ssl.SSLContext:
    """Whose certificates are believed. Reads files."""
    if ca_file is None:
        context = ssl.create_default_context()  # the system's, where an organisation's own authority is too
        context.load_verify_locations(certifi.where())  # for systems that have none
        return context
    try:
        return ssl.create_default_context(cafile=str(ca_file))
    except OSError as error:
        raise SettingsError(f"upstreams.ca_file {ca_file} cannot be read as certificates: {error.strerror}") from error


def _body(response: httpx.Response) -> Body:
    return cast(Body, response.stream)


def _has(headers: Pairs, name: bytes) -> bool:
    return any(pair[0] == name for pair in headers)


def _without_coding(headers: Pairs) -> Pairs:
    return tuple(pair for pair in headers if pair[0] != b"content-encoding")
