"""Look at endpoints from time to time: are they well, how busy are they, and what stands behind them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Protocol, TypeVar

from proxy.errors import UpstreamError
from proxy.telemetry.tasks import Tasks
from proxy.upstream.kinds.base import Condition, Identity, Kind
from proxy.upstream.member import Member

T = TypeVar("T")

logger = logging.getLogger("askonce.upstream")

JITTER = 0.2
"""Share of the interval by which looks come earlier or later: replicas that started together must not all ask at the
same moment for ever."""

SLACK = 1.5
"""What a look asks an endpoint is bounded by the endpoint itself, question by question: an answer that hangs costs that
answer. This much longer and the whole look has gone wrong."""

TRAFFIC_S = 60.0
"""So long after the last call a server that is not watched is looked at. Nobody is told what nobody waits for, and a
provider is not called all night for nothing."""


class Epochs(Protocol):
    """What stands behind the models' names (`epochs.Epochs`)."""

    async def open(self) -> None:
        """What was known before is known again."""

    def epoch(self, model: str) -> str:
        """Of a model, by the name it has there."""

    async def saw(self, address: str, identity: Identity) -> None:
        """This stands behind that endpoint now (`OpenAIHttp.address`)."""

    def answered(self, origin: str, model: str, fingerprint: str) -> None:
        """A whole answer came from there (`OpenAIHttp.origin`)."""


class Looks:
    """A task for each endpoint.

    interval_s: between the end of a look and the next one. timeout_s: how long a look may take.
    quiet_for: how long ago the last call was, seconds; 0 while any is under way.
    """

    def __init__(
        self,
        members: Sequence[Member],
        *,
        kind: Kind,
        epochs: Epochs,
        interval_s: float,
        timeout_s: float,
        quiet_for: Callable[[], float],
        tasks: Tasks,
        random: Callable[[], float],
    ) -> None:
        self._members = members
        self._kind = kind
        self._epochs = epochs
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        self._quiet_for = quiet_for
        self._tasks = tasks
        self._random = random
        self._watches: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin. Waits for the first looks at servers that are watched, at most as long as a look may take."""
        first = [asyncio.Event() for _ in self._members]
        for member, looked in zip(self._members, first, strict=True):
            name = f"looks at {member.endpoint.origin}"
            self._watches.append(self._tasks.spawn(self._watch(member, looked), name=name))
        if not self._kind.watched:
            return
        try:
            async with asyncio.timeout(self._timeout_s):
                await asyncio.gather(*(looked.wait() for looked in first))
        except TimeoutError:
            logger.debug("serving begins before every endpoint was looked at")

    async def stop(self) -> None:
        """Until no task is left."""
        watches, self._watches = self._watches, []
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)

    async def _watch(self, member: Member, looked: asyncio.Event) -> None:
        while True:
            if self._kind.watched or not member.well or self._quiet_for() <= TRAFFIC_S:
                member.looking()
                member.looked(await self._look(member))
                looked.set()
            await asyncio.sleep(self._interval_s * (1 + JITTER * (2 * self._random() - 1)))

    async def _look(self, member: Member) -> Condition:
        condition = await self._seen(member)
        if condition.identity is not None:
            # Before it is called well: if other weights are behind it now, old answers are out of use first.
            await self._noted(member, condition.identity)
        return condition

    async def _seen(self, member: Member) -> Condition:
        seen = await self._tried(partial(self._kind.look, member.endpoint))
        match seen:
            case Condition():
                return seen
            case UpstreamError():
                return Condition(well=False, why=member.endpoint.why(seen))
            case TimeoutError():
                limit = f"{self._timeout_s:g} s (upstreams.health_timeout)"
                return Condition(well=False, why=f"it did not say within {limit} how it is")
        logger.error("a look at %s could not be understood", member.endpoint.origin, exc_info=seen)
        return Condition(well=False, why=f"what it says of itself could not be understood ({type(seen).__name__})")

    async def _noted(self, member: Member, identity: Identity) -> None:
        failure = await self._tried(partial(self._epochs.saw, member.endpoint.address, identity))
        if failure is not None:
            # No fault of the endpoint's. The next look tells it again.
            logger.error("what is behind %s could not be noted", member.endpoint.origin, exc_info=failure)

    async def _tried(self, ask: Callable[[], Awaitable[T]]) -> T | BaseException:
        """What it gives or raises. Whatever that is, looking must go on: an endpoint that failed would stay failing."""
        (given,) = await asyncio.gather(self._in_time(ask), return_exceptions=True)
        return given

    async def _in_time(self, ask: Callable[[], Awaitable[T]]) -> T:
        async with asyncio.timeout(self._timeout_s * SLACK):
            return await ask()
