"""Several replicas on one Redis are one cache: what one has answered all have, and what one asks all hear.

The provider holds its frames back at gates, so each test says who follows before the next byte comes.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest

from proxy import app
from proxy.types import Digest, Entry
from tests.path.sharing import Between
from tests.provider import DONE, Ending, Provider, as_said, completion, failure, plain, stream, words
from tests.redis_servers import RedisServer
from tests.running import (
    ALICE,
    BOB,
    Running,
    Start,
    cache_status,
    client,
    error,
    frames,
    said,
)

FIRST, *REST = words("one ", "two ", "three")
QUIET = b"".join(words("one ", "two ", "three", usage=False))
LOUD = b"".join([FIRST, *REST])
SECRET = "a secret that all replicas have from their configuration"
WITH_USAGE: dict[str, Any] = {"stream_options": {"include_usage": True}}
NO_CACHE = {"cache-control": "no-cache"}

PATIENT: dict[str, Any] = {"store.redis.command_timeout": 60, "store.redis.connect_timeout": 60}
"""A slow machine must not turn a hit into a miss, nor followers into callers."""

LANES: dict[str, dict[str, Any]] = {
    "fast lane": {},
    "plain lane": {"server.fast_lane": False},
    "no memory": {"store.memory": 0},
}

Replica = Callable[..., AbstractAsyncContextManager[Running]]


@pytest.fixture
def replica(askonce: Start, redis_url: str) -> Replica:
    """`async with replica({"store.memory": 0}) as proxy:` one more on the same Redis."""
    return joining(askonce, redis_url)


def joining(askonce: Start, url: str) -> Replica:
    def start(flags: dict[str, Any] | None = None, **environ: str) -> AbstractAsyncContextManager[Running]:
        return askonce(PATIENT | (flags or {}), {"ASKONCE_STORE": url} | environ)

    return start


@pytest.fixture(params=LANES)
def lane(request: pytest.FixtureRequest) -> dict[str, Any]:
    return LANES[request.param]


@pytest.fixture
async def a(replica: Replica, lane: dict[str, Any]) -> AsyncIterator[Running]:
    async with replica(lane) as proxy:
        yield proxy


@pytest.fixture
async def b(replica: Replica, lane: dict[str, Any]) -> AsyncIterator[Running]:
    async with replica(lane) as proxy:
        yield proxy


@pytest.fixture
def gate() -> Iterator[asyncio.Event]:
    event = asyncio.Event()
    yield event
    # A test that failed before it opened the gate must not leave the provider waiting.
    event.set()


@pytest.fixture
def between(redis_url: str) -> Iterator[Between]:
    looking = Between(redis_url)
    yield looking
    looking.close()


async def asked(proxy: Running, **members: Any) -> str:
    """Ask; gives what `X-Cache` says."""
    return str((await proxy.chat(**members)).headers["x-cache"])


def is_stream(answer: httpx.Response) -> bool:
    return answer.headers["content-type"].startswith("text/event-stream")


# --- one cache


FORMS = list(itertools.product([False, True], repeat=2))
NAMES = [f"{'streamed' if first else 'plain'}, then {'streamed' if second else 'plain'}" for first, second in FORMS]


@pytest.mark.parametrize(("first", "second"), FORMS, ids=NAMES)
async def test_what_one_has_answered_all_have(
    a: Running, b: Running, provider: Provider, between: Between, first: bool, second: bool
) -> None:
    for here, there in ((a, b), (b, a)):
        mine = await here.chat(stream=first, seed=id(here))
        await between.settled()
        theirs = await there.chat(stream=second, seed=id(here))
        assert (mine.headers["x-cache"], theirs.headers["x-cache"]) == ("miss", "hit")
        assert said(mine) == said(theirs)
        assert mine.headers["x-cache-key"] == theirs.headers["x-cache-key"]
    assert provider.calls == 2


async def test_an_answer_that_was_replaced_is_what_all_serve(
    a: Running, b: Running, provider: Provider, between: Between
) -> None:
    await a.chat()
    await between.settled()
    for proxy in (a, b):
        assert said(await proxy.chat()) == "Answer 1"
    assert said(await a.chat(NO_CACHE)) == "Answer 2"
    # b has the old one in memory until it hears of the change.
    while said(answer := await b.chat()) != "Answer 2":
        assert said(answer) == "Answer 1"
    assert [await asked(proxy) for proxy in (a, b)] == ["hit", "hit"]
    assert provider.calls == 2


async def test_an_answer_that_was_deleted_is_gone_from_all(
    a: Running, b: Running, provider: Provider, between: Between
) -> None:
    key = (await a.chat()).headers["x-cache-key"]
    await between.settled()
    assert [await asked(proxy) for proxy in (a, b)] == ["hit", "hit"]
    assert (await a.http.delete(f"/admin/entries/{key}")).json() == {"purged": 1}
    while await asked(b) == "hit":
        pass
    assert said(await a.chat()) == "Answer 2"
    assert provider.calls == 2


async def test_a_purge_of_everything_is_one_for_all(
    a: Running, b: Running, provider: Provider, between: Between
) -> None:
    for seed in (1, 2):
        await a.chat(seed=seed)
        await between.settled()
        assert await asked(b, seed=seed) == "hit"
    assert (await a.http.post("/admin/purge", json={"all": True})).json() == {"purged": 2}
    for seed in (1, 2):
        anew = said(await a.chat(seed=seed))
        assert anew != f"Answer {seed}"
        await between.settled()
        while said(await b.chat(seed=seed)) != anew:
            pass
        assert [await asked(proxy, seed=seed) for proxy in (a, b)] == ["hit", "hit"]


async def test_the_answers_of_a_pool_are_shared(replica: Replica, provider: Provider, between: Between) -> None:
    pool = {"rules": [{"sampling": "pool", "pool_size": 2}]}
    async with replica(pool) as a, replica(pool) as b:
        assert [said(await a.chat(temperature=1)) for _ in range(2)] == ["Answer 1", "Answer 2"]
        await between.settled()
        for proxy in (a, b):
            assert [said(await proxy.chat(temperature=1)) for _ in range(2)] == ["Answer 1", "Answer 2"]
    assert provider.calls == 2


# --- one call


async def test_a_caller_on_another_replica_hears_a_running_stream_from_its_first_byte(
    a: Running, b: Running, provider: Provider, gate: asyncio.Event
) -> None:
    provider.then(stream([FIRST, REST[0], gate, *REST[1:]]))
    async with a.reading() as first:
        await first.until(b"one ")
        async with b.reading() as second:
            assert b"assistant" in await second.until(b"one ")
            assert b"two" not in second.seen
            assert second.response.headers["x-cache"] == "collapsed"
            assert cache_status(second.response)["collapsed"] is True
            gate.set()
            assert await first.rest() == await second.rest() == QUIET
    assert first.response.headers["x-cache"] == "miss"
    assert provider.calls == 1


@pytest.mark.parametrize("wanted", FORMS, ids=str)
async def test_callers_on_two_replicas_each_get_usage_only_if_they_asked(
    a: Running, b: Running, provider: Provider, between: Between, gate: asyncio.Event, wanted: tuple[bool, bool]
) -> None:
    provider.then(stream([gate, FIRST, *REST]))
    async with asyncio.TaskGroup() as group:
        mine = group.create_task(a.chat(stream=True, **WITH_USAGE if wanted[0] else {}))
        await provider.arrived()
        theirs = group.create_task(b.chat(stream=True, **WITH_USAGE if wanted[1] else {}))
        await between.asked_for(1)
        gate.set()
    assert [mine.result().content, theirs.result().content] == [LOUD if loud else QUIET for loud in wanted]
    assert [mine.result().headers["x-cache"], theirs.result().headers["x-cache"]] == ["miss", "collapsed"]
    assert provider.calls == 1


async def test_without_usage_of_ours_only_those_share_a_stream_who_want_the_same(
    replica: Replica, provider: Provider, between: Between, gate: asyncio.Event
) -> None:
    provider.always(lambda asked: [gate, *as_said(asked, "one")])
    flags = {"upstreams": [{"base_url": provider.url, "stream_usage": False}]}
    async with replica(flags) as a, replica(flags) as b, asyncio.TaskGroup() as group:
        for asking in (WITH_USAGE, {}):
            group.create_task(a.chat(stream=True, **asking))
        await provider.arrived(2)
        following = [group.create_task(b.chat(stream=True, **asking)) for asking in (WITH_USAGE, {})]
        await between.asked_for(2)
        gate.set()
    assert [b'"usage":{' in task.result().content for task in following] == [True, False]
    assert provider.calls == 2


@pytest.mark.parametrize("first_streams", [True, False], ids=["plain follows a stream", "stream follows a plain call"])
async def test_callers_of_either_form_share_a_call(
    a: Running, b: Running, provider: Provider, between: Between, gate: asyncio.Event, first_streams: bool
) -> None:
    provider.always(lambda asked: [gate, *as_said(asked, "one ", "two ", "three")])
    async with asyncio.TaskGroup() as group:
        first = group.create_task(a.chat(stream=first_streams))
        await provider.arrived()
        second = group.create_task(b.chat(stream=not first_streams))
        await between.asked_for(1)
        gate.set()
    answers = [first.result(), second.result()]
    assert [said(answer) for answer in answers] == ["one two three"] * 2
    assert [is_stream(answer) for answer in answers] == [first_streams, not first_streams]
    assert [answer.headers["x-cache"] for answer in answers] == ["miss", "collapsed"]
    assert provider.calls == 1


async def test_an_answer_that_was_stored_between_a_look_and_the_asking_is_found(
    a: Running, b: Running, provider: Provider, between: Between, gate: asyncio.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = asyncio.Event()
    look = b.application.store.get

    async def get(name: Digest) -> Entry | None:
        found = await look(name)
        looked.set()
        await gate.wait()
        return found

    monkeypatch.setattr(b.application.store, "get", get)
    late = asyncio.create_task(b.chat())
    await looked.wait()
    mine = await a.chat()
    await between.settled()
    gate.set()
    assert said(await late) == said(mine)
    assert provider.calls == 1


@pytest.mark.parametrize("streams", [True, False], ids=["streamed", "plain"])
async def test_of_many_callers_on_three_replicas_one_asks(
    a: Running, b: Running, replica: Replica, provider: Provider, between: Between, gate: asyncio.Event, streams: bool
) -> None:
    provider.always(lambda asked: [gate, *as_said(asked, "one")])
    async with replica() as c:
        async with asyncio.TaskGroup() as group:
            asking = [group.create_task(proxy.chat(stream=streams)) for proxy in (a, b, c) for _ in range(20)]
            await between.asked_for(2)
            gate.set()
        assert await c.metric("askonce_leases_total") == 1
    assert {said(task.result()) for task in asking} == {"one"}
    assert sorted(task.result().headers["x-cache"] for task in asking) == ["collapsed"] * 59 + ["miss"]
    assert provider.calls == 1


async def test_how_replicas_agreed_is_counted(
    a: Running, b: Running, provider: Provider, between: Between, gate: asyncio.Event
) -> None:
    provider.then(stream([FIRST, gate, *REST]))
    async with a.reading() as first, b.reading() as second:
        await second.until(b"assistant")
        gate.set()
        await asyncio.gather(first.rest(), second.rest())
    counted = [
        await proxy.metric("askonce_leases_total", outcome=each) for proxy, each in ((a, "led"), (b, "followed"))
    ]
    assert counted == [1, 1]
    assert await b.metric("askonce_flight_followers_total") == 1


async def test_what_was_followed_is_a_hit_on_every_replica(
    a: Running, b: Running, provider: Provider, between: Between, gate: asyncio.Event
) -> None:
    provider.then(stream([FIRST, gate, *REST]))
    async with a.reading() as first, b.reading() as second:
        await second.until(b"assistant")
        gate.set()
        await asyncio.gather(first.rest(), second.rest())
    for proxy in (b, a):
        for streams in (True, False):
            answer = await proxy.chat(stream=streams)
            assert (answer.headers["x-cache"], said(answer)) == ("hit", "one two three")
    assert provider.calls == 1


async def test_an_answer_that_cannot_be_kept_is_shared_by_those_who_wait_for_it(
    a: Running, b: Running, provider: Provider, between: Between, gate: asyncio.Event
) -> None:
    refused = words("no", finish="content_filter")
    provider.always(lambda _: stream([gate, *refused]))
    async with asyncio.TaskGroup() as group:
        first = group.create_task(a.chat(stream=True))
        await provider.arrived()
        second = group.create_task(b.chat(stream=True))
        await between.asked_for(1)
        gate.set()
    assert first.result().content == second.result().content
    assert provider.calls == 1
    assert [await asked(proxy, stream=True) for proxy in (a, b)] == ["miss", "miss"]
    assert provider.calls == 3


async def test_who_wants_a_new_answer_asks_on_every_replica(
    a: Running, b: Running, provider: Provider, gate: asyncio.Event
) -> None:
    provider.always(lambda asked: [gate, *as_said(asked, "one")])
    async with asyncio.TaskGroup() as group:
        asking = [group.create_task(proxy.chat(NO_CACHE)) for proxy in (a, b)]
        await provider.arrived(2)
        gate.set()
    assert [task.result().headers["x-cache"] for task in asking] == ["miss", "miss"]


async def test_replicas_that_shall_not_share_calls_do_not_and_share_answers(
    replica: Replica, provider: Provider, between: Between, gate: asyncio.Event
) -> None:
    provider.always(lambda asked: [gate, *as_said(asked, "one")])
    alone = {"store.redis.coalesce": False}
    async with replica(alone) as a, replica(alone) as b, replica(alone) as c:
        async with asyncio.TaskGroup() as group:
            for proxy in (a, b):
                group.create_task(proxy.chat())
            await provider.arrived(2)
            gate.set()
        while await asked(c) != "hit":
            pass
    assert between("KEYS", "*:lease:*") == []


# --- failing


FAILING: dict[str, tuple[Any, int]] = {
    "status 500": (failure(500, "the model is down"), 500),
    "status 429": (failure(429, "slow down", [("retry-after", "7")]), 429),
    "reset before the first byte": ([Ending.RESET], 502),
    "closed before the first byte": ([Ending.CLOSE], 502),
}


@pytest.mark.parametrize(("first_streams", "second_streams"), FORMS, ids=NAMES)
@pytest.mark.parametrize("failing", FAILING.values(), ids=FAILING)
async def test_a_call_that_fails_fails_who_waits_for_it_alike_on_every_replica(
    replica: Replica,
    provider: Provider,
    between: Between,
    gate: asyncio.Event,
    failing: tuple[Any, int],
    first_streams: bool,
    second_streams: bool,
) -> None:
    moves, status = failing
    provider.always(lambda _: [gate, *moves])
    async with replica() as a, replica() as b:
        async with asyncio.TaskGroup() as group:
            first = group.create_task(a.chat(stream=first_streams))
            await provider.arrived()
            second = group.create_task(b.chat(stream=second_streams))
            await between.asked_for(1)
            gate.set()
        answers = [first.result(), second.result()]
        assert [answer.status_code for answer in answers] == [status] * 2
        assert answers[0].content == answers[1].content
        assert error(answers[1])["message"]
        assert answers[0].headers.get("retry-after") == answers[1].headers.get("retry-after")
        assert provider.calls == 1
        provider.always(provider.as_recorded)
        assert await asked(b) == "miss"


@pytest.mark.parametrize("ending", [Ending.RESET, Ending.CLOSE])
async def test_a_stream_that_breaks_off_ends_with_an_error_on_every_replica(
    a: Running, b: Running, provider: Provider, gate: asyncio.Event, ending: Ending
) -> None:
    provider.then(stream([FIRST, REST[0], gate], end=ending))
    async with a.reading() as first, b.reading() as second:
        for reading in (first, second):
            await reading.until(b"one ")
        gate.set()
        bodies = {await first.rest(), await second.rest()}
    (body,) = bodies
    assert frames(body)[-1]["error"]["code"].endswith("_interrupted")
    assert DONE not in body
    assert await asked(b) == "miss"


async def test_a_flight_past_the_bound_is_asked_for_anew_by_who_comes_later(
    replica: Replica, provider: Provider, gate: asyncio.Event
) -> None:
    long = words(*(["a" * 1000] * 100))
    provider.then(stream([*long[:50], gate, *long[50:]]), stream(long), stream(long))
    small = {"server.flight_max_bytes": 20_000}
    async with replica(small) as a, replica(small) as b, a.reading(**WITH_USAGE) as early:
        while len(early.seen) < 40_000:
            await early.until(early.seen + b"d")
        for proxy in (a, b):
            assert (await proxy.chat(stream=True, **WITH_USAGE)).content == b"".join(long)
        gate.set()
        assert await early.rest() == b"".join(long)
    assert provider.calls == 3


async def test_who_follows_a_stream_that_grows_past_the_bound_is_told(
    replica: Replica, provider: Provider, gate: asyncio.Event
) -> None:
    long = words(*(["a" * 1000] * 100))
    provider.then(stream([long[0], gate, *long[1:]]))
    small = {"server.flight_max_bytes": 20_000}
    async with replica(small) as a, replica() as b, a.reading(**WITH_USAGE) as first, b.reading(**WITH_USAGE) as second:
        await second.until(b"assistant")
        gate.set()
        assert await first.rest() == b"".join(long)
        told = await second.rest()
    assert frames(told)[-1]["error"]["code"] == "too_large"
    assert DONE not in told


# --- leaving and stopping


async def test_a_leaving_caller_cancels_nothing_on_any_replica(
    a: Running, b: Running, provider: Provider, gate: asyncio.Event
) -> None:
    provider.then(stream([FIRST, gate, *REST]))
    async with AsyncExitStack() as leaving:
        first = await leaving.enter_async_context(a.reading())
        await first.until(b"assistant")
        async with b.reading() as second:
            await second.until(b"assistant")
            await leaving.aclose()
            while await a.metric("askonce_requests_total", endpoint="/v1/chat/completions") < 1:
                pass  # until a has noticed
            gate.set()
            assert await second.rest() == QUIET
    assert await asked(a) == "hit"
    assert provider.calls == 1


async def test_who_follows_may_leave_and_the_call_goes_on(
    a: Running, b: Running, provider: Provider, gate: asyncio.Event
) -> None:
    provider.then(stream([FIRST, gate, *REST]))
    async with a.reading() as first:
        async with b.reading() as second:
            await second.until(b"assistant")
        gate.set()
        assert await first.rest() == QUIET
    await b.landed()
    assert await asked(b) == "hit"
    assert provider.calls == 1


@asynccontextmanager
async def stopping(proxy: AbstractAsyncContextManager[Running]) -> AsyncIterator[tuple[Running, Callable[[], Any]]]:
    """A replica, and what stops it as SIGTERM does. Its callers stay."""
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(proxy)
        async with client(running.url) as http:
            yield dataclasses.replace(running, http=http), stack.aclose


async def refusing(proxy: Running) -> None:
    """Until it lets nobody new in."""
    while True:
        try:
            async with client(proxy.url) as http:
                await http.get("/livez")
        except httpx.TransportError:
            return


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A stop that waits for nothing that takes long."""
    monkeypatch.setattr(app, "LANDING_S", 0.05)
    return {"server.drain_timeout": 0}


@pytest.mark.parametrize("streams", [True, False], ids=["streamed", "plain"])
async def test_who_waits_for_a_replica_that_stops_takes_its_question_over(
    replica: Replica, provider: Provider, between: Between, gate: asyncio.Event, hurried: dict[str, Any], streams: bool
) -> None:
    provider.then([Ending.NEVER])
    provider.always(lambda asked: [gate, *as_said(asked, "one ", "two ", "three")])
    async with stopping(replica(hurried)) as (a, stop), replica() as b, replica() as c:
        async with asyncio.TaskGroup() as group:
            lost = group.create_task(a.chat(stream=streams))
            await provider.arrived()
            followers = [group.create_task(proxy.chat(stream=streams)) for proxy in (b, c)]
            await between.asked_for(2)
            await stop()
            await provider.arrived(2)
            await between.asked_for(1)
            gate.set()
        assert (lost.result().status_code, error(lost.result())["code"]) == (503, "shutting_down")
        assert {said(task.result()) for task in followers} == {"one two three"}
        assert sum([await proxy.metric("askonce_leases_total", outcome="took_over") for proxy in (b, c)]) == 1
    assert provider.calls == 2


async def test_a_stream_of_a_replica_that_stops_ends_with_an_error_where_it_is_followed(
    replica: Replica, provider: Provider, hurried: dict[str, Any]
) -> None:
    provider.then(stream([FIRST, REST[0]], end=Ending.NEVER))
    async with stopping(replica(hurried)) as (a, stop), replica() as b:
        async with a.reading() as first, b.reading() as second:
            for reading in (first, second):
                await reading.until(b"one ")
            await stop()
            told = await second.rest()
        assert frames(told)[-1]["error"]["message"]
        assert DONE not in told
        assert await asked(b) == "miss"


async def test_a_replica_that_stops_in_time_tells_its_call_to_the_end(
    replica: Replica, provider: Provider, gate: asyncio.Event
) -> None:
    provider.then(stream([FIRST, gate, *REST]))
    patient = {"server.drain_timeout": 60}
    async with stopping(replica(patient)) as (a, stop), replica() as b:
        async with a.reading() as first, b.reading() as second:
            for reading in (first, second):
                await reading.until(b"assistant")
            stopped = asyncio.create_task(stop())
            await refusing(a)
            gate.set()
            assert await first.rest() == await second.rest() == QUIET
        await stopped
        assert await asked(b) == "hit"
    assert provider.calls == 1


async def test_who_has_waited_long_enough_for_another_replica_asks(
    replica: Replica, provider: Provider, between: Between, gate: asyncio.Event
) -> None:
    provider.then([gate, *plain(completion("late"))], plain(completion("own")))
    async with replica() as a, replica({"store.redis.lease_wait": 0.05}) as b:
        first = asyncio.create_task(a.chat())
        await provider.arrived()
        assert said(await b.chat()) == "own"
        gate.set()
        assert said(await first) == "late"
        assert await b.metric("askonce_leases_total", outcome="waited_out") == 1


# --- deleting what is in the air


@pytest.mark.parametrize("purge", ["one", "all"])
async def test_after_a_deletion_nobody_joins_what_was_asked_before_and_who_has_joined_hears_it_all(
    a: Running, b: Running, replica: Replica, provider: Provider, gate: asyncio.Event, purge: str
) -> None:
    provider.then(stream([FIRST, gate, *REST]), stream(words("new")))
    async with replica() as c, a.reading() as first, b.reading() as second:
        for reading in (first, second):
            await reading.until(b"assistant")
        key = first.response.headers["x-cache-key"]
        await a.http.post("/admin/purge", json={"all": True} if purge == "all" else {"key": key})
        while a.application.store.generation != c.application.store.generation:
            await asyncio.sleep(0.005)
        assert [said(await proxy.chat(stream=True)) for proxy in (c, a)] == ["new", "new"]
        # Until it has heard of the deletion its own board lets a newcomer join.
        while (third := await joined(b)).headers["x-cache"] == "collapsed":
            pass
        assert third.headers["x-cache"] == "hit"
        gate.set()
        assert await first.rest() == await second.rest() == QUIET
    assert provider.calls == 2


async def joined(proxy: Running) -> httpx.Response:
    """The head of a stream; its caller leaves."""
    async with proxy.reading() as reading:
        return reading.response


# --- who may share


async def test_callers_with_different_credentials_never_share(
    a: Running, b: Running, provider: Provider, between: Between, gate: asyncio.Event
) -> None:
    provider.always(lambda asked: [gate, *as_said(asked, asked.header("authorization") or "")])
    async with asyncio.TaskGroup() as group:
        asking = [
            (key, group.create_task(proxy.chat(key=key, stream=True)))
            for key, proxy in itertools.product((ALICE, BOB), (a, b))
        ]
        await between.asked_for(2)
        gate.set()
    assert [said(task.result()) for _, task in asking] == [f"Bearer {key}" for key, _ in asking]
    assert provider.calls == 2
    await between.settled()
    for key, proxy in itertools.product((ALICE, BOB), (a, b)):
        answer = await proxy.chat(key=key)
        assert (answer.headers["x-cache"], said(answer)) == ("hit", f"Bearer {key}")


async def test_where_all_callers_are_one_tenant_they_share_on_every_replica(
    replica: Replica, provider: Provider, between: Between
) -> None:
    single, own = {"tenants.mode": "single"}, {"ASKONCE_SERVER__SECRET": SECRET}
    async with replica(single, **own) as a, replica(single, **own) as b:
        await a.chat(key=ALICE)
        await between.settled()
        assert (await b.chat(key=BOB)).headers["x-cache"] == "hit"


async def test_other_installations_on_the_same_redis_share_nothing(
    a: Running, replica: Replica, provider: Provider, between: Between
) -> None:
    await a.chat()
    await between.settled()
    async with replica({"store.redis.prefix": "another"}) as other:
        assert await asked(other) == "miss"


async def test_a_secret_of_ones_own_is_nowhere_in_redis(replica: Replica, provider: Provider, between: Between) -> None:
    async with replica(ASKONCE_SERVER__SECRET=SECRET) as a, replica(ASKONCE_SERVER__SECRET=SECRET) as b:
        mine = await a.chat()
        await between.settled()
        assert await asked(b) == "hit"
        assert len(mine.headers["x-cache-key"]) == 32
        assert between("HGET", "{askonce}:control", "secret") is None
        assert set(between("HGETALL", "{askonce}:control")) == {b"generation"}
        for key in between("KEYS", "*"):
            assert SECRET.encode() not in between("DUMP", key)


async def test_a_secret_of_ones_own_is_not_given_up_for_one_that_somebody_puts_into_redis(
    replica: Replica, provider: Provider, between: Between
) -> None:
    async with replica(ASKONCE_SERVER__SECRET=SECRET) as a:
        key = (await a.chat()).headers["x-cache-key"]
        between("HSET", "{askonce}:control", "secret", "x" * 32, "generation", 2_000_000_000_000)
        while a.application.store.generation < 2_000_000_000_000:
            await asyncio.sleep(0.005)
        assert (await a.chat()).headers["x-cache-key"] == key


async def test_a_replica_with_another_secret_serves_nothing_of_the_others(
    replica: Replica, provider: Provider, between: Between
) -> None:
    async with replica(ASKONCE_SERVER__SECRET=SECRET) as a, replica(ASKONCE_SERVER__SECRET=SECRET[::-1]) as stranger:
        mine = await a.chat()
        await between.settled()
        theirs = await stranger.chat()
        assert theirs.headers["x-cache"] == "miss"
        assert mine.headers["x-cache-key"] != theirs.headers["x-cache-key"]
        # Nor where somebody moves the entry to the name it would have there.
        [entry] = between("KEYS", f"askonce:1:*{mine.headers['x-cache-key']}")
        moved = entry.replace(mine.headers["x-cache-key"].encode(), theirs.headers["x-cache-key"].encode())
        between("COPY", entry, moved, "REPLACE")
    async with replica(ASKONCE_SERVER__SECRET=SECRET[::-1]) as stranger:
        assert said(await stranger.chat()) == "Answer 3"


async def test_without_a_secret_of_ones_own_all_take_the_one_in_redis(
    a: Running, b: Running, provider: Provider, between: Between
) -> None:
    assert len(between("HGET", "{askonce}:control", "secret")) == 32
    keys = {(await proxy.chat(stream=streams)).headers["x-cache-key"] for proxy in (a, b) for streams in (True, False)}
    assert len(keys) == 1


async def test_replicas_that_began_without_redis_agree_when_it_is_there(
    askonce: Start, provider: Provider, own_redis: Callable[..., RedisServer]
) -> None:
    server = own_redis()
    server.kill()
    start = joining(askonce, server.url)
    async with start({"store.redis.retry": 0.05}) as a, start({"store.redis.retry": 0.05}) as b:
        for proxy in (a, b):
            assert [await asked(proxy) for _ in range(2)] == ["miss", "hit"]  # each from its own memory
        assert provider.calls == 2
        server.start()
        between = Between(server.url)
        while (await a.chat()).headers["x-cache-key"] != (await b.chat()).headers["x-cache-key"]:
            pass
        mine = await a.chat(seed=1)
        await between.settled()
        theirs = await b.chat(seed=1)
        assert (theirs.headers["x-cache"], said(theirs)) == ("hit", said(mine))
        between.close()


async def test_replicas_for_one_team_share_without_a_secret_of_their_own(replica, provider, between):
    single = {"tenants.mode": "single"}
    async with replica(single) as a, replica(single) as b:
        await a.chat(key=ALICE)
        await between.settled()
        assert (await b.chat(key=BOB)).headers["x-cache"] == "hit"
    assert provider.calls == 1


async def test_a_replica_that_has_not_heard_of_a_purge_deletes_what_was_stored_after_it(replica, between):
    async with replica() as a, replica({"store.redis.poll": 1}) as b:
        await a.http.post("/admin/purge", json={"all": True})
        key = (await a.chat()).headers["x-cache-key"]
        await between.settled()
        assert (await b.http.delete(f"/admin/entries/{key}")).json() == {"purged": 1}
        while (answer := await a.chat({"cache-control": "only-if-cached"})).status_code == 200:
            assert answer.headers["x-cache"] == "hit"
        assert answer.status_code == 504
