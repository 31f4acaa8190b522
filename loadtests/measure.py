"""What the rows share: how long to measure, how to be sure that a hit is a hit, and what is measured more than once."""

from __future__ import annotations

import asyncio
import collections
import itertools
import re
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import load
import servers
from report import Result, compared


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure. `entries` is the large number of the rows about size, `points` that of stored questions
    among which the nearest is looked for."""

    pairs: int = 5
    seconds: float = 4
    requests: int = 2000
    starts: int = 5
    entries: int = 1_000_000
    points: int = 100_000


FULL = Effort()
QUICK = Effort(pairs=2, seconds=1, requests=200, starts=2, entries=20_000, points=6_000)

Row = Callable[[servers.Bench, Effort], list[Result]]


def in_turns(subject: load.Load, reference: load.Load, effort: Effort) -> load.Series:
    return load.in_turns(subject, reference, pairs=effort.pairs, seconds=effort.seconds)


def hit(askonce: servers.Running, upstream: servers.Running, body: bytes = load.SAME) -> load.Recording:
    """Ask twice; the second answer, which must be a hit that reached no upstream."""
    load.ask(askonce.port, body)
    before = load.calls(upstream.port)
    recording = load.ask(askonce.port, body)
    if recording.field("x-cache") != "hit" or load.calls(upstream.port) != before:
        raise load.RunError(f"the second question was answered with x-cache {recording.field('x-cache')!r}")
    return recording


def all_hits(upstream: servers.Running, measure: Callable[[], load.Series]) -> load.Series:
    """The series, if no call reached the upstream meanwhile."""
    before = load.calls(upstream.port)
    series = measure()
    missed = load.calls(upstream.port) - before
    if missed:
        raise load.RunError(f"{missed} requests that should have been hits reached the upstream")
    return series


def against_bare(
    bench: servers.Bench,
    effort: Effort,
    row: str,
    work: str,
    bar: float | None,
    upstream: servers.Running,
    askonce: servers.Running,
    body: bytes = load.SAME,
) -> Result:
    """A hit against the bare callable that sends the very same answer."""
    recording = hit(askonce, upstream, body)
    yardstick = bench.start(servers.Bare(recording))
    same = bench.file("same.json", body)
    series = all_hits(
        upstream, lambda: in_turns(load.same(askonce.target, same), load.same(yardstick.target, same), effort)
    )
    return compared(row, work, "bare ASGI callable on uvicorn", bar, series, sizes(recording))


def sizes(recording: load.Recording) -> str:
    return f"{len(recording.body):,} bytes of body, {len(recording.fields)} header fields"


def misses_in_turns(
    bench: servers.Bench, subject: servers.Running, reference: servers.Running, effort: Effort
) -> load.Series:
    """New questions only."""
    body = bench.file("numbered.json", load.NUMBERED)
    fresh = itertools.count(10**9, 10**7)
    runs: list[tuple[load.Run, load.Run]] = []
    for _ in range(effort.pairs + 1):  # the first pair warms up
        one = load.wrk(load.fresh(subject.target, body, next(fresh)), effort.seconds)
        runs.append((one, load.wrk(load.fresh(reference.target, body, next(fresh)), effort.seconds)))
    return load.Series(tuple(run for run, _ in runs[1:]), tuple(run for _, run in runs[1:]))


def expect_kept(upstream: servers.Running, stored: Callable[[], int], patience_s: float = 20) -> str:
    """How many of the answers are in the store, once nothing is on its way to it. Under 99 % is no miss "stored"."""
    until = time.monotonic() + patience_s
    asked, kept = load.calls(upstream.port), 0
    while kept < asked and time.monotonic() < until:
        time.sleep(0.5)
        asked, kept = load.calls(upstream.port), stored()
    if kept < asked * 0.99:
        raise load.RunError(f"of {asked:,} answers {kept:,} were stored")
    return f"{kept:,} of {asked:,} answers stored"


def added(
    row: str,
    work: str,
    bar: float | None,
    proxy: servers.Running,
    reference: servers.Running,
    effort: Effort,
    against: str = "the upstream directly",
    pause_s: float = 0,
) -> Result:
    """Median latency through a proxy less the median without it, in ms, asked in turns.

    A pause keeps what one side still does after an answer out of the other's time.
    """
    asyncio.run(load.latencies((proxy.port, reference.port), 0, 100, pause_s))
    through, without = asyncio.run(load.latencies((proxy.port, reference.port), 1000, effort.requests, pause_s))
    through_ms, without_ms = (statistics.median(seconds) * 1000 for seconds in (through, without))
    worst_ms = statistics.quantiles(through, n=100)[98] * 1000
    note = f"{through_ms:.2f} ms against {without_ms:.2f} ms; 99th percentile {worst_ms:.2f} ms; {effort.requests} each"
    return Result(row, work, against, bar, at_least=False, figure=through_ms - without_ms, unit=" ms", notes=(note,))


def herd(row: str, work: str, proxies: Sequence[servers.Running], callers: int, upstream: servers.Running) -> Result:
    """Equal streamed questions at the same time, so many at each proxy: calls that reach the upstream."""
    open_files(len(proxies) * callers * 2 + 100)
    answers = asyncio.run(load.herd([proxy.port for proxy in proxies], callers, load.SAME_STREAM))
    broken = sum(not body.endswith(b"data: [DONE]\n\n") for _, body in answers)
    if broken:
        raise load.RunError(f"{broken} of {len(answers)} streams did not end with [DONE]")
    if len({load.told(body) for _, body in answers}) != 1:
        raise load.RunError(f"{len(answers)} equal questions got different answers")
    outcomes = collections.Counter(outcome(head) for head, _ in answers)
    note = "x-cache: " + ", ".join(f"{count} {name}" for name, count in outcomes.most_common())
    asked = float(load.calls(upstream.port))
    return Result(row, work, "", 1, at_least=False, figure=asked, unit=" upstream calls", notes=(note,))


def outcome(head: bytes) -> str:
    found = re.search(rb"x-cache: *(\S+)", head, re.IGNORECASE)
    return found.group(1).decode() if found else "none"


def open_files(wanted: int) -> None:
    """Let this process and its children open so many files. Raises `servers.MissingError` where that is forbidden."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise servers.MissingError(f"{wanted} open files are needed and {hard} allowed (ulimit -n)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
