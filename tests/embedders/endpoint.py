"""A real server that speaks `/v1/embeddings`, and misbehaves when told to."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import deque

import numpy as np

DIMENSIONS = 24


def vector_of(text: str) -> list[float]:
    """Always the same for a text, and not of length 1."""
    dice = np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big"))
    return [round(float(number), 6) for number in dice.normal(0, 3, DIMENSIONS)]


class Endpoint:
    """`async with Endpoint() as endpoint:` listens at `endpoint.url`.

    faults: how the next requests are answered, first first: `500`, `not json`, `short` (too few numbers), `few` (too
    few vectors), `cut`, `silent`; then well again.
    """

    def __init__(self) -> None:
        self.requests: list[dict[str, object]] = []
        self.headers: list[str] = []
        self.faults: deque[str] = deque()
        self.asked = asyncio.Event()
        self.go = asyncio.Event()
        self.go.set()
        """Cleared: requests are read and not answered."""

    async def __aenter__(self) -> Endpoint:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.go.set()
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._answer(reader, writer):
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(int(line[15:]) for line in head.lower().splitlines() if line.startswith("content-length:"))
        request = json.loads(await reader.readexactly(length))
        self.headers.append(head)
        self.requests.append(request)
        self.asked.set()
        await self.go.wait()
        fault = self.faults.popleft() if self.faults else ""
        if fault == "silent":
            await reader.read()
            return False
        # Out of order on purpose: `index` says whose each is.
        data = [{"index": i, "embedding": vector_of(text)} for i, text in enumerate(request["input"])][::-1]
        if fault == "short":
            data[0]["embedding"] = data[0]["embedding"][:-1]
        if fault == "few":
            data.pop()
        body = b"<html>" if fault == "not json" else json.dumps({"data": data}).encode()
        status = "500 Oh" if fault == "500" else "200 OK"
        writer.write(f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n\r\n".encode())
        writer.write(body[: len(body) // 2] if fault == "cut" else body)
        return fault != "cut"
