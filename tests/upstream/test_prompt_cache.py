"""Keys for the provider's prompt cache: equal for prompts that begin alike, up to its rate."""

from __future__ import annotations

import hashlib
import json
from collections import Counter

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.types import Call, Scope
from proxy.upstream import prefix
from proxy.upstream.prompt_cache import PromptCacheKeys
from tests.upstream.balancing.asking import asked, call, chat

ONE, OTHER = Scope(b"one"), Scope(b"other")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def mac(scope: Scope, digest: bytes, bucket: int) -> str:
    return f"{scope.decode()}-{hashlib.sha256(digest).hexdigest()[:16]}-{bucket}"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(clock: Clock) -> PromptCacheKeys:
    return PromptCacheKeys(mac=mac, clock=clock)


def key_of(one: Call) -> object:
    assert isinstance(one.body, bytes)
    return json.loads(one.body).get("prompt_cache_key")


def bucket(keys: PromptCacheKeys, scope: Scope = ONE, digest: bytes = b"d") -> int:
    return int(keys.key(scope, digest).rpartition("-")[2])


# -- the member ------------------------------------------------------------------------------------------------------


def test_a_key_is_put_in_and_nothing_else_changes(keys):
    one = chat(asked("a"), scope=ONE, temperature=0.5)
    filled = keys.fill_in(one)
    assert key_of(filled) == mac(ONE, prefix.beginning(one, 4096), 0)
    assert filled.body == one.body[:-1] + b',"prompt_cache_key":' + orjson.dumps(key_of(filled)) + b"}"
    assert (filled.target, filled.scope, filled.headers) == (one.target, one.scope, one.headers)


def test_prompts_that_begin_alike_share_a_key_and_others_do_not(keys):
    first = [asked("a" * 5000 + end) for end in ("", "b")]
    texts = {key_of(keys.fill_in(chat(message, scope=ONE))) for message in first}
    assert len(texts) == 1
    assert key_of(keys.fill_in(chat(asked("other"), scope=ONE))) not in texts
    assert key_of(keys.fill_in(chat(first[0], scope=OTHER))) not in texts


def test_the_cut_is_the_one_that_was_set(clock):
    keys = PromptCacheKeys(mac=mac, clock=clock, prefix_bytes=64)
    texts = {key_of(keys.fill_in(chat(asked("a" * 64 + end), scope=ONE))) for end in ("", "b")}
    assert len(texts) == 1


@pytest.mark.parametrize("path", ["/responses", "/openai/deployments/d/chat/completions?api-version=1"])
def test_every_path_that_knows_the_member_gets_one(keys, path):
    assert key_of(keys.fill_in(call({"input": "a", "messages": [asked("a")]}, path))) is not None


async def _stream():
    yield b'{"messages":[{}]}'


@pytest.mark.parametrize(
    "one",
    [
        chat(asked("a"), prompt_cache_key="mine"),
        chat(asked("a"), prompt_cache_key=None),
        Call("POST", "/chat/completions", (), b'{"messages":[{}],"prompt_cache_ke\\u0079":"mine"}'),
        call({"prompt": "a"}, "/completions"),  # OpenAI refuses members it does not know
        call({"messages": [asked("a")]}, "/messages"),
        call({"input": "a"}, "/embeddings"),
        chat(),
        Call("POST", "/chat/completions", (), b"{"),
        Call("POST", "/chat/completions", (), _stream()),
    ],
    ids=range(9),
)
def test_a_call_that_needs_no_key_goes_on_as_it_is(keys, one):
    assert keys.fill_in(one) is one


def test_a_call_that_got_no_key_does_not_count(keys):
    for _ in range(20):
        keys.fill_in(chat(asked("a"), scope=ONE, prompt_cache_key="mine"))
    assert str(key_of(keys.fill_in(chat(asked("a"), scope=ONE)))).endswith("-0")


def test_a_key_is_never_longer_than_the_provider_takes(clock):
    keys = PromptCacheKeys(mac=lambda *_: "k" * 100, clock=clock)
    assert key_of(keys.fill_in(chat(asked("a")))) == "k" * 64


# -- the rate --------------------------------------------------------------------------------------------------------


def test_every_fifteen_requests_of_a_minute_have_a_key_of_their_own(keys):
    assert [bucket(keys) for _ in range(46)] == [0] * 15 + [1] * 15 + [2] * 15 + [3]


def test_every_minute_begins_with_the_first_key_again(keys, clock):
    for _ in range(40):
        bucket(keys)
    clock.now += 59.9
    assert bucket(keys) == 2
    clock.now += 0.1
    assert [bucket(keys) for _ in range(16)] == [0] * 15 + [1]


@given(st.lists(st.floats(0, 30), max_size=200))
def test_no_key_is_given_out_more_than_fifteen_times_in_one_of_its_minutes(pauses):
    clock = Clock()
    keys = PromptCacheKeys(mac=mac, clock=clock)
    given_out: Counter[tuple[float, str]] = Counter()
    begun = clock.now
    for pause in pauses:
        clock.now += pause
        begun = clock.now if clock.now - begun >= 60 else begun
        given_out[begun, keys.key(ONE, b"d")] += 1
    assert not given_out or max(given_out.values()) <= 15


def test_a_slow_beginning_keeps_one_key(keys, clock):
    seen = set()
    for _ in range(100):
        seen.add(bucket(keys))
        clock.now += 5
    assert seen == {0}


def test_beginnings_and_scopes_are_counted_apart(keys):
    for _ in range(15):
        bucket(keys)
    assert (bucket(keys), bucket(keys, OTHER), bucket(keys, ONE, b"e")) == (1, 0, 0)


def test_only_the_latest_beginnings_are_counted(clock):
    keys = PromptCacheKeys(mac=mac, clock=clock, beginnings=2)
    for digest in (b"a", b"b"):
        for _ in range(15):
            bucket(keys, digest=digest)
    bucket(keys, digest=b"a")  # now b is the one that was asked longest ago
    bucket(keys, digest=b"c")
    assert (bucket(keys, digest=b"a"), bucket(keys, digest=b"b")) == (1, 0)
