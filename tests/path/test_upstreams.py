"""Several upstreams: who is asked for which model, with whose credential, and who stands in for whom."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest

from tests.path.several import chats, says, several
from tests.provider import Ending, Provider, failure, head, plain, stream, words
from tests.running import ALICE, BOB, Start, error, question, said

OWN = {"api_key": "sk-own"}
FALLBACK = {"fallback": "b"}


# --- routing


async def test_a_model_is_served_by_the_first_upstream_whose_pattern_matches(
    askonce: Start, provider: Provider
) -> None:
    async with several(askonce, provider, {"models": ["gpt-*"]}, {"models": ["llama-*"]} | OWN, OWN) as (proxy, _):
        for model, who in (("gpt-4o", "a"), ("llama-3", "b"), ("qwen", "c")):
            answer = await proxy.chat(model=model)
            assert (said(answer), answer.headers["x-upstream"]) == (f"{who} {model} 1", who)
            again = await proxy.chat(model=model)
            assert (again.headers["x-cache"], again.headers["x-upstream"]) == ("hit", who)
            assert said(again) == said(answer)


async def test_a_model_that_none_serves_goes_to_the_first(askonce: Start, provider: Provider) -> None:
    async with several(askonce, provider, {"models": ["gpt-*"]}, {"models": ["llama-*"]} | OWN) as (proxy, _):
        assert (await proxy.chat(model="else")).headers["x-upstream"] == "a"


async def test_two_upstreams_share_no_answer(askonce: Start, provider: Provider) -> None:
    async with several(askonce, provider, {}, OWN) as (proxy, providers):
        first = await proxy.chat()
    async with several(askonce, providers[0], {"models": ["none"]}, OWN) as (proxy, _):
        second = await proxy.chat()
    assert (first.headers["x-upstream"], second.headers["x-upstream"]) == ("a", "b")
    assert (second.headers["x-cache"], said(second)) == ("miss", "b gpt-test 1")


async def test_a_model_map_renames_the_model_on_its_way_and_nothing_else(askonce: Start, provider: Provider) -> None:
    moved = {"model_map": {"gpt-4o": "llama-3", "gpt-*": "small"}}
    async with several(askonce, provider, moved) as (proxy, _):
        for model, sent in (("gpt-4o", "llama-3"), ("gpt-4o-mini", "small"), ("o3", "o3")):
            answer = await proxy.chat(model=model, temperature=0)
            assert chats(provider)[-1].json() == question(model=sent, temperature=0)
            assert answer.json()["model"] == sent
            assert (await proxy.chat(model=model, temperature=0)).headers["x-cache"] == "hit"


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/completions", "/v1/responses"])
async def test_what_is_passed_through_goes_where_its_model_is(askonce: Start, provider: Provider, path: str) -> None:
    mapped = {"models": ["llama-*"], "model_map": {"llama-3": "real"}} | OWN
    async with several(askonce, provider, {"models": ["gpt-*"]}, mapped) as (proxy, providers):
        answer = await proxy.http.post(path, json={"model": "llama-3", "input": "x"})
        assert answer.headers["x-upstream"] == "b"
        assert chats(providers[1])[-1].json() == {"model": "real", "input": "x"}
        assert not chats(provider)


async def test_a_model_is_described_by_who_serves_it(askonce: Start, provider: Provider) -> None:
    async with several(askonce, provider, {"models": ["gpt-*"]}, {"models": ["*"]} | OWN) as (proxy, providers):
        await proxy.http.get("/v1/models/org/llama")
        assert providers[1].asked[-1].target == "/v1/models/org/llama"


async def test_models_are_those_of_all_upstreams_under_the_names_that_reach_them(
    askonce: Start, provider: Provider
) -> None:
    b = {"models": ["model-*", "alias"], "model_map": {"alias": "model-b"}} | OWN
    async with several(askonce, provider, {"models": ["gpt-*", "model-a"]}, b, OWN) as (proxy, providers):
        provider.always(says("a", "gpt-4o", "model-a", "model-b"))
        providers[2].always(says("c", "model-c", "free"))
        listed = (await proxy.http.get("/v1/models")).json()
        # `model-b` of a and `model-c` of c are out of reach: a request for either goes to b.
        assert [card["id"] for card in listed["data"]] == ["gpt-4o", "model-a", "model-b", "alias", "free"]
        assert listed["object"] == "list"
        async with proxy.sdk() as client:
            assert [model.id async for model in client.models.list()] == [card["id"] for card in listed["data"]]


async def test_an_upstream_that_fails_is_left_out_of_the_list(askonce: Start, provider: Provider) -> None:
    async with several(askonce, provider, {"models": ["gpt-*"]}, OWN) as (proxy, providers):
        await providers[1].stop()
        provider.always(says("a", "gpt-4o"))
        assert [card["id"] for card in (await proxy.http.get("/v1/models")).json()["data"]] == ["gpt-4o"]


async def test_where_all_refuse_the_list_their_refusal_is_passed_on(askonce: Start, provider: Provider) -> None:
    async with several(askonce, provider, {"models": ["gpt-*"]}, OWN) as (proxy, providers):
        for each in providers:
            each.always(lambda _: failure(401, "who are you?"))
        answer = await proxy.http.get("/v1/models")
        assert (answer.status_code, error(answer)["message"]) == (401, "who are you?")


# --- credentials


async def test_a_caller_s_credential_goes_to_one_host_only(askonce: Start, provider: Provider) -> None:
    vllm = {"kind": "vllm", "models": ["llama-*"]}
    async with several(askonce, provider, {} | FALLBACK, OWN, vllm) as (proxy, providers):
        account = {"openai-organization": "org-1", "openai-project": "p-1", "api-key": "az", "x-api-key": "an"}
        await proxy.chat(account)
        provider.always(lambda _: failure(503))
        assert (await proxy.chat(account, seed=1)).headers["x-upstream"] == "b"
        await proxy.http.get("/v1/models", headers=account | {"authorization": f"Bearer {ALICE}"})
        assert chats(provider)[0].header("authorization") == f"Bearer {ALICE}"
        assert {asked.header("authorization") for asked in providers[1].asked} == {"Bearer sk-own"}
        for asked in (*providers[1].asked, *providers[2].asked):
            assert [asked.header(name) for name in account] == [None] * 4
        assert {asked.header("authorization") for asked in providers[2].asked} == {None}


async def test_an_azure_deployment_gets_its_key_in_azure_s_field(askonce: Start, provider: Provider) -> None:
    async with several(askonce, provider, {"api_key": "az-own"}) as (proxy, _):
        version = "2024-10-21"
        async with openai.AsyncAzureOpenAI(azure_endpoint=proxy.url, api_key=ALICE, api_version=version) as client:
            await client.chat.completions.create(model="my-4o", messages=[{"role": "user", "content": "Hi"}])
        asked = chats(provider)[-1]
        assert (asked.header("api-key"), asked.header("authorization")) == ("az-own", None)
        assert asked.target == "/openai/deployments/my-4o/chat/completions?api-version=2024-10-21"


# --- Azure


async def test_azure_s_answers_are_kept_by_deployment_and_version(askonce: Start, provider: Provider) -> None:
    provider.always(says("a"))
    async with askonce() as proxy:
        body = {"messages": question()["messages"]}  # as a REST caller sends it: the path says the model

        async def ask(deployment: str, version: str, path: str = "chat/completions") -> str:
            target = f"/openai/deployments/{deployment}/{path}?api-version={version}"
            answer = await proxy.http.post(target, json=body, headers={"api-key": ALICE})
            assert answer.status_code == 200, answer.text
            return str(answer.headers["x-cache"])

        assert [await ask("one", "1"), await ask("one", "1")] == ["miss", "hit"]
        assert [await ask("two", "1"), await ask("one", "2")] == ["miss", "miss"]
        assert await proxy.metric("askonce_requests_total", endpoint="/v1/chat/completions") == 4


async def test_azure_s_deployments_are_routed_as_models(askonce: Start, provider: Provider) -> None:
    async with several(askonce, provider, {"models": ["east-*"]}, {"models": ["west-*"]} | OWN) as (proxy, providers):
        for deployment, who in (("east-4o", 0), ("west-4o", 1)):
            for path in ("chat/completions", "embeddings"):
                target = f"/openai/deployments/{deployment}/{path}?api-version=1"
                await proxy.http.post(target, json=question(), headers={"api-key": ALICE})
                assert chats(providers[who])[-1].target == target


# --- failing over


def unwell(kind: str) -> Any:
    match kind:
        case "refused":
            return [Ending.RESET]
        case "rate limited":
            return failure(429, headers=[("retry-after", "1")])
        case "rate limited by milliseconds":
            return failure(429, headers=[("retry-after-ms", "900")])
        case status:
            return failure(int(status))


UNWELL = ["refused", "502", "503", "504", "rate limited", "rate limited by milliseconds"]


@pytest.mark.parametrize("kind", UNWELL)
@pytest.mark.parametrize("streams", [False, True])
async def test_a_fallback_answers_where_an_upstream_cannot_serve(
    askonce: Start, provider: Provider, kind: str, streams: bool
) -> None:
    async with several(askonce, provider, FALLBACK, OWN) as (proxy, _providers):
        provider.always(lambda _: unwell(kind))
        answer = await proxy.chat(stream=streams)
        assert (answer.status_code, said(answer), answer.headers["x-upstream"]) == (200, "b gpt-test 1", "b")
        assert len(chats(provider)) == 1
        assert await proxy.metric("askonce_upstream_fallbacks_total", upstream="a") == 1
        assert await proxy.metric("askonce_upstream_errors_total", upstream="a") == 1


async def test_a_refusal_that_breaks_off_is_one(askonce: Start, provider: Provider) -> None:
    async with several(askonce, provider, FALLBACK, OWN) as (proxy, providers):
        provider.always(lambda _: [head(503, [("content-length", "100")]) + b"{", Ending.CLOSE])
        assert said(await proxy.chat()) == "b gpt-test 1"
        providers[1].always(lambda _: failure(401))
        answer = await proxy.chat(seed=1)
        assert (answer.status_code, error(answer)["code"]) == (502, "upstream_interrupted")


async def test_a_dead_upstream_s_fallback_answers(askonce: Start, provider: Provider) -> None:
    async with several(askonce, provider, FALLBACK, OWN) as (proxy, _):
        await provider.stop()
        assert said(await proxy.chat()) == "b gpt-test 1"


@pytest.mark.parametrize(
    "script",
    [failure(429, headers=[("retry-after", "60")]), failure(429), failure(500), failure(400), failure(401)],
    ids=["a long pause", "no pause", "500", "400", "401"],
)
async def test_what_is_the_caller_s_to_know_is_passed_on(askonce: Start, provider: Provider, script: Any) -> None:
    async with several(askonce, provider, FALLBACK, OWN) as (proxy, providers):
        provider.then(script)
        answer = await proxy.chat()
        assert (answer.status_code >= 400, answer.headers["x-upstream"]) == (True, "a")
        assert not chats(providers[1])


async def test_a_fallback_s_answer_is_never_served_as_the_first_one_s(askonce: Start, provider: Provider) -> None:
    async with several(askonce, provider, FALLBACK, OWN) as (proxy, providers):
        provider.then(failure(503))
        stood_in = await proxy.chat()
        assert said(stood_in) == "b gpt-test 1"
        # The first is well again: it is asked, though the other's answer is stored.
        own = await proxy.chat()
        assert (own.headers["x-cache"], said(own)) == ("miss", "a gpt-test 1")
        assert own.headers["x-cache-key"] != stood_in.headers["x-cache-key"]
        assert said(await proxy.chat()) == "a gpt-test 1"
        assert len(chats(providers[1])) == 1


async def test_a_fallback_s_stored_answer_is_served_in_its_own_name_while_the_first_fails(
    askonce: Start, provider: Provider
) -> None:
    async with several(askonce, provider, FALLBACK, OWN) as (proxy, providers):
        provider.always(lambda _: failure(503))
        first = await proxy.chat()
        for streams in (False, True):
            again = await proxy.chat(stream=streams)
            assert (again.headers["x-cache"], again.headers["x-upstream"]) == ("hit", "b")
            assert said(again) == said(first)
            assert again.headers["x-cache-key"] == first.headers["x-cache-key"]
        assert len(chats(providers[1])) == 1
        assert (await proxy.chat(key=BOB)).headers["x-cache"] == "miss"


async def test_a_fallback_s_answer_is_removed_by_its_key(askonce: Start, provider: Provider) -> None:
    async with several(askonce, provider, FALLBACK, OWN) as (proxy, _):
        provider.always(lambda _: failure(503))
        key = (await proxy.chat()).headers["x-cache-key"]
        shown = (await proxy.http.get(f"/admin/entries/{key}")).json()
        assert shown["upstream"] == "b"
        assert (await proxy.http.delete(f"/admin/entries/{key}")).status_code == 200
        assert (await proxy.chat()).headers["x-cache"] == "miss"


async def test_those_who_ask_together_are_all_answered_by_the_fallback_with_one_call(
    askonce: Start, provider: Provider
) -> None:
    async with several(askonce, provider, FALLBACK, OWN) as (proxy, providers):
        gate = asyncio.Event()
        provider.always(lambda _: [gate, *failure(503)])
        asking = [asyncio.create_task(proxy.chat(stream=bool(n % 2))) for n in range(6)]
        await provider.arrived()
        while await proxy.metric("askonce_flight_followers_total") < 5:
            await asyncio.sleep(0.01)
        gate.set()
        answers = await asyncio.gather(*asking)
        assert {said(answer) for answer in answers} == {"b gpt-test 1"}
        assert {answer.headers["x-upstream"] for answer in answers} == {"b"}
        assert len({answer.headers["x-cache-key"] for answer in answers}) == 1
        assert (len(chats(provider)), len(chats(providers[1]))) == (1, 1)


async def test_fallbacks_are_asked_in_turn(askonce: Start, provider: Provider) -> None:
    async with several(askonce, provider, FALLBACK, {"fallback": "c"} | OWN, OWN) as (proxy, providers):
        for each in providers[:2]:
            each.always(lambda _: failure(502))
        assert said(await proxy.chat()) == "c gpt-test 1"
        providers[2].always(lambda _: failure(503, "all of us"))
        answer = await proxy.chat(seed=1)
        assert (answer.status_code, error(answer)["message"]) == (503, "all of us")


async def test_a_fallback_has_models_of_its_own(askonce: Start, provider: Provider) -> None:
    mapped = {"model_map": {"gpt-*": "llama"}} | OWN
    async with several(askonce, provider, FALLBACK, mapped) as (proxy, _providers):
        provider.always(lambda _: failure(503))
        assert said(await proxy.chat(model="gpt-4o")) == "b llama 1"


async def test_a_caller_with_little_patience_is_told_at_once(askonce: Start, provider: Provider) -> None:
    async with several(askonce, provider, FALLBACK, OWN) as (proxy, providers):
        provider.always(lambda _: failure(503))
        hurried = await proxy.chat({"x-stainless-read-timeout": "0.1"})
        assert hurried.status_code == 503
        patient = await proxy.chat({"x-stainless-read-timeout": "600"})
        assert patient.status_code == 200
        assert len(chats(providers[1])) == 1


async def test_an_answer_that_breaks_off_is_not_taken_up_by_another(askonce: Start, provider: Provider) -> None:
    async with several(askonce, provider, FALLBACK, OWN) as (proxy, providers):
        provider.always(lambda asked: stream(words("half ")[:-2], end=Ending.RESET))
        answer = await proxy.chat(stream=True)
        assert b"stream_interrupted" in answer.content
        assert not chats(providers[1])


async def test_what_is_relayed_and_what_is_passed_through_falls_back_too(askonce: Start, provider: Provider) -> None:
    async with several(askonce, provider, FALLBACK, OWN) as (proxy, _providers):
        provider.always(lambda _: failure(503))
        relayed = await proxy.chat({"cache-control": "no-store"})
        bypassed = await proxy.chat({"x-cache-bypass": "true"})
        passed = await proxy.http.post("/v1/embeddings", json={"model": "m", "input": "x"})
        assert {answer.headers["x-upstream"] for answer in (relayed, bypassed, passed)} == {"b"}


async def test_what_leaves_something_behind_is_not_sent_twice(askonce: Start, provider: Provider) -> None:
    async with several(askonce, provider, FALLBACK, OWN) as (proxy, providers):
        provider.always(lambda _: failure(503))
        for path in ("/v1/batches", "/v1/responses", "/v1/files"):
            assert (await proxy.http.post(path, json={"model": "m"})).status_code == 503
        assert not chats(providers[1])


async def test_stale_answers_stand_in_only_where_the_fallback_fails_too(askonce: Start, provider: Provider) -> None:
    stale = {"rules": [{"ttl": 0.001, "stale_if_error": 3600, "ttl_jitter": 0}]}
    async with several(askonce, provider, FALLBACK, OWN, flags=stale) as (proxy, providers):
        await proxy.chat()
        await asyncio.sleep(0.01)
        provider.always(lambda _: failure(503))
        assert (await proxy.chat()).headers["x-upstream"] == "b"
        providers[1].always(lambda _: failure(503))
        await asyncio.sleep(0.01)
        answer = await proxy.chat()
        assert (answer.headers["x-cache"], answer.headers["x-upstream"]) == ("stale", "a")


async def test_a_fallback_is_told_apart_in_readiness_and_figures(askonce: Start, provider: Provider) -> None:
    async with several(askonce, provider, FALLBACK, OWN) as (proxy, _):
        ready = (await proxy.http.get("/readyz")).json()
        assert [each["name"] for each in ready["upstreams"]] == ["a", "b"]
        await proxy.chat()
        assert await proxy.metric("askonce_upstream_endpoint_up", upstream="a") == 1
        assert await proxy.metric("askonce_upstream_endpoint_up") == 2
        figures = (await proxy.http.get("/admin/stats")).json()
        assert [each["upstream"] for each in figures["endpoints"]] == ["a", "b"]
        assert figures["upstream"]["prompt_tokens"] == {"a": 10}


async def test_an_answer_says_who_served_it_however_it_was_served(askonce: Start, provider: Provider) -> None:
    async with askonce() as proxy:
        seen = [await proxy.chat(), await proxy.chat(), await proxy.chat(stream=True)]
        seen += [await proxy.chat({"x-cache-bypass": "true"}), await proxy.http.get("/v1/files")]
        assert {answer.headers["x-upstream"] for answer in seen} == {"openai"}


async def test_another_proxy_s_word_on_who_served_is_not_passed_on(askonce: Start, provider: Provider) -> None:
    provider.then(plain({"choices": []}, headers=[("x-upstream", "theirs")]))
    async with askonce() as proxy:
        assert (await proxy.chat()).headers.get_list("x-upstream") == ["openai"]
