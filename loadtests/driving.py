"""The loop that asks: so many connections, as fast as they come back or at times that a clock sets.

In a **closed loop** every connection asks again as soon as it was answered: it shows what a server can carry, and says
little of waiting, since a slow server is asked less (coordinated omission). In an **open loop** requests are due at the
times of a Poisson process, whatever the server does, and what each one took is counted from when it was *due*: one that
had to wait for a connection waited for the server.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

from asking import Sample
from traffic import Asked, arrivals

Ask = Callable[[Asked, float], Awaitable[Sample]]
"""A question and when it was due."""
Note = Callable[[Sample], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast is asked. `rate` is of an open loop, in requests a second; 0 is a closed loop. A stretch ends after
    `seconds`, or when `count` requests were asked if that comes first; at least one of them has to be given."""

    connections: int = 16
    rate: float = 0
    seconds: float | None = None
    count: int | None = None
    patience_s: float = 30
    """How much longer than `seconds` an open loop goes on asking what was due within them."""
    seed: int = 1

    def __post_init__(self) -> None:
        if self.seconds is None and self.count is None:
            raise ValueError("a load without an end: give seconds or a count")
        if self.connections < 1 or self.rate < 0:
            raise ValueError("there is at least one connection, and the rate is 0 or more")


@dataclass(slots=True)
class Stretch:
    """What one stretch of load came to."""

    seconds: float = 0.0
    asked: int = 0
    unsent: int = 0
    """Due and never asked: the server was so late that patience ended. Not in any percentile, so say it beside them."""


async def drive(ask: Ask, questions: Iterator[Asked], pace: Pace, note: Note) -> Stretch:
    """Ask until the stretch is over and all answers have come. Every sample is given to `note`, as answers come."""
    stretch, began = Stretch(), time.perf_counter()
    queue = dues(questions, pace, began, stretch)

    async def connection() -> None:
        for asked, due in queue:
            if (early := due - time.perf_counter()) > 0:
                await asyncio.sleep(early)
            note(await ask(asked, due))

    async with asyncio.TaskGroup() as group:
        for _ in range(pace.connections):
            group.create_task(connection())
    stretch.seconds = time.perf_counter() - began
    return stretch


def dues(questions: Iterator[Asked], pace: Pace, began: float, stretch: Stretch) -> Iterator[tuple[Asked, float]]:
    """Requests with the times at which they are due, to be taken by whichever connection is free."""
    steps = itertools.count() if pace.count is None else range(pace.count)
    times = arrivals(pace.rate, pace.seed) if pace.rate else None
    until = None if pace.seconds is None else began + pace.seconds
    for _ in steps:
        now = time.perf_counter()
        due = now if times is None else began + next(times)
        if until is not None and due >= until:
            return
        if until is not None and now >= until + pace.patience_s:
            stretch.unsent += 1
            continue
        stretch.asked += 1
        yield next(questions), due
