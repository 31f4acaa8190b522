"""What happens between two steps of a match: a word against it, a removal, another caller with other wishes.

The embedder is an endpoint whose answers wait at a gate, so each test says what comes before the question is matched.
All questions have one vector there: what tells them apart is left to the rest of the program.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from tests.path.by_meaning import (
    ASKED,
    ON,
    OTHERWISE,
    TYPED,
    Begin,
    echo,
    feedback,
    first,
    ready,
    remembered,
    until_hit,
    user,
    x,
)
from tests.path.test_repeats import Wire
from tests.provider import DONE, Asked, Ending, Provider, Script, completion, delta, plain, stream
from tests.running import ALICE, BOB, Clock, Running, Start, credential, frames, question, request_bytes, said

SHOUTED = OTHERWISE.upper()
EXACT = {"x-cache-mode": "exact"}
OWN = f"You asked: {OTHERWISE}"
MATCHED = f"You asked: {ASKED}"
WAYS: dict[str, dict[str, Any]] = {
    "fast_lane": {}, "asgi": {"server.fast_lane": False}, "sqlite": {"store.memory": 0},
}  # fmt: skip


class Embeddings:
    """An endpoint that gives every text the same vector, once the gate is open."""

    def __init__(self, server: Provider) -> None:
        self.server = server
        self.gate = asyncio.Event()
        self.gate.set()
        server.always(self._answer)

    def _answer(self, asked: Asked) -> Script:
        vectors = [{"index": index, "embedding": [1.0, 0.0, 0.0, 0.0]} for index, _ in enumerate(asked.json()["input"])]
        return [self.gate, *plain({"data": vectors, "model": "same"})]

    async def held(self, asking: Callable[[], Any]) -> asyncio.Task[httpx.Response]:
        """Ask, and wait until the question is being embedded."""
        self.gate.clear()
        calls = self.server.calls
        task: asyncio.Task[httpx.Response] = asyncio.create_task(asking())
        await self.server.arrived(calls + 1)
        return task


@pytest.fixture
async def embeddings() -> AsyncIterator[Embeddings]:
    async with Provider() as server:
        endpoint = Embeddings(server)
        yield endpoint
        endpoint.gate.set()


@pytest.fixture
def begin_gated(askonce: Start, provider: Provider, embeddings: Embeddings) -> Begin:
    """A proxy whose embedder is that endpoint."""
    provider.answer = echo
    own: dict[str, Any] = {
        "semantic.embedder.kind": "openai",
        "semantic.embedder.base_url": embeddings.server.url,
        "semantic.embedder.dimensions": 4,
        "semantic.embedder.timeout": 60,
    }

    @asynccontextmanager
    async def start(flags: dict[str, Any] | None = None, **parts: Any) -> AsyncIterator[Running]:
        async with askonce(ON | own | (flags or {}), **parts) as proxy:
            await ready(proxy)
            yield proxy

    return start


@pytest.fixture(params=WAYS)
async def gated(begin_gated: Begin, request: pytest.FixtureRequest) -> AsyncIterator[Running]:
    async with begin_gated(WAYS[request.param]) as running:
        yield running


@pytest.fixture
async def one(begin_gated: Begin) -> AsyncIterator[Running]:
    """On the default lane: for what does not depend on the way through."""
    async with begin_gated() as running:
        yield running


async def followed(proxy: Running, followers: int) -> None:
    """Until so many callers have boarded the flights of others."""
    while await proxy.metric("askonce_flight_followers_total") < followers:
        await asyncio.sleep(0.005)


async def forgotten(proxy: Running, answer: httpx.Response) -> None:
    await proxy.http.delete(f"/admin/entries/{x(answer, 'cache-key')}")


def answers(content: str) -> Script:
    return plain(completion(content))


# --- a word against a match


async def test_what_was_matched_in_other_typing_is_refused_with_the_pair(gated: Running, provider: Provider):
    await first(gated)
    answer = await gated.chat(**user(OTHERWISE))
    await until_hit(gated, **user(OTHERWISE))
    assert said(await gated.chat(**user(SHOUTED))) == MATCHED
    await until_hit(gated, **user(SHOUTED))
    await feedback(gated, key=x(answer, "cache-key"), verdict="bad")
    for words in (OTHERWISE, SHOUTED):
        assert said(await gated.chat(**user(words))) != MATCHED


async def test_the_same_bytes_again_are_no_way_round_a_refusal(one: Running):
    await first(one)
    key = x(await one.chat(**user(OTHERWISE)), "cache-key")
    await until_hit(one, **user(OTHERWISE))
    host, _, port = one.url.removeprefix("http://").partition(":")
    wire = Wire(*await asyncio.open_connection(host, int(port)))
    packet = request_bytes(question(**user(OTHERWISE)))
    for _ in range(3):
        fields, body = await wire.ask(packet)
        assert (fields["x-cache"], MATCHED in body.decode()) == ("hit", True)
    await feedback(one, key=key, verdict="bad")
    fields, body = await wire.ask(packet)
    assert (fields["x-cache"], OWN in body.decode()) == ("miss", True)
    await wire.close()


async def test_a_refused_pair_does_not_come_back_when_the_stored_question_is_typed_otherwise(one: Running):
    stored = await first(one)
    answer = await one.chat(**user(OTHERWISE))
    await feedback(one, key=x(answer, "cache-key"), verdict="bad")
    await forgotten(one, stored)
    await first(one, TYPED)
    assert said(await one.chat(**user(OTHERWISE))) == OWN


async def test_a_refused_pair_is_refused_the_other_way_round_too(one: Running):
    stored = await first(one)
    answer = await one.chat(**user(OTHERWISE))
    await feedback(one, key=x(answer, "cache-key"), verdict="bad")
    await first(one, OTHERWISE)
    await forgotten(one, stored)
    assert said(await one.chat(**user(ASKED))) == MATCHED


async def test_typing_that_matters_is_told_apart_once_somebody_said_so(one: Running):
    await first(one)
    answer = await one.chat(**user(TYPED))
    assert x(answer, "cache-similarity") == "1.0000"
    assert (await feedback(one, key=x(answer, "cache-key"), verdict="bad")).json() == {"done": "pair_refused"}
    assert said(await one.chat(**user(TYPED))) == f"You asked: {TYPED}"
    assert said(await one.chat(**user(ASKED.upper()))) == f"You asked: {ASKED.upper()}"


async def test_feedback_that_comes_while_the_question_is_matched_counts_for_it(
    gated: Running, embeddings: Embeddings, provider: Provider
):
    await first(gated)
    answer = await gated.chat(**user(OTHERWISE))
    waiting = await embeddings.held(lambda: gated.chat(**user(SHOUTED)))
    await feedback(gated, key=x(answer, "cache-key"), verdict="bad")
    embeddings.gate.set()
    assert said(await waiting) == f"You asked: {SHOUTED}"


async def test_a_refused_match_stays_refused_after_a_restart(begin_gated: Begin):
    async with begin_gated() as proxy:
        await first(proxy)
        answer = await proxy.chat(**user(OTHERWISE))
        await feedback(proxy, key=x(answer, "cache-key"), verdict="bad")
    async with begin_gated() as proxy:
        assert said(await proxy.chat(**user(OTHERWISE))) == OWN


async def test_good_feedback_on_an_answer_of_its_own_says_nothing_of_the_match_before_it(one: Running):
    await first(one)
    matched = await one.chat(**user(OTHERWISE))
    own = await one.chat(EXACT, **user(OTHERWISE))
    assert x(own, "cache-key") == x(matched, "cache-key")
    await feedback(one, key=x(own, "cache-key"), verdict="good")
    assert (await one.http.get("/admin/semantic")).json()["ledger"]["labels"] == 0


async def test_bad_feedback_holds_for_the_match_and_for_the_answer_that_took_its_place(one: Running):
    await first(one)
    matched = await one.chat(**user(OTHERWISE))
    await one.chat(EXACT, **user(OTHERWISE))
    await feedback(one, key=x(matched, "cache-key"), verdict="bad")
    assert x(await one.chat(**user(OTHERWISE)), "cache") == "miss"


# --- who may speak


@pytest.mark.parametrize("named", ["key", "request_id"])
async def test_another_caller_cannot_take_a_callers_feedback_away_by_using_its_words_as_request_id(
    one: Running, named: str
):
    await first(one)
    mine = await one.chat({"x-request-id": "mine-1"}, **user(OTHERWISE))
    label = {"key": x(mine, "cache-key"), "request_id": "mine-1"}[named]
    assert label is not None
    for words, cache in ((ASKED, "miss"), (OTHERWISE, "semantic")):
        theirs = await one.chat({"x-request-id": label}, key=BOB, model="gpt-bob", **user(words))
        assert x(theirs, "cache") == cache
        await remembered(one, 2)
    assert (await feedback(one, verdict="bad", **{named: label})).json() == {"done": "pair_refused"}
    assert said(await one.chat(**user(OTHERWISE))) == OWN


async def test_a_caller_without_a_match_of_that_request_id_hears_that_it_is_unknown(one: Running):
    await first(one)
    await one.chat({"x-request-id": "mine-1"}, **user(OTHERWISE))
    assert (await feedback(one, credential=BOB, request_id="mine-1", verdict="bad")).status_code == 404
    body = {"request_id": "mine-1", "verdict": "bad"}
    assert (await one.http.post("/admin/feedback", json=body)).json() == {"done": "pair_refused"}


@pytest.mark.parametrize(
    ("flags", "mine", "others"),
    [
        ({"rules": [{"vary": ["x-team"]}]}, {"x-team": "red"}, {"x-team": "blue"}),
        ({}, {"x-cache-namespace": "red"}, {"x-cache-namespace": "blue"}),
        ({}, {"openai-beta": "a=v1"}, {"openai-beta": "a=v2"}),
    ],
    ids=["vary", "namespace", "beta"],
)
async def test_what_keeps_exact_answers_apart_keeps_matches_apart(
    begin_gated: Begin, flags: dict[str, Any], mine: dict[str, str], others: dict[str, str]
):
    async with begin_gated(flags) as proxy:
        await asked_with(proxy, mine, ASKED)
        for words in (OTHERWISE, TYPED):
            assert said(await proxy.chat(others, **user(words))) != MATCHED
        assert said(await proxy.chat(mine, **user(OTHERWISE))) == MATCHED


async def asked_with(proxy: Running, headers: dict[str, str], words: str, **members: Any) -> None:
    """Ask, and wait until it is a candidate."""
    await proxy.chat(headers, **user(words) | members)
    while not (await proxy.http.get("/admin/semantic")).json()["index"]["points"]:
        await asyncio.sleep(0.005)


async def test_users_apart_in_the_key_are_apart_in_matches(begin_gated: Begin):
    async with begin_gated({"rules": [{"include_user_in_key": True}]}) as proxy:
        await asked_with(proxy, {}, ASKED, user="ann")
        assert said(await proxy.chat(user="ben", **user(OTHERWISE))) == OWN
        assert said(await proxy.chat(user="ann", **user(OTHERWISE))) == MATCHED


async def test_one_tenant_shares_matches_among_all_its_callers(begin_gated: Begin):
    async with begin_gated({"tenants.mode": "single"}) as proxy:
        await first(proxy)
        assert said(await proxy.chat(key=BOB, **user(OTHERWISE))) == MATCHED


# --- removal while a match is under way


async def test_a_purge_while_a_question_is_matched_leaves_nothing_to_match(
    gated: Running, embeddings: Embeddings, provider: Provider
):
    await first(gated)
    waiting = await embeddings.held(lambda: gated.chat(**user(OTHERWISE)))
    await gated.http.post("/admin/purge", json={"all": True})
    embeddings.gate.set()
    assert said(await waiting) == OWN
    assert said(await gated.chat(**user(SHOUTED))) != MATCHED


async def test_an_answer_that_is_removed_while_a_question_is_matched_is_not_served(
    gated: Running, embeddings: Embeddings, provider: Provider
):
    stored = await first(gated)
    waiting = await embeddings.held(lambda: gated.chat(**user(OTHERWISE)))
    await forgotten(gated, stored)
    embeddings.gate.set()
    assert said(await waiting) == OWN


async def test_a_question_that_is_only_an_alias_is_nobodys_answer(begin_gated: Begin, provider: Provider):
    clock = Clock()
    life = {"rules": [{"ttl": 100, "ttl_jitter": 0, "keep_stale": 0}]}
    async with begin_gated(life, clock=clock) as proxy:
        await first(proxy)
        assert said(await proxy.chat(**user(OTHERWISE))) == MATCHED
        await until_hit(proxy, **user(OTHERWISE))
        clock.pass_(101)
        # Now the other way round: the question that was an alias has an answer, the one that had it asks for one.
        assert said(await proxy.chat(**user(OTHERWISE))) == OWN
        while said(answer := await proxy.chat(**user(ASKED))) != OWN:
            await forgotten(proxy, answer)
        await until_hit(proxy, **user(ASKED))
        assert said(await proxy.chat(**user(SHOUTED))) == OWN
        clock.pass_(101)
        assert said(await proxy.chat(**user(ASKED))) == MATCHED


async def test_a_stale_answer_is_not_matched_while_it_is_renewed(begin_gated: Begin, provider: Provider):
    clock, gate = Clock(), asyncio.Event()
    life = {"rules": [{"ttl": 100, "ttl_jitter": 0, "keep_stale": 1000, "stale_while_revalidate": 500}]}
    async with begin_gated(life, clock=clock) as proxy:
        await first(proxy)
        await proxy.chat(**user(OTHERWISE))
        await until_hit(proxy, **user(OTHERWISE))
        clock.pass_(101)
        provider.then([gate, *answers("renewed")])
        assert x(await proxy.chat(**user(ASKED)), "cache") == "stale"
        await provider.arrived(2)
        for words in (OTHERWISE, SHOUTED):
            assert said(await proxy.chat(**user(words))) != MATCHED
        gate.set()
        while said(await proxy.chat(**user(ASKED))) != "renewed":
            await asyncio.sleep(0.005)


# --- callers with other wishes on one flight


async def test_every_caller_on_a_flight_that_finds_a_match_gets_what_it_asked_for(
    begin_gated: Begin, embeddings: Embeddings, provider: Provider
):
    clock = Clock()
    async with begin_gated(clock=clock) as proxy:
        await first(proxy)
        clock.pass_(60)
        leader = await embeddings.held(lambda: proxy.chat(**user(OTHERWISE)))
        wants_usage = {"stream": True, "stream_options": {"include_usage": True}}
        content = [proxy.chat(**user(OTHERWISE)), proxy.chat(stream=True, **user(OTHERWISE))]
        content += [proxy.chat(**user(OTHERWISE) | wants_usage)]
        strict = [proxy.chat(EXACT, **user(OTHERWISE)), proxy.chat({"cache-control": "max-age=5"}, **user(OTHERWISE))]
        tasks = [asyncio.create_task(asking) for asking in (*content, *strict)]
        await followed(proxy, len(tasks))
        embeddings.gate.set()
        plainly, streamed, counted, exact, young = await asyncio.gather(*tasks)
        for answer in (await leader, plainly, streamed, counted):
            assert (x(answer, "cache"), said(answer)) == ("semantic", MATCHED)
        assert [said(exact), said(young)] == [OWN, OWN]
        assert [frame for frame in frames(counted.content) if frame.get("usage")]
        assert not [frame for frame in frames(streamed.content) if frame.get("usage")]


async def test_an_exact_callers_flight_brings_its_own_answer_to_all_who_join(
    one: Running, embeddings: Embeddings, provider: Provider
):
    gate = asyncio.Event()
    await first(one)
    provider.then([gate, *answers(OWN)])
    leader = asyncio.create_task(one.chat(EXACT, **user(OTHERWISE)))
    await provider.arrived(2)
    joined = asyncio.create_task(one.chat(**user(OTHERWISE)))
    await followed(one, 1)
    gate.set()
    assert [said(await leader), said(await joined)] == [OWN, OWN]
    assert x(await one.chat(**user(OTHERWISE)), "cache") == "hit"


async def test_no_cache_replaces_a_match_by_an_answer_of_its_own(gated: Running, provider: Provider):
    await first(gated)
    await gated.chat(**user(OTHERWISE))
    await until_hit(gated, **user(OTHERWISE))
    assert said(await gated.chat({"cache-control": "no-cache"}, **user(OTHERWISE))) == OWN
    again = await gated.chat(**user(OTHERWISE))
    assert (x(again, "cache"), said(again), x(again, "cache-similarity")) == ("hit", OWN, None)


async def test_an_answer_that_serves_streams_only_is_no_match_for_a_plain_caller(gated: Running, provider: Provider):
    odd = [delta({"role": "assistant", "content": "odd", "x": "1"}), delta({"x": "2"}), delta({}, finish="stop"), DONE]
    provider.then(stream(odd))
    await asked_with(gated, {}, ASKED, stream=True)
    assert x(await gated.chat(**user(TYPED)), "cache") == "miss"
    matched = await gated.chat(stream=True, **user(OTHERWISE))
    assert (x(matched, "cache"), said(matched)) == ("semantic", "odd")
    assert b'"x":"2"' in matched.content
    assert said(await until_hit(gated, stream=True, **user(OTHERWISE))) == "odd"
    assert said(await gated.chat(**user(OTHERWISE))) != "odd"


async def test_a_stream_that_broke_off_is_nobodys_match(gated: Running, provider: Provider):
    provider.then(stream([delta({"role": "assistant", "content": "ha"}), Ending.RESET]))
    await gated.chat(stream=True, **user(ASKED))
    for streams in (True, False):
        assert said(await gated.chat(stream=streams, **user(OTHERWISE))) == OWN


# --- modes and policies


async def test_an_alias_is_judged_by_the_policy_of_now(begin: Begin):
    async with begin() as proxy:
        await first(proxy)
        assert said(await proxy.chat(**user(OTHERWISE))) == MATCHED
        await until_hit(proxy, **user(OTHERWISE))
    async with begin({"semantic.policy": "static", "semantic.threshold": 0.999}) as proxy:
        assert said(await proxy.chat(**user(OTHERWISE))) == OWN


@pytest.mark.parametrize("mode", ["off", "shadow"])
async def test_no_alias_of_any_kind_is_served_unless_it_is_on(begin_gated: Begin, askonce: Start, mode: str):
    async with begin_gated() as proxy:
        await first(proxy)
        for words in (OTHERWISE, TYPED):
            await proxy.chat(**user(words))
            await until_hit(proxy, **user(words))
    async with begin_gated({"semantic.mode": mode}) if mode == "shadow" else askonce({"semantic.mode": mode}) as proxy:
        for words in (OTHERWISE, TYPED):
            assert said(await proxy.chat(**user(words))) == f"You asked: {words}"
            refused = await proxy.chat({"cache-control": "only-if-cached"}, **user(words + "?"))
            assert refused.status_code == 504


# --- names


async def test_one_text_of_several_parts_is_matched_only_where_the_others_are_equal(one: Running, provider: Provider):
    provider.answer = lambda asked: answers(json.dumps(asked.json()["messages"]))

    def parts(document: str, words: str) -> dict[str, Any]:
        content = [{"type": "text", "text": document}, {"type": "text", "text": words}]
        return {"messages": [{"role": "user", "content": content}]}

    await asked_with(one, {}, "x", **parts("The tea is green.", ASKED))
    assert x(await one.chat(**parts("The tea is green.", OTHERWISE)), "cache") == "semantic"
    assert x(await one.chat(**parts("The tea is black.", OTHERWISE)), "cache") == "miss"
    assert x(await one.chat(**parts("The tea is green.\n", TYPED)), "cache") == "miss"


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": OTHERWISE, "name": "ben"}],
        [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": OTHERWISE}],
        [{"role": "developer", "content": OTHERWISE}],
        [{"role": "user", "content": [{"type": "text", "text": OTHERWISE}]}],
        [{"role": "user", "content": OTHERWISE}, {"role": "user", "content": ""}],
    ],
    ids=["name", "developer prompt", "developer asks", "parts", "empty last"],
)
async def test_messages_of_another_make_are_another_shape(one: Running, messages: list[dict[str, Any]]):
    await first(one)
    assert x(await one.chat(messages=messages), "cache") == "miss"


@pytest.mark.parametrize("words", ["", "\ud800 broken", "\u202e" + ASKED, "e" * 1_000_000, "how " * 250_000, "\u0300"])
async def test_words_that_are_odd_are_answered_by_the_upstream(one: Running, provider: Provider, words: str):
    provider.answer = lambda _asked: answers("odd")
    content = json.dumps(question(**user(words)))
    answer = await one.post("/v1/chat/completions", content)
    assert answer.status_code in (200, 400)
    if answer.status_code == 200:
        assert (x(answer, "cache"), said(answer)) == ("miss", "odd")


# --- fields


RICH: dict[str, Any] = {
    "id": "chatcmpl-of-the-provider", "object": "chat.completion", "created": 1_700_000_000, "model": "gpt-test-1",
    "system_fingerprint": "fp_1", "service_tier": "default", "metadata": {"of": "the first"},
    "choices": [
        {"index": index, "finish_reason": "stop",
         "message": {"role": "assistant", "content": f"choice {index}", "refusal": None,
                     "reasoning_content": f"because {index}", "annotations": []},
         "logprobs": {"content": [{"token": "choice", "logprob": -0.25, "bytes": None, "top_logprobs": []}],
                      "refusal": None}}
        for index in range(2)
    ],
    "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18,
              "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
              "completion_tokens_details": {"reasoning_tokens": 3}},
}  # fmt: skip
WANTED: dict[str, Any] = {"n": 2, "logprobs": True, "store": False}
FORMS: dict[str, dict[str, Any]] = {
    "plain": {}, "stream": {"stream": True}, "usage": {"stream": True, "stream_options": {"include_usage": True}},
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
async def test_a_match_has_every_field_that_an_exact_hit_has(gated: Running, provider: Provider, form: str):
    provider.answer = lambda _asked: plain(RICH)
    await asked_with(gated, {}, ASKED, metadata={"of": "the first"}, **WANTED)
    members = WANTED | FORMS[form] | {"metadata": {"of": "now"}}
    exact = await gated.chat(**user(ASKED) | members)
    matched = await gated.chat(**user(OTHERWISE) | members)
    alias = await until_hit(gated, **user(OTHERWISE) | members)
    assert [x(answer, "cache") for answer in (exact, matched, alias)] == ["hit", "semantic", "hit"]
    assert essence(matched) == essence(exact) == essence(alias)
    assert len({stamp(answer) for answer in (exact, matched, alias)}) == 3
    own = {"x-cache-similarity", "cache-status", "x-cache", "x-cache-key", "x-request-id", "content-length", "age"}
    assert fields(matched) - fields(exact) == {"x-cache-similarity"}
    assert fields(exact) <= fields(matched)
    assert fields(alias) == fields(matched)
    same = fields(exact) - own - {"date"}
    assert {name: matched.headers[name] for name in same} == {name: exact.headers[name] for name in same}
    if form == "plain":
        assert matched.json()["metadata"] == {"of": "now"}
        assert matched.json()["usage"] == RICH["usage"]
        assert matched.json()["choices"] == RICH["choices"]


def fields(answer: httpx.Response) -> set[str]:
    return set(answer.headers)


def essence(answer: httpx.Response) -> Any:
    """All but what is new for each delivery."""
    whole = frames(answer.content) if "event-stream" in answer.headers["content-type"] else [answer.json()]
    return [{name: value for name, value in each.items() if name not in ("id", "created")} for each in whole]


def stamp(answer: httpx.Response) -> str:
    whole = frames(answer.content) if "event-stream" in answer.headers["content-type"] else [answer.json()]
    (own,) = {each["id"] for each in whole}
    return str(own)


async def test_a_match_is_counted_as_one(one: Running):
    await first(one)
    await one.chat(**user(OTHERWISE))
    assert await one.metric("askonce_requests_total", outcome="semantic") == 1
    await until_hit(one, **user(OTHERWISE))
    assert await one.metric("askonce_requests_total", outcome="hit") == 1


@pytest.mark.parametrize("path", ["/admin/semantic", "/admin/semantic/near-misses", "/admin/feedback"])
async def test_what_is_shown_and_undone_of_matches_needs_the_operators_token(askonce: Start, path: str):
    async with askonce({"semantic.mode": "off"}, {"ASKONCE_ADMIN_TOKEN": "of-the-operator"}) as proxy:
        method = "POST" if path.endswith("feedback") else "GET"
        body = {"key": "00" * 16, "verdict": "bad"} if method == "POST" else None
        for headers in ({}, credential(ALICE), credential("of-the-operatos")):
            assert (await proxy.http.request(method, path, json=body, headers=headers)).status_code in (401, 403)
        let = await proxy.http.request(method, path, json=body, headers=credential("of-the-operator"))
        assert let.status_code not in (401, 403)


async def test_what_was_matched_before_a_restart_is_refused_with_the_pair(begin_gated: Begin):
    async with begin_gated() as proxy:
        await first(proxy)
        for words in (OTHERWISE, SHOUTED):
            await proxy.chat(**user(words))
            answer = await until_hit(proxy, **user(words))
        assert (await feedback(proxy, key=x(answer, "cache-key"), verdict="bad")).status_code == 200
    async with begin_gated() as proxy:
        for words in (OTHERWISE, SHOUTED):
            assert said(await proxy.chat(**user(words))) != MATCHED
