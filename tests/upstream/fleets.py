"""Fleets for tests: real endpoints, and the rest of what a fleet is made of as scripts."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from proxy.telemetry.tasks import Tasks
from proxy.types import Call
from proxy.upstream.balancing.base import Load
from proxy.upstream.fleet import Fleet, FleetLimits
from proxy.upstream.kinds.base import Condition, Identity
from proxy.upstream.openai_http import OpenAIHttp
from tests.upstream.conftest import DEFAULTS

WELL = Condition(well=True)
ILL = Condition(well=False, why="it says 503")


@dataclass
class Time:
    """A steady clock that moves when the test says so."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


class ScriptedKind:
    """A look takes until the test tells what it finds: `tells(address, ...)`."""

    name = "scripted"
    harmless = frozenset({"rid"})

    def __init__(self, *, watched: bool = False) -> None:
        self.watched = watched
        self.prepared: list[Call] = []
        self.looks: Counter[str] = Counter()
        self._told: dict[str, asyncio.Queue[Condition | BaseException]] = defaultdict(asyncio.Queue)

    def prepare(self, call: Call) -> Call:
        self.prepared.append(call)
        return replace(call, headers=(*call.headers, (b"x-prepared", b"%d" % len(self.prepared))))

    async def look(self, wire: Any) -> Condition:
        self.looks[wire.address] += 1
        told = await self._told[wire.address].get()
        if isinstance(told, BaseException):
            raise told
        return told

    async def tells(self, address: str, *conditions: Condition | BaseException) -> None:
        """One look after the other finds this; until the one after the last has begun."""
        for condition in conditions:
            await until(lambda: self.looks[address] > 0)
            before = self.looks[address]
            self._told[address].put_nowait(condition)
            await until(lambda: self.looks[address] > before)  # noqa: B023 - awaited here


@dataclass
class InOrder:
    """A `Balancer`: as configured, or the `first` place first."""

    first: int = 0
    shown: list[Sequence[Load]] = field(default_factory=list)
    served_at: list[str] = field(default_factory=list)

    def plan(self, call: Call, loads: Sequence[Load]) -> Any:
        self.shown.append(loads)
        places = range(len(loads))
        return _Plan([*places[self.first :], *places[: self.first]], loads, self.served_at)


@dataclass
class _Plan:
    order: Sequence[int]
    loads: Sequence[Load]
    served_at: list[str]

    def served(self, place: int) -> None:
        self.served_at.append(self.loads[place].address)


@dataclass
class StandInEpochs:
    seen: list[tuple[str, Identity]] = field(default_factory=list)
    said: list[tuple[str, str, str]] = field(default_factory=list)
    opened: bool = False

    async def open(self) -> None:
        self.opened = True

    def epoch(self, model: str) -> str:
        return f"epoch of {model}"

    async def saw(self, address: str, identity: Identity) -> None:
        self.seen.append((address, identity))

    def answered(self, origin: str, model: str, fingerprint: str) -> None:
        self.said.append((origin, model, fingerprint))


@dataclass
class Counts:
    """A `Seen`."""

    errors: list[tuple[str, str]] = field(default_factory=list)
    retried: list[tuple[str, str]] = field(default_factory=list)

    def upstream_error(self, upstream: str, kind: str) -> None:
        self.errors.append((upstream, kind))

    def upstream_retried(self, upstream: str, why: str) -> None:
        self.retried.append((upstream, str(why)))


@dataclass
class Scripted:
    """A fleet and the scripts it is made with."""

    fleet: Fleet
    kind: ScriptedKind
    balancer: InOrder
    epochs: StandInEpochs
    counts: Counts
    time: Time

    @property
    def states(self) -> list[str]:
        return [each.state for each in self.fleet.report().endpoints]

    @property
    def in_flight(self) -> list[int]:
        return [each.in_flight for each in self.fleet.report().endpoints]


@asynccontextmanager
async def scripted(
    *base_urls: str,
    kind: Any = None,
    balancer: Any = None,
    epochs: Any = None,
    fallback: Any = None,
    options: dict[str, Any] | None = None,
    limits: dict[str, Any] | None = None,
    called_there: Callable[[str], str] = str,
    called: bool = True,
) -> AsyncIterator[Scripted]:
    """Opened. Looks follow each other at once, and take as long as the test likes; `options` are the endpoints'.
    `called`: as if there had been a call just now, so that there are looks."""
    kind, balancer, epochs = kind or ScriptedKind(), balancer or InOrder(), epochs or StandInEpochs()
    counts, time, tasks = Counts(), Time(), Tasks()
    bounds = {"breaker_failures": 3, "health_interval_s": 0.001, "health_timeout_s": 60, "retry_after_s": 2}
    fleet = Fleet(
        "local",
        [OpenAIHttp("local", base_url, **DEFAULTS | (options or {})) for base_url in base_urls],
        kind=kind,
        balancer=balancer,
        fallback=fallback,
        epochs=epochs,
        limits=FleetLimits(**bounds | (limits or {})),
        stream_usage=True,
        tasks=tasks,
        seen=counts,
        random=lambda: 0.5,
        steady=time,
        called_there=called_there,
    )
    if called:
        fleet._called_at = time.now
    await fleet.open()
    try:
        yield Scripted(fleet, kind, balancer, epochs, counts, time)
    finally:
        await fleet.close()
        assert len(tasks) == 0


async def until(holds: Callable[[], bool]) -> None:
    """What others do in this loop or in other processes; the test's own time limit ends it."""
    while not holds():
        await asyncio.sleep(0.001)


@asynccontextmanager
async def alone(base_url: str) -> AsyncIterator[Fleet]:
    """An upstream of one endpoint, for what every upstream must do."""
    async with scripted(base_url) as one:
        yield one.fleet
