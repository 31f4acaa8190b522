"""AskOnce running on a real socket inside a test, and the small tools to talk to it."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import http_sf
import httpx
import openai
import uvicorn
from prometheus_client.parser import text_string_to_metric_families

from proxy import app

ALICE = "sk-alice"
BOB = "sk-bob"
QUESTION = [{"role": "user", "content": "What is a cache?"}]


def question(**members: Any) -> dict[str, Any]:
    """A chat request's members; None leaves one out."""
    whole = {"model": "gpt-test", "messages": QUESTION} | members
    return {name: value for name, value in whole.items() if value is not None}


@dataclass
class Reading:
    """A streamed answer while it is read."""

    response: httpx.Response
    pieces: AsyncIterator[bytes]
    seen: bytes = b""

    async def until(self, marker: bytes) -> bytes:
        """Read on until this was seen; gives all there was so far."""
        while marker not in self.seen:
            self.seen += await anext(self.pieces)
        return self.seen

    async def rest(self) -> bytes:
        """Read to the end; gives the whole body."""
        async for piece in self.pieces:
            self.seen += piece
        return self.seen


@dataclass
class Running:
    """A running proxy. `chat` asks plainly or as a stream and reads the whole answer."""

    url: str
    application: app.Application
    settings: Any
    http: httpx.AsyncClient
    server: uvicorn.Server

    async def chat(
        self, headers: dict[str, str] | None = None, *, key: str | None = ALICE, **members: Any
    ) -> httpx.Response:
        content = json.dumps(question(**members))
        return await self.post("/v1/chat/completions", content, headers, key=key)

    async def post(
        self, path: str, content: str | bytes, headers: dict[str, str] | None = None, *, key: str | None = ALICE
    ) -> httpx.Response:
        return await self.http.post(path, content=content, headers=credential(key) | (headers or {}))

    @asynccontextmanager
    async def reading(
        self, headers: dict[str, str] | None = None, *, key: str = ALICE, **members: Any
    ) -> AsyncIterator[Reading]:
        """A streamed chat, read piece by piece. Leaving early closes the connection."""
        content = json.dumps(question(stream=True, **members))
        request = self.http.stream(
            "POST", "/v1/chat/completions", content=content, headers=credential(key) | (headers or {})
        )
        async with request as response:
            yield Reading(response, response.aiter_raw())

    def sdk(self, key: str = ALICE, **options: Any) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key=key, **{"max_retries": 0} | options)

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that carry these labels; 0 where there are none."""
        text = (await self.http.get("/metrics")).text
        samples = (s for family in text_string_to_metric_families(text) for s in family.samples if s.name == name)
        return sum(s.value for s in samples if labels.items() <= s.labels.items())

    async def landed(self) -> None:
        """Until no flight is in the air: what was to be stored is stored."""
        while await self.metric("askonce_flights"):
            pass

    async def raw(self, request: bytes) -> bytes:
        """Bytes in, bytes out, until the server closes: for what a client library would not send."""
        host, _, port = self.url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            writer.write(request)
            return await reader.read()
        finally:
            writer.close()
            await writer.wait_closed()


Start = Callable[..., AbstractAsyncContextManager[Running]]
"""The `askonce` fixture."""


def request_bytes(members: dict[str, Any], *fields: str, path: str = "/v1/chat/completions") -> bytes:
    """A POST as it stands on the wire, with more header fields of one's own."""
    body = json.dumps(members).encode()
    own = ["host: askonce", f"authorization: Bearer {ALICE}", f"content-length: {len(body)}", *fields]
    return "\r\n".join([f"POST {path} HTTP/1.1", *own, "", ""]).encode() + body


@dataclass
class Clock:
    """Unix seconds that pass when the test says so."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += seconds


def credential(key: str | None) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"} if key else {}


@asynccontextmanager
async def running(settings: Any, **parts: Any) -> AsyncIterator[Running]:
    """Serve these settings in this loop on a free port; `parts` go to `app.build` (a clock, say)."""
    application = app.build(settings, **parts)
    server = app.server(application, settings)
    # Said to be TCP, or asyncio would not turn Nagle's algorithm off, and every answer of two writes took 40 ms.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    listening.listen(2048)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    # `serve` without its main loop, which looks only ten times a second whether it should end.
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup(sockets=[listening])
    await server.on_tick(0)
    try:
        async with client(url) as http:
            yield Running(url, application, settings, http, server)
    finally:
        await _stop(server, listening)


async def _stop(server: uvicorn.Server, listening: socket.socket) -> None:
    """uvicorn's own `shutdown` begins with a rest of a tenth of a second: only for what is still busy."""
    state = server.server_state
    for _ in range(50):
        if not state.connections and not state.tasks:
            break
        await asyncio.sleep(0.001)
    else:
        await server.shutdown(sockets=[listening])
        return
    for serving in server.servers:
        serving.close()
        await serving.wait_closed()
    listening.close()
    await server.lifespan.shutdown()


def client(url: str) -> httpx.AsyncClient:
    """Follows nothing, decodes nothing, waits as long as the test may run."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    headers = {"accept-encoding": "identity"}
    # There is no TLS here, and loading certificates would take longer than the test.
    return httpx.AsyncClient(base_url=url, limits=limits, timeout=None, headers=headers, verify=False)


# --- reading what came back


def cache_status(response: httpx.Response) -> dict[str, Any]:
    """The parameters of our member of `Cache-Status`, parsed by RFC 9651; tokens as plain strings."""
    members = http_sf.parse(response.headers["cache-status"].encode(), tltype="list")
    name, parameters = members[-1]
    assert isinstance(name, http_sf.Token)
    assert str(name) == "askonce"
    return {key: str(value) if isinstance(value, http_sf.Token) else value for key, value in parameters.items()}


def said(response: httpx.Response) -> str:
    """The words of an answer, from either form."""
    if response.headers["content-type"].startswith("text/event-stream"):
        choices = [choice for frame in frames(response.content) for choice in frame["choices"]]
        return "".join(choice["delta"].get("content") or "" for choice in choices)
    return response.json()["choices"][0]["message"]["content"]


def frames(body: bytes) -> list[dict[str, Any]]:
    """The JSON of each event but the end marker."""
    lines = [line.removeprefix(b"data: ") for line in body.split(b"\n") if line.startswith(b"data: ")]
    return [json.loads(line) for line in lines if line != b"[DONE]"]


def body_of(message: bytes) -> bytes:
    """What follows the header section."""
    return message.partition(b"\r\n\r\n")[2]


def dechunked(chunks: bytes) -> bytes:
    """The body in a series of chunks (RFC 9112 section 7.1)."""
    pieces = []
    size, _, rest = chunks.partition(b"\r\n")
    while length := int(size, 16):
        pieces.append(rest[:length])
        size, _, rest = rest[length + 2 :].partition(b"\r\n")
    return b"".join(pieces)


def error(response: httpx.Response) -> dict[str, Any]:
    """The error object, checked to have OpenAI's shape."""
    found = response.json()["error"]
    assert set(found) == {"message", "type", "param", "code"}
    return found
