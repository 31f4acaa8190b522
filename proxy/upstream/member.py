"""One endpoint of an upstream, as known from here: whether it is well, what is under way there, and who waits there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from proxy.breaker import Breaker
from proxy.errors import UpstreamError
from proxy.types import Call
from proxy.upstream.balancing.base import Load
from proxy.upstream.base import EndpointReport
from proxy.upstream.faults import cannot_be_reached
from proxy.upstream.kinds.base import Condition
from proxy.upstream.openai_http import HttpReply, OpenAIHttp

logger = logging.getLogger("askonce.upstream")

ELSEWHERE = frozenset({502, 503, 504})
"""Statuses of a server that cannot serve now: another may (RFC 9110 section 15.6)."""

FULL_KV_USAGE = 0.95
"""Of its KV cache, from here on what comes pushes out what is there: vLLM fills the cache before it makes anybody wait,
and measures in blocks, so it seldom shows the whole."""


class Member:
    """One endpoint of an upstream.

    failures: so many in a row, and it is left alone until a look finds it well. A connection that cannot be made and a
    look that goes wrong are failures. What one call brings on itself is none (a model that is not loaded, a prompt that
    takes for ever or ends a worker, an upload that its caller breaks off): else one caller could send all the others
    elsewhere. What is wrong for all of them a look finds too.
    watched: looks are taken. If not, every call is a probe: there is nothing else to find out by.
    """

    def __init__(
        self, endpoint: OpenAIHttp, *, upstream: str, failures: int, watched: bool, steady: Callable[[], float]
    ) -> None:
        self.endpoint = endpoint
        self.in_flight = 0
        """Calls whose reply's body is not over yet."""
        self.failed_at = 0.0
        """When it last failed, by the steady clock."""
        self._upstream = upstream
        self._failures = failures
        self._watched = watched
        self._steady = steady
        self._breaker = Breaker(failures, trusted=True)
        self._heard = False
        self._condition = Condition(well=True)
        self._elsewhere = 0
        self._bad_looks = 0
        self._waiting: dict[asyncio.Timeout, Callable[[], bool]] = {}

    def __repr__(self) -> str:
        return f"<Member {self.endpoint.origin}: {self.report().state}, {self.in_flight} in flight>"

    @property
    def well(self) -> bool:
        """It may be asked. One that was never heard of is."""
        return self._breaker.closed

    @property
    def why(self) -> str:
        """What was wrong when it last failed."""
        return self._breaker.why

    @property
    def load(self) -> Load:
        full = self._condition.waiting > 0 and self._condition.kv_usage >= FULL_KV_USAGE
        return Load(self.endpoint.address, self.in_flight, self._elsewhere, full)

    def report(self) -> EndpointReport:
        state = ("well" if self._heard else "unknown") if self.well else "failing"
        return EndpointReport(
            self.endpoint.origin,
            state,
            self.why,
            self.in_flight,
            self._condition.waiting,
            self._condition.kv_usage,
            self._breaker.openings,
        )

    # --- calls

    async def send(self, call: Call) -> HttpReply:
        """As `OpenAIHttp.send`; it is in flight until the reply's body is over."""
        if not self._watched:
            self._breaker.probing()
        self.in_flight += 1
        try:
            reply = await self.endpoint.send(call)
        except BaseException as error:
            self._left()
            if isinstance(error, UpstreamError):
                if cannot_be_reached(error):
                    self._failed(self.endpoint.why(error))
                else:
                    self.failed_at = self._steady()
            raise
        reply.when_over(self._left)
        if reply.status in ELSEWHERE:
            self._heard, self.failed_at = True, self._steady()
        else:
            self._succeeded(probe=not self._watched)
        return reply

    def _left(self) -> None:
        self.in_flight -= 1

    @contextmanager
    def leaving(self, wait: asyncio.Timeout, would_go: Callable[[], bool]) -> Iterator[None]:
        """While a call waits for its head inside `wait`: it expires when looks say that nobody answers here any more,
        and the call would go if it could."""
        self._waiting[wait] = would_go
        try:
            yield
        finally:
            self._waiting.pop(wait, None)

    # --- looks

    def looking(self) -> None:
        """A look is taken."""
        self._breaker.probing()

    def looked(self, condition: Condition) -> None:
        """That is how it is."""
        self._condition = condition
        # The calls of this process are among those that run or wait there.
        self._elsewhere = max(0, condition.running + condition.waiting - self.in_flight)
        if not (self._heard or condition.well):
            logger.warning("upstream %s: %s does not answer: %s", self._upstream, self.endpoint.origin, condition.why)
        if condition.well:
            self._bad_looks = 0
            self._succeeded(probe=True)
            return
        self._bad_looks = self._failures if condition.certain else self._bad_looks + 1
        self._failed(condition.why, certain=condition.certain)
        if self._bad_looks >= self._failures:
            self._let_go()

    def _let_go(self) -> None:
        now = asyncio.get_running_loop().time()
        for wait in [wait for wait, would_go in self._waiting.items() if would_go()]:
            # A wait that has expired can be told nothing more.
            del self._waiting[wait]
            wait.reschedule(now)

    # --- what it comes to

    def _succeeded(self, *, probe: bool) -> None:
        self._heard, was_well = True, self.well
        self._breaker.succeeded(probe=probe)
        if self.well and not was_well:
            logger.info("upstream %s: %s is well again", self._upstream, self.endpoint.origin)

    def _failed(self, why: str, *, certain: bool = False) -> None:
        self._heard, was_well = True, self.well
        self._breaker.failed(why, certain=certain)
        self.failed_at = self._steady()
        if was_well and not self.well:
            logger.warning("upstream %s: %s fails: %s", self._upstream, self.endpoint.origin, why)
