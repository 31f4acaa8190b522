"""Several upstreams, attacked: by callers who mean harm, and by providers and models that behave oddly.

What a sentence here promises is what a caller may rely on whatever another one does.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from proxy.case import Case, Request
from proxy.edge.asgi import LARGE_BODY
from proxy.pipeline import Pipeline
from tests.path.several import card, chats, says, several
from tests.path.sharing import Between
from tests.path.test_replicas import Replica, between, replica  # noqa: F401 - fixtures
from tests.path.test_vllm import QUICK, Vllm, before
from tests.provider import (
    Asked,
    Ending,
    Provider,
    Script,
    as_said,
    completion,
    dump,
    failure,
    plain,
    reply,
    stream,
    words,
)
from tests.running import ALICE, BOB, Running, Start, credential, frames, question, request_bytes, said

OWN = {"api_key": "sk-own"}
FALLBACK = {"fallback": "b"}
LOOKED_AT = {"health_interval": 0.02}
SELDOM = {"health_interval": 3600.0}
"""Looks do not come to the breaker's help while the test runs."""


async def in_flight(proxy: Running) -> float:
    return await proxy.metric("askonce_upstream_endpoint_in_flight")


async def nothing_in_flight(proxy: Running) -> None:
    while await in_flight(proxy):
        await asyncio.sleep(0.005)


def looks(provider: Provider) -> int:
    return sum(asked.method == "GET" for asked in provider.asked)


async def looked_at(provider: Provider, times: int = 2) -> None:
    wanted = looks(provider) + times
    while looks(provider) < wanted:
        await asyncio.sleep(0.005)


# --- wrong answers: epochs


@pytest.mark.parametrize("streams", [False, True])
async def test_an_answer_with_a_new_fingerprint_is_not_kept_for_the_model_before_it(
    askonce: Start, provider: Provider, streams: bool
) -> None:
    vllm, fingerprint = Vllm(), "fp-one"

    def answer(asked: Asked) -> Script:
        if asked.method == "GET":
            return vllm.answer(asked)
        if not asked.streams:
            return plain(completion(fingerprint, system_fingerprint=fingerprint))
        mark = b'"system_fingerprint":"%b","choices"' % fingerprint.encode()
        frames_ = words(fingerprint, usage=asked.wants_usage)
        return stream([frame.replace(b'"choices"', mark, 1) for frame in frames_])

    async with several(askonce, provider, QUICK, answer=answer) as (proxy, _):
        await vllm.seen()
        await proxy.chat(seed=1)  # the usual one is known
        fingerprint = "fp-two"
        assert said(await proxy.chat(seed=2, stream=streams)) == "fp-two"
        fingerprint = "fp-one"  # rolled back
        await proxy.chat(seed=3)
        await vllm.seen()
        assert said(await proxy.chat(seed=2, stream=streams)) == "fp-one"


async def test_an_answer_that_was_in_the_air_at_a_change_is_not_kept_for_the_model_before_it(
    askonce: Start, provider: Provider
) -> None:
    vllm, gate = Vllm(), asyncio.Event()

    def answer(asked: Asked) -> Script:
        if asked.method == "GET":
            return vllm.answer(asked)

        def late() -> Script:
            if not gate.is_set():
                yield gate
            yield from as_said(asked, vllm.version)

        return late()

    async with several(askonce, provider, QUICK, answer=answer) as (proxy, _):
        await vllm.seen()
        asking = asyncio.create_task(proxy.chat())
        while not chats(provider):
            await asyncio.sleep(0.005)
        vllm.version = "0.33.0"
        await vllm.seen()
        gate.set()
        assert said(await asking) == "0.33.0"
        vllm.version = "0.32.0"  # rolled back
        await vllm.seen()
        assert said(await proxy.chat()) == "0.32.0"


@pytest.mark.parametrize("path", ["/v1/models", "/version"])
async def test_a_server_that_tells_nothing_for_a_while_does_not_bring_another_model_s_answers_back(
    askonce: Start, provider: Provider, path: str
) -> None:
    vllm, tells = Vllm(), True

    def answer(asked: Asked) -> Script:
        return vllm.answer(asked) if tells or asked.path != path else failure(404)

    async with several(askonce, provider, QUICK, answer=answer) as (proxy, _):
        await vllm.seen()
        tells = False  # a gateway before it has lost its route
        await vllm.seen()
        await proxy.chat()
        tells = True
        if path == "/version":
            vllm.version = "0.33.0"
        else:
            vllm.roots = {"gpt-test": "org/finetuned"}
        await vllm.seen()
        tells = False
        await vllm.seen()
        expected = f"from {vllm.roots['gpt-test']} {vllm.version}"
        assert said(await proxy.chat()) == expected


async def test_a_change_is_seen_of_a_server_that_has_many_models(askonce: Start, provider: Provider) -> None:
    vllm = Vllm(roots={"gpt-test": "org/weights"} | {f"adapter-{n}": "org/" + "a" * 100 for n in range(10_000)})
    async with before(askonce, provider, vllm) as proxy:
        first = await proxy.chat()
        vllm.roots = vllm.roots | {"gpt-test": "org/finetuned"}
        await vllm.seen()
        assert said(await proxy.chat()) != said(first)


async def test_a_long_question_that_was_being_read_at_a_change_is_named_anew_the_next_time(
    askonce: Start, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    vllm, read, go_on = Vllm(), threading.Event(), threading.Event()
    consider = Pipeline.consider

    def held(self: Pipeline, request: Request) -> Case:
        case = consider(self, request)
        if request.directives.max_age_s is not None:
            read.set()
            go_on.wait()
        return case

    monkeypatch.setattr(Pipeline, "consider", held)
    # Above the size from which bodies are read in a thread; `readings` so that it is remembered.
    long = [{"role": "user", "content": "x" * (LARGE_BODY + 1)}]
    flags = {"server.readings": 1 << 30}
    async with several(askonce, provider, QUICK, flags=flags, answer=vllm.answer) as (proxy, _):
        await vllm.seen()
        fields = {"cache-control": "max-age=3600"}
        await proxy.chat(messages=long)
        asking = asyncio.create_task(proxy.chat(fields, messages=long))
        await asyncio.to_thread(read.wait)
        vllm.version = "0.33.0"
        await vllm.seen()
        go_on.set()
        await asking  # came before the change was seen
        assert said(await proxy.chat(fields, messages=long)) == "from org/weights 0.33.0"


# --- wrong answers: fallbacks


async def test_a_follower_who_wants_usage_gets_it_from_a_fallback_too(askonce: Start, provider: Provider) -> None:
    async with several(askonce, provider, FALLBACK, {"stream_usage": False} | OWN) as (proxy, _):
        gate = asyncio.Event()
        provider.always(lambda _: [gate, *failure(503)])
        wanting: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
        leads = asyncio.create_task(proxy.chat(stream=True))
        await until_asked(provider)
        follows = asyncio.create_task(proxy.chat(**wanting))
        # It joins that call or makes one of its own.
        while await proxy.metric("askonce_flight_followers_total") + len(chats(provider)) < 2:
            await asyncio.sleep(0.005)
        gate.set()
        await leads
        assert any(frame.get("usage") for frame in frames((await follows).content))


async def test_one_caller_s_impatience_is_not_another_s(askonce: Start, provider: Provider) -> None:
    async with several(askonce, provider, FALLBACK, OWN) as (proxy, _):
        gate = asyncio.Event()
        provider.always(lambda _: [gate, *failure(503)])
        hurried = asyncio.create_task(proxy.chat({"x-stainless-read-timeout": "0.1"}))
        await until_asked(provider)
        patient = asyncio.create_task(proxy.chat({"x-stainless-read-timeout": "600"}))
        while await proxy.metric("askonce_flight_followers_total") < 1:
            await asyncio.sleep(0.005)
        gate.set()
        await hurried
        assert (await patient).status_code == 200


@pytest.mark.parametrize(
    "path",
    ["/v1/files", "/v1/files/file-1/content", "/v1/batches", "/v1/organization/admin_api_keys", "/v1/responses/resp_1"],
)
async def test_what_is_kept_in_one_account_is_not_looked_for_in_another(
    askonce: Start, provider: Provider, path: str
) -> None:
    async with several(askonce, provider, FALLBACK, OWN) as (proxy, providers):
        provider.always(lambda _: failure(503))
        providers[1].always(lambda asked: plain({"data": ["the operator's own"], "path": asked.path}))
        answer = await proxy.http.get(path, headers=credential(ALICE))
        assert (answer.status_code, answer.headers["x-upstream"]) == (503, "a")
        assert not [asked for asked in providers[1].asked if asked.path == path]


async def test_an_azure_call_is_not_told_404_by_a_fallback_that_is_not_azure(
    askonce: Start, provider: Provider
) -> None:
    async with several(askonce, provider, FALLBACK, OWN) as (proxy, providers):
        provider.always(lambda _: failure(503))
        well = says("b")
        providers[1].always(lambda asked: failure(404) if asked.path.startswith("/openai/") else well(asked))
        target = "/openai/deployments/gpt-test/chat/completions?api-version=1"
        answer = await proxy.post(target, json.dumps(question()))
        assert answer.status_code in (200, 503)


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_fallback_that_refuses_the_proxy_leaves_the_first_one_s_answer(
    askonce: Start, provider: Provider, status: int
) -> None:
    async with several(askonce, provider, FALLBACK, OWN) as (proxy, providers):
        provider.always(lambda _: failure(503))
        providers[1].always(lambda _: failure(status, "Incorrect API key provided: sk-own"))
        answer = await proxy.chat()
        assert (answer.status_code, "sk-own" in answer.text) == (503, False)


async def test_an_answer_refreshed_by_a_fallback_does_not_replace_the_stale_one(
    askonce: Start, provider: Provider
) -> None:
    rules = {"rules": [{"ttl": 0.001, "stale_while_revalidate": 3600, "ttl_jitter": 0}]}
    async with several(askonce, provider, FALLBACK, OWN, flags=rules) as (proxy, providers):
        first = await proxy.chat()
        provider.always(lambda _: failure(503))
        for _ in range(3):
            await asyncio.sleep(0.01)
            again = await proxy.chat()
            assert (again.headers["x-cache"], again.headers["x-upstream"]) == ("stale", "a")
            assert again.headers["x-cache-key"] == first.headers["x-cache-key"]
            assert said(again) == said(first)
            await proxy.landed()
        assert chats(providers[1])


async def test_pooled_answers_of_a_fallback_are_its_own(askonce: Start, provider: Provider) -> None:
    rules = {"rules": [{"sampling": "pool", "pool_size": 2}]}
    async with several(askonce, provider, SELDOM | FALLBACK | {"breaker_failures": 9}, OWN, flags=rules) as (proxy, _):
        well = provider.answer
        provider.always(lambda _: failure(503))
        stood_in = [await proxy.chat(temperature=1) for _ in range(4)]
        assert {answer.headers["x-upstream"] for answer in stood_in} == {"b"}
        provider.always(well)
        own = [await proxy.chat(temperature=1) for _ in range(4)]
        assert {answer.headers["x-upstream"] for answer in own} == {"a"}
        keys = {answer.headers["x-cache-key"] for answer in stood_in}
        assert keys.isdisjoint({answer.headers["x-cache-key"] for answer in own})


async def test_a_bad_answer_of_a_fallback_is_removed_by_feedback_on_its_key(askonce: Start, provider: Provider) -> None:
    async with several(askonce, provider, FALLBACK, OWN) as (proxy, _):
        provider.always(lambda _: failure(503))
        for stream in (False, True):
            key = (await proxy.chat(stream=stream)).headers["x-cache-key"]
            told = await proxy.post("/v1/feedback", json.dumps({"key": key, "verdict": "bad"}))
            assert told.json() == {"done": "answer_removed"}
            assert (await proxy.chat(stream=stream)).headers["x-cache"] == "miss"


async def test_only_if_cached_asks_neither_an_upstream_nor_its_fallback(askonce: Start, provider: Provider) -> None:
    async with several(askonce, provider, FALLBACK, OWN) as (proxy, providers):
        provider.always(lambda _: failure(503))
        assert (await proxy.chat({"cache-control": "only-if-cached"})).status_code == 504
        assert not chats(provider)
        assert not chats(providers[1])


# --- replicas


@asynccontextmanager
async def two_replicas(replica: Replica, first: Provider) -> AsyncIterator[tuple[Running, Running, Provider]]:  # noqa: F811
    """Two before the same upstream `a`, which falls back on `b`; and the provider that is `b`."""
    async with Provider() as other:
        other.always(says("b"))
        flags = {
            "upstreams.0.name": "a",
            "upstreams.0.base_url": first.url,
            "upstreams.0.fallback": "b",
            "upstreams.1.name": "b",
            "upstreams.1.base_url": other.url,
        }
        environ = {"ASKONCE_UPSTREAMS__1__API_KEY": "sk-own"}
        async with replica(flags, **environ) as a, replica(flags, **environ) as b:
            yield a, b, other


async def test_a_replica_that_follows_a_fallback_s_answer_names_it_by_its_key_in_both_forms(
    replica: Replica,  # noqa: F811
    provider: Provider,
    between: Between,  # noqa: F811
) -> None:
    gate = asyncio.Event()
    provider.always(lambda _: [gate, *failure(503)])
    async with two_replicas(replica, provider) as (a, b, other):
        leads = asyncio.create_task(a.chat())
        await until_asked(provider)
        follows = asyncio.create_task(b.chat())
        await between.asked_for(1)
        converts = asyncio.create_task(b.chat(stream=True))
        while await b.metric("askonce_flight_followers_total") < 1:
            await asyncio.sleep(0.005)
        gate.set()
        answers = await asyncio.gather(leads, follows, converts)
        assert {said(answer) for answer in answers} == {"b gpt-test 1"}
        assert {answer.headers["x-upstream"] for answer in answers} == {"b"}
        assert len({answer.headers["x-cache-key"] for answer in answers}) == 1
        assert (len(chats(provider)), len(chats(other))) == (1, 1)


async def test_replicas_that_follow_a_call_which_found_a_fallback_s_stored_answer_do_not_all_ask(
    replica: Replica,  # noqa: F811
    provider: Provider,
    between: Between,  # noqa: F811
) -> None:
    gate = asyncio.Event()
    provider.always(lambda _: failure(503))
    async with two_replicas(replica, provider) as (a, b, other):
        await a.chat()
        await a.landed()
        await between.settled()
        provider.always(lambda _: [gate, *failure(503)])
        leads = asyncio.create_task(a.chat())
        await until_asked(provider, 2)
        follow = [asyncio.create_task(b.chat(stream=bool(n % 2))) for n in range(6)]
        await between.asked_for(1)
        while await b.metric("askonce_flight_followers_total") < 5:
            await asyncio.sleep(0.005)
        gate.set()
        answers = await asyncio.gather(leads, *follow)
        assert {said(answer) for answer in answers} == {"b gpt-test 1"}
        assert len(chats(other)) == 1
        # One for the first question, one for the leader, and at most one more for replica b as a whole.
        assert len(chats(provider)) <= 3


async def test_one_replica_s_hurried_caller_does_not_decide_for_another_replica_s(
    replica: Replica,  # noqa: F811
    provider: Provider,
    between: Between,  # noqa: F811
) -> None:
    gate = asyncio.Event()
    provider.always(lambda _: [gate, *failure(503)])
    async with two_replicas(replica, provider) as (a, b, _):
        hurried = asyncio.create_task(a.chat({"x-stainless-read-timeout": "0.1"}))
        await until_asked(provider)
        patient = asyncio.create_task(b.chat({"x-stainless-read-timeout": "600"}))
        await between.asked_for(1)
        gate.set()
        await hurried
        assert (await patient).status_code == 200


async def until_asked(provider: Provider, count: int = 1) -> None:
    while len(chats(provider)) < count:
        await asyncio.sleep(0.005)


# --- credentials


@pytest.mark.parametrize(
    "field",
    ["ocp-apim-subscription-key", "x-goog-api-key", "cf-aig-authorization", "x-litellm-api-key", "x-portkey-api-key",
     "helicone-auth", "x-auth-token", "x-amz-security-token", "x-accesstoken", "x-bf-vk", "x-portkey-config"],
)  # fmt: skip
async def test_a_key_in_another_gateway_s_field_goes_to_no_second_host(
    askonce: Start, provider: Provider, field: str
) -> None:
    async with several(askonce, provider, {"models": ["gpt-*"]} | FALLBACK, OWN) as (proxy, providers):
        provider.always(lambda _: failure(503))
        for model in ("gpt-test", "llama"):
            await proxy.chat({field: "secret-of-the-caller"}, model=model)
        assert [asked.header(field) for asked in chats(providers[1])] == [None, None]


def wants_a_key(asked: Asked) -> Script:
    if asked.header("authorization") == f"Bearer {ALICE}":
        return says("a")(asked)
    return failure(401, "who are you?")


async def test_where_the_operator_says_so_a_fallback_s_own_key_serves_those_alone_whom_the_first_one_knows(
    askonce: Start, provider: Provider
) -> None:
    known = FALLBACK | {"fallback_for": "known"}
    async with several(askonce, provider, known, OWN, answer=wants_a_key) as (proxy, providers):
        assert (await proxy.chat(key="sk-made-up")).status_code == 401
        assert (await proxy.chat(key=ALICE)).status_code == 200
        await provider.stop()
        for key in ("sk-made-up", None):
            assert (await proxy.chat(key=key)).status_code == 502
        assert not chats(providers[1])
        assert (await proxy.chat(key=ALICE, seed=1)).headers["x-upstream"] == "b"


async def test_nobody_without_a_good_key_can_reach_the_fallback_by_making_the_first_look_ill(
    askonce: Start, provider: Provider
) -> None:
    async with several(askonce, provider, SELDOM | FALLBACK, SELDOM | OWN, answer=wants_a_key) as (proxy, providers):
        for _ in range(3):
            await broken_off(proxy)
        assert (await proxy.chat(key="sk-made-up")).status_code == 401
        assert not chats(providers[1])


async def test_no_request_that_is_answered_with_itself_carries_the_proxy_s_key(
    askonce: Start, provider: Provider
) -> None:
    async with several(askonce, provider, OWN) as (proxy, _):
        await proxy.http.request("TRACE", "/v1/models")
        assert not [asked for asked in provider.asked if asked.method == "TRACE" and asked.header("authorization")]


async def test_a_redirect_does_not_lead_callers_past_the_proxy(askonce: Start, provider: Provider) -> None:
    def slash(asked: Asked) -> Script:
        # As Starlette, and so vLLM, answers a path with a slash too many.
        there = f"http://{asked.header('host')}{asked.path.rstrip('/')}"
        return reply(b"", 307, [("location", there)])

    async with several(askonce, provider, OWN, answer=slash) as (proxy, _):
        answer = await proxy.post("/v1/completions/", BODY)
        assert str(provider.port) not in answer.headers.get("location", "")


async def test_a_key_in_the_query_goes_to_no_second_host(askonce: Start, provider: Provider) -> None:
    async with several(askonce, provider, FALLBACK, OWN) as (proxy, providers):
        provider.always(lambda _: failure(503))
        target = "/v1/chat/completions?api-version=1&subscription-key=secret&api-key=secret&key=secret"
        await proxy.post(target, json.dumps(question()))
        assert not any("secret" in asked.target for asked in providers[1].asked)


async def test_no_credential_of_a_caller_is_used_to_look(askonce: Start, provider: Provider) -> None:
    async with several(askonce, provider, LOOKED_AT | FALLBACK, LOOKED_AT | OWN) as (proxy, providers):
        await proxy.chat({"api-key": "az", "x-api-key": "an", "cookie": "c=1", "proxy-authorization": "Basic x"})
        await looked_at(provider)
        for each in providers:
            for asked in each.asked:
                assert asked.header("cookie") is None
                assert asked.header("proxy-authorization") is None
                if asked.method == "GET":
                    assert ALICE not in str(asked.headers)
                    assert asked.header("api-key") is None


# --- KV blocks


def salts(provider: Provider) -> list[Any]:
    return [asked.json().get("cache_salt") for asked in chats(provider)]


BODY = '{"model":"gpt-test","prompt":"x"}'


@pytest.mark.parametrize(
    "types",
    [["application/json", "text/plain"], ["application/json", "multipart/form-data; boundary=x"],
     ["text/plain", "application/json"], [], ["APPLICATION/JSON;charset=utf-8"]],
    ids=str,
)  # fmt: skip
async def test_json_reaches_a_vllm_with_a_salt_whatever_its_type_says(
    askonce: Start, provider: Provider, types: list[str]
) -> None:
    # vLLM goes by the first `Content-Type`, and refuses what is not application/json.
    async with before(askonce, provider, Vllm()) as proxy:
        fields = [f"content-type: {each}" for each in types]
        raw = request_bytes(json.loads(BODY), *fields, "connection: close", path="/v1/completions")
        await proxy.raw(raw)
        assert None not in salts(provider)


@pytest.mark.parametrize(
    "body",
    [
        '{"model":"gpt-test","prompt":"x","cache_\\u0073alt":"guess"}',
        '{"model":"gpt-test","prompt":"x","cache_salt":null}',
        '{"cache_salt":"guess","model":"gpt-test","prompt":"x"}',
    ],
)
async def test_a_salt_that_is_spelled_otherwise_is_replaced(askonce: Start, provider: Provider, body: str) -> None:
    async with before(askonce, provider, Vllm()) as proxy:
        await proxy.post("/v1/completions", body, {"content-type": "application/json"})
        assert all(salt and salt != "guess" for salt in salts(provider))
        assert chats(provider)[-1].body.count(b"salt") == 1


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m","prompt":"x","cache_salt":"a","cache_salt":"b"}',
        b'{"model":"m","prompt":"x","cache_salt":"a","cache_\\u0073alt":"b"}',
        b'\xef\xbb\xbf{"model":"m","prompt":"x"}',
        '{"model":"m","prompt":"x"}'.encode("utf-16"),
        b'{"model":"m","prompt":"x","temperature":NaN}',
        b"[]",
        b"3",
        b"{}",
    ],
)
async def test_no_body_reaches_a_vllm_without_a_salt(askonce: Start, provider: Provider, body: bytes) -> None:
    async with before(askonce, provider, Vllm()) as proxy:
        paths = ("/v1/completions", "/v1/completi%6fns", "/v1/completions?x=1", "/v1/embeddings", "/v1/messages")
        for path in paths:
            await proxy.post(path, body, {"content-type": "application/json"})
        for asked in chats(provider):
            assert asked.body in (b"[]", b"3") or asked.json()["cache_salt"]


@pytest.mark.parametrize("packed", ["gzip", "chunked"])
async def test_a_body_that_comes_otherwise_gets_its_salt(askonce: Start, provider: Provider, packed: str) -> None:
    async with before(askonce, provider, Vllm()) as proxy:

        async def pieces() -> AsyncIterator[bytes]:
            yield BODY[:5].encode()
            yield BODY[5:].encode()

        fields = credential(ALICE) | {"content-type": "application/json"}
        if packed == "gzip":
            content: Any = gzip.compress(BODY.encode())
            fields["content-encoding"] = "gzip"
        else:
            content = pieces()
        await proxy.http.post("/v1/completions", content=content, headers=fields)
        assert salts(provider)[0]


async def test_a_vllm_below_openai_v1_gets_salts_on_every_path_that_leads_to_it(
    askonce: Start, provider: Provider
) -> None:
    below = {"base_url": f"{provider.url.removesuffix('/v1')}/openai/v1"}
    vllm = Vllm()
    async with several(askonce, provider, QUICK | below, answer=vllm.answer) as (proxy, _):
        for path in ("/v1/chat/completions", "/openai/v1/chat/completions"):
            await proxy.post(path, json.dumps(question(seed=len(path))), {"content-type": "application/json"})
        assert {asked.path for asked in chats(provider)} == {"/openai/v1/chat/completions"}
        assert len(chats(provider)) == 2
        assert None not in salts(provider)


# --- sent once


@pytest.mark.parametrize("path", ["/v1/batches", "/v1/responses", "/v1/fine_tuning/jobs"])
async def test_what_leaves_something_behind_is_not_repeated_when_an_old_connection_breaks(
    askonce: Start, provider: Provider, path: str
) -> None:
    async with several(askonce, provider, {"models": ["gpt-*"]}, OWN) as (proxy, _):
        await proxy.http.post(path, json={"model": "gpt-test"})  # from now on there is an idle connection
        provider.then([Ending.CLOSE])  # read, done, and no answer: it crashed
        answer = await proxy.http.post(path, json={"model": "gpt-test"})
        assert (len(chats(provider)), answer.status_code) == (2, 502)


@pytest.mark.parametrize("method", ["DELETE", "PUT", "PATCH"])
async def test_only_questions_are_sent_again(askonce: Start, provider: Provider, method: str) -> None:
    async with several(askonce, provider, FALLBACK, OWN) as (proxy, providers):
        provider.always(lambda _: failure(503))
        for path in ("/v1/files/f", "/v1/completions/c", "/v1/chat/completions/c", "/v1/moderations/m"):
            await proxy.http.request(method, path, json={"model": "m"})
        assert {asked.method for asked in providers[1].asked} <= {"GET"}


@pytest.mark.parametrize("pause", ["nan", "inf", "-1", "1e309", "9" * 400, "Wed, 21 Oct 2037 07:28:00 GMT", "", "0x1"])
async def test_a_pause_that_means_nothing_is_the_caller_s_to_know(
    askonce: Start, provider: Provider, pause: str
) -> None:
    async with several(askonce, provider, FALLBACK, OWN) as (proxy, _):
        provider.always(lambda _: failure(429, headers=[("retry-after", pause)]))
        assert (await proxy.chat()).status_code == 429


@pytest.mark.parametrize("patience", ["nan", "inf", "-1", "9" * 400, "0", "1e9", "", "\u0661"])
async def test_a_patience_that_means_nothing_is_none(askonce: Start, provider: Provider, patience: str) -> None:
    async with several(askonce, provider, FALLBACK, OWN) as (proxy, _):
        provider.always(lambda _: failure(503))
        answer = await proxy.http.post(
            "/v1/chat/completions",
            json=question(),
            headers=[(b"x-stainless-read-timeout", patience.encode())],
        )
        assert answer.status_code in (200, 400)
        assert (await proxy.chat(seed=1)).status_code == 200


# --- denial of service: breakers


async def broken_off(proxy: Running, path: str = "/v1/files") -> None:
    """An upload that its caller leaves in the middle."""
    host, _, port = proxy.url.removeprefix("http://").partition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    fields = ["host: x", "content-type: multipart/form-data; boundary=x", "content-length: 100000"]
    head = "\r\n".join([f"POST {path} HTTP/1.1", *fields, "", ""])
    writer.write(head.encode() + b"x" * 50_000)
    await writer.drain()
    while not await in_flight(proxy):
        await asyncio.sleep(0.005)
    writer.close()
    await writer.wait_closed()
    await nothing_in_flight(proxy)


async def test_a_caller_who_breaks_uploads_off_sends_nobody_else_to_the_fallback(
    askonce: Start, provider: Provider
) -> None:
    async with several(askonce, provider, SELDOM | FALLBACK, SELDOM | OWN) as (proxy, _):
        for _ in range(3):
            await broken_off(proxy)
        assert await proxy.metric("askonce_upstream_endpoint_up", upstream="a") == 1
        assert (await proxy.chat(key=BOB)).headers["x-upstream"] == "a"


@pytest.mark.parametrize("status", [503, 504])
async def test_one_model_that_cannot_be_served_sends_no_other_model_s_callers_to_the_fallback(
    askonce: Start, provider: Provider, status: int
) -> None:
    well = says("a")
    async with several(askonce, provider, SELDOM | FALLBACK, SELDOM | OWN) as (proxy, _):
        provider.always(lambda asked: failure(status) if asked.model == "cold" else well(asked))
        for seed in range(3):
            await proxy.chat(key=BOB, model="cold", seed=seed)
        assert (await proxy.chat()).headers["x-upstream"] == "a"


async def test_a_caller_who_fills_the_pool_does_not_make_the_endpoint_look_ill(
    askonce: Start, provider: Provider
) -> None:
    small = {"max_connections": 1, "connect_timeout": 0.05}
    gate = asyncio.Event()
    async with several(askonce, provider, SELDOM | small | FALLBACK, SELDOM | OWN) as (proxy, _):
        provider.then([gate, *plain(completion("late"))])
        holding = asyncio.create_task(proxy.chat(key=BOB))
        await until_asked(provider)
        for seed in range(3):
            await proxy.chat(key=BOB, seed=seed)
        assert await proxy.metric("askonce_upstream_endpoint_up", upstream="a") == 1
        gate.set()
        await holding


async def test_a_vllm_whose_metrics_hang_is_well(askonce: Start, provider: Provider) -> None:
    vllm = Vllm()

    def answer(asked: Asked) -> Script:
        return [Ending.NEVER] if asked.path == "/metrics" else vllm.answer(asked)

    local = QUICK | {"health_timeout": 0.1, "fallback": "b"}
    async with several(askonce, provider, local, OWN, answer=answer) as (proxy, _):
        for _ in range(4):
            await vllm.seen()
        assert await proxy.metric("askonce_upstream_endpoint_up", upstream="a") == 1
        assert (await proxy.chat()).headers["x-upstream"] == "a"


async def test_a_provider_with_many_models_is_well(askonce: Start, provider: Provider) -> None:
    well = says("a", *(f"{'vendor' * 10}/model-{n}" for n in range(10_000)))
    async with several(askonce, provider, LOOKED_AT | FALLBACK, OWN, answer=well) as (proxy, _):
        await proxy.chat()
        await looked_at(provider, 6)
        assert await proxy.metric("askonce_upstream_endpoint_up", upstream="a") == 1
        assert (await proxy.chat(seed=9)).headers["x-upstream"] == "a"


# --- nothing leaks


@pytest.mark.parametrize("streams", [False, True])
async def test_a_caller_who_leaves_while_the_first_attempt_hangs_leaves_nothing_in_flight(
    askonce: Start, provider: Provider, streams: bool
) -> None:
    async with several(askonce, provider, FALLBACK, OWN) as (proxy, providers):
        provider.always(lambda _: [Ending.NEVER])
        asking = asyncio.create_task(proxy.chat({"x-cache-bypass": "true"}, stream=streams))
        await until_asked(provider)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await nothing_in_flight(proxy)
        assert not chats(providers[1])
        await chats(provider)[-1].left.wait()


async def test_a_caller_who_leaves_in_the_middle_of_a_failover_leaves_nothing_in_flight(
    askonce: Start, provider: Provider
) -> None:
    async with several(askonce, provider, FALLBACK, OWN) as (proxy, providers):
        provider.always(lambda _: failure(503))
        providers[1].always(lambda _: [Ending.NEVER])
        asking = asyncio.create_task(proxy.chat({"cache-control": "no-store"}))
        await until_asked(providers[1])
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await nothing_in_flight(proxy)


@pytest.mark.parametrize("model", ["*", "[a-z]*", "a" * 256, "?", "..", "a/b?c#d", "\u202e", "gpt-*"])
async def test_a_model_with_an_odd_name_is_asked_for_under_it(askonce: Start, provider: Provider, model: str) -> None:
    async with several(askonce, provider, {"models": ["gpt-*"]}, OWN) as (proxy, providers):
        for path in ("/v1/chat/completions", "/v1/embeddings"):
            await proxy.post(path, json.dumps(question(model=model)), {"content-type": "application/json"})
        sent = chats(provider) + chats(providers[1])
        assert [asked.model for asked in sent] == [model, model]


@pytest.mark.parametrize("body", [b"", b"null", b"[1]", b'"x"', b'{"model":[1]}', b'{"model":{}}', b"{", b"\xff"])
async def test_what_names_no_model_goes_to_the_first(askonce: Start, provider: Provider, body: bytes) -> None:
    async with several(askonce, provider, {"models": ["gpt-*"]}, OWN) as (proxy, providers):
        await proxy.post("/v1/embeddings", body, {"content-type": "application/json"})
        # `*` takes any model.
        assert (len(chats(provider)), len(chats(providers[1]))) == (0, 1)


# --- the list of models


async def test_a_list_that_comes_compressed_is_merged(askonce: Start, provider: Provider) -> None:
    def packed(asked: Asked) -> Script:
        listed = dump({"object": "list", "data": [card("gpt-4o")]})
        if asked.method == "GET" and "gzip" in (asked.header("accept-encoding") or ""):
            return reply(gzip.compress(listed), headers=[("content-encoding", "gzip")])
        return reply(listed)

    async with several(askonce, provider, {"models": ["gpt-*"]}, OWN, answer=packed) as (proxy, _):
        answer = await proxy.http.get("/v1/models", headers={"accept-encoding": "gzip, deflate"})
        assert [each["id"] for each in answer.json()["data"]] == ["gpt-4o", "model-b"]


async def test_a_list_is_whole_for_a_caller_who_has_one_of_them(askonce: Start, provider: Provider) -> None:
    def asked_again(asked: Asked) -> Script:
        if asked.header("if-none-match"):
            return reply(b"", 304)
        return says("a", "gpt-4o")(asked)

    async with several(askonce, provider, {"models": ["gpt-*"]}, OWN, answer=asked_again) as (proxy, _):
        answer = await proxy.http.get("/v1/models", headers={"if-none-match": '"x"'})
        assert [each["id"] for each in answer.json()["data"]] == ["gpt-4o", "model-b"]


async def test_a_list_may_be_asked_for_with_a_body(
    askonce: Start, provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    async with several(askonce, provider, {"models": ["gpt-*"]}, OWN) as (proxy, _):
        provider.always(says("a", "gpt-4o"))
        request = httpx.Request("GET", f"{proxy.url}/v1/models", content=b"x" * 10)
        answer = await proxy.http.send(request)
        assert answer.status_code == 200
        assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_list_of_many_models_is_merged(askonce: Start, provider: Provider) -> None:
    async with several(askonce, provider, {"models": ["gpt-*"]}, OWN) as (proxy, _):
        provider.always(says("a", *(f"gpt-{n}" for n in range(10_000))))
        assert len((await proxy.http.get("/v1/models")).json()["data"]) == 10_001


# --- what operators see


async def test_logs_and_figures_hold_no_word_path_or_credential(
    askonce: Start, provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "askonce")
    async with several(askonce, provider, LOOKED_AT | FALLBACK, OWN) as (proxy, providers):
        for each in providers:
            each.always(lambda _: [Ending.RESET])
        words = [{"role": "user", "content": "the-secret-words"}]
        await proxy.chat(messages=words)
        await proxy.post("/v1/embeddings?secret-query=1", '{"model":"m","input":"the-secret-words"}')
        await looked_at(provider)
        shown = caplog.text + (await proxy.http.get("/metrics")).text + (await proxy.http.get("/readyz")).text
        for secret in ("the-secret-words", "secret-query", ALICE, "sk-own"):
            assert secret not in shown


async def test_models_that_nobody_serves_get_no_label(askonce: Start, provider: Provider) -> None:
    async with several(askonce, provider, {"models": ["gpt-*"]}, OWN) as (proxy, providers):
        for each in providers:
            each.always(lambda _: failure(404, "no such model"))
        for n in range(20):
            await proxy.chat(model=f"made-up-{n}")
        assert "made-up" not in (await proxy.http.get("/metrics")).text
