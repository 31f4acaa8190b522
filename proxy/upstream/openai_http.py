"""An OpenAI-compatible server over HTTP/1.1.

httpx's request, response and transport types on aiohttp's connections. `httpx.AsyncClient` itself is left out: its
redirects, cookies, authentication, hooks and environment are what a proxy must not do, and it costs more than the rest
of the relay together.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from urllib.parse import unquote_to_bytes

import aiohttp
import certifi
import httpx

from proxy.errors import BadRequest, NotFound, SettingsError, UpstreamProtocolError
from proxy.streaming.codings import CodingError, Decoder
from proxy.types import Call, Pairs
from proxy.upstream.faults import FAILURES, Faults
from proxy.upstream.headers import CREDENTIALS, to_client
from proxy.upstream.transport import Attempt, Body, ProxyTransport, TimeLimits, Upload


class OpenAIHttp:
    """An `Upstream`.

    `base_url` ends where OpenAI's paths begin (`https://api.openai.com/v1`); `api_key` None: the caller's own
    credential goes on. Time limits in seconds, 0 for none: `transport.TimeLimits` says what each covers.
    `max_decoded_bytes` and `max_decompression_ratio` bound an answer that comes compressed although nobody asked.
    `ca_file` replaces the authorities that are trusted (by default the system's and certifi's).
    Nothing is bounded twice: an answer that needs no decoding may be endless, which is the flight's business.
    """

    def __init__(
        self,
        name: str,
        base_url: str,
        *,
        api_key: str | None,
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
        self._api_key = None if api_key is None else api_key.encode()
        self._limits = TimeLimits(connect_timeout_s, first_byte_timeout_s, idle_timeout_s, total_timeout_s)
        self._faults = Faults(name, self._base.url.host, self._base.port, self._limits)
        self._max_connections = max_connections
        self._keepalive_expiry_s = keepalive_expiry_s
        self._max_decoded_bytes = max_decoded_bytes
        self._max_ratio = max_decompression_ratio
        self._ca_file = ca_file
        self._transport: ProxyTransport | None = None

    @property
    def name(self) -> str:
        return self._name

    async def open(self) -> None:
        """Raises `errors.SettingsError` when `ca_file` cannot be used."""
        secure = self._base.url.scheme == "https"
        tls = await asyncio.to_thread(_trust, self._ca_file) if secure else None
        self._transport = ProxyTransport(
            limits=self._limits,
            tls=tls,
            max_connections=self._max_connections,
            keepalive_expiry_s=self._keepalive_expiry_s,
        )

    async def close(self) -> None:
        if self._transport is not None:
            await self._transport.aclose()

    async def send(self, call: Call) -> HttpReply:
        """Raises `errors.UpstreamError` kinds, `errors.NotFound` for a target outside the base address, and whatever
        a streamed request body raises.
        """
        decoding = not _has(call.headers, b"accept-encoding")
        response = await self._exchange(self._request(call, decoding), replayable=isinstance(call.body, bytes))
        decoder = self._decoder(response) if decoding else None
        received = tuple((name.lower(), value) for name, value in response.headers.raw)
        headers = to_client(received, passthrough_credential=self._api_key is None)
        return HttpReply(response, headers, decoder, self._faults)

    def _request(self, call: Call, decoding: bool) -> httpx.Request:
        headers = list(call.headers)
        if self._api_key is not None:
            # Whatever the caller's header filter did: two credentials never go out together.
            headers = [pair for pair in headers if pair[0] not in CREDENTIALS]
            headers.append(_credential(call.target, self._api_key))
        if decoding:
            # Compressing a stream delays its words, and what we fold we would have to undo.
            headers.append((b"accept-encoding", b"identity"))
        target = self._base.target(call.target).encode("ascii")
        extensions = {"target": target, "attempt": Attempt()}
        # Given a stream and not content, httpx adds no fields of its own.
        stream = httpx.ByteStream(call.body) if isinstance(call.body, bytes) else Upload(call.body)
        return httpx.Request(call.method, self._base.url, headers=headers, stream=stream, extensions=extensions)

    async def _exchange(self, request: httpx.Request, *, replayable: bool) -> httpx.Response:
        """The header section, at the second try if the first cannot have reached the upstream."""
        if self._transport is None:
            raise RuntimeError("open() comes first")
        try:
            try:
                return await self._transport.handle_async_request(request)
            except FAILURES as error:
                if not (replayable and _never_arrived(error, request)):
                    raise
                return await self._transport.handle_async_request(request)
        except FAILURES as error:
            raise self._faults.translate(error) from error
        except UnicodeDecodeError as error:
            raise BadRequest("a header field is not UTF-8 and cannot be sent on", code="invalid_header") from error

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
        self._body = _body(response)
        self._decoder = decoder
        self._faults = faults

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._body:
                data = piece if self._decoder is None else self._decoder.decode(piece)
                if data:
                    yield data
            if self._decoder is not None:
                self._decoder.flush()
        except FAILURES as error:
            raise self._faults.translate(error, body_begun=self._body.begun) from error
        except CodingError as error:
            raise UpstreamProtocolError(
                f"upstream {self._faults.upstream}: its answer does not decode: {error}"
            ) from error
        finally:
            # Read to the end, the connection is in the pool already; else nobody can make sense of what is left on it.
            self._body.close()

    async def aclose(self) -> None:
        self._body.close()


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
    azure_path: str
    """Where Azure's `/openai/...` paths begin."""

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
    def port(self) -> int:
        return self.url.port or (443 if self.url.scheme == "https" else 80)

    def target(self, target: str) -> str:
        """The request target for a path below this address, unchanged. Raises `errors.NotFound` if it leads out."""
        path = target.partition("?")[0]
        if not _VISIBLE.fullmatch(target) or (("." in path or "%" in path) and _leads_out(path)):
            raise NotFound("the path cannot be sent upstream as it is: it holds dot segments or forbidden characters")
        return (self.azure_path if target.startswith("/openai/") else self.path) + target


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
    if request.extensions["attempt"].connected or request.method in _RETRIED_BY_AIOHTTP:
        return False
    if isinstance(error, aiohttp.ServerDisconnectedError):
        # The message is otherwise the part of the header section that came.
        return isinstance(error.message, str)
    return isinstance(error, aiohttp.ClientOSError)


_RETRIED_BY_AIOHTTP = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
"""Idempotent (RFC 9110 section 9.2.2): aiohttp repeats them itself, once."""


def _credential(target: str, api_key: bytes) -> tuple[bytes, bytes]:
    """Azure wants keys in a field of its own; `Authorization` is for its directory's tokens."""
    return (b"api-key", api_key) if target.startswith("/openai/") else (b"authorization", b"Bearer " + api_key)


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
