"""The relays one would write first: ASGI in, the upstream's bytes out as they come, nothing read of them, nothing kept.

Two ways of asking the upstream: `httpx.AsyncClient` with its own transport, or the connections that AskOnce has too,
aiohttp's, with nothing of httpx in between. The second is the yardstick for what is done with a stream beside passing
it on.
"""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import httpx
import uvicorn
from yarl import URL

Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Fields = list[tuple[bytes, bytes]]
NOT_PASSED_ON = (b"host", b"content-length", b"connection", b"transfer-encoding")


@dataclass(frozen=True, slots=True)
class Reply:
    """What the upstream answered, its body still coming."""

    status: int
    fields: Fields
    pieces: AsyncIterator[bytes]


Ask = Callable[[str, str, Fields, bytes], AbstractAsyncContextManager[Reply]]
"""Method, URL, fields and body of a request."""


class Relay:
    """Passes a request to the same path of `base` and the answer back, as it comes."""

    def __init__(self, base: str, ask: Ask) -> None:
        self.base = base
        self.ask = ask

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        fields = [field for field in scope["headers"] if field[0] not in NOT_PASSED_ON]
        body = await read(receive)
        async with self.ask(scope["method"], self.base + scope["path"], fields, body) as reply:
            kept = [(name.lower(), value) for name, value in reply.fields if name.lower() != b"transfer-encoding"]
            await send({"type": "http.response.start", "status": reply.status, "headers": kept})
            async for piece in reply.pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def read(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += bytes(message.get("body", b""))
        if not message.get("more_body"):
            return body


class OnHttpx:
    """`httpx.AsyncClient` as it comes."""

    def __init__(self) -> None:
        self.client = httpx.AsyncClient()

    @asynccontextmanager
    async def __call__(self, method: str, url: str, fields: Fields, body: bytes) -> AsyncIterator[Reply]:
        request = self.client.build_request(method, url, headers=fields, content=body)
        response = await self.client.send(request, stream=True)
        yield Reply(response.status_code, response.headers.raw, response.aiter_raw())


class OnAiohttp:
    """aiohttp's connections, with AskOnce's settings of them and as many as are wanted."""

    def __init__(self) -> None:
        self.session: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def __call__(self, method: str, url: str, fields: Fields, body: bytes) -> AsyncIterator[Reply]:
        if self.session is None:  # aiohttp wants a running loop for it
            self.session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
            )
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in fields]
        async with self.session.request(method, URL(url), headers=headers, data=body, allow_redirects=False) as reply:
            yield Reply(reply.status, list(reply.raw_headers), reply.content.iter_any())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--base", required=True, help="the upstream's address without /v1")
    parser.add_argument("--aiohttp", action="store_true", help="ask with aiohttp instead of httpx")
    options = parser.parse_args()
    uvicorn.run(
        Relay(options.base, OnAiohttp() if options.aiohttp else OnHttpx()),
        host="127.0.0.1",
        port=options.port,
        http="httptools",
        loop="uvloop",
        lifespan="off",
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
