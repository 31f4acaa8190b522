"""The relay one would write first: ASGI in, `httpx.AsyncClient` with its own transport out, nothing kept."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import uvicorn

Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]
NOT_PASSED_ON = (b"host", b"content-length", b"connection", b"transfer-encoding")


class Relay:
    """Passes a request to the same path of `base` and the answer back, as it comes."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.client = httpx.AsyncClient()

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        fields = [field for field in scope["headers"] if field[0] not in NOT_PASSED_ON]
        body = await read(receive)
        request = self.client.build_request(scope["method"], self.base + scope["path"], headers=fields, content=body)
        response = await self.client.send(request, stream=True)
        kept = [(name.lower(), value) for name, value in response.headers.raw if name.lower() != b"transfer-encoding"]
        await send({"type": "http.response.start", "status": response.status_code, "headers": kept})
        async for piece in response.aiter_raw():
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def read(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += bytes(message.get("body", b""))
        if not message.get("more_body"):
            return body


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--base", required=True, help="the upstream's address without /v1")
    options = parser.parse_args()
    uvicorn.run(
        Relay(options.base),
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
