"""What an operator sees, and may do: metrics, the access log, health, figures, purging. Never a user's words."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.path.faults import CANARY, CHAT, case, post, wire
from tests.provider import DONE, Provider, completion, delta, failure, plain, stream, words
from tests.running import ALICE, BOB, Clock, Running, Start, credential, error, question, said

Processes = Callable[..., AbstractAsyncContextManager[Any]]
PRICED = {"telemetry.prices": {"gpt-priced": {"input": 1000.0, "output": 2000.0}}}
"""10 prompt and 5 completion tokens cost 0.02 USD."""


@pytest.fixture
async def proxy(askonce: Start, lane: dict[str, Any]) -> Any:
    async with askonce(lane) as running:
        yield running


async def families(proxy: Running) -> dict[str, Any]:
    """The families of `/metrics` by name, as Prometheus' own parser reads them."""
    answer = await proxy.http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {family.name: family for family in text_string_to_metric_families(answer.text)}


# --- metrics

LABELS: dict[str, set[str]] = {
    "askonce_requests": {"endpoint", "model", "outcome"},
    "askonce_request_seconds": {"endpoint", "outcome", "le"},
    "askonce_time_to_first_byte_seconds": {"endpoint", "outcome", "le"},
    "askonce_lookup_seconds": {"tier", "le"},
    "askonce_hit_age_seconds": {"tier", "le"},
    "askonce_saved_tokens": {"model", "kind"},
    "askonce_saved_usd": {"model"},
    "askonce_spent_usd": {"model"},
    "askonce_bypass": {"reason"},
    "askonce_store_skipped": {"reason"},
    "askonce_store_bytes": {"tier"},
    "askonce_store_entries": {"tier"},
    "askonce_upstream_seconds": {"upstream", "le"},
    "askonce_upstream_errors": {"upstream", "kind"},
    "askonce_upstream_cached_tokens": {"upstream"},
    "askonce_flights": set(),
    "askonce_flight_followers": set(),
    "askonce_build_info": {"version"},
}
"""Families of `interface.md` section 4 that this version has, and their labels."""

TYPES = {"_seconds": "histogram", "_flights": "gauge", "_bytes": "gauge", "_entries": "gauge", "_info": "gauge"}


async def exercise(proxy: Running, provider: Provider) -> None:
    """One of everything: miss, hits of both forms, bypass, refused store, error, failing upstream, a follower."""
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}}
    provider.then(plain(completion("paid", model="gpt-priced", usage=usage)))
    for _ in range(3):
        await proxy.chat(model="gpt-priced")
    await proxy.chat(model="gpt-priced", stream=True)
    await proxy.chat({"x-cache-bypass": "true"})
    await proxy.chat({"cache-control": "no-store"}, seed=1)
    provider.then(plain(completion("filtered", choices=[])))
    await proxy.chat(seed=2)
    await proxy.post(CHAT, "no JSON")
    gate = asyncio.Event()
    provider.always(lambda _: stream([gate, *words("shared")]))
    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(proxy.chat(seed=3, stream=True))
        while not await proxy.metric("askonce_flight_followers_total"):
            pass
        gate.set()
    provider.always(provider.as_recorded)
    await provider.stop()
    await proxy.chat(seed=4)
    await proxy.landed()


async def test_metrics_have_the_families_and_labels_of_the_interface(askonce: Start, provider: Provider) -> None:
    async with askonce(PRICED | {"store.memory": 0}) as proxy:
        await exercise(proxy, provider)
        found = await families(proxy)
    for name, labels in LABELS.items():
        with case(name):
            assert name in found
            assert found[name].documentation
            samples = [
                sample for sample in found[name].samples if not sample.name.endswith(("_created", "_sum", "_count"))
            ]
            assert samples
            assert {label for sample in samples for label in sample.labels} == labels
            kind = next((kind for end, kind in TYPES.items() if name.endswith(end)), "counter")
            assert found[name].type == kind


OUTCOMES: dict[str, tuple[dict[str, str], dict[str, Any], str, int]] = {
    "miss": ({}, {"seed": 1}, "miss", 1),
    "hit": ({}, {"seed": 0}, "hit", 0),
    "hit as a stream": ({}, {"seed": 0, "stream": True}, "hit", 0),
    "bypass": ({"x-cache-bypass": "true"}, {"seed": 0}, "bypass", 1),
    "regenerated": ({"cache-control": "no-cache"}, {"seed": 0}, "miss", 1),
    "refused": ({}, {"messages": "none"}, "error", 0),
    "only if cached": ({"cache-control": "only-if-cached"}, {"seed": 2}, "error", 0),
}


async def test_every_request_counts_once_under_its_outcome(proxy: Running, provider: Provider) -> None:
    await proxy.chat(seed=0)
    for name, (headers, members, outcome, calls) in OUTCOMES.items():
        before, asked = await _counted(proxy), provider.calls
        await proxy.chat(headers, **members)
        await proxy.landed()
        after = await _counted(proxy)
        with case(name):
            gained = {key: after[key] - before.get(key, 0) for key in after if after[key] != before.get(key, 0)}
            assert gained == {(CHAT, outcome): 1}
            assert provider.calls == asked + calls


async def _counted(proxy: Running) -> dict[tuple[str, str], float]:
    samples = (await families(proxy))["askonce_requests"].samples
    counted: dict[tuple[str, str], float] = {}
    for sample in samples:
        if sample.name.endswith("_total") and sample.labels["endpoint"] == CHAT:
            key = sample.labels["endpoint"], sample.labels["outcome"]
            counted[key] = counted.get(key, 0) + sample.value
    return counted


async def test_money_and_tokens_saved_and_spent_are_counted(askonce: Start, lane: dict[str, Any]) -> None:
    async with askonce(lane | PRICED) as proxy:
        await proxy.chat(model="gpt-priced")
        for streams in (False, True):
            hit = await proxy.chat(model="gpt-priced", stream=streams)
            assert hit.headers["x-cache-saved-tokens"] == "15"
            assert float(hit.headers["x-cache-saved-usd"]) == pytest.approx(0.02)
        assert await proxy.metric("askonce_spent_usd_total", model="gpt-priced") == pytest.approx(0.02)
        assert await proxy.metric("askonce_saved_usd_total", model="gpt-priced") == pytest.approx(0.04)
        assert await proxy.metric("askonce_saved_tokens_total", model="gpt-priced", kind="prompt") == 20
        assert await proxy.metric("askonce_saved_tokens_total", model="gpt-priced", kind="completion") == 10


async def test_an_upstreams_failures_are_counted_by_kind(proxy: Running, provider: Provider) -> None:
    await provider.stop()
    await proxy.chat()
    await proxy.chat(stream=True)
    await proxy.chat({"x-cache-bypass": "true"})
    await proxy.http.get("/v1/models", headers=credential(ALICE))
    assert await proxy.metric("askonce_upstream_errors_total", upstream="openai", kind="upstream_unreachable") == 4


async def test_a_model_nobody_answers_for_is_other(askonce: Start, provider: Provider) -> None:
    provider.always(lambda asked: failure(404, "no such model"))
    async with askonce({"telemetry.models": ["gpt-listed"]}) as proxy:
        for number in range(100):
            await proxy.chat(model=f"{CANARY}-{number}")
        await proxy.chat(model="gpt-listed")
        found = await families(proxy)
        models = {sample.labels["model"] for sample in found["askonce_requests"].samples}
        assert models == {"other", "gpt-listed"}
        assert CANARY not in (await proxy.http.get("/metrics")).text


async def test_a_model_the_upstream_answers_for_has_a_label_of_its_own(proxy: Running) -> None:
    for _ in range(2):
        await proxy.chat(model="gpt-answered")
    assert await proxy.metric("askonce_requests_total", model="gpt-answered") >= 1
    assert await proxy.metric("askonce_saved_tokens_total", model="gpt-answered") == 15


async def test_an_alias_of_a_model_is_known_by_the_answer_it_got(proxy: Running, provider: Provider) -> None:
    """OpenAI answers `gpt-4.1` as `gpt-4.1-2025-04-14`: the name that was asked for is one the upstream knows."""
    provider.then(plain(completion("dated", model="gpt-alias-2026-11-21")))
    for _ in range(2):
        await proxy.chat(model="gpt-alias")
    assert await proxy.metric("askonce_requests_total", model="gpt-alias", outcome="hit") == 1


async def test_there_is_an_end_to_labels(askonce: Start) -> None:
    """Protocol 8, test 13: an upstream that answers for any name must not fill the scraper's memory."""
    async with askonce() as proxy:
        async with asyncio.TaskGroup() as group:
            for number in range(300):
                group.create_task(proxy.chat(model=f"gpt-{number}"))
        found = await families(proxy)
        models = {sample.labels["model"] for sample in found["askonce_requests"].samples}
        assert "other" in models
        assert len(models) < 300
        await proxy.http.get("/v1/models/a", headers=credential(ALICE))
        endpoints = {sample.labels["endpoint"] for sample in found["askonce_requests"].samples}
        assert endpoints <= {CHAT, "other"}


# --- the access log and the audit log

JSON_FIELDS = {
    "time", "logger", "method", "endpoint", "outcome", "model", "stream", "tier", "upstream", "reason", "status",
    "micros", "first_byte_micros", "bytes", "prompt_tokens", "completion_tokens", "age", "key", "scope", "request_id",
}  # fmt: skip


async def ask(process: Any, headers: dict[str, str] | None = None, **members: Any) -> httpx.Response:
    answer: httpx.Response = await process.http.post(
        CHAT, json=question(**members), headers=credential(ALICE) | (headers or {})
    )
    return answer


async def requests_of_each_kind(process: Any, provider: Provider) -> list[tuple[str, str, int]]:
    """What the log should say: request id, outcome, status."""
    kinds: list[tuple[dict[str, str], dict[str, Any], str]] = [
        ({}, {}, "miss"),
        ({}, {}, "hit"),
        ({}, {"stream": True}, "hit"),
        ({}, {"stream": True, "seed": 1}, "miss"),
        ({"x-cache-bypass": "true"}, {}, "bypass"),
        ({}, {"messages": "none"}, "error"),
        ({"cache-control": "only-if-cached"}, {"seed": 2}, "error"),
    ]
    expected = []
    for number, (headers, members, outcome) in enumerate(kinds):
        answer = await ask(process, headers | {"x-request-id": f"request-{number}"}, **members)
        expected.append((f"request-{number}", outcome, answer.status_code))
    answer = await process.http.get("/v1/models", headers=credential(ALICE) | {"x-request-id": "models"})
    expected.append(("models", "bypass", answer.status_code))
    answer = await process.http.get("/v1/unknown", headers=credential(ALICE) | {"x-request-id": "unknown"})
    expected.append(("unknown", "error", answer.status_code))
    return expected


@pytest.mark.parametrize("fast", ["true", "false"], ids=["fast lane", "asgi"])
async def test_each_request_is_one_json_line(askonce_process: Processes, provider: Provider, fast: str) -> None:
    environ = {"ASKONCE_SERVER__FAST_LANE": fast}
    async with askonce_process("--log-format", "json", environ=environ) as process:
        expected = await requests_of_each_kind(process, provider)
        await process.stop()
    lines = [json.loads(line) for line in process.stdout.splitlines()]
    access = [line for line in lines if line["logger"] == "askonce.access"]
    assert [(line["request_id"], line["outcome"], line["status"]) for line in access] == expected
    for line in access:
        assert set(line) == JSON_FIELDS
        assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
    miss, hit, streamed, *_ = access
    assert (hit["method"], hit["endpoint"], hit["model"], hit["tier"]) == ("POST", CHAT, "gpt-test", "memory")
    assert (miss["key"], len(hit["scope"])) == (hit["key"], 8)
    assert (miss["tier"], miss["upstream"]) == ("", "openai")
    assert (hit["stream"], streamed["stream"]) == (False, True)
    assert hit["bytes"] > 100
    assert (hit["prompt_tokens"], hit["completion_tokens"]) == (10, 5)


async def test_each_request_is_one_text_line(askonce_process: Processes, provider: Provider) -> None:
    async with askonce_process() as process:
        expected = await requests_of_each_kind(process, provider)
        await process.stop()
    lines = [line for line in process.stdout.splitlines() if " access " in line]
    fields = [dict(re.findall(r'(\w+)=("[^"]*"|\S+)', line)) for line in lines]
    assert [(line["request_id"], line["outcome"], int(line["status"])) for line in fields] == expected
    assert {frozenset(line) for line in fields} == {frozenset(JSON_FIELDS - {"time", "logger"})}


async def test_the_access_log_can_be_switched_off(askonce_process: Processes, provider: Provider) -> None:
    async with askonce_process(environ={"ASKONCE_TELEMETRY__ACCESS_LOG": "false"}) as process:
        await ask(process)
        await ask(process, {"x-cache-bypass": "true", "x-request-id": "audited"})
        await process.stop()
    assert " access " not in process.stdout
    assert "askonce.audit" in process.stdout
    assert "audited" in process.stdout


async def test_a_bypass_is_audited_and_nothing_else_is(askonce_process: Processes, provider: Provider) -> None:
    async with askonce_process("--log-format", "json") as process:
        await ask(process)
        for _ in range(2):
            await ask(process, {"x-cache-bypass": "true", "x-request-id": "audited"}, model="gpt-secret")
        await ask(process, temperature=1.0)
        await process.stop()
    lines = [json.loads(line) for line in process.stdout.splitlines()]
    audit = [line for line in lines if line["logger"] == "askonce.audit"]
    assert len(audit) == 2
    for line in audit:
        assert (line["event"], line["request_id"], line["client"]) == ("bypass", "audited", "127.0.0.1")
        assert (line["model"], line["endpoint"]) == ("gpt-secret", CHAT)
        assert re.fullmatch("[0-9a-f]{8}", line["scope"])


CREDENTIAL = f"sk-{CANARY}"


async def say_everything(process: Any, provider: Provider) -> None:
    """The canary in every place where a user or an upstream can put words, through every kind of outcome."""
    headers = credential(CREDENTIAL) | {
        "api-key": CREDENTIAL,
        "openai-organization": CANARY,
        "cookie": CANARY,
        "user-agent": CANARY,
        "x-stainless-lang": CANARY,
        "x-cache-namespace": CANARY,
        "x-cache-tags": CANARY,
    }
    secret = question(
        messages=[{"role": "system", "content": CANARY}, {"role": "user", "name": CANARY, "content": CANARY}],
        user=CANARY,
        metadata={CANARY: CANARY},
        tools=[{"type": "function", "function": {"name": CANARY, "description": CANARY}}],
    )

    async def send(body: object, **more: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body)
        await process.http.post(CHAT, content=content, headers=headers | more)

    provider.always(
        lambda asked: plain(completion(CANARY, id=f"chatcmpl-{CANARY}"), headers=[("x-request-id", CANARY)])
    )
    await send(secret)
    await send(secret)
    await send(secret, **{"x-cache-bypass": "true"})
    await send(secret, **{"x-cache-ttl": CANARY})
    await send(secret, **{"x-cache-mode": CANARY})
    await send(secret, **{"cache-control": f"max-age={CANARY}"})
    await send(secret, **{"content-encoding": CANARY})
    await send(secret, **{"x-request-id": f"{CANARY} {CANARY}"})
    await send(json.dumps(secret).encode()[:-1])
    await send(b'{"model":"gpt-test","messages":[],"%b":1,"%b":2}' % (CANARY.encode(), CANARY.encode()))
    await send(secret | {"messages": CANARY})
    await send(secret | {"temperature": CANARY})
    for fault in (failure(500, CANARY), plain({"error": CANARY}), [b"HTTP/1.1 " + CANARY.encode() + b"\r\n\r\n"]):
        provider.then(fault)
        await send(secret | {"seed": provider.calls})
    provider.then(stream([delta({"content": CANARY}), b"data: " + CANARY.encode() + b"\n\n", DONE]))
    await send(secret | {"stream": True, "seed": 1})
    provider.then(stream(words(CANARY)))
    await send(secret | {"stream": True, "seed": 2})
    await process.http.get(f"/v1/files/{CANARY}?q={CANARY}", headers=headers)
    await process.http.get(f"/v1/{CANARY}?q={CANARY}", headers=headers)
    await process.http.get(f"/{CANARY}", headers=headers)
    await process.http.get(f"/admin/entries/{CANARY}", headers=headers)
    async with wire(process.url) as connection:
        connection.send(post(secret, f"x-{CANARY}: \0"))
        await connection.rest()


@pytest.mark.parametrize("log_format", ["json", "text"])
async def test_no_word_of_a_user_and_no_credential_is_logged_or_counted(
    askonce_process: Processes, provider: Provider, log_format: str
) -> None:
    async with askonce_process("--log-format", log_format, "--log-level", "debug") as process:
        await say_everything(process, provider)
        seen = (await process.http.get("/metrics")).text + (await process.http.get("/admin/stats")).text
        await process.stop()
    written = process.stdout + process.stderr
    assert written
    for word in (CANARY, CREDENTIAL, CANARY.encode().hex(), ALICE):
        lines = [line for line in (written + seen).splitlines() if word in line]
        assert lines == []


async def test_a_name_of_a_model_cannot_forge_a_line(askonce_process: Processes, provider: Provider) -> None:
    forged = 'gpt" outcome=hit status=200 \u2028\u202e'
    for log_format in ("text", "json"):
        async with askonce_process("--log-format", log_format) as process:
            await ask(process, model=forged)
            await process.stop()
    assert len([line for line in process.stdout.splitlines() if "gpt" in line]) == 2
    assert process.stdout.isascii()


# --- health


async def test_health_is_told_to_anyone(proxy: Running) -> None:
    alive = await proxy.http.get("/livez")
    assert (alive.status_code, alive.json()) == (200, {"status": "ok"})
    ready = await proxy.http.get("/readyz")
    assert (ready.status_code, ready.json()["status"], ready.json()["store"]["status"]) == (200, "ready", "ok")


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
async def test_health_has_no_cache_headers_and_asks_nobody(proxy: Running, provider: Provider, path: str) -> None:
    answer = await proxy.http.get(path)
    assert "x-cache" not in answer.headers
    assert provider.calls == 0


async def test_what_is_nowhere_is_404(proxy: Running, provider: Provider) -> None:
    answer = await proxy.http.get("/nowhere")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert provider.calls == 0


# --- entries


async def test_an_entry_is_shown_with_all_that_is_known_of_it(askonce: Start, lane: dict[str, Any]) -> None:
    clock = Clock()
    flags = lane | PRICED | {"rules": [{"ttl": 100, "ttl_jitter": 0}]}
    async with askonce(flags, clock=clock) as proxy:
        stored = await proxy.chat({"x-cache-tags": "doc-1, doc-2"}, model="gpt-priced")
        clock.pass_(30)
        shown = (await proxy.http.get(f"/admin/entries/{stored.headers['x-cache-key']}")).json()
    assert shown["key"] == stored.headers["x-cache-key"]
    assert (shown["endpoint"], shown["model"], shown["upstream"]) == (CHAT, "gpt-priced", "openai")
    assert (shown["age_s"], shown["ttl_s"]) == (30, 70)
    assert shown["tags"] == ["doc-1", "doc-2"]
    assert (shown["usage"]["prompt_tokens"], shown["usage"]["completion_tokens"]) == (10, 5)
    assert shown["cost_usd"] == pytest.approx(0.02)
    assert shown["answer"]["choices"] == stored.json()["choices"]


async def test_an_entry_is_removed_by_its_key_and_only_that(proxy: Running, provider: Provider) -> None:
    keys = [(await proxy.chat(seed=seed)).headers["x-cache-key"] for seed in range(2)]
    path = f"/admin/entries/{keys[0]}"
    assert (await proxy.http.delete(path)).json() == {"purged": 1}
    assert (await proxy.http.get(path)).status_code == 404
    assert (await proxy.http.delete(path)).status_code == 404
    assert (await proxy.chat(seed=1)).headers["x-cache"] == "hit"
    assert (await proxy.chat(seed=0)).headers["x-cache"] == "miss"
    assert (await proxy.chat(seed=0)).headers["x-cache"] == "hit"


async def test_a_key_that_is_none_is_refused(proxy: Running) -> None:
    for key in ("nothing", "0" * 31, "0" * 33, "g" * 32, "..%2f..%2f", "0" * 32):
        answer = await proxy.http.get(f"/admin/entries/{key}")
        assert answer.status_code in (400, 404)
        assert answer.headers["content-type"] == "application/problem+json"


# --- purging


async def purge(proxy: Running, **wanted: Any) -> httpx.Response:
    return await proxy.http.post("/admin/purge", json=wanted)


async def test_a_purge_by_key_removes_one_answer(proxy: Running) -> None:
    keys = [(await proxy.chat(seed=seed)).headers["x-cache-key"] for seed in range(3)]
    for removed, dry_run in ((1, True), (1, False), (0, False), (0, True)):
        assert (await purge(proxy, key=keys[0], dry_run=dry_run)).json() == {"purged": removed}
    assert [(await proxy.chat(seed=seed)).headers["x-cache"] for seed in range(3)] == ["miss", "hit", "hit"]


async def test_a_purge_of_all_removes_all_and_counts_them(proxy: Running, provider: Provider) -> None:
    for seed in range(5):
        await proxy.chat(seed=seed)
    assert (await purge(proxy, all=True, dry_run=True)).json() == {"purged": 5}
    assert (await proxy.chat(seed=0)).headers["x-cache"] == "hit"
    assert (await purge(proxy, all=True)).json() == {"purged": 5}
    assert [(await proxy.chat(seed=seed)).headers["x-cache"] for seed in range(5)] == ["miss"] * 5
    assert [(await proxy.chat(seed=seed)).headers["x-cache"] for seed in range(5)] == ["hit"] * 5
    assert provider.calls == 10


@pytest.mark.parametrize("streams", [False, True], ids=["plain", "streamed"])
async def test_an_answer_asked_for_before_a_purge_is_not_kept_after_it(
    proxy: Running, provider: Provider, streams: bool
) -> None:
    gate = asyncio.Event()
    script = stream([gate, *words("old")]) if streams else [gate, *plain(completion("old"))]
    provider.then(script)
    asking = asyncio.create_task(proxy.chat(stream=streams))
    await provider.arrived()
    await purge(proxy, all=True)
    gate.set()
    assert said(await asking) == "old"
    await proxy.landed()
    answer = await proxy.chat(stream=streams)
    assert (answer.headers["x-cache"], said(answer)) == ("miss", "Answer 2")


async def test_a_question_after_a_purge_does_not_join_a_call_from_before_it(proxy: Running, provider: Provider) -> None:
    gate = asyncio.Event()
    provider.then(stream([gate, *words("old")]))
    async with asyncio.TaskGroup() as group:
        before = group.create_task(proxy.chat(stream=True))
        await provider.arrived()
        await purge(proxy, all=True)
        after = group.create_task(proxy.chat(stream=True))
        while provider.calls < 2 and not await proxy.metric("askonce_flight_followers_total"):
            pass
        gate.set()
    assert said(before.result()) == "old"
    assert said(after.result()) == "Answer 2"


async def test_a_purge_says_exactly_what(proxy: Running) -> None:
    await proxy.chat()
    unclear = (
        {},
        {"all": False},
        {"all": True, "key": "0" * 32},
        {"everything": True},
        {"key": "short"},
        {"all": "maybe"},
    )
    for wanted in unclear:
        with case(str(wanted)):
            answer = await purge(proxy, **wanted)
            assert answer.status_code in (400, 422)
            assert answer.headers["content-type"] == "application/problem+json"
    assert (await proxy.chat()).headers["x-cache"] == "hit"


# --- who may


ADMIN = [("GET", "/admin/stats"), ("GET", f"/admin/entries/{'0' * 32}"), ("DELETE", f"/admin/entries/{'0' * 32}")]
ADMIN_AND_PURGE = [*ADMIN, ("POST", "/admin/purge")]


async def test_with_a_token_only_its_bearer_may(askonce: Start) -> None:
    async with askonce(environ={"ASKONCE_ADMIN_TOKEN": "operators-token"}) as proxy:
        await proxy.chat()
        bad = ["", "operators-token", "Bearer", "Bearer operators-toke", "Basic operators-token", "Bearer \xe9"]
        for method, path in ADMIN_AND_PURGE:
            for credentials in bad:
                headers = {"authorization": credentials.encode("latin-1")} if credentials else {}
                answer = await proxy.http.request(method, path, headers=headers, json={"all": True})
                with case(f"{method} {path} {credentials}"):
                    assert answer.status_code == 401
                    assert "operators-token" not in answer.text
            good = {"authorization": "Bearer operators-token"}
            assert (await proxy.http.request(method, path, headers=good, json={"key": "0" * 32})).status_code in (
                200,
                404,
            )
        assert (await proxy.chat()).headers["x-cache"] == "hit"
        for path in ("/livez", "/readyz", "/metrics"):
            assert (await proxy.http.get(path)).status_code == 200


OUTSIDE = {
    "a page in a browser": {"origin": "https://evil.example"},
    "a name that was made to point here": {"host": "evil.example"},
    "a reverse proxy": {"x-forwarded-for": "203.0.113.7"},
    "another": {"forwarded": "for=203.0.113.7"},
}


async def test_without_a_token_only_this_machine_may(askonce: Start) -> None:
    async with askonce() as proxy:
        await proxy.chat()
        for method, path in ADMIN_AND_PURGE:
            for name, headers in OUTSIDE.items():
                with case(f"{method} {path} from {name}"):
                    answer = await proxy.http.request(method, path, headers=headers, json={"all": True})
                    assert answer.status_code == 403
        assert (await proxy.chat()).headers["x-cache"] == "hit"
        for method, path in ADMIN_AND_PURGE:
            answer = await proxy.http.request(method, path, json={"all": True})
            assert answer.status_code in (200, 404)


async def test_a_callers_credential_is_no_operators(askonce: Start) -> None:
    async with askonce(environ={"ASKONCE_ADMIN_TOKEN": "operators-token"}) as proxy:
        assert (await proxy.http.get("/admin/stats", headers=credential(BOB))).status_code == 401
        # And an operator's token is nobody's at the upstream.
        assert (await proxy.chat(key="operators-token")).headers["x-cache"] == "miss"


# --- figures


async def test_stats_tell_what_happened(askonce: Start, lane: dict[str, Any], provider: Provider) -> None:
    async with askonce(lane | PRICED) as proxy:
        for _ in range(4):
            await proxy.chat(model="gpt-priced")
        await proxy.chat({"x-cache-bypass": "true"})
        await proxy.post(CHAT, "no JSON")
        stats = (await proxy.http.get("/admin/stats")).json()
    requests = {outcome: number for outcome, number in stats["requests"].items() if number}
    assert requests == {"miss": 1, "hit": 3, "bypass": 1, "error": 1}
    assert stats["hit_ratio"] == pytest.approx(0.75)
    assert (stats["saved"]["tokens"], stats["saved"]["usd"]) == (45, pytest.approx(0.06))
    assert stats["flights"] == 0
    assert stats["store"]["degraded"] is None
    assert sum(stats["store"]["entries"].values()) >= 1
    assert stats["version"]


async def test_the_operators_page_describes_itself(proxy: Running) -> None:
    described = (await proxy.http.get("/admin/openapi.json")).json()
    assert {"/admin/purge", "/admin/stats", "/admin/entries/{key}", "/livez", "/readyz", "/metrics"} <= set(
        described["paths"]
    )


async def test_errors_below_v1_have_openais_shape_and_the_rest_problem_details(proxy: Running) -> None:
    refused = await proxy.http.get("/v1/unknown", headers=credential(ALICE))
    assert error(refused)["code"] == "unknown_path"
    problem = await proxy.http.get("/admin/entries/zz")
    assert problem.headers["content-type"] == "application/problem+json"
    assert {"title", "status", "detail"} <= set(problem.json())
