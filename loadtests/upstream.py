"""An upstream that costs next to nothing: OpenAI-shaped answers from a bare asyncio.Protocol, and a count of calls.

`POST .../chat/completions` answers plainly or as server-sent events, as the body's `stream` says. `GET /calls` tells
how many answers were asked for, as `{"calls": 3}`; that is what rows check their hits against. All bytes of an answer
are made once, at start: what is measured is the proxy in front.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import random
import re
import time
from dataclasses import dataclass
from typing import Protocol, cast

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
MORE_WORDS = (
    "A kettle on the stove is quiet for minutes, then sings, and falls silent again just before it boils. "
    "The ferry leaves the northern quay at seven, at nine and whenever the harbour master has finished her coffee. "
    "Most of what we call a recipe is a list of quantities, yet the order of the steps decides how it tastes. "
    "In 1854 a physician marked the houses of the sick on a street map and found a pump in their middle. "
    "Bread rises because yeast breathes out, and it stays risen because gluten will not let go of the gas. "
    "Old maps leave the far coast blank; newer ones fill it with whales, which is more honest than it looks. "
    "When two clocks disagree, a careful person buys a third, and a wise one asks what the time is needed for. "
    "Granite cools slowly under a mountain, so its crystals have the leisure to grow to the size of a fingernail. "
    "The violin's varnish has been analysed five times, with five results and no better violins. "
    "Copper roofs turn green within a decade near the sea and may take half a century further inland. "
    "Her grandfather kept bees behind the railway station and sold the honey to passengers on the slow train. "
    "A queue moves faster for everyone if the person at its head already knows what to ask for. "
    "Winter wheat is sown before the frost, sleeps under the snow and is knee-high when the spring crops sprout. "
    "Translators argue about commas more than about nouns, because a dictionary will not settle a pause. "
    "Sound travels four times as fast in water as in air, which is why a diver cannot tell where a boat is. "
    "The committee met on Tuesdays, agreed on little and published a report of admirable brevity. "
    "Salt lowers the freezing point of water, draws moisture out of meat and makes caramel taste of more than sugar. "
    "Nobody remembers who planted the avenue of limes, but every mayor since has been photographed under them. "
    "If the bearing runs hot, check the oil first, the alignment second and the opinion of the night shift third. "
    "Glaciers carry boulders for thousands of years and put them down in fields where farmers swear at them. "
    "Children learn to count with fingers, then with coins, and finally with the days that are left until summer. "
    "A lighthouse is painted in stripes for daytime use; the lamp is for when stripes are of no help. "
)
"""Sentences for answers that differ from one another."""
UNSTAMPED = b"<%018d>" % 0
"""In a stream whose frames say when they were written: where the time will be."""
STREAM_ASKED = re.compile(rb'"stream"\s*:\s*true')
USAGE_ASKED = re.compile(rb'"include_usage"\s*:\s*true')


class Known(Protocol):
    """What is answered."""

    def to(self, body: bytes) -> tuple[bytes, ...]:
        """The pieces of the response to a request with this body."""


@dataclass(frozen=True, slots=True)
class Answers:
    """The three answers, ready to send. A stream is kept as its frames, so that they can be spaced out."""

    plain: bytes
    frames: tuple[bytes, ...]
    frames_with_usage: tuple[bytes, ...]

    def to(self, body: bytes) -> tuple[bytes, ...]:
        if not STREAM_ASKED.search(body):
            return (self.plain,)
        return self.frames_with_usage if USAGE_ASKED.search(body) else self.frames


@dataclass(frozen=True, slots=True)
class VariedAnswers:
    """Every question has an answer of its own, of the same length: sentences in an order that follows from it. Plain
    only, with all members that OpenAI sends and ids as long as OpenAI's. Made when asked for: for sizes, not speeds."""

    characters: int

    def to(self, body: bytes) -> tuple[bytes, ...]:
        digest = hashlib.sha256(body).hexdigest()
        sentences = re.findall(r".+?[.] ", WORDS + MORE_WORDS)
        random.Random(digest).shuffle(sentences)
        text = "".join(sentences)
        if len(text) < self.characters:
            raise ValueError(f"there are {len(text)} characters of prose, and {self.characters} are wanted")
        return (plain_as_openai(text[: self.characters], digest),)


def answers(characters: int, frame_characters: int, mark: str = "") -> Answers:
    """Answers whose text has this many characters, streamed in deltas of `frame_characters`, each behind `mark`."""
    text = (WORDS * (characters // len(WORDS) + 1))[:characters]
    return Answers(
        plain=plain(text),
        frames=stream(text, frame_characters, with_usage=False, mark=mark),
        frames_with_usage=stream(text, frame_characters, with_usage=True, mark=mark),
    )


def plain(text: str) -> bytes:
    """A whole chat completion as an HTTP/1.1 response."""
    members = {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": MODEL,
        "choices": whole(text),
        "usage": usage(text),
        "system_fingerprint": "fp_bench",
    }
    return response(members, "req_bench")


def plain_as_openai(text: str, digest: str) -> bytes:
    """The same with what else is in OpenAI's answers, and with its ids' lengths."""
    asked = {"cached_tokens": 0, "audio_tokens": 0}
    answered = dict.fromkeys(
        ("reasoning_tokens", "audio_tokens", "accepted_prediction_tokens", "rejected_prediction_tokens"), 0
    )
    members = {
        "id": f"chatcmpl-{digest[:29]}",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": f"{MODEL}-2024-07-18",
        "choices": whole(text),
        "usage": {**usage(text), "prompt_tokens_details": asked, "completion_tokens_details": answered},
        "service_tier": "default",
        "system_fingerprint": f"fp_{digest[:10]}",
    }
    return response(members, f"req_{digest[:32]}")


def whole(text: str) -> list[dict[str, object]]:
    """The one choice of a whole answer."""
    message: dict[str, object] = {"role": "assistant", "content": text, "refusal": None, "annotations": []}
    return [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}]


def response(members: dict[str, object], request_id: str) -> bytes:
    """A JSON object as an HTTP/1.1 response."""
    body = encode(members)
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: %s\r\ncontent-length: %d\r\n\r\n%s" % (
        request_id.encode(),
        len(body),
        body,
    )


def stream(text: str, frame_characters: int, *, with_usage: bool, mark: str = "") -> tuple[bytes, ...]:
    """The same as server-sent events in chunked coding: the head with the first frame, then a chunk for each frame."""
    pieces = [text[at : at + frame_characters] for at in range(0, len(text), frame_characters)]
    frames = [frame({"role": "assistant", "content": ""}, with_usage=with_usage)]
    frames += [frame({"content": mark + piece}, with_usage=with_usage) for piece in pieces]
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

    def __init__(self, known: Known, tally: Tally, delay_s: float, gap_s: float, *, stamped: bool = False) -> None:
        self.known = known
        self.tally = tally
        self.delay_s = delay_s
        self.gap_s = gap_s
        self.stamped = stamped
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
        pieces = self.known.to(self.body)
        if self.delay_s == self.gap_s == 0:
            self.transport.write(b"".join(pieces))
            return
        self.work = asyncio.get_running_loop().create_task(self.send_slowly(pieces))

    def side_answer(self) -> bytes:
        """`/calls` for the rows, `/v1/models` for proxies that look around before they serve."""
        models = {"object": "list", "data": [{"id": MODEL, "object": "model", "created": 0, "owned_by": "bench"}]}
        body = encode(models if self.path.endswith(b"/models") else {"calls": self.tally.calls})
        return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)

    async def send_slowly(self, pieces: tuple[bytes, ...]) -> None:
        await asyncio.sleep(self.delay_s)
        for piece in pieces:
            self.transport.write(stamp(piece) if self.stamped else piece)
            await asyncio.sleep(self.gap_s)


def stamp(piece: bytes) -> bytes:
    """A frame with the time in the place that was left for it: nanoseconds of the clock all processes share."""
    return piece.replace(UNSTAMPED, b"<%018d>" % time.monotonic_ns(), 1)


async def serve(options: argparse.Namespace) -> None:
    known: Known = VariedAnswers(options.characters)
    if not options.varied:
        mark = UNSTAMPED.decode() if options.stamped else ""
        known = answers(options.characters, options.frame_characters, mark)
    tally = Tally()
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(known, tally, options.delay_ms / 1000, options.gap_ms / 1000, stamped=options.stamped),
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
    parser.add_argument("--varied", action="store_true", help="another text for every question")
    parser.add_argument("--stamped", action="store_true", help="each delta of a paced stream begins with the time")
    parser.add_argument("--delay-ms", type=float, default=0, help="before the first byte")
    parser.add_argument("--gap-ms", type=float, default=0, help="between two frames of a stream")
    uvloop.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
