"""What a tracing system is shown of each request's way, over real sockets: which spans, whose, and no words."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from tests.collector import Collector, collecting
from tests.path.by_meaning import OTHERWISE, Begin, first, user
from tests.path.faults import CANARY, CHAT
from tests.path.several import several
from tests.provider import DONE, Ending, Provider, completion, delta, failure, plain, stream, words
from tests.running import Clock, Running, Start, credential, question

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
FROM_OUTSIDE = f"00-{TRACE}-{SPAN}-01"
UNSAMPLED = f"00-{TRACE}-{SPAN}-00"
TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as listening:
        yield listening


def traced(collector: Collector, **more: Any) -> dict[str, Any]:
    """Flags that switch tracing on."""
    own = {"telemetry.tracing.enabled": True, "telemetry.tracing.endpoint": collector.url}
    return own | {f"telemetry.tracing.{name}": value for name, value in more.items()}


Traced = Callable[..., AbstractAsyncContextManager[Running]]


@pytest.fixture
def start(askonce: Start, collector: Collector) -> Traced:
    """A proxy that sends spans. When it has stopped, all of them are with the collector."""

    @asynccontextmanager
    async def started(flags: dict[str, Any] | None = None, **parts: Any) -> AsyncIterator[Running]:
        async with askonce(traced(collector, flush=60) | (flags or {}), **parts) as proxy:
            yield proxy

    return started


def sent(provider: Provider, index: int = -1) -> tuple[str, str, str]:
    """Trace, span and flags of the `traceparent` that an upstream was given."""
    match = TRACEPARENT.fullmatch(provider.asked[index].header("traceparent") or "")
    assert match is not None
    return match[1], match[2], match[3]


# --- hits and misses


async def test_a_miss_is_a_request_with_a_look_up_and_a_call_to_the_model(start: Traced, collector: Collector) -> None:
    async with start() as proxy:
        answer = await proxy.chat()
    request = collector.one("POST /v1/chat/completions")
    assert request.kind == "server"
    assert request.parent == ""
    assert (
        request.notes.items()
        >= {
            "http.request.method": "POST",
            "http.route": CHAT,
            "http.response.status_code": 200,
            "askonce.cache.outcome": "miss",
            "askonce.cache.key": answer.headers["x-cache-key"],
            "askonce.model": "gpt-test",
            "askonce.upstream": "openai",
            "askonce.stream": False,
        }.items()
    )
    look_up, call = collector.children(request)
    assert (look_up.name, look_up["askonce.cache.tier"], look_up["askonce.found"]) == ("look-up", "sqlite", False)
    assert (call.name, call.kind, call.failed) == ("chat gpt-test", "client", False)


async def test_a_call_to_the_model_is_told_in_the_words_of_the_conventions(
    start: Traced, collector: Collector, provider: Provider
) -> None:
    usage = {"prompt_tokens": 11, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 3}}
    provider.then(plain(completion("Yes.", model="gpt-test-2026", usage=usage)))
    async with start() as proxy:
        await proxy.chat()
    assert collector.one("chat gpt-test").notes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-test",
        "gen_ai.response.model": "gpt-test-2026",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.response.time_to_first_chunk": pytest.approx(0, abs=60),
        "gen_ai.usage.input_tokens": 11,
        "gen_ai.usage.output_tokens": 7,
        "gen_ai.usage.cache_read.input_tokens": 3,
        "openai.api.type": "chat_completions",
        "server.address": "127.0.0.1",
        "server.port": provider.port,
        "http.request.method": "POST",
        "http.response.status_code": 200,
    }


@pytest.mark.parametrize("fast", [True, False], ids=["fast lane", "long way"])
async def test_a_hit_from_memory_is_one_span_and_calls_nobody(
    start: Traced, collector: Collector, *, fast: bool
) -> None:
    async with start({"server.fast_lane": fast}) as proxy:
        key = (await proxy.chat()).headers["x-cache-key"]
        await proxy.landed()
        await proxy.chat()
    _, hit = collector.requests()
    assert hit.notes.items() >= {"askonce.cache.outcome": "hit", "askonce.cache.tier": "memory"}.items()
    assert hit["askonce.cache.key"] == key
    assert hit["askonce.cache.age"] >= 0
    assert collector.children(hit) == []
    assert hit.began < hit.ended


@pytest.mark.parametrize("fast", [True, False], ids=["fast lane", "long way"])
async def test_a_hit_from_the_store_has_its_look_up_below_it(
    start: Traced, collector: Collector, *, fast: bool
) -> None:
    async with start({"server.fast_lane": fast, "store.memory": 0}) as proxy:
        await proxy.chat()
        await proxy.landed()
        await proxy.chat()
    _, hit = collector.requests()
    (look_up,) = collector.children(hit)
    assert (hit["askonce.cache.outcome"], hit["askonce.cache.tier"]) == ("hit", "sqlite")
    assert (look_up.name, look_up["askonce.cache.tier"], look_up["askonce.found"]) == ("look-up", "sqlite", True)
    assert hit.began <= look_up.began <= look_up.ended <= hit.ended


async def test_a_request_without_a_call_to_a_model_is_named_by_its_method_alone(
    start: Traced, collector: Collector, provider: Provider
) -> None:
    async with start() as proxy:
        await proxy.http.get(f"/v1/models/{CANARY}", headers=credential("sk-alice"))
    (request,) = collector.requests()
    (call,) = collector.children(request)
    assert (request.name, request["askonce.cache.outcome"]) == ("GET", "bypass")
    assert "url.path" not in request.notes
    assert (call.name, call.kind, "gen_ai.operation.name" in call.notes) == ("GET", "client", False)


async def test_a_stream_tells_when_its_first_byte_came_and_lasts_to_its_last(
    start: Traced, collector: Collector, provider: Provider
) -> None:
    began, go_on = asyncio.Event(), asyncio.Event()
    one, *rest = words("Hello", usage=True)
    provider.then(stream([one, lambda _asked: began.set(), go_on, *rest]))
    async with start() as proxy, proxy.reading() as reading:
        await reading.until(b"data: ")
        await began.wait()
        paused = time.time_ns()
        go_on.set()
        await reading.rest()
    request, call = collector.requests()[0], collector.one("chat gpt-test")
    assert call["gen_ai.request.stream"] is True
    assert call.began + call["gen_ai.response.time_to_first_chunk"] * 1e9 < paused < call.ended
    assert request.began + request["askonce.time_to_first_byte"] * 1e9 < paused < request.ended
    assert call["gen_ai.response.finish_reasons"] == ["stop"]
    assert call["gen_ai.usage.output_tokens"] > 0


async def test_a_call_lasts_to_its_last_byte_and_not_until_its_answer_is_kept(
    start: Traced, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept_from = 0
    async with start() as proxy:
        store = proxy.application.store
        put = store.put

        async def noted(entry: Any) -> bool:
            nonlocal kept_from
            kept_from = time.time_ns()
            return await put(entry)

        monkeypatch.setattr(store, "put", noted)
        await proxy.chat()
        await proxy.landed()
    assert 0 < collector.one("chat gpt-test").ended <= kept_from


# --- whose trace it is


async def test_a_callers_trace_goes_on_here_and_on_to_the_upstream(
    start: Traced, collector: Collector, provider: Provider
) -> None:
    async with start() as proxy:
        await proxy.chat({"traceparent": FROM_OUTSIDE, "tracestate": "vendor=1"})
    (request,) = collector.requests()
    call = collector.one("chat gpt-test")
    assert (request.trace, request.parent) == (TRACE, SPAN)
    assert sent(provider) == (TRACE, call.id, "01")
    assert provider.last.header("tracestate") == "vendor=1"


async def test_a_trace_that_begins_here_goes_on_to_the_upstream(
    start: Traced, collector: Collector, provider: Provider
) -> None:
    async with start() as proxy:
        await proxy.chat({"traceparent": "00-nonsense", "tracestate": "of=nothing"})
    call = collector.one("chat gpt-test")
    trace, span, flags = sent(provider)
    assert (trace, span) == (call.trace, call.id)
    assert int(flags, 16) & 1, "it is sampled"
    assert provider.last.header("tracestate") is None


async def test_a_caller_that_does_not_sample_is_not_traced_and_its_trace_goes_on(
    start: Traced, collector: Collector, provider: Provider
) -> None:
    async with start() as proxy:
        await proxy.chat({"traceparent": UNSAMPLED})
        await proxy.chat({"traceparent": UNSAMPLED})
    trace, _, flags = sent(provider)
    assert (trace, flags) == (TRACE, "00")
    assert collector.spans == []


async def test_with_no_share_to_sample_only_a_caller_that_samples_is_traced(
    start: Traced, collector: Collector
) -> None:
    async with start({"telemetry.tracing.sample": 0}) as proxy:
        await proxy.chat()
        await proxy.chat()
        await proxy.chat({"traceparent": FROM_OUTSIDE})
    assert {span.trace for span in collector.spans} == {TRACE}


async def test_without_tracing_a_callers_trace_passes_as_it_is(askonce: Start, provider: Provider) -> None:
    async with askonce() as proxy:
        await proxy.chat({"traceparent": FROM_OUTSIDE, "tracestate": "vendor=1"})
    assert provider.last.header("traceparent") == FROM_OUTSIDE
    assert provider.last.header("tracestate") == "vendor=1"


async def test_a_trace_is_no_part_of_an_answers_name(start: Traced, lane: dict[str, Any], provider: Provider) -> None:
    async with start(lane) as proxy:
        await proxy.chat({"traceparent": FROM_OUTSIDE, "tracestate": "a=1"})
        await proxy.landed()
        other = await proxy.chat({"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "tracestate": "b=2"})
    assert other.headers["x-cache"] == "hit"
    assert provider.calls == 1


async def test_the_same_bytes_again_are_a_child_of_the_span_they_name(start: Traced, collector: Collector) -> None:
    async with start() as proxy:
        for _ in range(4):
            await proxy.chat({"traceparent": FROM_OUTSIDE})
            await proxy.landed()
    assert {(span.trace, span.parent) for span in collector.requests()} == {(TRACE, SPAN)}
    assert len(collector.requests()) == 4


# --- together


async def test_a_caller_who_follows_is_linked_to_the_call_that_it_follows(
    start: Traced, collector: Collector, provider: Provider
) -> None:
    go_on = asyncio.Event()
    provider.then([go_on, *plain(completion("Yes."))])
    async with start() as proxy:
        leader = asyncio.create_task(proxy.chat())
        await provider.arrived()
        follower = asyncio.create_task(proxy.chat())
        while not await proxy.metric("askonce_flight_followers_total"):
            await asyncio.sleep(0.005)
        go_on.set()
        await leader
        assert (await follower).headers["x-cache"] == "collapsed"
    led, followed = collector.requests()
    call, follow = collector.one("chat gpt-test"), collector.one("follow")
    assert (call.trace, call.parent) == (led.trace, led.id)
    assert (follow.trace, follow.parent) == (followed.trace, followed.id)
    assert follow.links == [(call.trace, call.id)]
    assert followed.trace != led.trace


async def test_a_call_outlives_the_caller_that_began_it_and_stays_its_child(
    start: Traced, collector: Collector, provider: Provider
) -> None:
    go_on = asyncio.Event()
    provider.then([go_on, *plain(completion("Yes."))])
    async with start() as proxy:
        leaving = asyncio.create_task(proxy.chat())
        await provider.arrived()
        leaving.cancel()
        await asyncio.wait([leaving])
        while not collector.requests() and not await proxy.metric("askonce_requests_total", outcome="error"):
            await asyncio.sleep(0.005)
        go_on.set()
        await proxy.landed()
    (request,) = collector.requests()
    call = collector.one("chat gpt-test")
    assert request["askonce.cache.reason"] == "client_left"
    assert (call.trace, call.parent) == (request.trace, request.id)
    assert call.ended > request.ended
    assert call["gen_ai.response.finish_reasons"] == ["stop"]


async def test_a_stale_answers_renewal_belongs_to_the_request_that_got_it(start: Traced, collector: Collector) -> None:
    clock = Clock()
    flags = {"rules": [{"ttl": 10, "ttl_jitter": 0, "stale_while_revalidate": 100}]}
    async with start(flags, clock=clock) as proxy:
        await proxy.chat()
        await proxy.landed()
        clock.pass_(20)
        assert (await proxy.chat()).headers["x-cache"] == "stale"
        await proxy.landed()
    _, stale = collector.requests()
    (renewal,) = [span for span in collector.children(stale) if span.kind == "client"]
    assert stale["askonce.cache.outcome"] == "stale"
    assert renewal["gen_ai.response.finish_reasons"] == ["stop"]


# --- failures


async def test_an_upstreams_error_is_told_on_its_call_and_on_the_request(
    start: Traced, collector: Collector, provider: Provider
) -> None:
    provider.then(failure(500, CANARY))
    async with start() as proxy:
        await proxy.chat()
    request, call = collector.one("POST /v1/chat/completions"), collector.one("chat gpt-test")
    assert (call.failed, call["error.type"], call["http.response.status_code"]) == (True, "500", 500)
    assert (request.failed, request["error.type"], request["http.response.status_code"]) == (True, "500", 500)


async def test_what_a_caller_did_wrong_is_no_failure_of_ours(start: Traced, collector: Collector) -> None:
    async with start() as proxy:
        await proxy.post(CHAT, "{")
    (request,) = collector.requests()
    assert (request.failed, request["http.response.status_code"]) == (False, 400)


async def test_an_upstream_nobody_answers_at_is_told_by_the_name_of_the_error(
    start: Traced, collector: Collector, provider: Provider
) -> None:
    await provider.stop()
    async with start() as proxy:
        await proxy.chat()
    request, call = collector.one("POST /v1/chat/completions"), collector.one("chat gpt-test")
    assert call.failed
    assert call["error.type"] == request["error.type"] == request["askonce.cache.reason"] == "upstream_unreachable"


async def test_a_stream_that_breaks_is_a_failed_call(start: Traced, collector: Collector, provider: Provider) -> None:
    one, *_ = words("Hello")
    provider.then(stream([one], end=Ending.RESET))
    async with start() as proxy:
        await proxy.chat(stream=True)
    call = collector.one("chat gpt-test")
    assert (call.failed, call["error.type"]) == (True, "upstream_interrupted")
    assert "gen_ai.response.finish_reasons" not in call.notes


async def test_a_second_endpoint_and_a_fallback_are_calls_of_their_own(
    askonce: Start, collector: Collector, provider: Provider
) -> None:
    """One endpoint refuses connections, the next says 503, the fallback answers."""
    async with Provider() as second:
        second.always(lambda _asked: failure(503))
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            closed = nobody.getsockname()[1]
            flags = traced(collector, flush=60) | {"upstreams.0.balance": "round_robin"}
            async with several(
                askonce,
                provider,
                {"base_url": f"http://127.0.0.1:{closed}/v1,{second.url}", "fallback": "b"},
                {"api_key": "sk-b", "credential": "own"},
                flags=flags,
            ) as (proxy, (_, fallback)):
                answer = await proxy.chat()
    assert answer.headers["x-upstream"] == "b"
    (request,) = collector.requests()
    *failed, last = (span for span in collector.children(request) if span.name == "chat gpt-test")
    assert {(call["server.port"], call["error.type"]) for call in failed} == {
        (closed, "upstream_unreachable"),
        (second.port, "503"),
    }
    assert all(call.failed for call in failed)
    assert (last["server.port"], last.failed) == (fallback.port, False)
    assert request["askonce.upstream"] == "b"


# --- by meaning


async def test_an_answer_found_by_meaning_shows_how_it_was_found(begin: Begin, collector: Collector) -> None:
    async with begin(traced(collector, flush=60)) as proxy:
        await first(proxy)
        answer = await proxy.chat(**user(OTHERWISE))
        assert answer.headers["x-cache"] == "semantic"
    _, request = collector.requests()
    (match,) = [span for span in collector.children(request) if span.name == "match"]
    assert request["askonce.cache.outcome"] == "semantic"
    assert request["askonce.cache.similarity"] == pytest.approx(float(answer.headers["x-cache-similarity"]), abs=1e-4)
    assert match["askonce.match.outcome"] == "hit"
    assert match["askonce.cache.similarity"] == request["askonce.cache.similarity"]
    below = {span.name: span for span in collector.children(match)}
    assert below.keys() == {"embed", "search"}
    assert below["search"]["askonce.found"] == 1


async def test_a_question_that_is_told_apart_shows_by_what(begin: Begin, collector: Collector) -> None:
    async with begin(traced(collector, flush=60)) as proxy:
        await first(proxy, "How do I reset my password in 3 steps?")
        answer = await proxy.chat(**user("How do I reset my password in 4 steps?"))
        assert answer.headers["x-cache"] == "miss"
    (match,) = [span for span in collector.children(collector.requests()[1]) if span.name == "match"]
    ((name, notes),) = match.events
    assert name == "askonce.match.refused"
    assert notes["askonce.match.refused_by"]
    assert 0.5 < notes["askonce.cache.similarity"] <= 1


async def test_what_is_learned_behind_the_callers_back_is_a_trace_of_its_own_that_links_to_it(
    begin: Begin, collector: Collector
) -> None:
    """A question that goes upstream although a stored one lies near: their answers are compared."""
    async with begin(traced(collector, flush=60) | {"semantic.audit_rate": 1}) as proxy:
        await first(proxy)
        await proxy.chat(**user(OTHERWISE))
        while not await proxy.metric("askonce_judged_answers_total"):
            await asyncio.sleep(0.01)
    request = collector.requests()[1]
    judge = collector.one("judge")
    remember = next(span for span in collector.named("remember") if span.id == judge.parent)
    assert remember.links == [(request.trace, request.id)]
    assert remember.trace != request.trace
    assert remember.parent == ""
    assert judge["askonce.judge.source"] == "audit"
    assert judge["askonce.judge.by"]


async def test_background_work_is_seen_just_where_its_request_is(begin: Begin, collector: Collector) -> None:
    async with begin(traced(collector, flush=60, sample=0)) as proxy:
        await first(proxy)
        points = 2
        await proxy.chat({"traceparent": FROM_OUTSIDE}, **user("Which bank is the oldest of all?"))
        while (await proxy.http.get("/admin/semantic")).json()["index"]["points"] < points:
            await asyncio.sleep(0.01)
    (remember,) = collector.named("remember")
    assert [trace for trace, _ in remember.links] == [TRACE]


# --- no words


async def test_no_word_of_a_request_or_an_answer_is_in_a_span(
    begin: Begin, collector: Collector, provider: Provider
) -> None:
    """A canary in every member, field and path that a user or a server can fill."""
    tool = {"type": "function", "function": {"name": CANARY, "description": CANARY, "parameters": {}}}
    call = {"id": CANARY, "type": "function", "function": {"name": CANARY, "arguments": CANARY}}
    marked = {"x-canary": CANARY, "tracestate": f"vendor={CANARY}", "baggage": f"a={CANARY}", "user-agent": CANARY}
    marked |= {"x-request-id": CANARY, "openai-organization": CANARY, "x-cache-tag": CANARY}
    said = completion(CANARY, system_fingerprint=CANARY, service_tier=CANARY, **{CANARY: CANARY})
    said["id"] = CANARY
    said["choices"][0]["finish_reason"] = CANARY

    def answer(asked: Any) -> Any:
        if not asked.streams:
            return plain(said, headers=[("x-canary", CANARY), ("x-request-id", CANARY)])
        frames = [delta({"role": "assistant", "content": CANARY, "tool_calls": [{"index": 0} | call]})]
        return stream([*frames, delta({}, finish=CANARY), DONE], headers=[("x-canary", CANARY)])

    async with begin(traced(collector, flush=60) | {"telemetry.tracing.service_name": "shown"}) as proxy:
        provider.always(answer)
        for members in (
            {},
            {"stream": True},
            {"tools": [tool]},
            {"user": CANARY, "metadata": {CANARY: CANARY}, "stop": CANARY, CANARY: CANARY},
            user(f"What is a {CANARY}?"),
            user(f"What is the {CANARY}?"),
            {"messages": [{"role": CANARY, "content": CANARY, "name": CANARY}]},
        ):
            for _ in range(2):
                await proxy.chat(marked, key=CANARY, **members)
                await proxy.landed()
        provider.always(lambda _asked: failure(500, CANARY, code=CANARY))
        await proxy.chat(marked, key=CANARY, **user(f"{CANARY} again"))
        provider.always(lambda _asked: failure(429, CANARY))
        await proxy.post(CHAT, json.dumps({CANARY: CANARY}), marked, key=CANARY)
        await proxy.post(f"/v1/embeddings?{CANARY}={CANARY}", json.dumps({"input": CANARY}), marked, key=CANARY)
        await proxy.http.get(f"/v1/files/{CANARY}?q={CANARY}", headers=marked)
        await proxy.http.request("CANARY", CHAT, headers=marked)
        await proxy.http.get(f"/v1/{CANARY}", headers=marked)
    names = {span.name for span in collector.spans}
    assert names >= {"POST /v1/chat/completions", "GET", "POST", "match", "embed", "search", "look-up", "chat gpt-test"}
    assert collector.one("embeddings").notes["gen_ai.operation.name"] == "embeddings"
    assert any(span.notes.get("gen_ai.response.finish_reasons") == ["other"] for span in collector.spans)
    assert CANARY.encode() not in b"".join(collector.bodies)
    assert b"CANARY" not in b"".join(collector.bodies)
    assert CANARY.encode() in b"".join(asked.body for asked in provider.asked)


async def test_of_a_models_name_only_so_much_is_shown(start: Traced, collector: Collector) -> None:
    async with start() as proxy:
        await proxy.chat(model="m" * 256)
    request, call = collector.requests()[0], next(span for span in collector.spans if span.kind == "client")
    assert request["askonce.model"] == call["gen_ai.request.model"] == call["gen_ai.response.model"] == "m" * 128
    assert call.name == "chat " + "m" * 128


# --- logs


@pytest.mark.parametrize("log_format", ["text", "json"])
async def test_an_access_line_names_the_trace_where_it_is_sampled(
    askonce_process: Any, collector: Collector, log_format: str
) -> None:
    environ = {
        "ASKONCE_TELEMETRY__TRACING__ENABLED": "true",
        "ASKONCE_TELEMETRY__LOG_FORMAT": log_format,
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_SERVICE_NAME": "by-variable",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
        "OTEL_EXPORTER_OTLP_HEADERS": "x-key=secret",
    }
    body, own = json.dumps(question()), credential("sk-alice")
    async with askonce_process(environ=environ) as process:
        for parent in (FROM_OUTSIDE, FROM_OUTSIDE, UNSAMPLED):
            await process.http.post(CHAT, content=body, headers=own | {"traceparent": parent})
        assert await process.stop() == 0
        lines = [line for line in process.stdout.splitlines() if "access" in line]
    assert [line.count("trace_id") for line in lines] == [1, 1, 0]
    if log_format == "json":
        assert json.loads(lines[0])["trace_id"] == TRACE
        assert "trace_id" not in json.loads(lines[2])
    else:
        assert lines[0].endswith(f" trace_id={TRACE}")
    assert collector.paths[0] == "/v1/traces"
    assert collector.headers[0]["x-key"] == "secret"
    assert collector.resources[0]["service.name"] == "by-variable"
    assert collector.resources[0]["deployment.environment.name"] == "test"
    assert len(collector.requests()) == 2


# --- a collector that is of no use


async def test_without_a_collector_requests_go_on_and_lost_spans_are_counted(
    askonce_process: Any,
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        environ = {
            "ASKONCE_TELEMETRY__TRACING__ENABLED": "true",
            "ASKONCE_TELEMETRY__TRACING__ENDPOINT": f"http://127.0.0.1:{nobody.getsockname()[1]}",
            "ASKONCE_TELEMETRY__TRACING__TIMEOUT": "10ms",
        }
        async with askonce_process(environ=environ) as process:
            for _ in range(3):
                answer = await process.http.post(CHAT, content=json.dumps(question()), headers=credential("sk-alice"))
                assert answer.status_code == 200
            while 'dropped_total{reason="export_failed"} 0.0' in (await process.http.get("/metrics")).text:
                await asyncio.sleep(0.05)
            assert await process.stop() == 0
    assert process.stderr.count("spans are lost") == 1
    assert "Traceback" not in process.stderr


async def test_a_collector_that_hangs_holds_up_neither_requests_nor_the_end(
    askonce_process: Any, collector: Collector
) -> None:
    collector.hold = threading.Event()
    environ = {
        "ASKONCE_TELEMETRY__TRACING__ENABLED": "true",
        "ASKONCE_TELEMETRY__TRACING__ENDPOINT": collector.url,
        "ASKONCE_TELEMETRY__TRACING__TIMEOUT": "1h",
        "ASKONCE_TELEMETRY__TRACING__FLUSH": "50ms",
        "ASKONCE_TELEMETRY__TRACING__QUEUE": "4",
    }
    body, own = json.dumps(question()), credential("sk-alice")
    async with askonce_process(environ=environ) as process:
        while not collector.came.is_set():
            await process.http.post(CHAT, content=body, headers=own)
        for _ in range(10):
            answer = await process.http.post(CHAT, content=body, headers=own)
            assert answer.status_code == 200
        assert 'dropped_total{reason="queue_full"} 0.0' not in (await process.http.get("/metrics")).text
        # The test's own time limit is what it would run into: a batch may take an hour.
        assert await process.stop(signal.SIGTERM) == 0
    assert "spans were not sent" in process.stderr


async def test_without_tracing_opentelemetry_is_not_loaded(askonce_process: Any) -> None:
    async with askonce_process(environ={"PYTHONPROFILEIMPORTTIME": "1"}) as process:
        assert "askonce_spans_dropped" not in (await process.http.get("/metrics")).text
    assert "proxy.telemetry.tracing.off" in process.stderr
    assert "proxy.telemetry.tracing.otel" not in process.stderr
    # FastAPI and redis-py load other parts of it by themselves, where it is installed.
    assert "opentelemetry.exporter" not in process.stderr
