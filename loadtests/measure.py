"""What the rows share: how long to measure, and how to be sure that a hit is a hit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import load
import servers
from report import Result


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure. `entries` is the large number of the rows about size."""

    pairs: int = 5
    seconds: float = 4
    requests: int = 2000
    starts: int = 5
    entries: int = 1_000_000


FULL = Effort()
QUICK = Effort(pairs=2, seconds=1, requests=200, starts=2, entries=20_000)

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
