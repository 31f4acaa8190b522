"""One request of the driver: sent with aiohttp, its answer read as it comes, with the times that matter.

Server-sent events are read here, byte by byte, so that a frame's time is when its last byte came and not when a library
had finished with it. What came is judged by the provider's echo (`provider.py`): whose answer it is, and which call
made it.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import aiohttp
from events_of_streams import Events, delta_of
from traffic import Asked

ECHO = re.compile(r"\[q=(?P<question>[0-9a-f]{16}) k=(?P<credential>[0-9a-f]{16}) n=(?P<call>\d+)\]")
READ_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Echo:
    """Whose answer it is: names of the question and the credential, and the call that made it."""

    question: str
    credential: str
    call: int


@dataclass(slots=True)
class Sample:
    """What became of one request. Times are seconds of `time.perf_counter`.

    `failure` is empty for a whole answer, else `connect` (nothing came), `status` (other than 200), `cut` (the answer
    broke off), `error` (an error within a stream), `timeout` or `left` (we went away on purpose).
    """

    asked: Asked
    due: float
    began: float
    first: float = 0.0
    """When the first token came, for a stream; when the first byte of the body came, for a plain answer. 0 for none."""
    ended: float = 0.0
    status: int = 0
    outcome: str = "none"
    """What the proxy's `X-Cache` says."""
    failure: str = ""
    echo: Echo | None = None
    received: int = 0
    """Bytes of the body."""
    tokens: int = 0
    gaps: list[float] = field(default_factory=list)
    """Seconds between a stream's tokens."""


@dataclass(slots=True)
class StreamReading:
    """A chat stream while it is read: notes when tokens came, whether the end marker did, and the echo."""

    sample: Sample
    events: Events = field(default_factory=Events)
    last: float = 0.0
    text: str = ""
    done: bool = False

    def take(self, piece: bytes, now: float) -> None:
        for data in self.events.feed(piece):
            if data == b"[DONE]":
                self.done = True
                continue
            members = json.loads(data)
            if "error" in members:
                self.sample.failure = "error"
            if token := delta_of(members):
                self.token(token, now)

    def token(self, token: str, now: float) -> None:
        sample = self.sample
        if sample.tokens:
            sample.gaps.append(now - self.last)
        else:
            sample.first = now
        self.last = now
        sample.tokens += 1
        if sample.echo is None and len(self.text) < 4096:  # where a proxy cuts tokens anew the echo may come in pieces
            self.text += token
            sample.echo = echo_in(self.text)


def echo_in(text: str) -> Echo | None:
    found = ECHO.search(text)
    return Echo(found["question"], found["credential"], int(found["call"])) if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where to ask. `base` is the address up to and with /v1; `headers` are sent with every request. The traffic's own
    credentials are used unless `headers` has an authorization."""

    base: str
    model: str = "gpt-4o-mini"
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = 60


class Asker:
    """Asks one target. To be entered and left; connections are kept open and as many as are asked over at once."""

    def __init__(self, target: Target) -> None:
        self.target = target

    async def __aenter__(self) -> Asker:
        # Nothing is decoded, and no cookie kept: what is timed is the answer.
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"accept-encoding": "identity", "content-type": "application/json"},
            timeout=aiohttp.ClientTimeout(total=None),
            read_bufsize=READ_BYTES,
        )
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.session.close()

    async def ask(self, asked: Asked, due: float, leave_after: int | None = None) -> Sample:
        """Send it, read the whole answer. With `leave_after` the connection is closed after so many pieces came.
        Whatever goes wrong is in the sample."""
        sample = Sample(asked, due, time.perf_counter())
        try:
            async with asyncio.timeout(self.target.timeout_s):
                await self.exchange(sample, leave_after)
        except TimeoutError:
            sample.failure = "timeout"
        except (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError, ConnectionResetError):
            sample.failure = "cut" if sample.status == 200 else "connect"
        except (aiohttp.ClientError, OSError):
            sample.failure = "connect"
        except ValueError:
            sample.failure = "error"
        sample.ended = time.perf_counter()
        return sample

    async def exchange(self, sample: Sample, leave_after: int | None) -> None:
        asked, target = sample.asked, self.target
        headers = {"authorization": asked.credential, **target.headers}
        url = f"{target.base}/chat/completions"
        async with self.session.post(url, data=asked.body(target.model), headers=headers) as response:
            sample.status = response.status
            sample.outcome = response.headers.get("x-cache", "none")
            streamed = response.content_type == "text/event-stream"
            reading, whole, pieces = StreamReading(sample), bytearray(), 0
            async for piece in response.content.iter_any():
                now = time.perf_counter()
                sample.received += len(piece)
                pieces += 1
                if streamed:
                    reading.take(piece, now)
                else:
                    sample.first = sample.first or now
                    whole += piece
                if pieces == leave_after:
                    response.close()
                    sample.failure = "left"
                    return
        if response.status != 200:
            sample.failure = "status"
        elif streamed:
            sample.failure = sample.failure or ("" if reading.done else "cut")
        else:
            message = json.loads(whole)["choices"][0]["message"]
            sample.echo = echo_in(message.get("content") or "")
