"""A server of its own process, to be stopped, frozen and killed: `python server_process.py PORT DELAY_S`.

It answers every POST after `DELAY_S`: plainly with `plain(PORT)` in one piece, or, where the body has `"stream": true`,
as the events of `streamed(PORT)` in pieces of their own: a chat whose only word is the port. Every GET is answered at
once.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys

BETWEEN_FRAMES_S = 0.002


def plain(port: int) -> bytes:
    """A whole answer."""
    message = {"role": "assistant", "content": str(port)}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    whole = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    return json.dumps(whole).encode()


def streamed(port: int) -> list[bytes]:
    """The same in events."""
    deltas = [{"role": "assistant", "content": ""}, *({"content": digit} for digit in str(port)), {}]
    chunks = [
        {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None if delta else "stop"} for delta in deltas
    ]
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    events = [b"data: %b\n\n" % json.dumps(head | {"choices": [chunk]}).encode() for chunk in chunks]
    return [*events, b"data: [DONE]\n\n"]


async def serve(port: int, delay_s: float) -> None:
    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await answer(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            writer.close()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = next((line[15:] for line in head.split(b"\r\n") if line.startswith(b"content-length:")), b"0")
        body = await reader.readexactly(int(length))
        if head.startswith(b"get "):
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
            return
        await asyncio.sleep(delay_s)
        told = plain(port)
        if not json.loads(body)["stream"]:
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(told)
            writer.write(head + told)
            return
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for event in streamed(port):
            writer.write(b"%x\r\n%b\r\n" % (len(event), event))
            await asyncio.sleep(BETWEEN_FRAMES_S)
        writer.write(b"0\r\n\r\n")

    server = await asyncio.start_server(answers, "127.0.0.1", port)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    async with server:
        await ended.wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2])))
