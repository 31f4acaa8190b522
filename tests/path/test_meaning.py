"""Questions in other words, on the wire: what is answered by another's answer, what never is, how that is undone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.path.by_meaning import (
    ASKED,
    ON,
    OTHERWISE,
    TYPED,
    Begin,
    feedback,
    figures,
    first,
    remembered,
    until_hit,
    user,
    x,
)
from tests.provider import Provider, completion, plain
from tests.running import BOB, Clock, Running, Start, cache_status, error, said


@pytest.fixture(params=[{}, {"server.fast_lane": False}, {"store.memory": 0}], ids=["fast_lane", "asgi", "sqlite"])
async def proxy(begin: Begin, request: pytest.FixtureRequest) -> AsyncIterator[Running]:
    async with begin(request.param) as running:
        yield running


@pytest.fixture
async def one(begin: Begin) -> AsyncIterator[Running]:
    """On the default lane: for what does not depend on the way through."""
    async with begin() as running:
        yield running


# --- what is matched


async def test_a_question_in_other_words_gets_the_stored_answer(proxy: Running, provider: Provider):
    await first(proxy)
    answer = await proxy.chat(**user(OTHERWISE))
    assert x(answer, "cache") == "semantic"
    assert said(answer) == f"You asked: {ASKED}"
    assert 0.9 <= float(x(answer, "cache-similarity") or 0) < 1
    assert cache_status(answer)["detail"] == "semantic"
    assert int(answer.headers["age"]) >= 0
    assert x(answer, "cache-saved-tokens")
    assert provider.calls == 1


async def test_the_same_other_words_are_an_exact_hit_the_next_time(proxy: Running, provider: Provider):
    await first(proxy)
    matched = await proxy.chat(**user(OTHERWISE))
    again = await until_hit(proxy, **user(OTHERWISE))
    assert said(again) == f"You asked: {ASKED}"
    assert x(again, "cache-key") == x(matched, "cache-key")
    assert x(again, "cache-similarity") == x(matched, "cache-similarity")
    assert cache_status(again)["detail"] == "alias"
    assert provider.calls == 1


async def test_a_match_serves_a_stream_as_well_as_a_plain_request(proxy: Running, provider: Provider):
    await first(proxy)
    async with proxy.sdk() as sdk:
        stream = await sdk.chat.completions.create(model="gpt-test", stream=True, **user(OTHERWISE))
        words = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
    assert "".join(words) == f"You asked: {ASKED}"
    assert provider.calls == 1


async def test_words_that_are_typed_otherwise_share_an_answer(proxy: Running, provider: Provider):
    await first(proxy)
    answer = await proxy.chat(**user(TYPED))
    assert (x(answer, "cache"), cache_status(answer)["detail"]) == ("semantic", "normalized")
    assert said(answer) == f"You asked: {ASKED}"
    assert provider.calls == 1


async def test_what_memory_knows_by_how_it_is_typed_is_not_even_embedded(one: Running):
    await first(one)
    before = await one.metric("askonce_embed_seconds_count")
    assert x(await one.chat(**user(TYPED)), "cache") == "semantic"
    assert await one.metric("askonce_embed_seconds_count") == before


async def test_a_rule_switches_typing_and_meaning_off_each_by_itself(begin: Begin, provider: Provider):
    async with begin({"rules": [{"match": {"model": "exact-*"}, "match_by_meaning": False}]}) as proxy:
        await proxy.chat(model="exact-1", **user(ASKED))
        assert x(await proxy.chat(model="exact-1", **user(OTHERWISE)), "cache") == "miss"
        assert x(await proxy.chat(model="exact-1", **user(TYPED)), "cache") == "miss"
    async with begin({"rules": [{"match_normalized": False}]}) as proxy:
        await proxy.chat(model="m", **user(ASKED))
        await remembered(proxy)
        answer = await proxy.chat(model="m", **user(TYPED))
        assert x(answer, "cache") in ("semantic", "miss")
        assert cache_status(answer).get("detail") != "normalized"


async def test_only_if_cached_is_content_with_a_match(one: Running, provider: Provider):
    await first(one)
    answer = await one.chat({"cache-control": "only-if-cached"}, **user(OTHERWISE))
    assert (answer.status_code, x(answer, "cache")) == (200, "semantic")
    unknown = await one.chat({"cache-control": "only-if-cached"}, **user("Where is the moon?"))
    assert unknown.status_code == 504
    assert provider.calls == 1


# --- what never is


@pytest.mark.parametrize(
    "members",
    [
        {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": OTHERWISE}]},
        {"messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"},
                      {"role": "user", "content": OTHERWISE}]},
        user(OTHERWISE) | {"max_tokens": 5},
        user(OTHERWISE) | {"model": "gpt-other"},
        user(OTHERWISE) | {"tools": [{"type": "function", "function": {"name": "reset", "parameters": {}}}]},
        user(OTHERWISE) | {"response_format": {"type": "json_object"}},
    ],
    ids=["system prompt", "history", "parameter", "model", "tools", "json"],
)  # fmt: skip
async def test_a_question_that_differs_in_more_than_its_words_is_not_matched(
    one: Running, provider: Provider, members: dict[str, Any]
):
    await first(one)
    assert x(await one.chat(**members), "cache") == "miss"
    assert provider.calls == 2


async def test_another_callers_answer_is_never_a_candidate(one: Running, provider: Provider):
    await first(one)
    assert x(await one.chat(key=BOB, **user(OTHERWISE)), "cache") == "miss"
    assert x(await one.chat(key="sk-carol", **user(TYPED)), "cache") == "miss"
    assert provider.calls == 3


async def test_another_namespace_is_another_world(one: Running):
    await first(one)
    answer = await one.chat({"x-cache-namespace": "elsewhere"}, **user(OTHERWISE))
    assert x(answer, "cache") == "miss"


@pytest.mark.parametrize(
    ("stored", "asked"),
    [
        ("How do I cancel order 1234?", "How do I cancel order 1235?"),
        ("Can I take the card abroad?", "Can I not take the card abroad?"),
        ("How do I turn the heating on?", "How do I turn the heating off?"),
        ("How far is it from Oslo to Bergen?", "How far is it from Bergen to Oslo?"),
    ],
)
async def test_a_guard_tells_apart_what_an_embedding_cannot(one: Running, stored: str, asked: str):
    await first(one, stored)
    answer = await one.chat(**user(asked))
    assert (x(answer, "cache"), said(answer)) == ("miss", f"You asked: {asked}")
    assert await one.metric("askonce_refused_candidates_total") == 1
    (near,) = (await one.http.get("/admin/semantic/near-misses")).json()
    assert near["key"] == x(answer, "cache-key")
    assert asked not in json.dumps(near)


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        (user("What is the latest news?"), "fresh"),
        (user("Bitte sagen Sie mir, wie ich mein Passwort zurücksetzen kann."), "language"),
        (user("word " * 400), "too_long"),
        ({"messages": [{"role": "user", "content": "?!"}]}, "no_words"),
    ],
)
async def test_what_cannot_be_matched_is_counted_with_its_reason(one: Running, members: dict[str, Any], reason: str):
    await one.chat(**members)
    assert await one.metric("askonce_semantic_barred_total", reason=reason) == 1


# --- what the caller says


async def test_a_caller_who_wants_exact_answers_gets_no_match_by_any_way(proxy: Running, provider: Provider):
    await first(proxy)
    await proxy.chat(**user(OTHERWISE))
    await until_hit(proxy, **user(OTHERWISE))
    answer = await proxy.chat({"x-cache-mode": "exact"}, **user(OTHERWISE))
    assert (x(answer, "cache"), said(answer)) == ("miss", f"You asked: {OTHERWISE}")
    assert x(await proxy.chat({"x-cache-mode": "exact"}, **user(TYPED)), "cache") == "miss"


async def test_a_callers_threshold_can_only_tighten(proxy: Running):
    await first(proxy)
    assert x(await proxy.chat({"x-cache-threshold": "0.9999"}, **user(OTHERWISE)), "cache") == "miss"
    far = "Tell me about the weather on Mars"
    assert x(await proxy.chat({"x-cache-threshold": "0.0"}, **user(far)), "cache") == "miss"


async def test_no_store_neither_matches_nor_becomes_a_candidate(one: Running, provider: Provider):
    await one.chat({"cache-control": "no-store"}, **user(ASKED))
    assert x(await one.chat(**user(OTHERWISE)), "cache") == "miss"
    assert x(await one.chat({"cache-control": "no-store"}, **user("How could I reset my password?")), "cache") == "miss"


async def test_no_cache_asks_anew_though_there_is_a_match(one: Running, provider: Provider):
    await first(one)
    assert x(await one.chat({"cache-control": "no-cache"}, **user(OTHERWISE)), "cache") == "miss"
    assert provider.calls == 2


# --- undoing


async def test_bad_feedback_refuses_the_pair_from_the_next_request_on(proxy: Running, provider: Provider):
    await first(proxy)
    matched = await proxy.chat(**user(OTHERWISE))
    await until_hit(proxy, **user(OTHERWISE))
    given = await feedback(proxy, key=x(matched, "cache-key"), verdict="bad")
    assert given.json() == {"done": "pair_refused"}
    answer = await proxy.chat(**user(OTHERWISE))
    assert (x(answer, "cache"), said(answer)) == ("miss", f"You asked: {OTHERWISE}")
    # However it is typed.
    await proxy.http.delete(f"/admin/entries/{x(answer, 'cache-key')}")
    typed = await proxy.chat(**user(OTHERWISE.upper()))
    assert said(typed) != f"You asked: {ASKED}"


async def test_feedback_takes_the_request_id_too(one: Running):
    await first(one)
    await one.chat({"x-request-id": "mine-1"}, **user(OTHERWISE))
    assert (await feedback(one, request_id="mine-1", verdict="bad")).json() == {"done": "pair_refused"}
    assert x(await one.chat(**user(OTHERWISE)), "cache") == "miss"


async def test_good_feedback_is_a_label(one: Running):
    await first(one)
    matched = await one.chat(**user(OTHERWISE))
    assert (await feedback(one, key=x(matched, "cache-key"), verdict="good")).json() == {"done": "noted"}
    assert (await figures(one))["ledger"]["labels"] == 1
    assert x(await one.chat(**user(OTHERWISE)), "cache") in ("hit", "semantic")


async def test_only_the_caller_itself_can_speak_of_its_answers(one: Running):
    await first(one)
    matched = await one.chat(**user(OTHERWISE))
    refused = await feedback(one, credential=BOB, key=x(matched, "cache-key"), verdict="bad")
    assert refused.status_code == 404
    assert x(await one.chat(**user(OTHERWISE)), "cache") in ("hit", "semantic")


async def test_an_operator_can_speak_of_every_answer(one: Running):
    await first(one)
    matched = await one.chat(**user(OTHERWISE))
    body = {"key": x(matched, "cache-key"), "verdict": "bad"}
    assert (await one.http.post("/admin/feedback", json=body)).json() == {"done": "pair_refused"}
    assert x(await one.chat(**user(OTHERWISE)), "cache") == "miss"


async def test_bad_feedback_on_an_answer_of_its_own_removes_it(one: Running, provider: Provider):
    answer = await first(one)
    assert (await feedback(one, key=x(answer, "cache-key"), verdict="bad")).json() == {"done": "answer_removed"}
    assert x(await one.chat(**user(ASKED)), "cache") == "miss"


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b'{"verdict":"bad"}', b'{"verdict":"so so","key":"00"}', b'{"verdict":"bad","key":"x"}',
     b'{"verdict":"bad","key":"00","request_id":"a"}', b'{"verdict":"bad","key":7}', b'{"verdict":"bad","kez":"00"}'],
)  # fmt: skip
async def test_feedback_that_cannot_be_used_says_what_is_wrong(one: Running, body: bytes):
    answer = await one.post("/v1/feedback", body)
    assert answer.status_code == 400
    assert error(answer)["message"]


async def test_feedback_needs_a_credential_like_any_request(one: Running):
    answer = await one.post("/v1/feedback", b'{"verdict":"bad","request_id":"a"}', key=None)
    assert answer.status_code in (401, 404)


async def test_removing_the_answer_takes_what_was_matched_with_it_along(proxy: Running, provider: Provider):
    source = await first(proxy)
    await proxy.chat(**user(OTHERWISE))
    await until_hit(proxy, **user(OTHERWISE))
    await proxy.http.delete(f"/admin/entries/{x(source, 'cache-key')}")
    answer = await proxy.chat(**user(OTHERWISE))
    assert (x(answer, "cache"), said(answer)) == ("miss", f"You asked: {OTHERWISE}")


async def test_removing_a_matched_answer_keeps_it_from_being_matched_again(proxy: Running):
    await first(proxy)
    matched = await proxy.chat(**user(OTHERWISE))
    await until_hit(proxy, **user(OTHERWISE))
    entry = (await proxy.http.get(f"/admin/entries/{x(matched, 'cache-key')}")).json()
    assert entry["matched_by"] == "meaning"
    assert (await proxy.http.delete(f"/admin/entries/{x(matched, 'cache-key')}")).json() == {"purged": 1}
    assert x(await proxy.chat(**user(OTHERWISE)), "cache") == "miss"
    assert x(await proxy.chat(**user(ASKED)), "cache") == "hit"


async def test_a_purge_takes_everything_along(proxy: Running, provider: Provider):
    await first(proxy)
    await proxy.chat(**user(OTHERWISE))
    await until_hit(proxy, **user(OTHERWISE))
    await proxy.http.post("/admin/purge", json={"all": True})
    assert x(await proxy.chat(**user(OTHERWISE)), "cache") == "miss"
    assert x(await proxy.chat(**user("How could I reset my password?")), "cache") in ("miss", "semantic")
    assert provider.calls >= 2


async def test_what_was_matched_ends_with_its_answer(begin: Begin, provider: Provider):
    clock = Clock()
    async with begin({"rules": [{"ttl": 100, "ttl_jitter": 0, "keep_stale": 0}]}, clock=clock) as proxy:
        await first(proxy)
        await proxy.chat(**user(OTHERWISE))
        await until_hit(proxy, **user(OTHERWISE))
        clock.pass_(101)
        answer = await proxy.chat(**user(OTHERWISE))
        assert (x(answer, "cache"), said(answer)) == ("miss", f"You asked: {OTHERWISE}")


# --- modes


async def test_in_shadow_everything_is_counted_and_nothing_is_served(begin: Begin, provider: Provider):
    async with begin({"semantic.mode": "shadow"}) as proxy:
        await first(proxy)
        for words in (OTHERWISE, TYPED):
            answer = await proxy.chat(**user(words))
            assert (x(answer, "cache"), said(answer)) == ("miss", f"You asked: {words}")
        assert await proxy.metric("askonce_similarity_count", outcome="shadow") == 2
        assert x(await proxy.chat(**user(OTHERWISE)), "cache") == "hit"


async def test_an_alias_of_a_time_when_it_was_on_is_not_served_when_it_is_off(begin: Begin, askonce: Start):
    async with begin() as proxy:
        await first(proxy)
        await proxy.chat(**user(OTHERWISE))
        await until_hit(proxy, **user(OTHERWISE))
    async with askonce({"semantic.mode": "off"}) as proxy:
        assert x(await proxy.chat(**user(OTHERWISE)), "cache") == "miss"
        assert (await proxy.http.get("/readyz")).json()["semantic"]["status"] == "off"


async def test_a_hit_that_is_audited_gets_the_upstreams_answer_and_makes_a_label(begin: Begin, provider: Provider):
    provider.answer = lambda _asked: plain(completion("Open the settings and choose: reset the password."))
    async with begin({"semantic.audit_rate": 1}) as proxy:
        await first(proxy)
        answer = await proxy.chat(**user(OTHERWISE))
        assert x(answer, "cache") == "miss"
        while not await proxy.metric("askonce_audited_hits_total"):
            await asyncio.sleep(0.005)
        assert await proxy.metric("askonce_false_hits_total") == 0
        assert provider.calls == 2


async def test_what_is_stored_is_matched_after_a_restart(begin: Begin, provider: Provider):
    async with begin() as proxy:
        await first(proxy)
    async with begin() as proxy:
        await remembered(proxy)
        answer = await proxy.chat(**user(OTHERWISE))
        assert (x(answer, "cache"), said(answer)) == ("semantic", f"You asked: {ASKED}")
        assert provider.calls == 1


# --- together


async def test_callers_in_flight_share_a_match_if_they_take_matches(one: Running, provider: Provider):
    await first(one)
    crowd = [one.chat(**user(OTHERWISE)) for _ in range(8)]
    strict = [one.chat({"x-cache-mode": "exact"}, **user(OTHERWISE)) for _ in range(2)]
    answers = await asyncio.gather(*crowd, *strict)
    assert {said(answer) for answer in answers[8:]} == {f"You asked: {OTHERWISE}"}
    for answer in answers[:8]:
        # Who came in on an exact caller's flight gets the upstream's own answer.
        matched = x(answer, "cache") in ("semantic", "hit") and x(answer, "cache-similarity") is not None
        assert said(answer) == f"You asked: {ASKED if matched else OTHERWISE}"


# --- never in the way


async def test_an_embedder_that_is_late_sends_the_question_upstream(begin: Begin, provider: Provider):
    async with begin({"semantic.deadline": 0.000_001}) as proxy:
        await proxy.chat(**user(ASKED))
        await remembered(proxy)
        assert x(await proxy.chat(**user(OTHERWISE)), "cache") == "miss"
        assert await proxy.metric("askonce_semantic_skipped_total", reason="deadline") == 2


async def test_an_embedding_endpoint_that_is_down_costs_no_request_anything(
    begin: Begin, provider: Provider, askonce: Start
):
    flags = ON | {"semantic.embedder.kind": "openai", "semantic.embedder.base_url": "http://127.0.0.1:9/v1"}
    async with askonce(flags) as proxy:
        for words in (ASKED, OTHERWISE):
            answer = await proxy.chat(**user(words))
            assert (answer.status_code, x(answer, "cache")) == (200, "miss")
        # Typing needs no embedder.
        typed = await proxy.chat(**user(TYPED))
        assert x(typed, "cache") in ("semantic", "miss")


async def test_what_users_wrote_is_in_no_log_and_no_metric(begin: Begin, caplog: pytest.LogCaptureFixture):
    caplog.set_level("DEBUG")
    async with begin() as proxy:
        await first(proxy)
        await proxy.chat(**user(OTHERWISE))
        shown = (await proxy.http.get("/metrics")).text + json.dumps(await figures(proxy)) + caplog.text
        assert "password" not in shown.lower()
