"""The rows about streams on a miss: relayed as they come, folded and kept.

Against a relay on the same transport that reads nothing of what it passes on and keeps nothing (relay.py, --aiohttp).
"""

from __future__ import annotations

import asyncio
import itertools
import re
import statistics
import time
from dataclasses import dataclass

import load
import proc
import servers
from measure import Effort, Row, expect_kept, open_files
from report import Result, compared

FRAMES = 10_000
FRAME_CHARACTERS = 8
STREAMED = load.question(f"What is there to say about the number {load.NUMBER}?", stream=True)
BARE_RELAY = "bare relay on the same transport"
STAMP = re.compile(rb"<(\d{18})>")
CONNECTIONS = 4
PATIENCE_S = 120
"""For any stream to come to its end."""


def streamed(number: int) -> bytes:
    """The question of that number, asked for as a stream."""
    return STREAMED.replace(load.NUMBER.encode(), b"%010d" % number)


# -- speed -----------------------------------------------------------------------------------------------------------


def stream_relay(bench: servers.Bench, effort: Effort) -> list[Result]:
    """Streams of 10,000 small frames, each a miss, from an upstream that writes each in one go."""
    upstream, other = (bench.start(servers.Upstream(characters=FRAMES * FRAME_CHARACTERS)) for _ in range(2))
    askonce, relay = bench.start(servers.AskOnce(upstream.port)), bench.start(servers.Relay(other.port, aiohttp=True))
    expect_same(askonce, relay)
    body = bench.file("streamed.json", STREAMED)
    fresh = itertools.count(10**9, 10**7)
    runs: list[tuple[load.Run, load.Run]] = []
    for _ in range(effort.pairs + 1):  # the first pair warms up
        one = load.wrk(asking(askonce, str(body), next(fresh)), effort.seconds)
        runs.append((one, load.wrk(asking(relay, str(body), next(fresh)), effort.seconds)))
    series = load.Series(tuple(run for run, _ in runs[1:]), tuple(run for _, run in runs[1:]))
    kept = expect_kept(upstream, lambda: stored(askonce))
    work = f"streams of {FRAMES:,} small frames, relayed, folded and stored, {CONNECTIONS} at once"
    return [compared("stream-relay", work, BARE_RELAY, 0.5, series, kept)]


def asking(server: servers.Running, body: str, first: int) -> load.Load:
    return load.Load(server.target, "numbered.lua", (body, "next", str(first), "1000000000"), CONNECTIONS)


def expect_same(askonce: servers.Running, relay: servers.Running) -> None:
    """Both bring the whole text, and we a miss."""
    ours, theirs = (load.ask(server.port, streamed(0)) for server in (askonce, relay))
    if ours.field("x-cache") != "miss" or load.told(ours.body) != load.told(theirs.body):
        raise load.RunError(f"the stream is not the relay's; x-cache {ours.field('x-cache')!r}")


def stored(askonce: servers.Running) -> int:
    """What `/metrics` says of entries on disk."""
    text = load.ask(askonce.port, path="/metrics").body.decode()
    found = re.search(r'^askonce_store_entries\{tier="sqlite"\} (\S+)', text, re.MULTILINE)
    return int(float(found.group(1))) if found else 0


# -- waiting ---------------------------------------------------------------------------------------------------------


def stream_held(bench: servers.Bench, effort: Effort, gap_ms: float = 2) -> list[Result]:
    """One paced stream: from the upstream's writing of a frame to our caller's having it."""
    frames = effort.requests
    pace = servers.Upstream(characters=frames * FRAME_CHARACTERS, gap_ms=gap_ms, stamped=True)
    upstream = bench.start(pace)
    askonce, relay = (
        bench.start(servers.AskOnce(upstream.port)),
        bench.start(servers.Relay(upstream.port, aiohttp=True)),
    )
    sides = [("us", askonce), ("the bare relay", relay), ("neither", upstream)]
    taken: dict[str, list[float]] = {name: [] for name, _ in sides}
    used: dict[str, float] = dict.fromkeys(taken, 0.0)
    numbers = itertools.count()
    for turn in range(effort.pairs):
        for name, server in sides:
            before = proc.cpu_seconds(server.process.pid)
            waits = asyncio.run(waited(server.port, streamed(next(numbers))))
            if turn:  # the first warms up
                taken[name] += waits
                used[name] += proc.cpu_seconds(server.process.pid) - before
    notes = [f"through {name}: {spread(waits)}" for name, waits in taken.items()]
    ours, theirs = (used[name] / len(taken[name]) * 1e6 for name in ("us", "the bare relay"))
    notes.append(f"processor time of a frame that comes alone: {ours:.0f} µs, the bare relay's {theirs:.0f} µs")
    work = f"the longest that a frame was under way, one stream with a frame every {gap_ms:g} ms"
    worst = max(taken["us"])
    return [Result("stream-held", work, BARE_RELAY, 5, False, worst, " ms", notes=tuple(notes))]


def spread(waits: list[float]) -> str:
    cuts = statistics.quantiles(waits, n=1000, method="inclusive")
    return (
        f"median {statistics.median(waits):.2f} ms, 99 % {cuts[989]:.2f}, 99.9 % {cuts[998]:.2f}, "
        f"longest {max(waits):.2f}, of {len(waits):,}"
    )


async def waited(port: int, body: bytes) -> list[float]:
    """Milliseconds that each frame of a stamped stream took from the upstream to here."""
    caller = Listener(port)
    await caller.ask(body)
    async with asyncio.timeout(PATIENCE_S):
        await caller.ended
    caller.expect_whole()
    return caller.waits


class Listener(asyncio.Protocol):
    """Asks for one stream and notes when its frames come."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.waits: list[float] = []
        self.heard = bytearray()
        self.begun = asyncio.get_running_loop().create_future()
        self.ended = asyncio.get_running_loop().create_future()

    async def ask(self, body: bytes) -> None:
        fields = "".join(f"{name}: {value}\r\n" for name, value in load.HEADERS.items())
        head = f"POST {load.PATH} HTTP/1.1\r\nhost: 127.0.0.1\r\n{fields}content-length: {len(body)}\r\n\r\n"
        self.transport, _ = await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", self.port)
        self.transport.write(head.encode() + body)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        searched = max(0, len(self.heard) - 19)
        self.heard += data
        self.waits += [(now - int(stamp)) / 1e6 for stamp in STAMP.findall(self.heard, searched)]
        if not self.begun.done():
            self.begun.set_result(None)
        if self.heard.endswith(b"0\r\n\r\n"):
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        for future in (self.begun, self.ended):
            if not future.done():
                future.set_result(None)

    def expect_whole(self) -> None:
        """Raises `load.RunError`."""
        load.expect_ok(bytes(self.heard))
        if b"data: [DONE]\n\n" not in self.heard:
            raise load.RunError("a stream did not come to its end")


# -- memory ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Growth:
    """kB of resident memory for each open stream: when all had begun, and the most while they went on."""

    begun: float
    most: float


def stream_open(bench: servers.Bench, effort: Effort, streams: int = 500, gap_ms: float = 500) -> list[Result]:
    """Many open streams from a slow upstream, each another question."""
    frames = 30 if effort.pairs > 2 else 8
    upstream = bench.start(servers.Upstream(characters=frames * FRAME_CHARACTERS, gap_ms=gap_ms))
    open_files(4 * streams + 200)
    askonce, relay = (
        bench.start(servers.AskOnce(upstream.port)),
        bench.start(servers.Relay(upstream.port, aiohttp=True)),
    )
    ours, theirs = (asyncio.run(grown(server, streams)) for server in (askonce, relay))
    work = f"resident memory of an open stream, {streams} at once, {frames} frames each, one in {gap_ms:g} ms, no error"
    notes = (
        f"{ours.begun:.1f} kB when all had begun, {ours.most:.1f} kB at most until the last ended",
        f"the bare relay {theirs.begun:.1f} and {theirs.most:.1f} kB",
    )
    return [Result("stream-open", work, BARE_RELAY, 60, False, ours.most, " kB", notes=notes)]


async def grown(server: servers.Running, streams: int) -> Growth:
    """What the server's memory grows by. Raises `load.RunError` where a stream fails."""
    await listen(server, range(20))  # what the first requests load stays loaded
    before = proc.resident_bytes(server.process.pid)
    callers = [Listener(server.port) for _ in range(streams)]
    for number, caller in enumerate(callers, 10**6):
        await caller.ask(streamed(number))
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*(caller.begun for caller in callers))
    begun = most = proc.resident_bytes(server.process.pid)
    while not any(caller.ended.done() for caller in callers):
        await asyncio.sleep(0.2)
        most = max(most, proc.resident_bytes(server.process.pid))
    await all_ended(callers)
    return Growth((begun - before) / streams / 1000, (most - before) / streams / 1000)


async def listen(server: servers.Running, numbers: range) -> None:
    callers = [Listener(server.port) for _ in numbers]
    for number, caller in zip(numbers, callers, strict=True):
        await caller.ask(streamed(number))
    await all_ended(callers)


async def all_ended(callers: list[Listener]) -> None:
    """Each with its whole stream; `load.RunError` otherwise."""
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*(caller.ended for caller in callers))
    for caller in callers:
        caller.expect_whole()


ROWS: dict[str, Row] = {
    "stream-relay": stream_relay,
    "stream-held": stream_held,
    "stream-open": stream_open,
}
