"""Tracing by OpenTelemetry: spans sent as OTLP over HTTP. Beside `batches.py` the only module that imports it.

No global provider is set: what else in the process may use OpenTelemetry is left alone, and the other way round.
Which variables of the environment the SDK reads is told in docs/tracing.md.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar, Token
from dataclasses import replace
from types import TracebackType
from typing import Final, Self

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import SynchronousMultiSpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBasedTraceIdRatio, Sampler, TraceIdRatioBased
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    NoOpTracer,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    set_span_in_context,
)
from prometheus_client.core import CounterMetricFamily, Metric

from proxy.errors import AskOnceError, SettingsError
from proxy.telemetry.records import Served
from proxy.telemetry.tracing import genai
from proxy.telemetry.tracing.base import Followed, TracingSettings, Value
from proxy.telemetry.tracing.batches import Batches
from proxy.telemetry.tracing.off import NO_SPAN, NoSpan
from proxy.telemetry.tracing.w3c import Parent, coming_from, parent_of, traceparent
from proxy.types import Call, CallSpan, Usage

NAME: Final = "askonce"

SERVER_ERROR: Final = 500

CLIENT_ERROR: Final = 400

MEMORY: Final = "memory"
"""The tier that is not waited for."""

NOWHERE: Final = Context()
"""No parent."""


class OtelTracing:
    """`Tracing`. Makes nothing before `open`, so that a process that forks or spawns takes no thread along.

    make_exporter: what sends spans.
    """

    def __init__(
        self, settings: TracingSettings, *, make_exporter: Callable[[TracingSettings], SpanExporter] | None = None
    ) -> None:
        self.active = False
        self._settings = settings
        self._make_exporter = make_exporter or _exporter
        self._batches: Batches | None = None
        sample = settings.sample
        self._bound = TraceIdRatioBased.get_bound_for_rate(sample) if sample is not None else None
        """Trace ids are sampled whose lower half is below it; None: not known here."""
        self._ids = _Ids()
        self._tracer: Tracer = NoOpTracer()
        self._own_traces: Tracer = self._tracer

    def open(self) -> None:
        try:
            exporter = self._make_exporter(self._settings)
            sampler = _sampler(self._settings)
            resource = _resource(self._settings)
        except (ValueError, OSError, RuntimeError) as error:
            raise SettingsError(f"telemetry.tracing, or an OTEL_ variable, cannot be used: {error}") from error
        self._batches = Batches(exporter, most=self._settings.queue)
        processor = SynchronousMultiSpanProcessor()  # type: ignore[no-untyped-call]
        processor.add_span_processor(self._batches)

        def tracer(sampler: Sampler | None) -> Tracer:
            # `shutdown_on_exit` would wait at the process's end.
            provider = TracerProvider(
                sampler,
                resource,
                shutdown_on_exit=False,
                active_span_processor=processor,
                id_generator=self._ids,
            )
            return provider.get_tracer(NAME, self._settings.version, genai.SCHEMA)

        self._tracer, self._own_traces = tracer(sampler), tracer(ALWAYS_ON)
        self._batches.start()
        self.active = True

    async def close(self) -> None:
        self.active = False
        if self._batches is not None:
            await asyncio.to_thread(self._batches.stop, self._settings.flush_s)

    def exported(self) -> Iterator[Metric]:
        """For `/metrics`: what became of spans that nobody will see."""
        family = CounterMetricFamily(
            "askonce_spans_dropped", "Spans that were not sent to the collector.", labels=("reason",)
        )
        batches = self._batches
        family.add_metric(("queue_full",), batches.full if batches else 0)
        family.add_metric(("export_failed",), batches.failed if batches else 0)
        yield family

    # -- requests ------------------------------------------------------------------------------------------------

    def parent(self, headers: Sequence[tuple[bytes, bytes]]) -> Parent | None:
        return parent_of(headers)

    def request(self, headers: Sequence[tuple[bytes, bytes]]) -> _Request | NoSpan:
        if not self.active:
            return NO_SPAN
        parent = parent_of(headers)
        return _Request(self._begun(parent, None), continued=parent is not None)

    def hit(self, parent: Parent | None, seconds: float) -> _Hit | NoSpan:
        if not self.active or not self._may_be_sampled(parent):
            return NO_SPAN
        began = time.time_ns() - int(seconds * 1e9)
        span = self._begun(parent, began)
        return _Hit(span, self._tracer, began, continued=parent is not None) if span.is_recording() else NO_SPAN

    def _may_be_sampled(self, parent: Parent | None) -> bool:
        """False: the sampler would say no. A hit is made in less time than it takes to ask it. Where the variables have
        chosen the sampler, only it knows."""
        if self._bound is None:
            return True
        if parent is not None:
            return bool(parent.flags & TraceFlags.SAMPLED)
        trace_id = self._ids.generate_trace_id()
        if trace_id & TraceIdRatioBased.TRACE_ID_LIMIT >= self._bound:
            return False
        self._ids.following = trace_id
        return True

    def _begun(self, parent: Parent | None, start: int | None) -> Span:
        context = NOWHERE
        if parent is not None:
            there = SpanContext(parent.trace_id, parent.span_id, is_remote=True, trace_flags=TraceFlags(parent.flags))
            context = set_span_in_context(NonRecordingSpan(there), NOWHERE)
        # The name is what is known before the path is; `ended` gives the other.
        return self._tracer.start_span("HTTP", context, kind=SpanKind.SERVER, start_time=start)

    # -- steps ---------------------------------------------------------------------------------------------------

    def step(self, name: str) -> _Step | NoSpan:
        current = CURRENT.get()
        if current is None or not current.sampled:
            return NO_SPAN
        return _Step(self._tracer.start_span(name, current.context))

    def note(self, name: str, value: Value) -> None:
        current = CURRENT.get()
        if current is not None and current.span.is_recording():
            current.span.set_attribute(name, value)

    def event(self, name: str, notes: Mapping[str, Value]) -> None:
        current = CURRENT.get()
        if current is not None and current.span.is_recording():
            current.span.add_event(name, notes)

    def following(self, followed: Followed) -> _Following | NoSpan:
        current = CURRENT.get()
        if current is None or not current.sampled or not followed.shared:
            return NO_SPAN
        return _Following(self._tracer.start_span(genai.FOLLOW, current.context), followed)

    def afterwards(self, name: str) -> _Step | NoSpan:
        current = CURRENT.get()
        if current is None or not current.sampled:
            return NO_SPAN
        # The choice was made for the request: no second one, or of a hundredth a hundredth would be seen.
        return _Step(self._own_traces.start_span(name, NOWHERE, links=[Link(current.span.get_span_context())]))

    # -- upstream calls ------------------------------------------------------------------------------------------

    def call(self, call: Call, *, model: str, kind: str, origin: str) -> _Call | NoSpan:
        current = CURRENT.get()
        if current is None:
            return NO_SPAN
        if not current.sampled:
            return _Call(current.span, continued=current.continued)
        name, attributes = _of_call(call, model, kind, origin)
        span = self._tracer.start_span(name, current.context, kind=SpanKind.CLIENT, attributes=attributes)
        return _Call(span, continued=current.continued)

    def leading(self) -> CallSpan | None:
        current = CURRENT.get()
        return _Call(current.span, continued=True) if current is not None and current.sampled else None


class _Ids(RandomIdGenerator):
    """`following` is the next trace's id, which its sampler is about to say yes to; 0: any. Asked by the event loop's
    thread only."""

    following = 0

    def generate_trace_id(self) -> int:
        following, self.following = self.following, 0
        return following or super().generate_trace_id()


class _Current:
    """What may be the current span of a task. It may have ended: what it began (a flight, work behind the caller's
    back) still belongs to it.

    continued: the trace began at somebody else's.
    """

    __slots__ = ("_context", "_token", "continued", "sampled", "span")

    def __init__(self, span: Span, *, continued: bool = True) -> None:
        self.span = span
        self.sampled = span.is_recording()
        self.continued = continued
        self._context: Context | None = None
        self._token: Token[_Current | None] | None = None

    @property
    def context(self) -> Context:
        """For its children."""
        if self._context is None:
            self._context = set_span_in_context(self.span, NOWHERE)
        return self._context

    def __enter__(self) -> Self:
        self._token = CURRENT.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._token is not None:
            CURRENT.reset(self._token)
            self._token = None
        if self.span.is_recording():
            if error is not None:
                _fail(self.span, _reason(error))
            self.span.end()


CURRENT: ContextVar[_Current | None] = ContextVar("span", default=None)


class _Request(_Current):
    """`RequestSpan`."""

    __slots__ = ("trace_id",)

    def __init__(self, span: Span, *, continued: bool) -> None:
        super().__init__(span, continued=continued)
        self.trace_id = f"{span.get_span_context().trace_id:032x}" if self.sampled else ""

    def ended(self, record: Served) -> None:
        if self.span.is_recording():
            method = genai.method(record.method)
            known = record.endpoint != genai.OTHER
            self.span.update_name(f"{method} {record.endpoint}" if known else method)
            self.span.set_attributes(_of_request(record, method, known=known))
            if record.status >= SERVER_ERROR:
                _fail(self.span, record.reason or str(record.status))
            self.span.end()


class _Hit(_Request):
    """A hit of the fast lane, which has no span while it is made. What a store behind memory had was looked up in
    nearly all of that time."""

    __slots__ = ("_began_at", "_tracer")

    def __init__(self, span: Span, tracer: Tracer, began_at: int, *, continued: bool) -> None:
        super().__init__(span, continued=continued)
        self._tracer = tracer
        self._began_at = began_at

    def ended(self, record: Served) -> None:
        if record.tier != MEMORY:
            found: dict[str, Value] = {genai.TIER: record.tier, genai.FOUND: True}
            self._tracer.start_span(genai.LOOK_UP, self.context, attributes=found, start_time=self._began_at).end()
        super().ended(record)


class _Step(_Current):
    """`Span`."""

    __slots__ = ()

    def __init__(self, span: Span) -> None:
        # Where its trace began matters only at the request's own level, and that passes it on.
        current = CURRENT.get()
        super().__init__(span, continued=current is not None and current.continued)

    def note(self, name: str, value: Value) -> None:
        if self.span.is_recording():
            self.span.set_attribute(name, value)


class _Following(_Step):
    """A wait in somebody else's call."""

    __slots__ = ("_followed",)

    def __init__(self, span: Span, followed: Followed) -> None:
        super().__init__(span)
        self._followed = followed

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        leader = self._followed.span
        if isinstance(leader, _Call):
            self.span.add_link(leader.span.get_span_context())
        super().__exit__(kind, error, traceback)


class _Call:
    """`SendingSpan`: one attempt. Ends where the reply is let go of, at the time at which its body was over."""

    __slots__ = ("_began", "_over_at", "_recording", "continued", "span")

    def __init__(self, span: Span, *, continued: bool) -> None:
        self.span = span
        self.continued = continued
        self._recording = span.is_recording()
        self._began = time.perf_counter()
        self._over_at: int | None = None

    def onward(self, call: Call) -> Call:
        here = self.span.get_span_context()
        if not here.is_valid:
            return call
        value = traceparent(here.trace_id, here.span_id, here.trace_flags)
        return replace(call, headers=coming_from(call.headers, value, continued=self.continued))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self.failed(_reason(error))
            self.end()

    def departed(self, status: int) -> None:
        if self._recording:
            self.span.set_attribute(genai.STATUS, status)
            if status >= CLIENT_ERROR:
                self.failed(str(status))

    def first_byte(self) -> None:
        if self._recording:
            self.span.set_attribute(genai.TIME_TO_FIRST_CHUNK, time.perf_counter() - self._began)

    def answered(self, model: str, usage: Usage, finishes: Sequence[str]) -> None:
        if self._recording:
            self.span.set_attributes(_of_answer(model, usage, finishes))

    def failed(self, reason: str) -> None:
        if self._recording:
            _fail(self.span, reason)

    def over(self) -> None:
        self._over_at = time.time_ns()

    def end(self) -> None:
        if self._recording:
            self._recording = False
            self.span.end(self._over_at)


def _fail(span: Span, reason: str) -> None:
    """`reason`: a token of ours, or a status. The error's text is not shown: its like may hold an address."""
    span.set_attribute(genai.ERROR_TYPE, reason)
    span.set_status(Status(StatusCode.ERROR))


def _reason(error: BaseException) -> str:
    return error.reason if isinstance(error, AskOnceError) else type(error).__name__


def _of_request(record: Served, method: str, *, known: bool) -> dict[str, Value]:
    """Attributes of a request's span; what does not apply is left out. A path that is not one of ours could hold
    anything, and is not shown."""
    shown: dict[str, Value] = {
        genai.METHOD: method,
        genai.SCHEME: "http",
        genai.OUTCOME: record.outcome.value,
    }
    if record.stream:
        shown[genai.FIRST_BYTE] = record.first_byte_s
    if known:
        shown |= {genai.ROUTE: record.endpoint, genai.PATH: record.endpoint, genai.STREAM: record.stream}
    if record.status:
        shown[genai.STATUS] = record.status
    for name, value in (
        (genai.MODEL, record.model[: genai.MAX_NAME]),
        (genai.TIER, record.tier),
        (genai.KEY, record.key),
        (genai.REASON, record.reason),
        (genai.UPSTREAM, record.upstream),
    ):
        if value:
            shown[name] = value
    if record.tier:
        shown[genai.AGE] = record.age_s
    if record.similarity is not None:
        shown[genai.SIMILARITY] = record.similarity
    return shown


def _of_call(call: Call, model: str, kind: str, origin: str) -> tuple[str, dict[str, Value]]:
    """Name and attributes of a call's span."""
    called = genai.called(call.target)
    host, _, port = origin.rpartition(":")
    host = host.strip("[]")
    shown: dict[str, Value] = {
        genai.METHOD: genai.method(call.method),
        genai.SERVER_ADDRESS: host,
        genai.SERVER_PORT: int(port),
    }
    if not called:
        return genai.method(call.method), shown
    operation, model = genai.operation(called), model[: genai.MAX_NAME]
    shown |= {genai.OPERATION: operation, genai.PROVIDER: genai.provider(kind, host)}
    if model:
        shown[genai.REQUEST_MODEL] = model
    if call.streaming:
        shown[genai.REQUEST_STREAM] = True
    if api_type := genai.api_type(called):
        shown[genai.API_TYPE] = api_type
    return f"{operation} {model}".rstrip(), shown


def _of_answer(model: str, usage: Usage, finishes: Sequence[str]) -> dict[str, Value | Sequence[str]]:
    """What an upstream says of its answer."""
    shown: dict[str, Value | Sequence[str]] = {genai.FINISH_REASONS: [genai.finish(each) for each in finishes]}
    if model:
        shown[genai.RESPONSE_MODEL] = model[: genai.MAX_NAME]
    if usage != Usage():
        shown[genai.INPUT_TOKENS] = usage.prompt_tokens
        shown[genai.OUTPUT_TOKENS] = usage.completion_tokens
        shown[genai.CACHED_TOKENS] = usage.cached_tokens
    return shown


def _exporter(settings: TracingSettings) -> SpanExporter:
    """Its own tries again end when the time for a batch is up."""
    endpoint = f"{settings.endpoint}/v1/traces" if settings.endpoint is not None else None
    return OTLPSpanExporter(endpoint, timeout=settings.timeout_s)


def _sampler(settings: TracingSettings) -> Sampler | None:
    """None: what OTEL_TRACES_SAMPLER says."""
    return ParentBasedTraceIdRatio(settings.sample) if settings.sample is not None else None


def _resource(settings: TracingSettings) -> Resource:
    """Who we are: what OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME say, and the configuration above them."""
    found = Resource.create()
    own = {SERVICE_VERSION: settings.version}
    if settings.service_name is not None:
        own[SERVICE_NAME] = settings.service_name
    elif str(found.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        own[SERVICE_NAME] = NAME
    return found.merge(Resource(own))
