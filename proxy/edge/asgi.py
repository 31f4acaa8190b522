"""The plain ASGI callable that serves `/v1` and `/openai`: HTTP in, the path, HTTP out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial

import orjson
from starlette.types import Receive, Scope, Send

from proxy.case import OK, Answer, Later, is_event_stream, patience_s
from proxy.edge.cache_status import render
from proxy.edge.exchange import ClientLeft, Exchange, Limits
from proxy.edge.feedback_body import FeedbackBody
from proxy.edge.observer import Observer
from proxy.edge.passing import may_be_json, model_in_body, model_in_target, operation_of, portable, repeatable
from proxy.edge.paths import Paths
from proxy.edge.reception import Reception
from proxy.edge.replies import (
    BY_CALLER,
    EVENTS,
    JSON,
    PRIVATE,
    answer_fields,
    entry_body,
    error_body,
    error_event,
    hit_on_wire,
    refusal_event,
    sendable,
)
from proxy.edge.waiting import kept_alive
from proxy.endpoints.base import Endpoint
from proxy.errors import AskOnceError, CacheFailure, NotImplementedHere, Overloaded
from proxy.feedback import Feedback
from proxy.pipeline import Pipeline
from proxy.telemetry.ids import Ids
from proxy.telemetry.tasks import Tasks
from proxy.telemetry.tracing.base import Tracing
from proxy.tenancy.base import Tenancy
from proxy.types import CacheStatus, Call, Entry, Outcome, Patience, Reply
from proxy.upstream.base import Upstreams
from proxy.upstream.headers import refuse_connection_tricks, to_upstream

logger = logging.getLogger("askonce.edge")

LARGE_BODY = 1 << 20
"""Bytes above which a body is parsed in a thread: some 10 ms of parsing would hold every other caller up."""

FEEDBACK = b"/v1/feedback"

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

PASSED_THROUGH = CacheStatus(fwd="bypass", detail="endpoint")


@dataclass(frozen=True, slots=True)
class EdgeSettings:
    """What the edge must know of the configuration."""

    limits: Limits
    paths: Paths
    stream_keep_alive_s: float


class Edge:
    """Everything below `/v1` and `/openai`."""

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        reception: Reception,
        tenancy: Tenancy,
        feedback: Feedback,
        endpoints: Mapping[bytes, Endpoint],
        upstreams: Upstreams,
        observer: Observer,
        ids: Ids,
        tasks: Tasks,
        settings: EdgeSettings,
        clock: Callable[[], float],
        tracing: Tracing,
    ) -> None:
        self._pipeline = pipeline
        self._reception = reception
        self._tenancy = tenancy
        self._given = feedback
        self._endpoints = endpoints
        """By the path that clients call."""
        self._upstreams = upstreams
        self._observer = observer
        self._ids = ids
        self._tasks = tasks
        self._settings = settings
        self._clock = clock
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request. Whatever happens, the client gets an answer or sees its connection close."""
        exchange = Exchange(scope, receive, send, self._ids)
        with self._tracing.request(exchange.headers) as exchange.span:
            await self._handle(exchange)

    async def _handle(self, exchange: Exchange) -> None:
        outcome: Outcome | None = Outcome.ERROR
        try:
            outcome = await self._serve(exchange)
        except ClientLeft:
            exchange.record.reason = "client_left"
        except AskOnceError as error:
            await self._refuse(exchange, error)
        except asyncio.CancelledError:
            # Only shutting down cancels a handler: say so instead of leaving a stream without an end.
            await self._refuse(exchange, Overloaded("AskOnce is shutting down; ask again", code="shutting_down"))
        except Exception:
            # The outermost loop: a bug is loud in the log and an OpenAI-shaped 500 to the caller.
            logger.exception("request %s failed", exchange.request_id.decode())
            await self._refuse(exchange, AskOnceError("an error inside AskOnce; its log has the request id"))
        if outcome is not None:
            self._observer.served(exchange.ended(outcome), exchange.span)

    async def _serve(self, exchange: Exchange) -> Outcome | None:
        """How it was answered; None when that is noted already."""
        # Any other upgrade may be ignored (RFC 9110 section 7.8): Java's client offers h2c with each first request.
        if b"websocket" in exchange.fields.get(b"upgrade", b"").lower():
            raise NotImplementedHere("AskOnce does not carry WebSockets; connect to the upstream for this path")
        if exchange.method not in METHODS:
            # TRACE would be answered with the request itself, the proxy's own credential in it.
            raise NotImplementedHere(f"AskOnce does not pass on {exchange.method[:16]}", code="method_not_supported")
        if b"connection" in exchange.fields:
            refuse_connection_tricks(exchange.headers)
        if exchange.raw_path == FEEDBACK and exchange.method == "POST":
            return await self._feedback(exchange)
        target = self._settings.paths.target(exchange.raw_path, exchange.query)
        endpoint = self._endpoint(exchange, target) if exchange.method == "POST" else None
        if endpoint is not None:
            return await self._cached(exchange, endpoint, target)
        return await self._pass_through(exchange, target)

    def _endpoint(self, exchange: Exchange, target: str) -> Endpoint | None:
        """What knows this path, Azure's two ways to write it included."""
        endpoint = self._endpoints.get(exchange.raw_path)
        if endpoint is None and target.startswith("/openai/"):
            return self._endpoints.get(b"/v1/" + operation_of(target).encode())
        return endpoint

    # -- cached endpoints ----------------------------------------------------------------------------------------

    async def _cached(self, exchange: Exchange, endpoint: Endpoint, target: str) -> Outcome | None:
        exchange.endpoint = endpoint.path
        body = await exchange.body(self._settings.limits)
        consider = partial(self._reception.consider, endpoint, target, exchange.headers, body)
        considered = consider() if len(body) <= LARGE_BODY else await asyncio.to_thread(consider)
        case = considered.case
        answer, found = self._reception.recall(case), None
        if answer is None:
            case = self._pipeline.in_turn(case)
            found = await self._pipeline.look(case)
            answer = self._pipeline.fit(case, found) if found is not None else None
        if answer is not None and answer.entry is not None and self._at_once(exchange, answer, answer.entry):
            return None
        self._observer.considered(exchange.record, case, exchange.client)
        if answer is not None:
            await self._deliver(exchange, answer)
            return answer.outcome
        request = considered.request or self._reception.request(endpoint, target, exchange.headers, body)
        async with exchange.watching(self._tasks):
            answer = await self._pipeline.answer(case, request, found)
            try:
                if (
                    answer.match is not None
                    and answer.entry is not None
                    and self._at_once(exchange, answer, answer.entry)
                ):
                    return None
                if answer.later is None:
                    await self._deliver(exchange, answer)
                    return answer.outcome
                return await self._deliver_later(exchange, answer, answer.later)
            finally:
                await answer.aclose()

    def _at_once(self, exchange: Exchange, answer: Answer, entry: Entry) -> bool:
        """A hit in one write, noted in one go."""
        now = self._clock()
        rest, size = hit_on_wire(answer, entry, exchange.request_id, self._ids.next(), now)
        if not exchange.at_once(OK, rest):
            return False
        self._observer.hit(answer, entry, exchange.request_id, size, exchange.seconds(), now, exchange.span)
        return True

    async def _deliver(self, exchange: Exchange, answer: Answer) -> None:
        now = self._clock()
        self._observer.answered(exchange.record, answer, now)
        fields = answer_fields(answer, exchange.request_id, now)
        if answer.whole:
            body = b"".join([chunk async for chunk in _chunks(answer)])
            await exchange.respond(answer.status, fields, body)
            return
        if answer.entry is None:
            await exchange.start(answer.status, fields, events=is_event_stream(answer.headers))
            await self._stream(exchange, _chunks(answer))
            return
        body = entry_body(answer.entry, answer.case, self._ids.next(), now)
        await exchange.respond(OK, fields, body, events=answer.case.stream)

    async def _deliver_later(self, exchange: Exchange, early: Answer, later: Later) -> Outcome:
        """A stream that is begun before its answer is: comments until that comes, then what is to be said of it."""
        fields = (*EVENTS, *answer_fields(early, exchange.request_id, self._clock()))
        await exchange.start(OK, fields, events=True)
        answer = await kept_alive(exchange, later, self._settings.stream_keep_alive_s, self._tasks)
        try:
            self._observer.answered(exchange.record, answer, self._clock())
            if answer.entry is not None:
                await exchange.end(entry_body(answer.entry, answer.case, self._ids.next(), self._clock()))
            elif answer.status == OK and is_event_stream(answer.headers):
                await self._stream(exchange, _chunks(answer))
            else:
                body = b"".join([chunk async for chunk in _chunks(answer)])
                await exchange.end(refusal_event(answer.status, body))
        finally:
            await answer.aclose()
        return answer.outcome

    async def _stream(self, exchange: Exchange, chunks: AsyncIterable[bytes]) -> None:
        """Bytes as they come. What breaks after the head was sent is told by `_refuse`."""
        async for chunk in chunks:
            await exchange.write(chunk)
        await exchange.end()

    # -- feedback ------------------------------------------------------------------------------------------------

    async def _feedback(self, exchange: Exchange) -> Outcome:
        """A caller says whether an answer of ours was right. It is about the cache, so no upstream hears of it."""
        scope = self._tenancy.identify(exchange.headers)
        body = await exchange.body(self._settings.limits)
        asked = FeedbackBody.of(body)
        try:
            done = await self._given.give(scope, key=asked.key, request_id=asked.request_id, verdict=asked.verdict)
        except CacheFailure as failure:
            raise Overloaded(f"the feedback could not be kept, try again: {failure.message}") from failure
        fields = (JSON, PRIVATE, (b"x-request-id", exchange.request_id))
        await exchange.respond(OK, fields, orjson.dumps({"done": done}))
        return Outcome.BYPASS

    # -- everything else -----------------------------------------------------------------------------------------

    async def _pass_through(self, exchange: Exchange, target: str) -> Outcome:
        call = await self._passed(exchange, target)
        merged = len(self._upstreams.all) > 1 and exchange.method == "GET" and operation_of(target) == "models"
        async with exchange.watching(self._tasks):
            reply = await (self._upstreams.models(call) if merged else self._pipeline.send(call))
            try:
                await self._relay(exchange, reply)
            finally:
                await reply.aclose()
        return Outcome.BYPASS

    async def _passed(self, exchange: Exchange, target: str) -> Call:
        """A body is passed on as it comes, an upload of any size included; it is read first only where it says which
        upstream it is for, or is changed on the way."""
        onward = to_upstream(exchange.headers)
        named = model_in_target(target)
        call = Call(
            exchange.method,
            target,
            onward,
            b"",
            model=named,
            scope=self._tenancy.identify(exchange.headers),
            repeatable=repeatable(exchange.method, target),
            portable=portable(exchange.method, target),
            patience=Patience(patience_s(onward)),
        )
        length = exchange.fields.get(b"content-length")
        as_it_comes = call if length is None else replace(call, headers=(*onward, (b"content-length", length)))
        if (length or b"0") == b"0" and b"transfer-encoding" not in exchange.fields:
            exchange.without_body()
            return as_it_comes
        if not (self._upstreams.reads_bodies and may_be_json(exchange.headers)):
            return replace(as_it_comes, body=exchange.chunks())
        body = await exchange.body(self._settings.limits)
        found = model_in_body(body) if len(body) <= LARGE_BODY else await asyncio.to_thread(model_in_body, body)
        plain = tuple(pair for pair in onward if pair[0] != b"content-encoding")
        return replace(call, headers=plain, body=body, model=named or found)

    async def _relay(self, exchange: Exchange, reply: Reply) -> None:
        fields = [*sendable(reply.headers)]
        if exchange.method == "POST":
            fields.append(PRIVATE)
        else:
            fields += [pair for pair in reply.headers if pair[0] == b"cache-control"]
            fields.append(BY_CALLER)
        fields += [
            (b"x-cache", Outcome.BYPASS.value.encode()),
            (b"x-cache-reason", PASSED_THROUGH.detail.encode()),
            (b"cache-status", render(PASSED_THROUGH)),
            (b"x-request-id", exchange.request_id),
        ]
        if reply.length is not None:
            fields.append((b"content-length", b"%d" % reply.length))
        exchange.record.reason = PASSED_THROUGH.detail
        await exchange.start(reply.status, fields, events=is_event_stream(reply.headers))
        await self._stream(exchange, reply)

    # -- refusals ------------------------------------------------------------------------------------------------

    async def _refuse(self, exchange: Exchange, error: AskOnceError) -> None:
        """An error of our own in OpenAI's shape. Where the response has begun, events end with it, and anything else is
        cut short: its connection closes without an end, which no client takes for success."""
        exchange.record.reason = error.reason
        if exchange.started:
            if exchange.events:
                await exchange.end(error_event(error))
            return
        fields = (JSON, PRIVATE, *error.headers, (b"x-request-id", exchange.request_id))
        await exchange.refuse(error.status, fields, error_body(error))


async def _chunks(answer: Answer) -> AsyncIterator[bytes]:
    """What a live answer sends: a seat's frames in this caller's form, or a reply's bytes."""
    if answer.seat is not None:
        async with aclosing(answer.seat.frames()) as frames:
            async for frame in frames:
                chunk = frame.quiet if answer.quiet else frame.raw
                if chunk:
                    yield chunk
    elif answer.reply is not None:
        async for chunk in answer.reply:
            yield chunk
