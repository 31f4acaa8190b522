"""THE PATH: one request's way from a question to its answer, top to bottom.

    consider   identify the caller, read the question, judge what the cache may do, name it       (no waiting)
    recall     what memory can answer at once                                                     (no waiting)
    look       what the stores have                                                               (their deadline)
    answer     that, if this caller may have it; else board a flight; else relay
    match      the flight's own task: is there an answer to this question in other words?         (its deadline)
    lease      the flight's own task: ask for all replicas, or follow the one that asks already
    fly        ask the upstream, pass it on, fold it, keep it

`edge` turns HTTP into a `Request` and an `Answer` into HTTP. Both of its lanes call `consider` and `recall`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from time import monotonic, perf_counter
from typing import NamedTuple

from proxy.case import (
    KEPT_AS,
    OK,
    Answer,
    Asked,
    Case,
    Found,
    Later,
    Request,
    Turns,
    call_for,
    header,
    hit,
    is_event_stream,
    patience_s,
    semantic,
    serves,
    stale,
    why_forward,
)
from proxy.endpoints.base import Fold, Folded
from proxy.errors import CacheFailure, NotCached, Unstorable, UpstreamError
from proxy.fingerprint import Namer, framed
from proxy.flights import Flight, Flights, Fly, Landing, Seat
from proxy.freshness.lifetimes import Fitness, covers_error, fitness, lifetime
from proxy.leases.base import Lease, Leases, Running
from proxy.match import Match, matched
from proxy.meaning.base import Meaning, Sought
from proxy.policies.base import Policy
from proxy.settings import Rule
from proxy.stores.base import ExactStore
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.prices import Prices
from proxy.telemetry.tracing.base import Tracing
from proxy.telemetry.tracing.genai import FOUND, LOOK_UP, TIER
from proxy.telemetry.tracing.off import OFF
from proxy.tenancy.base import Tenancy
from proxy.types import (
    ALLOWED,
    CacheStatus,
    Call,
    Digest,
    Entry,
    Form,
    Frame,
    Outcome,
    Pairs,
    Patience,
    Question,
    Reply,
    Scope,
    Usage,
    Verdict,
)
from proxy.upstream.base import Told, Upstream, Upstreams, worth_another

logger = logging.getLogger("askonce.path")

STALE_ON = frozenset({500, 502, 503, 504})
"""Upstream statuses that a stale answer may stand in for (RFC 5861 section 4). 429 is the caller's own doing."""

NO_STAND_IN = frozenset({401, 403, 404})
"""Statuses of a fallback that say something of its configuration and nothing to the caller."""

TOLD_S = 2.0
"""How long the body of such a refusal may take, while the fallback waits to be asked: it is an error object."""

ALWAYS_VARY = frozenset({b"openai-beta", b"anthropic-beta", b"anthropic-version"})
"""Request fields that change what an upstream does: always part of the name."""


@dataclass(frozen=True, slots=True)
class PathSettings:
    """The path's own bounds. Bytes and seconds."""

    max_entry: int
    write_timeout_s: float
    terminator_timeout_s: float
    """How long after a stream's end marker the HTTP message may take to end."""
    stream_keep_alive_s: float
    """How long a stream's caller who waits for somebody else's call hears nothing."""
    store_tier: str
    """What the store behind memory is called in labels and in `detail`."""


class Pipeline:
    """The path. Holds the rooms, nothing of any request."""

    def __init__(
        self,
        *,
        namer: Namer,
        tenancy: Tenancy,
        policies: Sequence[Policy],
        rule_for: Callable[[str, str], Rule],
        store: ExactStore,
        flights: Flights,
        leases: Leases,
        meaning: Meaning,
        upstreams: Upstreams,
        settings: PathSettings,
        metrics: Metrics,
        prices: Prices,
        clock: Callable[[], float],
        random: Callable[[], float],
        steady: Callable[[], float] = monotonic,
        tracing: Tracing = OFF,
    ) -> None:
        self._namer = namer
        self._tenancy = tenancy
        self._policies = policies
        self._rule_for = rule_for
        self._store = store
        self._flights = flights
        self._leases = leases
        self._meaning = meaning
        self._upstreams = upstreams
        self._settings = settings
        self._metrics = metrics
        self._prices = prices
        self._clock = clock
        self._random = random
        self._steady = steady
        self._tracing = tracing
        self._turns = Turns()

    # -- consider ------------------------------------------------------------------------------------------------

    def consider(self, request: Request) -> Case:
        """Who asks what, and what the cache may do about it. Pure. Raises `errors.RequestError`."""
        scope = self._tenancy.identify(request.headers)
        upstream, question = self._read(request)
        where = Where(upstream, upstream.epoch(question.model))
        rule = self._rule_for(question.model, question.endpoint)
        judged = [policy(question, rule) for policy in self._policies]
        # The caller's own word comes last: where several forbid, the reason shown is the one it did not know of.
        judged.append(request.directives.verdict)
        verdict = reduce(Verdict.narrow, (said for said in judged if said is not ALLOWED), ALLOWED)
        return Case(
            endpoint=request.endpoint,
            scope=scope,
            upstream=upstream,
            name=self._name(request, question, rule, scope, where),
            epoch=where.epoch,
            model=question.model,
            stream=question.stream,
            include_usage=question.include_usage,
            asks_usage=_all_ask_usage(upstream),
            choices=question.choices,
            echoes=question.echoes,
            verdict=verdict,
            directives=request.directives,
            rule=rule,
        )

    def _read(self, request: Request, upstream: Upstream | None = None) -> tuple[Upstream, Question]:
        """The question, and whom it goes to if that is not said."""
        question = request.endpoint.read(request.body, deployment=request.deployment)
        upstream = upstream or self._upstreams.of(question.model)
        if upstream.harmless.isdisjoint(question.members):
            return upstream, question
        # Rare: which members matter is known only now.
        return upstream, request.endpoint.read(request.body, upstream.harmless, deployment=request.deployment)

    def _name(self, request: Request, question: Question, rule: Rule, scope: Scope, where: Where) -> Digest:
        # `no-transform`: nothing may be read into the body, so its very bytes are the name.
        key = framed((b"raw", request.body)) if request.directives.no_transform else question.key
        return self._named(self._namer.exact, request, where, rule, scope, key, question.members)

    def _named(
        self,
        make: Make,
        request: Request,
        where: Where,
        rule: Rule,
        scope: Scope,
        key: bytes,
        members: Mapping[str, object],
    ) -> Digest:
        """What a question, or its shape, is called: the key, and all that matters beside the body."""
        if request.directives.namespace:
            scope = self._namer.scope(b"namespace", scope, request.directives.namespace.encode())
        varies = ALWAYS_VARY | {header.lower().encode("latin-1") for header in rule.vary}
        vary = tuple(sorted(pair for pair in request.headers if pair[0] in varies))
        if rule.include_user_in_key:
            identifiers = (repr(members.get(member)).encode() for member in ("user", "safety_identifier"))
            key = framed((key, *identifiers))
        return make(
            scope,
            upstream=where.upstream.name,
            epoch=where.epoch,
            endpoint=request.target,
            vary=vary,
            key=key,
        )

    # -- recall --------------------------------------------------------------------------------------------------

    def recall(self, case: Case) -> Answer | None:
        """A fresh answer from memory, or None: for everything else, `answer`."""
        if not case.verdict.read or case.verdict.pool:
            return None
        entry = self._store.peek(case.name)
        if entry is None:
            return None
        found = Found(entry, "memory")
        if entry.form is Form.ALIAS:
            match = self._allowed(case, entry)
            source = self._store.peek(match.of) if match is not None else None
            if source is None:
                return None
            found = Found(source, "memory", match)
        return self.fit(case, found)

    def _allowed(self, case: Case, entry: Entry) -> Match | None:
        """What an alias says, if this caller may have it."""
        try:
            match = matched(entry)
        except CacheFailure:
            return None
        return match if self._meaning.allows(case, match) else None

    # -- look ----------------------------------------------------------------------------------------------------

    def in_turn(self, case: Case) -> Case:
        """The case itself; for a question that has several answers, the case of the one whose turn it is."""
        if not case.verdict.pool:
            return case
        turn = self._turns.next(case.name, case.verdict.pool)
        return dataclasses.replace(case, name=self._namer.slot(case.name, turn))

    async def look(self, case: Case) -> Found | None:
        """What the stores have under this name, whatever its age. The stores' own deadline bounds it."""
        if not case.verdict.read:
            return None
        landings = self._flights.landings
        found = await self._look_once(case)
        if self._flights.landed_since(case.name, landings):
            # Our look began before an equal question's answer was stored, and ended after its flight had left the
            # board: without a second look this caller would find neither (or a stale answer) and ask once more.
            found = await self._look_once(case)
        return found

    async def _look_once(self, case: Case) -> Found | None:
        found = await self._stored(case.name)
        if found is None or found.entry.form is not Form.ALIAS:
            return found
        match = self._allowed(case, found.entry)
        source = await self._stored(match.of) if match is not None else None
        if source is None:
            return None
        found = Found(source.entry, source.tier, match)
        # An alias is as good as an answer while it may be served as it is; past that, the question is asked itself.
        return found if self.fit(case, found) is not None else None

    async def _stored(self, name: Digest) -> Found | None:
        entry = self._store.peek(name)
        if entry is not None:
            return Found(entry, "memory")
        tier = self._settings.store_tier
        began = perf_counter()
        try:
            with self._tracing.step(LOOK_UP) as step:
                step.note(TIER, tier)
                entry = await self._store.get(name)
                step.note(FOUND, entry is not None)
        except CacheFailure as failure:
            logger.debug("a look-up failed and counts as a miss: %s", failure.message)
            return None
        self._metrics.lookup(tier, perf_counter() - began)
        return Found(entry, tier) if entry is not None else None

    def fit(self, case: Case, found: Found) -> Answer | None:
        """The answer that an entry makes for this caller as it is; None where its age or form needs more thought."""
        now = self._clock()
        return hit(case, found, now) if self._fits(case, now, found.entry) else None

    def _fits(self, case: Case, now: float, entry: Entry) -> bool:
        return serves(entry, case) and fitness(entry, case.directives, case.rule, now) is Fitness.SERVE

    # -- answer --------------------------------------------------------------------------------------------------

    async def answer(self, case: Case, request: Request, found: Found | None) -> Answer:
        """What was found, if this caller may have it at its age, else the upstream's answer.

        Raises `errors.RequestError`, `errors.UpstreamError`.
        """
        if not case.verdict.read and not case.verdict.write:
            return await self._bypass(case, request)
        if found is not None and found.match is not None and self.fit(case, found) is None:
            found = None  # a matched answer that has gone stale since it was found: the question is asked itself
        answer = self._judge_age(case, request, found) if found is not None else None
        if answer is not None:
            return answer
        if case.directives.only_if_cached:
            return await self._only_matched(case, request, found)
        return await self._forward(case, request, found)

    async def _only_matched(self, case: Case, request: Request, found: Found | None) -> Answer:
        sought = await self._seek(case, request) if found is None else None
        if sought is None or sought.match is None or sought.entry is None:
            raise NotCached("nothing stored may answer this request, and only-if-cached forbids asking the upstream")
        return semantic(case, sought.entry, sought.match, self._clock())

    async def _bypass(self, case: Case, request: Request) -> Answer:
        if case.directives.only_if_cached:
            raise NotCached("this request may not be answered from the cache, and only-if-cached forbids the upstream")
        reason = case.verdict.reason
        self._metrics.bypassed(reason)
        reply = await self._send_own(case, request)
        status = CacheStatus(fwd="bypass", detail=reason)
        return Answer(Outcome.BYPASS, status, case, reply=reply, reason=reason)

    def _judge_age(self, case: Case, request: Request, found: Found) -> Answer | None:
        """The answer that this entry makes for this caller at its age; None sends the caller upstream."""
        if not serves(found.entry, case):
            return None
        now = self._clock()
        match fitness(found.entry, case.directives, case.rule, now):
            case Fitness.SERVE:
                return hit(case, found, now)
            case Fitness.SERVE_STALE:
                return stale(case, found, now, "max-stale")
            case Fitness.SERVE_AND_REFRESH:
                self._refresh(case, request, found)
                return stale(case, found, now, "swr")
            case Fitness.GO_UPSTREAM:
                return None

    def _refresh(self, case: Case, request: Request, found: Found) -> None:
        """Ask anew behind the caller's back, with the caller's credential, once for all callers."""
        name = self._flight_name(case)
        # Flights of what cannot be kept are not shared: each hit would ask again, and nothing would come of it.
        if case.verdict.write and not self._flights.flying(name) and not self._flights.unstorable(name):
            fly = partial(self._fly_for_all, case, request, found)
            self._flights.board(name, fly, streaming=case.stream).leave()

    async def _forward(self, case: Case, request: Request, found: Found | None) -> Answer:
        """Ask the upstream; where it fails, a stale answer may stand in."""
        ask = self._board if case.verdict.write else self._relay
        return await self._or_stale(case, found, partial(ask, case, request, found))

    async def _or_stale(self, case: Case, found: Found | None, ask: Later) -> Answer:
        try:
            answer = await ask()
        except UpstreamError:
            stand_in = self._stand_in(case, found)
            if stand_in is None:
                raise
            return stand_in
        if answer.later is not None:
            answer.later = partial(self._or_stale, case, found, answer.later)
            return answer
        stand_in = self._stand_in(case, found) if answer.status in STALE_ON else None
        if stand_in is None:
            return answer
        await answer.aclose()
        return stand_in

    def _stand_in(self, case: Case, found: Found | None) -> Answer | None:
        now = self._clock()
        if found is None or not serves(found.entry, case):
            return None
        if not covers_error(found.entry, case.directives, case.rule, now):
            return None
        return stale(case, found, now, "sie")

    async def _relay(self, case: Case, request: Request, found: Found | None) -> Answer:
        """`no-store`: the caller's own call, kept nowhere, shared with nobody."""
        self._metrics.store_skipped(case.verdict.reason)
        reply = await self._send_own(case, request)
        status = CacheStatus(fwd=why_forward(case, found))
        return Answer(Outcome.MISS, status, case, reply=reply, reason=case.verdict.reason)

    async def send(self, call: Call) -> Reply:
        """To the upstream that serves the call's model, or else to its fallback. Failures are counted there."""
        upstream, began = self._upstreams.of(call.model), self._steady()
        first: Unserved | None = None
        while True:
            sent = await self._try(upstream, call, began)
            if not isinstance(sent, Unserved):
                return await self._first_or(first, sent) if first is not None else sent
            first, upstream = first or sent, upstream.fallback or upstream

    async def _send_own(self, case: Case, request: Request) -> Reply:
        """A call that nobody shares."""
        patience = Patience(patience_s(request.onward))
        return await self.send(dataclasses.replace(call_for(case, request), patience=patience))

    async def _try(self, upstream: Upstream, call: Call, began: float) -> Reply | Unserved:
        """What it replies; or that it cannot serve, where there is a fallback and time to ask it."""
        try:
            reply = await upstream.send(call)
        except UpstreamError as error:
            if not self._may_fall_back(upstream, call, began):
                raise
            unserved = Unserved(error=error)
        else:
            if not upstream.cannot_serve(reply) or not self._may_fall_back(upstream, call, began):
                return reply
            unserved = await _unserved(reply, upstream.name)
        self._metrics.fell_back(upstream.name)
        return unserved

    async def _first_or(self, first: Unserved, reply: Reply) -> Reply:
        """A fallback that refuses us, or has no such model or path, has not stood in: what the first said counts."""
        if reply.status not in NO_STAND_IN:
            return reply
        await reply.aclose()
        return first.again()

    def _may_fall_back(self, upstream: Upstream, call: Call, began: float) -> bool:
        return (
            upstream.fallback is not None
            and upstream.vouches_for(call.scope)
            and call.portable
            and isinstance(call.body, bytes)
            and worth_another(call.patience, self._steady() - began)
        )

    # -- board ---------------------------------------------------------------------------------------------------

    async def _board(self, case: Case, request: Request, found: Found | None) -> Answer:
        """Take a seat on the flight that asks this question already, or start one."""
        patience = patience_s(request.onward)
        if case.verdict.read:
            fly = partial(self._fly_for_all, case, request, found)
            seat = self._flights.board(self._flight_name(case), fly, streaming=case.stream, patience_s=patience)
        else:
            # `no-cache` wants an answer newer than itself: not one that was asked for before it came.
            fly = partial(self._fly_alone, case, request)
            seat = self._flights.alone(case.name, fly, streaming=case.stream, patience_s=patience)
        if seat.shared:
            self._metrics.followers()
        try:
            return await self._take_seat(case, request, seat, why_forward(case, found))
        except BaseException:
            seat.leave()
            raise

    def _flight_name(self, case: Case) -> Digest:
        # Where usage is on the wire only for those who asked, they cannot share a stream with those who did not.
        if case.include_usage and not case.asks_usage:
            return self._namer.slot(case.name, 0)
        return case.name

    async def _take_seat(
        self, case: Case, request: Request, seat: Seat, forward: str, *, patient: bool = False
    ) -> Answer:
        with self._tracing.following(seat):
            departed = await self._departed(case, seat, patient=patient)
        if not departed:
            status = CacheStatus(fwd=forward, collapsed=True)
            later = partial(self._take_seat, case, request, seat, forward, patient=True)
            return Answer(Outcome.COLLAPSED, status, case, seat=seat, later=later)
        outcome = Outcome.COLLAPSED if seat.shared else Outcome.MISS
        collapsed = True if seat.shared else None
        if not seat.status or (seat.status == OK and seat.streaming != case.stream):
            return await self._convert(case, request, seat, forward)
        if seat.status == OK and is_event_stream(seat.headers):
            status = CacheStatus(fwd=forward, collapsed=collapsed)  # whether it will be stored is not known yet
            return Answer(outcome, status, case, seat=seat, quiet=self._quiet(case))
        landing = await seat.landed()
        stored = landing.stored if landing is not None else False
        reason = landing.reason if landing is not None else "too_large"
        status = CacheStatus(fwd=forward, fwd_status=seat.status, stored=stored or None, collapsed=collapsed)
        return Answer(outcome, status, case, seat=seat, reason=reason, whole=landing is not None)

    async def _departed(self, case: Case, seat: Seat, *, patient: bool) -> bool:
        """Until the head is known. False: not yet, and who waits is a stream's caller in somebody else's call, who
        would take much more silence for a broken connection. One with a call of its own waits for its real head.
        `patient`: it has been told, and waits."""
        while case.stream and not patient:
            try:
                async with asyncio.timeout(self._settings.stream_keep_alive_s):
                    await seat.departed()
            except TimeoutError:
                if seat.shared:
                    return False
            else:
                return True
        await seat.departed()
        return True

    def _quiet(self, case: Case) -> bool:
        return case.asks_usage and not case.include_usage

    async def _convert(self, case: Case, request: Request, seat: Seat, forward: str) -> Answer:
        """The other form of what a shared flight brings, or what it found stored: only a whole answer can be turned."""
        landing = await seat.landed()
        seat.leave()
        if landing is not None and landing.match is not None:
            if landing.entry is not None and self._may_share(case, landing.match, landing.entry):
                return semantic(case, landing.entry, landing.match, self._clock())
        elif landing is not None and landing.entry is not None and landing.tier:
            found = Found(landing.entry, landing.tier)
            answer = self.fit(case, found)
            if answer is not None:
                return answer
        elif landing is not None and landing.entry is not None and serves(landing.entry, case):
            status = CacheStatus(fwd=forward, collapsed=True)
            return Answer(Outcome.COLLAPSED, status, case, entry=landing.entry, reason=landing.reason)
        own = self._flights.alone(case.name, partial(self._fly_alone, case, request), streaming=case.stream)
        try:
            answer = await self._take_seat(case, request, own, forward)
        except BaseException:
            own.leave()
            raise
        answer.cache_status = answer.cache_status._replace(collapsed=False)
        return answer

    def _may_share(self, case: Case, match: Match, entry: Entry) -> bool:
        """A match found for one caller is for another too only if that one takes matches, and takes this one."""
        return self._meaning.allows(case, match) and self._fits(case, self._clock(), entry)

    # -- match ---------------------------------------------------------------------------------------------------

    async def _fly_for_all(self, case: Case, request: Request, found: Found | None, flight: Flight) -> Landing:
        """Somebody has answered it in other words; else one upstream call for all replicas."""
        flight.span = self._tracing.leading()
        sought = await self._seek(case, request, wanted=found is None)
        if sought is not None and sought.match is not None:
            return Landing(sought.entry, stored=True, match=sought.match)
        return await self._lease(case, request, sought, found, flight)

    async def _fly_alone(self, case: Case, request: Request, flight: Flight) -> Landing:
        """A new answer is wanted, whoever has one."""
        return await self._fly(case, request, await self._seek(case, request, wanted=False), None, flight)

    async def _seek(self, case: Case, request: Request, *, wanted: bool = True) -> Sought | None:
        if not self._meaning.active:
            return None
        asking = case.endpoint.asking(request.body, case.upstream.harmless)
        where = Where(case.upstream, case.epoch)
        shape = self._named(self._namer.shape, request, where, case.rule, case.scope, asking.shape, asking.members)
        fits = partial(self._fits, case, self._clock()) if wanted else None
        return await self._meaning.seek(case, asking, shape, fits)

    # -- lease ---------------------------------------------------------------------------------------------------

    async def _lease(
        self, case: Case, request: Request, sought: Sought | None, before: Found | None, flight: Flight
    ) -> Landing:
        """One upstream call for all replicas: lead it, or follow the one that does."""
        bereft = False
        while (running := (taken := await self._leases.take(flight.name)).running) is not None:
            try:
                landing = await self._follow(case, running, flight)
            finally:
                await running.aclose()
            if landing is not None:
                return landing
            if running.useless:
                self._metrics.leased("waited_out")
                return await self._fly(case, request, sought, before, flight)
            bereft = True  # it is gone before anything of its answer was passed on; who takes over may be another
        if taken.lease is None:
            self._metrics.leased("alone")
            return await self._fly(case, request, sought, before, flight)
        self._metrics.leased("took_over" if bereft else "led")
        look_first = bereft or taken.lease.look_first
        return await self._lead(
            case, partial(self._fly, case, request, sought, before), flight, taken.lease, look_first
        )

    async def _lead(self, case: Case, fly: Fly, flight: Flight, lease: Lease, look_first: bool) -> Landing:
        stored = False
        try:
            landing = await self._stored_meanwhile(case) if look_first else None
            if landing is None:
                lease.lead(partial(flight.sit, shared=True))
                landing = await fly(flight)
            stored = landing.stored
            return landing
        finally:
            lease.release(stored=stored)

    async def _stored_meanwhile(self, case: Case) -> Landing | None:
        """Another replica's answer to this question, stored since we looked, if it may be served as it is."""
        found = await self._look_once(case)
        if found is None or self.fit(case, found) is None:
            return None
        return Landing(found.entry, stored=True, match=found.match)

    async def _follow(self, case: Case, running: Running, flight: Flight) -> Landing | None:
        """Another replica's call, passed on as it comes. None: it is gone, or of no use here."""
        flight.followed = True
        if not await running.begun() or not running.status:
            return None  # it was lost, or asked nobody: what it found is stored under a name of its own
        if running.status in STALE_ON and case.upstream.fallback is not None:
            running.useless = True  # whether there was time for the fallback was for its caller to say, not for ours
            return None
        self._metrics.leased("followed")
        self._metrics.followers()
        if running.status != OK or running.streaming == case.stream:
            asked = Asked(self._store.generation, self._clock())
            return await self._bring(case, running, flight, asked, partial(self._keep_followed, running))
        # Only a whole answer can be turned into the other form.
        if await running.ended() and running.stored:
            landing = await self._stored_meanwhile(case)
            if landing is not None:
                return landing
        running.useless = True
        return None

    async def _keep_followed(self, running: Running, case: Case, folded: Folded, reply: Reply, asked: Asked) -> Landing:
        """Its leader has kept it, or not."""
        return Landing(self._entry(case, folded, reply, asked), stored=running.stored, reason=running.reason)

    # -- fly -----------------------------------------------------------------------------------------------------

    async def _fly(
        self, case: Case, request: Request, sought: Sought | None, before: Found | None, flight: Flight
    ) -> Landing:
        """The flight's work, in the flight's task: ask, pass on, keep. Outlives every caller."""
        flight.followed = False
        own, began = case, self._steady()
        first: Unserved | None = None
        while True:
            asked = Asked(self._store.generation, self._clock())
            sent = await self._try(case.upstream, self._call(case, request, flight), began)
            if not isinstance(sent, Unserved):
                reply = await self._first_or(first, sent) if first is not None else sent
                break
            first = first or sent
            case = self._at_fallback(case, request)
            found = await self._look_once(case) if case.verdict.read else None
            if found is not None and found.match is None and self.fit(case, found) is not None:
                return Landing(found.entry, stored=True, tier=found.tier)
        flight.span = reply.span
        key = () if case is own else ((KEPT_AS, case.name.hex().encode()),)
        try:
            landing = await self._bring(case, reply, flight, asked, self._keep, key)
        except UpstreamError as error:
            self._metrics.upstream_error(case.upstream.name, error.reason)
            raise
        finally:
            await reply.aclose()
        if sought is not None and case is own and landing.stored and landing.entry is not None:
            self._learn(sought, before, landing.entry)
        return landing

    def _call(self, case: Case, request: Request, flight: Flight) -> Call:
        call = dataclasses.replace(call_for(case, request), patience=flight.patience)
        if case.stream and self._quiet(case):
            return dataclasses.replace(call, body=case.endpoint.ask_usage(request.body))
        return call

    def _at_fallback(self, case: Case, request: Request) -> Case:
        """The same question put to the fallback, where its answer has a name of its own: what one upstream said is
        never served as another's."""
        upstream, question = self._read(request, case.upstream.fallback)
        where = Where(upstream, upstream.epoch(case.model))
        return self.in_turn(
            dataclasses.replace(
                case,
                upstream=upstream,
                name=self._name(request, question, case.rule, case.scope, where),
                epoch=where.epoch,
            )
        )

    def _learn(self, sought: Sought, before: Found | None, entry: Entry) -> None:
        """What a new answer says of the ones that were stored."""
        if before is not None:
            self._meaning.repeated(before.entry, entry, sought.partition)
        self._meaning.remember(sought, entry)

    async def _bring(
        self, case: Case, reply: Reply, flight: Flight, asked: Asked, keep: Keep, more: Pairs = ()
    ) -> Landing:
        flight.depart(reply.status, (*reply.headers, *more))
        if reply.status != OK:
            await self._pass_on(reply, flight)
            return Landing(entry=None, stored=False)
        if case.stream and is_event_stream(reply.headers):
            return await self._fly_stream(case, reply, flight, asked, keep)
        return await self._fly_plain(case, reply, flight, asked, keep)

    async def _fly_plain(self, case: Case, reply: Reply, flight: Flight, asked: Asked, keep: Keep) -> Landing:
        body = await self._pass_on(reply, flight)
        if body is None:
            return self._skip("too_large")
        try:
            folded = case.endpoint.whole(body, case.choices)
        except Unstorable as unstorable:
            return self._skip(unstorable.reason)
        return await keep(case, folded, reply, asked)

    async def _pass_on(self, reply: Reply, flight: Flight) -> bytes | None:
        """Every byte to every seat; all of them, or None when they are too many to hold."""
        chunks: list[bytes] = []
        async for chunk in reply:
            flight.add(Frame(raw=chunk, quiet=chunk))
            if flight.overgrown:
                chunks.clear()
                await flight.room()
            else:
                chunks.append(chunk)
        return None if flight.overgrown else b"".join(chunks)

    async def _fly_stream(self, case: Case, reply: Reply, flight: Flight, asked: Asked, keep: Keep) -> Landing:
        fold = case.endpoint.fold(case.choices)
        # The end marker waits until the answer is kept: whoever has seen the end of an answer finds it in the cache.
        held: list[Frame] = []
        chunks = aiter(reply)
        async for chunk in chunks:
            _hand_out(fold.feed(chunk), flight, held)
            if flight.overgrown:
                fold.abandon()
                await flight.room()
            if fold.done:
                break
        ended_clean = not fold.done or await self._ends_clean(chunks, fold, held)
        _hand_out(fold.flush(), flight, held)
        if flight.overgrown:
            landing = self._skip("too_large")
        elif not ended_clean:
            landing = self._skip("no_clean_end")
        else:
            landing = await self._keep_stream(case, fold, reply, asked, keep)
        for frame in held:
            flight.add(frame)
        return landing

    async def _keep_stream(self, case: Case, fold: Fold, reply: Reply, asked: Asked, keep: Keep) -> Landing:
        try:
            folded = fold.finish()
        except Unstorable as unstorable:
            return self._skip(unstorable.reason)
        return await keep(case, folded, reply, asked)

    async def _ends_clean(self, chunks: AsyncIterator[bytes], fold: Fold, held: list[Frame]) -> bool:
        """After the end marker: whether the HTTP message ends too, soon and whole."""
        try:
            async with asyncio.timeout(self._settings.terminator_timeout_s):
                async for chunk in chunks:
                    held.extend(fold.feed(chunk))
        except (TimeoutError, UpstreamError):
            return False
        return True

    # -- keep ----------------------------------------------------------------------------------------------------

    async def _keep(self, case: Case, folded: Folded, reply: Reply, asked: Asked) -> Landing:
        """The flight's last act, only for a whole, successful answer."""
        entry = self._entry(case, folded, reply, asked)
        reply.span.answered(folded.model, folded.usage, folded.finishes)
        for model in (case.model, entry.model):  # `gpt-4o` may be answered by `gpt-4o-2024-08-06`: both are real
            self._metrics.saw_model(model)
        self._metrics.spent(entry.model, entry.cost_usd)
        self._metrics.prompt_tokens(entry.upstream, entry.usage.prompt_tokens, entry.usage.cached_tokens)
        self._metrics.upstream_seconds(entry.upstream, entry.upstream_s)
        case.upstream.answered(reply.origin, case.model, folded.fingerprint)
        reason = folded.unstorable or self._refusal(case, entry, reply)
        if reason:
            return dataclasses.replace(self._skip(reason), entry=entry)
        if await self._put(entry):
            return Landing(entry, stored=True)
        return dataclasses.replace(self._skip("store"), entry=entry)

    def _entry(self, case: Case, folded: Folded, reply: Reply, asked: Asked) -> Entry:
        now = self._clock()
        life = lifetime(case.rule, case.directives, self._random)
        kept_as = header(reply.headers, KEPT_AS)
        return Entry(
            name=Digest(bytes.fromhex(kept_as)) if kept_as else case.name,
            endpoint=case.endpoint.path,
            model=folded.model or case.model,
            form=folded.form,
            body=folded.body,
            # To the millisecond: more digits would tell nobody anything, and they do not compress.
            finished_at=round(now, 3),
            fresh_s=round(life.fresh_s, 3),
            kept_s=round(life.kept_s, 3),
            generation=asked.generation,
            id_prefix=folded.id_prefix,
            echoes=folded.echoes,
            usage=folded.usage,
            lacks_usage=case.stream and not case.asks_usage and folded.usage == Usage(),
            cost_usd=self._prices.cost(folded.model or case.model, folded.usage),
            warm_usd=self._prices.warm(folded.model or case.model, folded.usage),
            upstream=header(reply.headers, b"x-upstream") or case.upstream.name,
            upstream_request_id=header(reply.headers, b"x-upstream-request-id"),
            upstream_s=round(now - asked.at, 3),
            tags=case.directives.tags,
        )

    def _refusal(self, case: Case, entry: Entry, reply: Reply) -> str:
        """Why a whole answer may still not be kept; empty when it may."""
        if len(entry.body) > self._settings.max_entry:
            return "too_large"
        if entry.fresh_s <= 0:
            return "ttl"
        if case.upstream.epoch(case.model) != case.epoch:
            # Named for what stood behind the model when it was asked: something else may have answered.
            return "model_changed"
        if case.rule.honor_no_store and "no-store" in header(reply.headers, b"cache-control").lower():
            return "upstream_no_store"
        return ""

    async def _put(self, entry: Entry) -> bool:
        """Whether it is stored, as far as can be told in time. A store that stalls must not hold the answer's end back;
        what it was given it may still write."""
        try:
            async with asyncio.timeout(self._settings.write_timeout_s):
                return await self._store.put(entry)
        except TimeoutError:
            return False
        except CacheFailure as failure:
            logger.debug("an answer is not kept: %s", failure.message)
            return False

    def _skip(self, reason: str) -> Landing:
        self._metrics.store_skipped(reason)
        return Landing(entry=None, stored=False, reason=reason)


def _all_ask_usage(upstream: Upstream | None) -> bool:
    """A flight is shared by those who want usage and those who do not, wherever it ends."""
    while upstream is not None:
        if not upstream.stream_usage:
            return False
        upstream = upstream.fallback
    return True


class Unserved(NamedTuple):
    """How an upstream said that it cannot serve."""

    error: UpstreamError | None = None
    reply: Told | None = None

    def again(self) -> Told:
        """That again. Raises `errors.UpstreamError`."""
        if self.reply is None:
            raise self.error or UpstreamError("the upstream cannot serve")
        return self.reply


async def _unserved(reply: Reply, upstream: str) -> Unserved:
    """Read to its end, in case nobody stands in."""
    try:
        async with asyncio.timeout(TOLD_S):
            return Unserved(reply=await Told.of(reply))
    except TimeoutError:
        return Unserved(UpstreamError(f"upstream {upstream}: it answered {reply.status} and did not come to its end"))
    except UpstreamError as error:
        return Unserved(error)


class Where(NamedTuple):
    """Whom a question is put to, and what stands behind the model's name there (`Upstream.epoch`)."""

    upstream: Upstream
    epoch: str


Make = Callable[..., Digest]
"""Makes a name of a scope, `upstream`, `epoch`, `endpoint`, `vary` and `key` (`fingerprint.Namer`)."""

Keep = Callable[[Case, Folded, Reply, Asked], Awaitable[Landing]]
"""What is done with a whole, successful answer."""


def _hand_out(frames: list[Frame], flight: Flight, held: list[Frame]) -> None:
    for frame in frames:
        if frame.terminal:
            held.append(frame)
        else:
            flight.add(frame)
