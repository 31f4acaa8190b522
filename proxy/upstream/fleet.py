"""One configured upstream: its endpoints, of which any may answer.

    plan       the balancer puts those that are well in order                                (no waiting)
    try        the first, until its header section is there
    go on      if it cannot serve, and the call may be sent again: to the next

A call that nobody has seen goes on as long as there is somebody to go to. One that an endpoint may have seen is sent
again once, and only if that does no harm: more would multiply what the SDKs repeat themselves, twice by default.
Nothing goes on after the first byte of a reply.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from proxy.errors import UpstreamError, UpstreamInterrupted, UpstreamTimeout, UpstreamUnreachable
from proxy.telemetry.tasks import Tasks
from proxy.telemetry.tracing.base import Tracing
from proxy.telemetry.tracing.off import OFF
from proxy.types import Call, Pairs, Reply, Scope
from proxy.upstream.balancing.base import Balancer, Plan
from proxy.upstream.base import Upstream, UpstreamReport, worth_another
from proxy.upstream.faults import never_left
from proxy.upstream.kinds.base import Kind
from proxy.upstream.looks import Epochs, Looks
from proxy.upstream.member import ELSEWHERE, Member
from proxy.upstream.openai_http import HttpReply, OpenAIHttp

TOO_MANY = 429

REFUSED = frozenset({401, 403})

KNOWN, KNOWN_S = 65_536, 86_400.0
"""With `fallback_for: known`: how many callers are remembered (about 10 MiB), and for how long. A day outlasts an
outage and a night."""


@dataclass(frozen=True, slots=True)
class FleetLimits:
    """`settings.Upstream` says what each is. Seconds."""

    breaker_failures: int
    health_interval_s: float
    health_timeout_s: float
    retry_after_s: float


class Seen(Protocol):
    """Who counts."""

    def upstream_error(self, upstream: str, kind: str) -> None:
        """An attempt brought no answer (`kind`: the error's `reason`), or one of status 400 and above (`status_4xx`,
        `status_5xx`)."""

    def upstream_retried(self, upstream: str, why: str) -> None:
        """A call goes on to another endpoint (`Why`)."""


class Why(StrEnum):
    """Why a call goes on: the `why` of `Seen.upstream_retried`."""

    CONNECT = "connect"
    """No connection: nobody has seen it."""
    INTERRUPTED = "interrupted"
    """The connection broke before the header section."""
    STATUS = "status"
    """It said that it cannot serve now."""
    RATE_LIMITED = "rate_limited"
    """It asked for a short pause."""
    FAILING = "failing"
    """Looks said that nobody answers there any more."""


class GivenUp(UpstreamTimeout):
    """The endpoint stopped answering looks while a call waited there."""


class Fleet:
    """An `Upstream` of one or several endpoints.

    `called_there` gives the name a model has there for the one that callers use (`model_map`). `vouches`: the fallback
    is for those alone whom this one has answered.
    """

    def __init__(
        self,
        name: str,
        endpoints: Sequence[OpenAIHttp],
        *,
        kind: Kind,
        balancer: Balancer,
        fallback: Upstream | None,
        epochs: Epochs,
        limits: FleetLimits,
        stream_usage: bool,
        tasks: Tasks,
        seen: Seen,
        random: Callable[[], float],
        steady: Callable[[], float],
        called_there: Callable[[str], str] = str,
        vouches: bool = False,
        tracing: Tracing = OFF,
    ) -> None:
        self.name = name
        self.fallback = fallback
        self.stream_usage = stream_usage
        self._kind = kind
        self._balancer = balancer
        self._epochs = epochs
        self._retry_after_s = limits.retry_after_s
        self._seen = seen
        self._steady = steady
        self._called_there = called_there
        self._vouches = vouches
        self._tracing = tracing
        self._known: OrderedDict[Scope, float] = OrderedDict()
        """Callers it has answered, and when."""
        self._called_at = -math.inf
        watched = kind.watched or len(endpoints) > 1 or fallback is not None
        self._members = [
            Member(each, upstream=name, failures=limits.breaker_failures, watched=watched, steady=steady)
            for each in endpoints
        ]
        self._looks = Looks(
            self._members if watched else (),
            kind=kind,
            epochs=epochs,
            interval_s=limits.health_interval_s,
            timeout_s=limits.health_timeout_s,
            quiet_for=self._quiet_for,
            tasks=tasks,
            random=random,
        )

    @property
    def harmless(self) -> frozenset[str]:
        return self._kind.harmless

    def epoch(self, model: str) -> str:
        return self._epochs.epoch(self._called_there(model))

    def answered(self, origin: str, model: str, fingerprint: str) -> None:
        self._epochs.answered(origin, self._called_there(model), fingerprint)

    def report(self) -> UpstreamReport:
        return UpstreamReport(self.name, self._kind.name, tuple(member.report() for member in self._members))

    async def open(self) -> None:
        """Raises `errors.SettingsError`. Waits for the first looks at servers that are watched, at most
        `health_timeout`."""
        try:
            for member in self._members:
                await member.endpoint.open()
            await self._epochs.open()
            await self._looks.start()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        await self._looks.stop()
        for member in self._members:
            await member.endpoint.close()

    def vouches_for(self, scope: Scope) -> bool:
        return not self._vouches or self._steady() - self._known.get(scope, -math.inf) <= KNOWN_S

    def _answered_for(self, scope: Scope, status: int) -> None:
        if status in REFUSED:
            self._known.pop(scope, None)
        elif status < 500:
            self._known[scope] = self._steady()
            self._known.move_to_end(scope)
            if len(self._known) > KNOWN:
                self._known.popitem(last=False)

    def cannot_serve(self, reply: Reply) -> bool:
        return self._passed_over(reply) is not None

    async def send(self, call: Call) -> HttpReply:
        """As `Upstream`. Also raises `errors.BadRequest` for a body that this kind of server would choke on."""
        call = self._kind.prepare(call)
        self._called_at = self._steady()
        way = self._way(call)
        member = way.first()
        if member is None:
            raise UpstreamUnreachable(f"upstream {self.name}: it fails and is left alone until it is well again")
        while True:
            try:
                reply = await self._try(member, call, way)
            except UpstreamError as error:
                self._seen.upstream_error(self.name, error.reason)
                why = _why_on(error)
                following = way.after(why) if why else None
                if why is None or following is None:
                    raise
            else:
                if reply.status >= 400:
                    self._seen.upstream_error(self.name, f"status_{reply.status // 100}xx")
                why = self._passed_over(reply)
                following = way.after(why) if why else None
                if why is None or following is None:
                    way.ends(member, reply)
                    if self._vouches:
                        self._answered_for(call.scope, reply.status)
                    return reply
                await reply.aclose()
            self._seen.upstream_retried(self.name, why)
            member = following

    async def _try(self, member: Member, call: Call, way: Way) -> HttpReply:
        there, origin = self._called_there(call.model), member.endpoint.origin
        with self._tracing.call(call, model=there, kind=self._kind.name, origin=origin) as span:
            reply = await self._send(member, span.onward(call), way)
            reply.seen_by(span)
            return reply

    async def _send(self, member: Member, call: Call, way: Way) -> HttpReply:
        if not way.may_be_left:
            return await member.send(call)
        try:
            async with asyncio.timeout(None) as wait:
                with member.leaving(wait, way.leads_on):
                    return await member.send(call)
        except TimeoutError as error:
            raise GivenUp(f"upstream {self.name}: it stopped answering health checks while the call waited") from error

    def _way(self, call: Call) -> Way:
        well = [member for member in self._members if member.well]
        plan = None
        if len(well) > 1:
            plan = self._balancer.plan(call, [member.load for member in well])
        return Way(call, self._members, well, plan, self._steady, falls_back=self.fallback is not None)

    def _passed_over(self, reply: Reply) -> Why | None:
        """Why another endpoint should be asked instead."""
        if reply.status in ELSEWHERE:
            return Why.STATUS
        if reply.status == TOO_MANY and _pause_s(reply.headers) <= self._retry_after_s:
            return Why.RATE_LIMITED
        return None

    def _quiet_for(self) -> float:
        if any(member.in_flight for member in self._members):
            return 0
        return self._steady() - self._called_at


class Way:
    """One call's way past the endpoints. Decides; sends nothing.

    well: those that are well now, as configured; `plan` puts them in order.
    falls_back: there is another upstream, and whoever sends the call goes there when this one raises.
    """

    def __init__(
        self,
        call: Call,
        members: Sequence[Member],
        well: Sequence[Member],
        plan: Plan | None,
        steady: Callable[[], float],
        *,
        falls_back: bool,
    ) -> None:
        self._members = members
        self._well = well
        self._plan = plan
        self._order = [well[place] for place in plan.order] if plan is not None else well
        self._steady = steady
        self._began = steady()
        self._patience = call.patience
        self._repeatable = call.repeatable and isinstance(call.body, bytes)
        self._falls_back = falls_back and self._repeatable and call.portable
        self._tried: list[Member] = []
        self._repeated = False

    @property
    def may_be_left(self) -> bool:
        """It does no harm to give it up where it waits, and there may be somewhere to go then."""
        return self._repeatable and (len(self._members) > 1 or self._falls_back)

    def first(self) -> Member | None:
        """Where it begins. None: all are left alone, and another upstream is there for it.

        With none well and no other upstream the one that has had the longest time to recover is tried: there is nothing
        better to do.
        """
        return self._next(anyone=not (self._falls_back and self._has_time))

    def after(self, why: Why) -> Member | None:
        """Where it goes on. None: nowhere, what came last is the answer."""
        if not self._has_time or (why is not Why.CONNECT and not self._repeatable):
            return None
        if why in (Why.CONNECT, Why.FAILING):
            return self._next(anyone=not self._falls_back)
        if self._repeated:
            return None
        following = self._next(anyone=False)
        self._repeated = following is not None
        return following

    def leads_on(self) -> bool:
        """Whether to give it up where nobody seems to answer: not if nobody else would."""
        return self._has_time and (self._falls_back or self._another() is not None)

    def ends(self, member: Member, reply: Reply) -> None:
        """This was the reply. A failure is nothing to remember an endpoint for."""
        if self._plan is not None and member in self._well and reply.status < 400:
            self._plan.served(self._well.index(member))

    def _next(self, *, anyone: bool) -> Member | None:
        following = self._another()
        if following is None and anyone:
            left = [member for member in self._members if member not in self._tried]
            following = min(left, key=lambda member: member.failed_at, default=None)
        if following is not None:
            self._tried.append(following)
        return following

    def _another(self) -> Member | None:
        """That is well now and was not tried; those of the plan first, then those that have recovered since."""
        return next((each for each in (*self._order, *self._members) if each.well and each not in self._tried), None)

    @property
    def _has_time(self) -> bool:
        return worth_another(self._patience, self._steady() - self._began)


def _why_on(error: UpstreamError) -> Why | None:
    """Why another endpoint may do better."""
    if never_left(error):
        return Why.CONNECT
    if isinstance(error, GivenUp):
        return Why.FAILING
    return Why.INTERRUPTED if isinstance(error, UpstreamInterrupted) else None


def _pause_s(headers: Pairs) -> float:
    """How long a reply asks to wait; endless where it does not say, or says it as a date, which no short pause is."""
    fields = dict(headers)
    for name, unit_s in ((b"retry-after-ms", 0.001), (b"retry-after", 1.0)):
        try:
            pause_s = float(fields[name]) * unit_s
        except (KeyError, ValueError):
            continue
        if pause_s >= 0:
            return pause_s
    return math.inf
