"""Spans as the SDK makes them: what is sampled, who we are, and nothing before it is opened."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from proxy.errors import SettingsError, UpstreamTimeout
from proxy.telemetry.records import Served
from proxy.telemetry.tracing.base import TracingSettings
from proxy.telemetry.tracing.off import NO_SPAN
from proxy.telemetry.tracing.otel import OtelTracing
from proxy.types import Call, Outcome, Usage

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
FROM_OUTSIDE = [(b"traceparent", f"00-{TRACE}-{SPAN}-01".encode())]
CALL = Call("POST", "/chat/completions", ((b"a", b"1"),), b"", model="m")
SERVED = Served(endpoint="/v1/chat/completions", method="POST", outcome=Outcome.MISS, status=200)
HIT = replace(SERVED, outcome=Outcome.HIT, tier="memory")


def chosen(**options: Any) -> TracingSettings:
    whole: dict[str, Any] = {
        "enabled": True,
        "version": "1",
        "endpoint": None,
        "sample": None,
        "service_name": None,
        "queue": 100,
        "timeout_s": 1,
        "flush_s": 60,
    }
    return TracingSettings(**whole | options)


class Sent:
    """What was sent; complete when the block is left."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self.exporter.get_finished_spans()

    @property
    def names(self) -> list[str]:
        return [span.name for span in self.spans]


@asynccontextmanager
async def opened(sent: Sent, **options: Any) -> AsyncIterator[OtelTracing]:
    tracing = OtelTracing(chosen(**options), make_exporter=lambda _settings: sent.exporter)
    tracing.open()
    try:
        yield tracing
    finally:
        await tracing.close()


def test_before_it_is_opened_there_is_no_thread_and_no_span() -> None:
    before = threading.active_count()
    tracing = OtelTracing(chosen())
    assert threading.active_count() == before
    assert not tracing.active
    assert tracing.request(FROM_OUTSIDE) is NO_SPAN
    assert tracing.hit(None, 0) is NO_SPAN


async def test_no_provider_is_set_for_the_whole_process() -> None:
    async with opened(Sent()):
        assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


async def test_after_it_is_closed_no_span_is_made() -> None:
    async with opened(Sent()) as tracing:
        pass
    assert tracing.request(()) is NO_SPAN


async def test_without_a_request_there_is_no_step_no_call_and_no_work_afterwards() -> None:
    async with opened(Sent()) as tracing:
        assert tracing.step("look-up") is NO_SPAN
        assert tracing.afterwards("remember") is NO_SPAN
        assert tracing.leading() is None
        assert tracing.call(CALL, model="m", kind="openai", origin="h:1") is NO_SPAN
        tracing.note("a", 1)
        tracing.event("a", {})


async def test_of_a_share_of_requests_the_whole_trace_is_seen_or_nothing() -> None:
    sent = Sent()
    async with opened(sent, sample=0.5) as tracing:
        for _ in range(200):
            with tracing.request(()) as request:
                with tracing.step("look-up"), tracing.step("embed"):
                    pass
                with tracing.afterwards("remember"):
                    pass
                request.ended(SERVED)
    requests = [span for span in sent.spans if span.kind is trace.SpanKind.SERVER]
    assert 0 < len(requests) < 200
    for name in ("look-up", "embed", "remember"):
        assert sent.names.count(name) == len(requests)


async def test_hits_are_sampled_like_other_requests_and_do_not_choose_for_them() -> None:
    """A hit is chosen by its trace's id before there is a span; that id must be its own and nobody else's."""
    sent = Sent()
    async with opened(sent, sample=0.5, queue=2000) as tracing:
        hits = [tracing.hit(None, 0.001) for _ in range(400)]
        after = []
        for hit in hits:
            hit.ended(HIT)
            tracing.hit(None, 0.001).ended(HIT)
            with tracing.request(()) as request:
                after.append(request.trace_id)
                request.ended(SERVED)
    traces = [span.context.trace_id for span in sent.spans]
    assert len(set(traces)) == len(traces)
    # Both within ten standard deviations.
    assert 100 < sum(hit is not NO_SPAN for hit in hits) < 300
    assert 100 < sum(map(bool, after)) < 300


async def test_a_hit_is_sampled_as_its_caller_says() -> None:
    sent = Sent()
    unsampled = [(b"traceparent", f"00-{TRACE}-{SPAN}-00".encode())]
    async with opened(sent, sample=0) as tracing:
        assert tracing.hit(tracing.parent(unsampled), 0) is NO_SPAN
        assert tracing.hit(None, 0) is NO_SPAN
        tracing.hit(tracing.parent(FROM_OUTSIDE), 0.001).ended(HIT)
    (span,) = sent.spans
    assert f"{span.context.trace_id:032x}" == TRACE
    assert span.name == "POST /v1/chat/completions"


async def test_what_a_request_began_belongs_to_it_after_its_end_too() -> None:
    sent = Sent()
    go_on = asyncio.Event()

    async def flight() -> None:
        await go_on.wait()
        with tracing.call(CALL, model="m", kind="openai", origin="h:1") as call:
            call.end()
        with tracing.afterwards("remember"):
            pass

    async with opened(sent) as tracing:
        with tracing.request(FROM_OUTSIDE) as request:
            flying = asyncio.create_task(flight())
            await asyncio.sleep(0)
            request.ended(SERVED)
        go_on.set()
        await flying
    server, call, remember = sent.spans
    assert call.parent is not None
    assert call.parent.span_id == server.context.span_id
    assert [link.context.span_id for link in remember.links] == [server.context.span_id]


async def test_a_step_left_by_an_error_failed_by_its_name_and_not_by_its_words() -> None:
    sent = Sent()
    async with opened(sent) as tracing:
        with tracing.request(()):
            with pytest.raises(UpstreamTimeout), tracing.step("look-up"):
                raise UpstreamTimeout("secret words")
            with pytest.raises(KeyError), tracing.step("embed"):
                raise KeyError("secret words")
    by_name = {span.name: span for span in sent.spans}
    assert dict(by_name["look-up"].attributes or {}) == {"error.type": "upstream_timeout"}
    assert dict(by_name["embed"].attributes or {}) == {"error.type": "KeyError"}
    assert all(span.events == () and span.status.description is None for span in sent.spans)


async def test_a_call_is_over_when_its_body_is_and_hears_nothing_after_its_end() -> None:
    sent = Sent()
    async with opened(sent) as tracing:
        with tracing.request(()):
            with tracing.call(CALL, model="m", kind="openai", origin="[::1]:8000") as call:
                call.departed(200)
            call.over()
            call.answered("m", Usage(1, 2), ("stop",))
            call.end()
            call.failed("late")
            call.answered("late", Usage(), ())
            call.end()
    span = next(span for span in sent.spans if span.name == "chat m")
    attributes = dict(span.attributes or {})
    assert attributes["server.address"] == "::1"
    assert attributes["gen_ai.response.model"] == "m"
    assert "error.type" not in attributes


async def test_who_we_are_is_what_the_configuration_says_over_what_the_variables_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert await service() == "askonce"
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=from-attributes,team=a")
    assert await service() == "from-attributes"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "from-variable")
    assert await service() == "from-variable"
    assert await service(service_name="from-settings") == "from-settings"


async def service(**options: Any) -> Any:
    sent = Sent()
    async with opened(sent, **options) as tracing:
        with tracing.request(()):
            pass
    return sent.spans[0].resource.attributes["service.name"]


async def test_the_share_is_what_the_configuration_says_over_what_the_variables_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    assert await seen() == 0
    assert await seen(sample=1) == 1


async def seen(**options: Any) -> int:
    sent = Sent()
    async with opened(sent, **options) as tracing:
        with tracing.request(()):
            pass
    return len(sent.spans)


async def test_switched_off_by_the_standard_variable_a_callers_trace_still_passes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    sent = Sent()
    call = Call("POST", "/x", tuple(FROM_OUTSIDE), b"")
    async with opened(sent) as tracing:
        with tracing.request(FROM_OUTSIDE), tracing.call(call, model="", kind="openai", origin="h:1") as span:
            assert span.onward(call).headers == call.headers
        with tracing.request(()), tracing.call(CALL, model="", kind="openai", origin="h:1") as span:
            assert span.onward(CALL) == CALL
    assert sent.spans == ()


def test_a_variable_that_cannot_be_used_is_told_before_serving(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER", "nobody")
    with pytest.raises(SettingsError, match=r"OTEL_ variable, cannot be used: .*nobody"):
        OtelTracing(chosen()).open()
