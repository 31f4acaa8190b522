"""An upstream that costs next to nothing: OpenAI-shaped answers from a bare asyncio.Protocol, and a count of calls.

`POST .../chat/completions` answers plainly or as server-sent events, as the body's `stream` says. `GET /calls` tells
how many answers were asked for, as `{"calls": 3}`; that is what rows check their hits against. All bytes of an answer
are made once, at start: what is measured is the proxy in front.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
from dataclasses import dataclass
from typing import cast

import httptools
import uvloop

MODEL = "gpt-4o-mini"
WORDS = (
    "Light from the sun is scattered by the molecules of the air, and short waves far more than long ones: the "
    "strength goes with the fourth power of the frequency. At noon the path through the atmosphere is short, so "
    "blue light reaches the eye from every direction while the rest comes straight down, and the disc itself looks "
    "nearly white. In the evening the rays have crossed perhaps forty times as much air. By then most of the blue "
    "has been thrown out sideways, over somebody else's afternoon, and what is left is orange and red. Dust, smoke "
    "and droplets scatter all colours alike; they dim the light, whiten the horizon and give clouds an edge to glow "
    "on. Violet is scattered even more than blue, but the sun sends less of it, some is absorbed high up, and our "
    "eyes are not very sensitive to it, so nobody calls the sky violet. "
)
"""Prose, so that it compresses like prose."""
STREAM_ASKED = re.compile(rb'"stream"\s*:\s*true')
USAGE_ASKED = re.compile(rb'"include_usage"\s*:\s*true')


@dataclass(frozen=True, slots=True)
class Answers:
    """The three answers, ready to send. A stream is kept as its frames, so that they can be spaced out."""

    plain: bytes
    frames: tuple[bytes, ...]
    frames_with_usage: tuple[bytes, ...]


def answers(characters: int, frame_characters: int) -> Answers:
    """Answers whose text has this many characters, streamed in deltas of `frame_characters`."""
    text = (WORDS * (characters // len(WORDS) + 1))[:characters]
    return Answers(
        plain=plain(text),
        frames=stream(text, frame_characters, with_usage=False),
        frames_with_usage=stream(text, frame_characters, with_usage=True),
    )


def plain(text: str) -> bytes:
    """A whole chat completion as an HTTP/1.1 response."""
    message: dict[str, object] = {"role": "assistant", "content": text, "refusal": None, "annotations": []}
    body = encode(
        {
            "id": "chatcmpl-bench",
            "object": "chat.completion",
            "created": 1_700_000_000,
            "model": MODEL,
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
            "usage": usage(text),
            "system_fingerprint": "fp_bench",
        }
    )
    return (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_bench\r\n"
        b"content-length: %d\r\n\r\n%s" % (len(body), body)
    )


def stream(text: str, frame_characters: int, *, with_usage: bool) -> tuple[bytes, ...]:
    """The same as server-sent events in chunked coding: the head with the first frame, then a chunk for each frame."""
    pieces = [text[at : at + frame_characters] for at in range(0, len(text), frame_characters)]
    frames = [frame({"role": "assistant", "content": ""}, with_usage=with_usage)]
    frames += [frame({"content": piece}, with_usage=with_usage) for piece in pieces]
    frames.append(frame({}, finish="stop", with_usage=with_usage))
    if with_usage:
        frames.append(event({**head_of_frame(), "choices": [], "usage": usage(text)}))
    frames.append(b"data: [DONE]\n\n")
    head = (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\nx-request-id: req_bench\r\n"
        b"transfer-encoding: chunked\r\n\r\n"
    )
    chunks = [chunk(one) for one in frames]
    return (head + chunks[0], *chunks[1:-1], chunks[-1] + b"0\r\n\r\n")


def frame(delta: dict[str, str], *, with_usage: bool, finish: str | None = None) -> bytes:
    """One chunk of a chat stream."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    members = {**head_of_frame(), "choices": [choice]}
    return event({**members, "usage": None} if with_usage else members)


def head_of_frame() -> dict[str, object]:
    return {
        "id": "chatcmpl-bench",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": MODEL,
        "system_fingerprint": "fp_bench",
    }


def usage(text: str) -> dict[str, int]:
    """Tokens, counted as four characters each."""
    return {"prompt_tokens": 20, "completion_tokens": len(text) // 4, "total_tokens": 20 + len(text) // 4}


def event(members: dict[str, object]) -> bytes:
    return b"data: %s\n\n" % encode(members)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def encode(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


@dataclass(slots=True)
class Tally:
    """How many answers were asked for since the start."""

    calls: int = 0


class Connection(asyncio.Protocol):
    """One client connection. Requests are answered in order; none is pipelined."""

    def __init__(self, known: Answers, tally: Tally, delay_s: float, gap_s: float) -> None:
        self.known = known
        self.tally = tally
        self.delay_s = delay_s
        self.gap_s = gap_s
        self.parser = httptools.HttpRequestParser(self)
        self.body = b""
        self.path = b""
        self.work: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.work is not None:
            self.work.cancel()

    def on_message_begin(self) -> None:
        self.body = b""
        self.path = b""

    def on_url(self, url: bytes) -> None:
        self.path += url

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        if not self.path.partition(b"?")[0].endswith(b"/chat/completions"):
            self.transport.write(self.side_answer())
            return
        self.tally.calls += 1
        pieces = self.answer()
        if self.delay_s == self.gap_s == 0:
            self.transport.write(b"".join(pieces))
            return
        self.work = asyncio.get_running_loop().create_task(self.send_slowly(pieces))

    def answer(self) -> tuple[bytes, ...]:
        if not STREAM_ASKED.search(self.body):
            return (self.known.plain,)
        return self.known.frames_with_usage if USAGE_ASKED.search(self.body) else self.known.frames

    def side_answer(self) -> bytes:
        """`/calls` for the rows, `/v1/models` for proxies that look around before they serve."""
        models = {"object": "list", "data": [{"id": MODEL, "object": "model", "created": 0, "owned_by": "bench"}]}
        body = encode(models if self.path.endswith(b"/models") else {"calls": self.tally.calls})
        return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)

    async def send_slowly(self, pieces: tuple[bytes, ...]) -> None:
        await asyncio.sleep(self.delay_s)
        for piece in pieces:
            self.transport.write(piece)
            await asyncio.sleep(self.gap_s)


async def serve(options: argparse.Namespace) -> None:
    known = answers(options.characters, options.frame_characters)
    tally = Tally()
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(known, tally, options.delay_ms / 1000, options.gap_ms / 1000),
        "127.0.0.1",
        options.port,
        backlog=4096,
    )
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--characters", type=int, default=800, help="length of the answer's text")
    parser.add_argument("--frame-characters", type=int, default=8, help="length of a stream's delta")
    parser.add_argument("--delay-ms", type=float, default=0, help="before the first byte")
    parser.add_argument("--gap-ms", type=float, default=0, help="between two frames of a stream")
    uvloop.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
