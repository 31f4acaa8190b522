"""A provider of language models that can be made slow, uneven and unreliable, and says which question it answered.

`upstream.py` costs next to nothing, for rows that time the proxy; this one behaves like a provider, for the driver, the
soak, locust and k6. What becomes of a request (its pace, an error, a cut) follows from the seed, the question and how
often that question came before: the same traffic meets the same luck through every proxy, in whatever order it comes.

An answer's text begins with an echo, `[q=<question> k=<credential> n=<call>]`: the names of the question (its last user
message) and of the credential it was asked with, by `named`, and the number of the call that made the answer. From
these a driver sees whose answer it was served, and whether that answer was served before.

`GET /calls` says what was asked for: `{"calls", "answered", "failed", "throttled", "cut", "left", "open"}`, of which
`calls` are all that came, `left` the answers whose reader went away and `open` those under way.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import httptools
import upstream
import uvloop
from names import named

WORDS = upstream.WORDS.split()
CACHED_FROM = 1024
"""Prompt tokens from which a provider reports cached ones, as OpenAI does."""
CACHED_STEP = 128
"""And in what steps."""
BUCKET_S = 1.0
"""The span in which `--throttle` counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How it answers. Times are in milliseconds; a sigma is that of a lognormal whose median is the time before it,
    0 means always just that. Shares are between 0 and 1."""

    ttft_ms: float = 100
    ttft_sigma: float = 0
    itl_ms: float = 5
    itl_sigma: float = 0
    tokens: int = 60
    tokens_sigma: float = 0
    errors: dict[int, float] = field(default_factory=dict)
    """Share of requests answered with a status, by status."""
    throttle: float = 0
    """Requests a second over which the rest gets 429; 0 for no limit."""
    retry_after_s: int = 1
    cut: float = 0
    """Share of answers that break off somewhere, the connection with them."""
    slow_start_s: float = 0
    """How long after its start it is slower: at first `slow_start_factor` times, falling evenly to once."""
    slow_start_factor: float = 5
    cached: float = 0
    """Share of the prompt's tokens reported as cached where the same beginning came before."""
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of one request. `gaps_s` has one pause before each token, the first being the time to it."""

    status: int
    gaps_s: tuple[float, ...]
    cut_after: int | None


def fate(manner: Manner, question: str, time_asked: int) -> Fate:
    """Of the question's so-many-th asking. The same arguments give the same."""
    rng = random.Random(f"{manner.seed}/{question}/{time_asked}")
    status = drawn_status(manner.errors, rng.random())
    tokens = max(1, round(lognormal(rng, manner.tokens, manner.tokens_sigma)))
    cut_after = rng.randrange(tokens) if rng.random() < manner.cut else None
    first = lognormal(rng, manner.ttft_ms, manner.ttft_sigma) / 1000
    gaps = (lognormal(rng, manner.itl_ms, manner.itl_sigma) / 1000 for _ in range(tokens - 1))
    return Fate(status, (first, *gaps), cut_after)


def drawn_status(errors: dict[int, float], at: float) -> int:
    """The status whose share of the line from 0 to 1 covers `at`; 200 behind them all."""
    for status, share in errors.items():
        if at < share:
            return status
        at -= share
    return 200


def lognormal(rng: random.Random, median: float, sigma: float) -> float:
    """A draw; the generator is asked once whatever sigma is."""
    return median * math.exp(sigma * rng.gauss(0, 1))


class Books:
    """What the provider remembers: how often a question came, beginnings of prompts, and what is counted."""

    def __init__(self, manner: Manner, clock: Callable[[], float] = time.monotonic) -> None:
        self.manner = manner
        self.clock = clock
        self.started = clock()
        self.asked: Counter[str] = Counter()
        self.beginnings: set[str] = set()
        self.counts = dict.fromkeys(("calls", "answered", "failed", "throttled", "cut", "left", "open"), 0)
        self.bucket = (0, 0)

    def next_fate(self, question: str) -> Fate:
        self.counts["calls"] += 1
        self.asked[question] += 1
        if self.too_many():
            self.counts["throttled"] += 1
            return Fate(429, (), None)
        return fate(self.manner, question, self.asked[question])

    def too_many(self) -> bool:
        """Whether this second has had all the requests it may."""
        if not self.manner.throttle:
            return False
        second = int((self.clock() - self.started) / BUCKET_S)
        number = self.bucket[1] + 1 if self.bucket[0] == second else 1
        self.bucket = (second, number)
        return number > self.manner.throttle * BUCKET_S

    def slowness(self) -> float:
        """What every pause is multiplied by just now."""
        since, span = self.clock() - self.started, self.manner.slow_start_s
        return 1 + (self.manner.slow_start_factor - 1) * max(0.0, 1 - since / span) if span else 1.0

    def cached_tokens(self, beginning: str, prompt_tokens: int) -> int:
        """Of this prompt, by how it begins; whole steps, none of a short one."""
        known = named(beginning) in self.beginnings
        self.beginnings.add(named(beginning))
        if not known or prompt_tokens < CACHED_FROM:
            return 0
        return int(prompt_tokens * self.manner.cached) // CACHED_STEP * CACHED_STEP


@dataclass(frozen=True, slots=True)
class Asked:
    """What is read of a request."""

    question: str
    beginning: str
    model: str
    stream: bool
    usage: bool
    prompt_tokens: int


def read(body: bytes) -> Asked:
    """A chat request. Raises ValueError, KeyError or TypeError when it is none."""
    members = json.loads(body)
    texts = [text_of(message["content"]) for message in members["messages"]]
    users = [text for text, one in zip(texts, members["messages"], strict=True) if one["role"] == "user"]
    options = members.get("stream_options") or {}
    return Asked(
        question=users[-1],
        beginning=texts[0],
        model=str(members["model"]),
        stream=bool(members.get("stream")),
        usage=bool(options.get("include_usage")),
        prompt_tokens=sum(map(len, texts)) // 4,
    )


def text_of(content: Any) -> str:
    """Of a message: a string, or parts of which the texts count."""
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


class Connection(asyncio.Protocol):
    """One client connection. Requests are answered in order; none is pipelined."""

    def __init__(self, books: Books) -> None:
        self.books = books
        self.work: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.work is not None:
            self.work.cancel()

    def on_message_begin(self) -> None:
        self.body, self.path, self.credential = b"", b"", ""

    def on_url(self, url: bytes) -> None:
        self.path += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"authorization":
            self.credential = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        if not self.path.partition(b"?")[0].endswith(b"/chat/completions"):
            self.transport.write(self.side_answer())
            return
        try:
            asked = read(self.body)
        except (ValueError, KeyError, TypeError, IndexError) as why:
            self.transport.write(failure(400, f"this is no chat request: {why!r}"))
            return
        self.work = asyncio.get_running_loop().create_task(self.answer(asked))

    def side_answer(self) -> bytes:
        """`/v1/models` for proxies that look around before they serve; the counts for everything else."""
        models = {"object": "list", "data": [{"id": upstream.MODEL, "object": "model", "owned_by": "provider"}]}
        return whole(models if self.path.endswith(b"/models") else self.books.counts)

    async def answer(self, asked: Asked) -> None:
        counts = self.books.counts
        counts["open"] += 1
        try:
            await self.send(asked)
        except asyncio.CancelledError:
            counts["left"] += 1
            raise
        finally:
            counts["open"] -= 1

    async def send(self, asked: Asked) -> None:
        books = self.books
        lot = books.next_fate(asked.question)
        call = books.counts["calls"]
        slowness = books.slowness()
        if lot.status != 200:
            await asyncio.sleep(lot.gaps_s[0] * slowness if lot.gaps_s else 0)
            books.counts["failed"] += lot.status != 429
            self.transport.write(failure(lot.status, "as the settings of this provider want it", self.retry_after(lot)))
            return
        tokens = [
            f"[q={named(asked.question)} k={named(self.credential)} n={call}]",
            *(f" {WORDS[at % len(WORDS)]}" for at in range(len(lot.gaps_s) - 1)),
        ]
        usage = self.usage(asked, len(tokens))
        answer = Answer(f"chatcmpl-{call}", asked, tuple(tokens), usage)
        await (self.send_stream if asked.stream else self.send_plain)(answer, lot, slowness)

    async def send_stream(self, answer: Answer, lot: Fate, slowness: float) -> None:
        self.transport.write(STREAM_HEAD)
        due = time.monotonic()
        for at, (token, gap_s) in enumerate(zip(answer.tokens, lot.gaps_s, strict=True)):
            if at == lot.cut_after:
                self.cut()
                return
            due += gap_s * slowness
            # Up to the time that is due: pauses that are a little late would add up.
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            self.transport.write(
                answer.delta({"role": "assistant", "content": token} if at == 0 else {"content": token})
            )
        self.transport.write(answer.end())
        self.books.counts["answered"] += 1

    async def send_plain(self, answer: Answer, lot: Fate, slowness: float) -> None:
        await asyncio.sleep(sum(lot.gaps_s) * slowness)
        response = whole(answer.members())
        if lot.cut_after is not None:
            self.transport.write(response[: len(response) * (lot.cut_after + 1) // (len(answer.tokens) + 1)])
            self.cut()
            return
        self.transport.write(response)
        self.books.counts["answered"] += 1

    def cut(self) -> None:
        """Break off. `close` lets what was written out first, as a proxy that dies mid-answer would have."""
        self.books.counts["cut"] += 1
        self.work = None
        self.transport.close()

    def retry_after(self, lot: Fate) -> dict[str, str]:
        return {"retry-after": str(self.books.manner.retry_after_s)} if lot.status in (429, 503) else {}

    def usage(self, asked: Asked, tokens: int) -> dict[str, Any]:
        cached = self.books.cached_tokens(asked.beginning, asked.prompt_tokens)
        return {
            "prompt_tokens": asked.prompt_tokens,
            "completion_tokens": tokens,
            "total_tokens": asked.prompt_tokens + tokens,
            "prompt_tokens_details": {"cached_tokens": cached},
        }


STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, whole or as the chunks of a stream."""

    id: str
    asked: Asked
    tokens: tuple[str, ...]
    usage: dict[str, Any]

    def members(self) -> dict[str, Any]:
        message: dict[str, Any] = {
            "role": "assistant",
            "content": "".join(self.tokens),
            "refusal": None,
            "annotations": [],
        }
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
        return {**self.head("chat.completion"), "choices": [choice], "usage": self.usage}

    def delta(self, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return self.chunk([choice], None)

    def end(self) -> bytes:
        """The last frames, the marker, and the end of the body."""
        counted = self.chunk([], self.usage) if self.asked.usage else b""
        return self.delta({}, "stop") + counted + upstream.chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"

    def chunk(self, choices: list[dict[str, Any]], usage: dict[str, Any] | None) -> bytes:
        members = {**self.head("chat.completion.chunk"), "choices": choices}
        return upstream.chunk(upstream.event({**members, "usage": usage} if self.asked.usage else members))

    def head(self, kind: str) -> dict[str, Any]:
        made = {"id": self.id, "object": kind, "created": int(time.time()), "model": self.asked.model}
        return {**made, "system_fingerprint": "fp_provider"}


def whole(members: dict[str, Any], status: str = "200 OK", more: dict[str, str] | None = None) -> bytes:
    """A JSON object as an HTTP/1.1 response."""
    body = upstream.encode(members)
    fields = {"content-type": "application/json", "content-length": str(len(body)), **(more or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body


def failure(status: int, message: str, more: dict[str, str] | None = None) -> bytes:
    """An error as OpenAI shapes it."""
    kind = "rate_limit_error" if status == 429 else "server_error" if status >= 500 else "invalid_request_error"
    error = {"message": message, "type": kind, "param": None, "code": None}
    return whole({"error": error}, f"{status} Made", more)


async def serve(manner: Manner, port: int) -> None:
    books = Books(manner)
    server = await asyncio.get_running_loop().create_server(lambda: Connection(books), "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


def errors(text: str) -> dict[int, float]:
    """`500=0.01,503=0.005` as statuses with their shares. Raises `argparse.ArgumentTypeError`."""
    try:
        pairs = [one.split("=") for one in text.split(",") if one]
        found = {int(status): float(part) for status, part in pairs}
    except ValueError as why:
        raise argparse.ArgumentTypeError(f"{text!r}: write statuses with shares, as 500=0.01,503=0.005") from why
    if not all(400 <= status <= 599 for status in found) or not 0 <= sum(found.values()) <= 1:
        raise argparse.ArgumentTypeError(f"{text!r}: statuses are 400 to 599, and their shares add up to 1 at most")
    return found


def share(text: str) -> float:
    """A number from 0 to 1. Raises `argparse.ArgumentTypeError`."""
    try:
        found = float(text)
    except ValueError as why:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from why
    if not 0 <= found <= 1:
        raise argparse.ArgumentTypeError(f"{text!r}: a share is a number from 0 to 1")
    return found


def arguments() -> argparse.ArgumentParser:
    """One option for each field of `Manner`, and the port."""
    usual = Manner()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--ttft-ms", type=float, default=usual.ttft_ms, help="time to the first token")
    parser.add_argument("--ttft-sigma", type=float, default=0, help="spread of it (lognormal); 0.5 is lively")
    parser.add_argument("--itl-ms", type=float, default=usual.itl_ms, help="gap between two tokens")
    parser.add_argument("--itl-sigma", type=float, default=0, help="spread of it (lognormal)")
    parser.add_argument("--tokens", type=int, default=usual.tokens, help="tokens of an answer, one a frame")
    parser.add_argument("--tokens-sigma", type=float, default=0, help="spread of it (lognormal)")
    parser.add_argument("--errors", type=errors, default={}, metavar="500=0.01,...", help="share failed, by status")
    parser.add_argument("--throttle", type=float, default=0, help="requests a second over which it says 429")
    parser.add_argument("--retry-after-s", type=int, default=1, help="the Retry-After of 429 and 503")
    parser.add_argument("--cut", type=share, default=0, help="share of answers that break off")
    parser.add_argument("--slow-start-s", type=float, default=0, help="for so long after its start it is slower")
    parser.add_argument("--slow-start-factor", type=float, default=5, help="so many times slower at first")
    parser.add_argument("--cached", type=share, default=0, help="share of a prompt's tokens reported as cached")
    parser.add_argument("--seed", type=int, default=usual.seed)
    return parser


def main() -> None:
    options = vars(arguments().parse_args())
    port = options.pop("port")
    uvloop.run(serve(Manner(**options), port))


if __name__ == "__main__":
    main()
