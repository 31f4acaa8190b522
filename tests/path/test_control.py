"""What a caller may say to the cache, and what the cache says back: header by header, on the wire."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import openai
import pytest

from tests.provider import (
    DONE,
    Provider,
    Script,
    as_said,
    completion,
    delta,
    event,
    failure,
    html,
    plain,
    stream,
    truncated,
    words,
)
from tests.running import ALICE, BOB, Clock, Running, Start, body_of, cache_status, dechunked, error, question, said

HOUR = 3600
LENIENT = {"rules": [{"ttl": 100, "ttl_jitter": 0, "max_ttl": 10 * HOUR, "stale_if_error": HOUR}]}
"""Fresh for 100 seconds, of some use for an hour more."""


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def timed(askonce: Start, lane: dict[str, Any], clock: Clock) -> AsyncIterator[Running]:
    """A proxy whose time is the test's."""
    async with askonce(lane | LENIENT, clock=clock) as running:
        yield running


def x(response: Any, name: str) -> str | None:
    value: str | None = response.headers.get(f"x-{name}")
    return value


async def heard(proxy: Running, headers: dict[str, str] | None = None, **members: Any) -> tuple[str | None, str]:
    """`X-Cache` and the words of one plain answer."""
    answer = await proxy.chat(headers, **members)
    return x(answer, "cache"), said(answer)


# --- reading and writing

READ, WRITE = True, True
DIRECTIVES: dict[str, tuple[dict[str, str], bool, bool]] = {
    "nothing": ({}, True, True),
    "X-Cache-Bypass": ({"x-cache-bypass": "true"}, False, False),
    "X-Cache-Bypass: false": ({"x-cache-bypass": "false"}, True, True),
    "no-cache": ({"cache-control": "no-cache"}, False, True),
    "no-store": ({"cache-control": "no-store"}, True, False),
    "no-cache, no-store": ({"cache-control": "no-cache, no-store"}, False, False),
    "Pragma": ({"pragma": "no-cache"}, False, True),
    "Pragma beside Cache-Control": ({"pragma": "no-cache", "cache-control": "max-age=60"}, True, True),
    "X-Cache-Control: no-cache": ({"x-cache-control": "no-cache"}, False, True),
    "X-Cache-Control: no-store": ({"x-cache-control": "no-store"}, True, False),
    "NO-CACHE": ({"cache-control": "NO-CACHE"}, False, True),
    "an unknown directive": ({"cache-control": "immutable, x-thing=1"}, True, True),
    "X-Cache-Mode: off": ({"x-cache-mode": "off"}, False, False),
    "X-Cache-Mode: exact": ({"x-cache-mode": "exact"}, True, True),
    "X-Cache-Mode: semantic": ({"x-cache-mode": "semantic"}, True, True),
    "X-Cache-Threshold": ({"x-cache-threshold": "0.99"}, True, True),
    "X-Cache-Tags": ({"x-cache-tags": "doc-1, doc-2"}, True, True),
}
EVERY = pytest.mark.parametrize(("headers", "reads", "writes"), DIRECTIVES.values(), ids=DIRECTIVES)


@EVERY
async def test_a_directive_says_whether_a_stored_answer_is_read(
    proxy: Running, headers: dict[str, str], reads: bool, writes: bool
) -> None:
    assert await heard(proxy) == ("miss", "Answer 1")
    cache, words = await heard(proxy, headers)
    assert (cache == "hit", words) == (reads, "Answer 1" if reads else "Answer 2")


@EVERY
async def test_a_directive_says_whether_the_answer_is_kept(
    proxy: Running, headers: dict[str, str], reads: bool, writes: bool
) -> None:
    cache, words = await heard(proxy, headers)
    assert (cache, words) == ("miss" if reads or writes else "bypass", "Answer 1")
    assert await heard(proxy) == (("hit", "Answer 1") if writes else ("miss", "Answer 2"))


@EVERY
async def test_no_word_to_the_cache_reaches_the_upstream(
    default_proxy: Running, provider: Provider, headers: dict[str, str], reads: bool, writes: bool
) -> None:
    await default_proxy.chat(headers)
    sent = {name.lower() for name, _ in provider.last.headers}
    assert sent.isdisjoint({"cache-control", "pragma"})
    assert [name for name in sent if name.startswith("x-cache")] == []


async def test_regenerating_replaces_what_was_kept(proxy: Running) -> None:
    await proxy.chat()
    assert await heard(proxy, {"cache-control": "no-cache"}) == ("miss", "Answer 2")
    assert await heard(proxy) == ("hit", "Answer 2")


@pytest.mark.parametrize("header", ["cache-control", "x-cache-control"])
async def test_only_if_cached_is_a_hit_or_a_504_that_is_not_retried(
    proxy: Running, provider: Provider, header: str
) -> None:
    refused = await proxy.chat({header: "only-if-cached"})
    assert refused.status_code == 504
    assert (error(refused)["type"], error(refused)["code"]) == ("cache_error", "only_if_cached_miss")
    assert refused.headers["x-should-retry"] == "false"
    assert "cache-status" not in refused.headers
    assert provider.calls == 0
    await proxy.chat()
    assert await heard(proxy, {header: "only-if-cached"}) == ("hit", "Answer 1")


async def test_the_sdk_makes_one_attempt_at_only_if_cached(proxy: Running) -> None:
    async with proxy.sdk(max_retries=2) as sdk:
        with pytest.raises(openai.APIStatusError) as refused:
            await sdk.chat.completions.create(**question(), extra_headers={"Cache-Control": "only-if-cached"})
    assert refused.value.status_code == 504
    assert await proxy.metric("askonce_requests_total") == 1


async def test_only_if_cached_also_holds_for_what_would_never_be_cached(
    default_proxy: Running, provider: Provider
) -> None:
    assert (await default_proxy.chat({"cache-control": "only-if-cached"}, temperature=1)).status_code == 504
    assert provider.calls == 0


# --- age

AGES = {
    "fresh": (50, None, "hit"),
    "expired": (150, None, "miss"),
    "max-age, young enough": (50, "max-age=60", "hit"),
    "max-age, too old": (50, "max-age=40", "miss"),
    "max-age=0": (1, "max-age=0", "miss"),
    "max-age does not lengthen a life": (150, "max-age=1000", "miss"),
    "max-stale": (150, "max-stale", "stale"),
    "max-stale, near enough": (150, "max-stale=60", "stale"),
    "max-stale, too stale": (150, "max-stale=40", "miss"),
    "min-fresh, fresh enough": (50, "min-fresh=40", "hit"),
    "min-fresh, too near its end": (50, "min-fresh=60", "miss"),
    "gone": (2 * HOUR, "max-stale", "miss"),
}


@pytest.mark.parametrize(("age", "directive", "cache"), AGES.values(), ids=AGES)
async def test_an_answers_age_is_weighed_by_the_callers_word(
    timed: Running, clock: Clock, age: int, directive: str | None, cache: str
) -> None:
    await timed.chat()
    clock.pass_(age)
    answer = await timed.chat({"cache-control": directive} if directive else {})
    assert x(answer, "cache") == cache
    assert answer.headers.get("age") == (None if cache == "miss" else str(age))


@pytest.mark.parametrize("trouble", [500, 502, 503, 504, None], ids=str)
@pytest.mark.parametrize("streams", [False, True], ids=["plain", "streamed"])
async def test_a_stale_answer_stands_in_for_a_failing_upstream(
    timed: Running, provider: Provider, clock: Clock, trouble: int | None, streams: bool
) -> None:
    await timed.chat()
    clock.pass_(150)
    await provider.stop() if trouble is None else provider.then(failure(trouble))
    answer = await timed.chat({"cache-control": "stale-if-error=60"}, stream=streams)
    assert (answer.status_code, x(answer, "cache"), said(answer)) == (200, "stale", "Answer 1")
    assert cache_status(answer) == {"hit": True, "ttl": -50, "detail": "sie"}


@pytest.mark.parametrize(
    ("status", "directive"), [(429, "stale-if-error=60"), (400, "stale-if-error=60"), (500, "stale-if-error=40")]
)
async def test_no_stale_answer_stands_in_for_the_callers_own_doing_or_when_too_stale(
    timed: Running, provider: Provider, clock: Clock, status: int, directive: str
) -> None:
    await timed.chat()
    clock.pass_(150)
    provider.then(failure(status))
    assert (await timed.chat({"cache-control": directive})).status_code == status


async def test_a_stale_answer_is_served_while_one_refresh_runs(
    askonce: Start, lane: dict[str, Any], provider: Provider, clock: Clock
) -> None:
    rule = {"ttl": 100, "ttl_jitter": 0, "stale_while_revalidate": HOUR}
    async with askonce(lane | {"rules": [rule]}, clock=clock) as proxy:
        await proxy.chat()
        clock.pass_(112)
        gate = asyncio.Event()
        provider.then([gate, *plain(completion("Answer 2"))])
        stale = [await proxy.chat() for _ in range(3)]
        assert {said(answer) for answer in stale} == {"Answer 1"}
        assert cache_status(stale[0]) == {"hit": True, "ttl": -12, "detail": "swr"}
        gate.set()
        await proxy.landed()
        assert await heard(proxy) == ("hit", "Answer 2")
        assert provider.calls == 2


@pytest.mark.parametrize(("asked", "ttl"), [("60", 60), ("999999999", 1000)], ids=["as asked", "clamped"])
async def test_a_caller_sets_a_lifetime_up_to_the_operators_maximum(
    askonce: Start, lane: dict[str, Any], clock: Clock, asked: str, ttl: int
) -> None:
    async with askonce(lane | {"rules": [{"max_ttl": 1000}]}, clock=clock) as proxy:
        await proxy.chat({"x-cache-ttl": asked})
        assert cache_status(await proxy.chat())["ttl"] == ttl
        clock.pass_(ttl)
        assert (await heard(proxy))[0] == "miss"


# --- who shares


async def test_two_credentials_never_share(proxy: Running, provider: Provider) -> None:
    await proxy.chat(key=ALICE)
    assert await heard(proxy, key=BOB) == ("miss", "Answer 2")
    assert await heard(proxy, key=None) == ("miss", "Answer 3")
    assert (await proxy.chat({"cache-control": "only-if-cached"}, key="sk-alic")).status_code == 504
    assert await heard(proxy, key=ALICE) == ("hit", "Answer 1")


@pytest.mark.parametrize("header", ["openai-organization", "openai-project", "api-key", "x-api-key"])
async def test_what_else_tells_callers_apart_separates_them(default_proxy: Running, header: str) -> None:
    seen = [await heard(default_proxy, headers) for headers in ({}, {header: "one"}, {header: "two"}, {header: "one"})]
    assert seen == [("miss", "Answer 1"), ("miss", "Answer 2"), ("miss", "Answer 3"), ("hit", "Answer 2")]


async def test_a_namespace_narrows_the_callers_own_scope_and_never_widens_it(proxy: Running) -> None:
    docs, code = {"x-cache-namespace": "docs"}, {"x-cache-namespace": "code"}
    seen = [await heard(proxy, headers) for headers in ({}, docs, code, docs, {})]
    assert [cache for cache, _ in seen] == ["miss", "miss", "miss", "hit", "hit"]
    assert await heard(proxy, docs, key=BOB) == ("miss", "Answer 4")


async def test_a_header_of_the_operators_choice_takes_part_in_the_name(askonce: Start, lane: dict[str, Any]) -> None:
    async with askonce(lane | {"rules": [{"vary": ["X-Variant"]}]}) as proxy:
        seen = [await heard(proxy, {"x-variant": variant}) for variant in ("a", "b", "a")]
    assert [cache for cache, _ in seen] == ["miss", "miss", "hit"]


async def test_one_scope_for_all_is_the_operators_choice(askonce: Start, lane: dict[str, Any]) -> None:
    async with askonce(lane | {"tenants.mode": "single"}) as proxy:
        await proxy.chat(key=ALICE)
        assert await heard(proxy, key=BOB) == ("hit", "Answer 1")


# --- refused

INVALID = [
    ("x-cache-ttl", "soon"),
    ("x-cache-ttl", "-1"),
    ("x-cache-ttl", "1e3"),
    ("x-cache-mode", "fast"),
    ("x-cache-threshold", "2"),
    ("x-cache-threshold", "nan"),
    ("x-cache-bypass", "perhaps"),
    ("x-cache-namespace", "a" * 300),
    ("cache-control", "max-age=soon"),
    ("cache-control", "max-age=-1"),
    ("cache-control", "min-fresh"),
]


@pytest.mark.parametrize(("header", "value"), INVALID)
async def test_a_header_that_cannot_be_meant_is_refused_by_name(
    default_proxy: Running, provider: Provider, header: str, value: str
) -> None:
    refused = await default_proxy.chat({header: value})
    assert refused.status_code == 400
    assert error(refused)["type"] == "invalid_request_error"
    assert header in error(refused)["message"].lower()
    assert provider.calls == 0


# --- default policies


def user(*parts: object) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(parts)}]


REASONS: dict[str, tuple[str, dict[str, Any]]] = {
    "temperature": ("temperature", {"temperature": 0.7}),
    "spoken": ("audio", {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}}),
    "audio of an earlier turn": ("audio_id", {"messages": [{"role": "assistant", "audio": {"id": "audio_1"}}]}),
    "uploaded file": ("file_id", {"messages": user({"type": "file", "file": {"file_id": "file-1"}})}),
    "image behind an address": (
        "remote_image",
        {"messages": user({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}})},
    ),
    "web search": ("web_search", {"web_search_options": {}}),
    "search model": ("web_search", {"model": "gpt-4o-search-preview"}),
    "stored at the provider": ("store", {"store": True}),
    "kv transfer": ("kv_transfer", {"kv_transfer_params": {"do_remote_decode": True}}),
    "prewarming": ("prompt_cache", {"prompt_cache_options": {"prewarm": True}}),
    "usage on every frame": ("usage_stats", {"stream": True, "stream_options": {"continuous_usage_stats": True}}),
}


@pytest.mark.parametrize(("reason", "members"), REASONS.values(), ids=REASONS)
async def test_a_question_that_should_not_be_cached_is_passed_by_with_its_reason(
    default_proxy: Running, provider: Provider, reason: str, members: dict[str, Any]
) -> None:
    for call in (1, 2):
        answer = await default_proxy.chat(**members)
        assert (x(answer, "cache"), x(answer, "cache-reason"), provider.calls) == ("bypass", reason, call)
        assert cache_status(answer) == {"fwd": "bypass", "detail": reason}
    assert await default_proxy.metric("askonce_bypass_total", reason=reason) == 2


CACHED: dict[str, dict[str, Any]] = {
    "temperature 0": {"temperature": 0},
    "temperature null": {"temperature": None} | {"top_p": 1},
    "a seed": {"temperature": 1, "seed": 7},
    "several choices": {"n": 1, "temperature": 0},
    "logprobs": {"logprobs": True, "top_logprobs": 2},
    "tools": {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]},
    "an image in place": {"messages": user({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}})},
    "not stored at the provider": {"store": False},
}


@pytest.mark.parametrize("members", CACHED.values(), ids=CACHED)
async def test_a_question_that_asks_for_one_answer_is_cached(default_proxy: Running, members: dict[str, Any]) -> None:
    assert [(await heard(default_proxy, **members))[0] for _ in range(2)] == ["miss", "hit"]


async def test_an_operator_may_cache_what_asks_for_variety(askonce: Start, lane: dict[str, Any]) -> None:
    async with askonce(lane | {"rules": [{"sampling": "cache"}]}) as proxy:
        assert [await heard(proxy, temperature=1) for _ in range(2)] == [("miss", "Answer 1"), ("hit", "Answer 1")]


async def test_a_pool_keeps_several_answers_and_hands_them_out_in_turn(askonce: Start, lane: dict[str, Any]) -> None:
    async with askonce(lane | {"rules": [{"sampling": "pool", "pool_size": 3}]}) as proxy:
        seen = [await heard(proxy, temperature=1) for _ in range(9)]
        assert seen[:3] == [("miss", "Answer 1"), ("miss", "Answer 2"), ("miss", "Answer 3")]
        assert seen[3:] == [("hit", f"Answer {n}") for n in (1, 2, 3)] * 2
        assert [(await heard(proxy))[0] for _ in range(2)] == ["miss", "hit"]


async def test_an_operator_switches_the_cache_off_for_a_model(askonce: Start, lane: dict[str, Any]) -> None:
    async with askonce(lane | {"rules": [{"match": {"model": "gpt-l*"}, "cache": False}]}) as proxy:
        answers = [await proxy.chat(model="gpt-live") for _ in range(2)]
        assert {(x(answer, "cache"), x(answer, "cache-reason")) for answer in answers} == {("bypass", "rule")}
        assert [(await heard(proxy))[0] for _ in range(2)] == ["miss", "hit"]


# --- answers that are not kept


def unusual(**choice: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": "no", "refusal": None}
    return completion("") | {"choices": [{"index": 0, "message": message, "finish_reason": "stop"} | choice]}


REFUSED: dict[str, Callable[[], Script]] = {
    "content filter": lambda: plain(unusual(finish_reason="content_filter")),
    "abort": lambda: plain(unusual(finish_reason="abort")),
    "no finish reason": lambda: plain(unusual(finish_reason=None)),
    "empty": lambda: plain(unusual(message={"role": "assistant", "content": "", "refusal": None})),
    "no choices": lambda: plain(completion("") | {"choices": []}),
    "error body": lambda: plain({"error": {"message": "sorry", "type": "x", "param": None, "code": None}}),
    "page": html,
    "truncated": lambda: truncated(completion("no")),
    "not for keeping": lambda: plain(completion("no"), headers=[("cache-control", "no-store")]),
}


@pytest.mark.parametrize("script", REFUSED.values(), ids=REFUSED)
async def test_an_answer_that_is_no_whole_success_is_served_and_not_kept_and_says_why(
    default_proxy: Running, provider: Provider, script: Callable[[], Script]
) -> None:
    (sent,) = script()
    assert isinstance(sent, bytes)
    provider.then([sent])
    answer = await default_proxy.chat()
    assert (answer.status_code, x(answer, "cache")) == (200, "miss")
    assert answer.content == body_of(sent)
    assert "stored" not in cache_status(answer)
    assert await default_proxy.metric("askonce_store_skipped_total", reason=x(answer, "cache-reason") or "") == 1
    assert await heard(default_proxy) == ("miss", "Answer 2")


BROKEN_STREAMS: dict[str, Callable[[], Script]] = {
    "content filter": lambda: stream(words("no", finish="content_filter")),
    "no end marker": lambda: stream(words("no")[:-1]),
    "end marker without a finish": lambda: stream([*words("no")[:2], DONE]),
    "error, then the end marker": lambda: stream([*words("no")[:2], event({"error": {"message": "oom"}}), DONE]),
    "empty": lambda: stream(words()),
    "missing choice": lambda: stream([*words("no")[:2], delta({}, finish="stop", index=1), DONE]),
    "no JSON": lambda: stream([b"data: {oops\n\n", *words("no")]),
}


@pytest.mark.parametrize("script", BROKEN_STREAMS.values(), ids=BROKEN_STREAMS)
async def test_a_stream_that_is_no_whole_success_is_served_and_not_kept(
    default_proxy: Running, provider: Provider, script: Callable[[], Script]
) -> None:
    sent = b"".join(move for move in list(script())[1:] if isinstance(move, bytes))
    provider.then(script())
    answer = await default_proxy.chat(stream=True, stream_options={"include_usage": True})
    assert answer.content == dechunked(sent)
    await default_proxy.landed()
    assert await default_proxy.metric("askonce_store_skipped_total") == 1
    assert await heard(default_proxy) == ("miss", "Answer 2")


# --- what comes back

NO_CACHE, NO_STORE = {"cache-control": "no-cache"}, {"cache-control": "no-store"}


async def test_cache_status_tells_what_happened(timed: Running, provider: Provider, clock: Clock) -> None:
    miss = await timed.chat()
    assert cache_status(miss) == {"fwd": "uri-miss", "fwd-status": 200, "stored": True}
    clock.pass_(40)
    hit = cache_status(await timed.chat())
    assert hit == {"hit": True, "ttl": 60, "detail": hit["detail"]}
    assert hit["detail"] in ("memory", "sqlite")
    assert cache_status(await timed.chat(NO_CACHE)) == {"fwd": "request", "fwd-status": 200, "stored": True}
    clock.pass_(120)
    assert cache_status(await timed.chat({"cache-control": "max-stale"}))["ttl"] == -20
    assert cache_status(await timed.chat()) == {"fwd": "stale", "fwd-status": 200, "stored": True}
    assert cache_status(await timed.chat(NO_STORE, seed=1)) == {"fwd": "uri-miss"}
    assert cache_status(await timed.chat(stream=True, seed=2)) == {"fwd": "uri-miss"}
    assert cache_status(await timed.chat(temperature=1)) == {"fwd": "bypass", "detail": "temperature"}


async def test_a_follower_is_marked_as_collapsed(proxy: Running, provider: Provider) -> None:
    gate = asyncio.Event()
    provider.always(lambda asked: [gate, *as_said(asked, "one")])
    async with asyncio.TaskGroup() as group:
        asking = [group.create_task(proxy.chat(stream=True)) for _ in range(2)]
        while not await proxy.metric("askonce_flight_followers_total"):
            pass
        gate.set()
    statuses = sorted((cache_status(task.result()) for task in asking), key=len)
    assert statuses == [{"fwd": "uri-miss"}, {"fwd": "uri-miss", "collapsed": True}]


async def test_an_upstreams_error_passes_unchanged_and_is_not_kept(default_proxy: Running, provider: Provider) -> None:
    provider.then(failure(429, "slow down", [("retry-after", "7"), ("x-should-retry", "true")], hint="wait"))
    answer = await default_proxy.chat()
    assert (answer.status_code, error_message(answer)) == (429, "slow down")
    assert answer.json()["error"]["hint"] == "wait"
    assert (answer.headers["retry-after"], answer.headers["x-should-retry"]) == ("7", "true")
    assert cache_status(answer) == {"fwd": "uri-miss", "fwd-status": 429}
    assert (await heard(default_proxy))[0] == "miss"


def error_message(answer: Any) -> str:
    message: str = answer.json()["error"]["message"]
    return message


@pytest.mark.parametrize("streams", [False, True], ids=["plain", "streamed"])
async def test_a_hit_carries_its_age_key_and_savings(timed: Running, clock: Clock, streams: bool) -> None:
    miss = await timed.chat(model="gpt-4o", stream=streams)
    clock.pass_(7)
    hit = await timed.chat(model="gpt-4o", stream=streams)
    assert "age" not in miss.headers
    assert hit.headers["age"] == "7"
    assert x(hit, "cache-key") == x(miss, "cache-key")
    assert re.fullmatch(r"[0-9a-f]{32}", x(hit, "cache-key") or "")
    assert x(hit, "cache-saved-tokens") == "15"
    assert float(x(hit, "cache-saved-usd") or 0) > 0
    assert x(miss, "cache-saved-tokens") is None
    for answer in (miss, hit):
        assert answer.headers["cache-control"] == "private, no-store"


async def test_savings_in_money_are_left_out_for_a_model_without_a_price(default_proxy: Running) -> None:
    hit = [await default_proxy.chat(model="nobody-knows-it") for _ in range(2)][1]
    assert x(hit, "cache-saved-tokens") == "15"
    assert x(hit, "cache-saved-usd") is None


async def test_every_delivery_has_a_request_id_of_its_own(proxy: Running) -> None:
    ids = [x(await proxy.chat(), "request-id") for _ in range(3)]
    assert len(set(ids)) == 3
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,128}", id_ or "") for id_ in ids)


OUTCOMES: dict[str, dict[str, Any]] = {
    "miss": {},
    "hit": {"seed": 1},
    "bypass": {"temperature": 1},
    "refused": {"messages": 1},
}


@pytest.mark.parametrize("outcome", OUTCOMES)
async def test_a_valid_request_id_of_the_callers_is_kept_and_another_replaced(
    proxy: Running, provider: Provider, outcome: str
) -> None:
    await proxy.chat(seed=1)
    members = OUTCOMES[outcome]
    assert x(await proxy.chat({"x-request-id": "mine_1-a"}, **members), "request-id") == "mine_1-a"
    for bad in ("has space", "a" * 129, "semi;colon", ""):
        assert x(await proxy.chat({"x-request-id": bad}, **members), "request-id") not in (bad, None, "")


async def test_a_bypass_by_header_is_written_to_the_audit_log_without_words(
    askonce_process: Callable[..., AbstractAsyncContextManager[Any]],
) -> None:
    async with askonce_process("--log-format", "json") as process:
        content = json.dumps(question(messages=[{"role": "user", "content": "Sesame"}]))
        headers = {"authorization": f"Bearer {ALICE}", "x-request-id": "audited-1"}
        url = "/v1/chat/completions"
        await process.http.post(url, content=content, headers=headers | {"x-cache-bypass": "true"})
        await process.http.post(url, content=content, headers=headers | {"x-request-id": "plain-1"})
        await process.stop()
        lines = [json.loads(line) for line in (process.stdout + process.stderr).splitlines() if line.startswith("{")]
        audit = [line for line in lines if "audit" in json.dumps(line)]
        assert "audited-1" in json.dumps(audit)
        assert "plain-1" not in json.dumps(audit)
        for secret in ("Sesame", ALICE):
            assert secret not in process.stdout + process.stderr
