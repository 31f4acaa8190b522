"""The fast lane and the long way: a caller cannot tell which one answered, and connections survive both."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from proxy.errors import CacheFailure
from proxy.types import Digest, Entry
from tests.path.faults import CHAT, Wire, case, post, wire
from tests.provider import Provider, completion, plain
from tests.running import BOB, Running, Start, frames, question, said

FAST = {"server.fast_lane": True}
LONG = {"server.fast_lane": False}
DELIVERY = {"date", "x-request-id", "age", "cache-status"}
"""Fields that differ from one delivery to the next."""

ASKED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "plain": ({}, []),
    "stream": ({"stream": True}, []),
    "stream with usage": ({"stream": True, "stream_options": {"include_usage": True}}, []),
    "with metadata": ({"metadata": {"team": "blue"}}, []),
    "with a request id": ({}, ["x-request-id: mine-1"]),
    "with a bad request id": ({}, ["x-request-id: not mine"]),
    "with tags": ({}, ["x-cache-tags: a, b"]),
    "keep-alive said": ({}, ["connection: keep-alive"]),
    "closing": ({}, ["connection: close"]),
    "with max-age": ({}, ["cache-control: max-age=60"]),
}


async def hits(proxy: Running) -> dict[str, httpx.Response]:
    """The answer to each of `ASKED`, the second time around: from memory."""
    answers = {}
    for name, (members, fields) in ASKED.items():
        for _ in range(2):
            async with wire(proxy.url) as connection:
                connection.ask(*fields, **members)
                answers[name] = await connection.answer()
        assert answers[name].headers["x-cache"] == "hit"
    return answers


def delivered(response: httpx.Response) -> tuple[int, set[str], dict[str, str], Any]:
    """All of a response that should not depend on when it was delivered."""
    fields = {name: value for name, value in response.headers.items() if name not in DELIVERY}
    texts = frames(response.content) or [response.json()]
    for text in texts:
        del text["id"], text["created"]
    if fields.get("content-length"):
        fields["content-length"] = "as long as it is"
    return response.status_code, set(response.headers), fields, texts


async def test_both_lanes_give_the_same_fields_and_the_same_body(askonce: Start) -> None:
    async with askonce(FAST) as proxy:
        fast = await hits(proxy)
    async with askonce(LONG) as proxy:
        long = await hits(proxy)
    for name in ASKED:
        with case(name):
            assert delivered(fast[name]) == delivered(long[name])
            assert fast[name].headers["cache-status"].split(";")[1] == long[name].headers["cache-status"].split(";")[1]
    assert fast["with a request id"].headers["x-request-id"] == "mine-1"
    assert fast["with a bad request id"].headers["x-request-id"] != "not mine"


class LongWay:
    """Counts the requests that do not take the fast lane."""

    def __init__(self, proxy: Running) -> None:
        self.requests = 0
        self._edge = proxy.application.edge
        proxy.application.edge = self  # type: ignore[assignment]

    async def __call__(self, *arguments: Any) -> None:
        self.requests += 1
        await self._edge(*arguments)


async def test_a_memory_hit_takes_the_fast_lane_and_nothing_else_does(askonce: Start) -> None:
    async with askonce(FAST) as proxy:
        long = LongWay(proxy)
        await proxy.chat()
        assert long.requests == 1
        for _ in range(3):
            assert (await proxy.chat()).headers["x-cache"] == "hit"
            assert (await proxy.chat(stream=True)).headers["x-cache"] == "hit"
        # A form that was not read before is considered once, on the long way.
        assert long.requests <= 2
        before = long.requests
        for headers in ({"cache-control": "no-cache"}, {"x-cache-bypass": "true"}, {"content-encoding": "identity"}):
            await proxy.chat(headers)
        await proxy.chat(key=BOB)
        await proxy.chat(seed=1)
        assert long.requests == before + 5


@pytest.fixture
async def proxy(askonce: Start, lane: dict[str, Any]) -> Any:
    async with askonce(lane) as running:
        await running.chat(seed=0)
        yield running


async def ask(connection: Wire, *fields: str, **members: Any) -> tuple[str | None, str]:
    """`X-Cache` and the words of the next answer on this connection."""
    connection.ask(*fields, **members)
    answer = await connection.answer()
    return answer.headers.get("x-cache"), said(answer)


async def test_a_connection_is_used_again_after_hits_and_misses_in_any_order(
    proxy: Running, provider: Provider
) -> None:
    async with wire(proxy.url) as connection:
        for seed in (0, 0, 1, 0, 1, 2, 2, 0, 3, 0):
            fresh = seed >= provider.calls
            assert await ask(connection, seed=seed) == ("miss" if fresh else "hit", f"Answer {seed + 1}")
            assert await ask(connection, seed=seed, stream=True) == ("hit", f"Answer {seed + 1}")
    assert provider.calls == 4


async def test_errors_between_hits_do_not_end_the_connection(proxy: Running) -> None:
    async with wire(proxy.url) as connection:
        for body in (b"no JSON", b"[]", b"{}"):
            connection.send(post(body))
            assert (await connection.answer()).status_code == 400
            assert await ask(connection, seed=0) == ("hit", "Answer 1")
        connection.send(post(b"", line="GET /v1/unknown HTTP/1.1"))
        assert (await connection.answer()).status_code == 404
        assert await ask(connection, seed=0) == ("hit", "Answer 1")
        connection.send(b"GET /livez HTTP/1.1\r\nhost: askonce\r\n\r\n")
        assert (await connection.answer()).status_code == 200
        assert await ask(connection, seed=0) == ("hit", "Answer 1")


async def test_a_client_that_says_close_is_answered_and_closed(proxy: Running) -> None:
    for members in ({"seed": 0}, {"seed": 0, "stream": True}, {"seed": 9}):
        async with wire(proxy.url) as connection:
            connection.ask("connection: close", **members)
            answer = await connection.answer()
            assert answer.headers["connection"] == "close"
            assert said(answer).startswith("Answer ")
            assert await connection.rest() == b""


async def test_what_follows_a_closing_request_is_not_answered(proxy: Running) -> None:
    async with wire(proxy.url) as connection:
        connection.ask("connection: close", seed=0)
        connection.ask(seed=0)
        assert (await connection.answer()).headers["x-cache"] == "hit"
        assert await connection.rest() == b""


CUTS: dict[str, Callable[[bytes], list[bytes]]] = {
    "head, body": lambda whole: list(whole.partition(b"\r\n\r\n")),
    "in the body": lambda whole: [whole[:-30], whole[-30:-1], whole[-1:]],
    "in the head": lambda whole: [whole[:10], whole[10:40], whole[40:]],
    "single bytes": lambda whole: [bytes([byte]) for byte in whole],
}


async def test_a_request_is_understood_however_it_was_cut(proxy: Running) -> None:
    async with wire(proxy.url) as connection:
        for name, cut in CUTS.items():
            for piece in cut(post(question(seed=0))):
                connection.send(piece)
                await asyncio.sleep(0)
            with case(name):
                answer = await connection.answer()
                assert (answer.headers["x-cache"], said(answer)) == ("hit", "Answer 1")


async def test_a_slow_body_is_waited_for(proxy: Running) -> None:
    """Past the moment the fast lane gives up on it: the same answer, whichever lane has it by then."""
    async with wire(proxy.url) as connection:
        for seed, cache in ((0, "hit"), (1, "miss"), (1, "hit")):
            whole = post(question(seed=seed))
            for piece in (whole[:-40], whole[-40:-20], whole[-20:]):
                connection.send(piece)
                # Slowness itself is tested; nothing observable says when the request is handed on.
                await asyncio.sleep(0.06)
            answer = await connection.answer()
            assert (answer.headers["x-cache"], said(answer)) == (cache, f"Answer {seed + 1}")
        assert await ask(connection, seed=0) == ("hit", "Answer 1")


async def test_a_large_question_hits_too(proxy: Running, provider: Provider) -> None:
    large = question(messages=[{"role": "user", "content": "a" * 2_000_000}])
    async with wire(proxy.url) as connection:
        for cache in ("miss", "hit", "hit"):
            connection.send(post(large))
            assert (await connection.answer()).headers["x-cache"] == cache
    assert provider.calls == 2


async def test_a_reader_who_does_not_read_holds_nobody_up_and_gets_it_all(
    askonce: Start, lane: dict[str, Any], provider: Provider
) -> None:
    """Many hits asked for at once and read late: what is written waits for its reader."""
    text = "a" * 100_000
    provider.always(lambda _: plain(completion(text)))
    async with askonce(lane) as proxy:
        await proxy.chat()
        async with wire(proxy.url) as connection:
            connection.send(post(question()) * 200)
            for _ in range(3):
                assert (await proxy.chat()).headers["x-cache"] == "hit"
            for _ in range(200):
                assert said(await connection.answer()) == text


async def test_a_crowd_on_many_connections_gets_each_its_own_answer(proxy: Running) -> None:
    async def caller(number: int) -> set[tuple[str | None, str]]:
        async with wire(proxy.url) as connection:
            return {await ask(connection, seed=0, user=str(number)) for _ in range(20)}

    heard = await asyncio.gather(*(caller(number) for number in range(50)))
    assert set().union(*heard) == {("hit", "Answer 1")}


async def test_a_hit_is_never_another_callers(proxy: Running) -> None:
    """The same bytes but for the credential, on one connection."""
    mine, theirs = post(question(seed=0)), post(question(seed=0)).replace(b"sk-alice", b"sk-bobby")
    async with wire(proxy.url) as connection:
        heard = []
        for request in (mine, theirs, mine, theirs):
            connection.send(request)
            heard.append(said(await connection.answer()))
    assert heard == ["Answer 1", "Answer 2", "Answer 1", "Answer 2"]


async def test_a_deleted_answer_is_gone_from_both_lanes(proxy: Running) -> None:
    key = (await proxy.chat(seed=0)).headers["x-cache-key"]
    assert (await proxy.http.delete(f"/admin/entries/{key}")).json() == {"purged": 1}
    answer = await proxy.chat(seed=0)
    assert (answer.headers["x-cache"], said(answer)) == ("miss", "Answer 2")


async def test_every_delivery_says_its_own_id_and_time(proxy: Running) -> None:
    async with wire(proxy.url) as connection:
        ids = set()
        for _ in range(100):
            connection.ask(seed=0)
            answer = (await connection.answer()).json()
            ids.add(answer["id"])
            assert answer["id"].startswith("chatcmpl-")
    assert len(ids) == 100


async def test_a_path_with_a_query_is_another_question(proxy: Running, provider: Provider) -> None:
    body = json.dumps(question(seed=0))
    for cache in ("miss", "hit"):
        assert (await proxy.post(f"{CHAT}?api-version=1", body)).headers["x-cache"] == cache
    assert provider.last.target == "/v1/chat/completions?api-version=1"


# --- what memory does not have is looked for in the store behind, from the lane


class HeldStore:
    """The store behind, whose look-ups wait at a gate."""

    def __init__(self, proxy: Running) -> None:
        self.looks = 0
        self.asked = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()
        self._get = proxy.application.store.get
        proxy.application.store.get = self.get  # type: ignore[method-assign]

    async def get(self, name: Digest) -> Entry | None:
        self.looks += 1
        self.asked.set()
        await self.gate.wait()
        return await self._get(name)

    def hold(self) -> None:
        self.asked.clear()
        self.gate.clear()


@pytest.fixture
async def behind(askonce: Start) -> Any:
    """A proxy without a memory tier, that has answered seeds 0 and 1 and read both questions, and its store."""
    async with askonce(FAST | {"store.memory": 0}) as running:
        for seed in (0, 1):
            for _ in range(2):
                await running.chat(seed=seed)
        yield running, HeldStore(running)


@pytest.fixture(params=["never parsed", "parsed"])
def fields(request: pytest.FixtureRequest) -> list[str]:
    """With a field of its own a request is not the very packet that came before."""
    return [] if request.param == "never parsed" else ["x-own: 1"]


async def known(connection: Wire, fields: list[str]) -> None:
    """Each question once on this connection, in this very form."""
    for seed in (0, 1):
        assert await ask(connection, seed=seed) == ("hit", f"Answer {seed + 1}")


async def test_a_hit_behind_memory_takes_the_fast_lane_too(behind: tuple[Running, HeldStore]) -> None:
    proxy, store = behind
    long = LongWay(proxy)
    async with wire(proxy.url) as connection:
        await known(connection, [])  # read once on this client's own long way
        long.requests = store.looks = 0
        for fields in ([], ["x-own: 1"], []):
            assert await ask(connection, *fields, seed=0) == ("hit", "Answer 1")
    assert (long.requests, store.looks) == (0, 3)


async def test_what_is_in_the_same_packet_behind_a_look_up_is_answered_behind_it(
    behind: tuple[Running, HeldStore], fields: list[str]
) -> None:
    proxy, _ = behind
    async with wire(proxy.url) as connection:
        await known(connection, fields)
        connection.send(b"".join(post(question(seed=seed), *fields) for seed in (0, 1, 0)))
        assert [said(await connection.answer()) for _ in range(3)] == ["Answer 1", "Answer 2", "Answer 1"]
        await known(connection, fields)


async def test_what_comes_while_an_answer_is_looked_for_is_answered_behind_it(
    behind: tuple[Running, HeldStore], fields: list[str]
) -> None:
    proxy, store = behind
    async with wire(proxy.url) as connection:
        await known(connection, fields)
        store.hold()
        connection.ask(*fields, seed=0)
        await store.asked.wait()
        whole = post(question(seed=1), *fields)
        connection.send(whole[:50])
        await asyncio.sleep(0.02)  # it arrives, and is no whole request yet
        connection.send(whole[50:])
        connection.ask(*fields, seed=0)
        store.gate.set()
        assert [said(await connection.answer()) for _ in range(3)] == ["Answer 1", "Answer 2", "Answer 1"]
        await known(connection, fields)


async def test_a_repeated_question_whose_answer_is_gone_goes_upstream(
    behind: tuple[Running, HeldStore], provider: Provider, fields: list[str]
) -> None:
    proxy, _ = behind
    async with wire(proxy.url) as connection:
        await known(connection, fields)
        await proxy.application.store.purge()
        assert await ask(connection, *fields, seed=0) == ("miss", "Answer 3")
        assert await ask(connection, *fields, seed=0) == ("hit", "Answer 3")
        assert await ask(connection, seed=1) == ("miss", "Answer 4")
    assert provider.calls == 4


async def test_a_store_that_fails_a_look_up_from_the_lane_is_a_miss(
    behind: tuple[Running, HeldStore], fields: list[str]
) -> None:
    proxy, store = behind

    async def failing(_name: Digest) -> Entry | None:
        raise CacheFailure("the disk is gone")

    store._get = failing  # type: ignore[assignment]
    async with wire(proxy.url) as connection:
        assert await ask(connection, *fields, seed=0) == ("miss", "Answer 3")


async def test_who_leaves_while_its_answer_is_looked_for_leaves_nothing_behind(
    behind: tuple[Running, HeldStore], fields: list[str]
) -> None:
    proxy, store = behind
    async with wire(proxy.url) as connection:
        await known(connection, fields)
        store.hold()
        connection.ask(*fields, seed=0)
        await store.asked.wait()
        await connection.reset()
    while [task for task in asyncio.all_tasks() if task.get_name() == "look-up"]:
        await asyncio.sleep(0)
    store.gate.set()
    async with wire(proxy.url) as connection:
        await known(connection, fields)


async def test_a_look_up_that_is_under_way_at_a_stop_is_still_answered(askonce: Start, fields: list[str]) -> None:
    async with askonce(FAST | {"store.memory": 0, "server.drain_timeout": 5}) as proxy:
        for _ in range(2):
            await proxy.chat(seed=0)
        store = HeldStore(proxy)
        store.hold()
        async with wire(proxy.url) as connection:
            connection.ask(*fields, seed=0)
            await store.asked.wait()
            for protocol in [*proxy.server.server_state.connections]:
                protocol.shutdown()
            store.gate.set()
            answer = await connection.answer()
            assert (answer.headers["x-cache"], said(answer)) == ("hit", "Answer 1")
            assert answer.headers["connection"] == "close"


async def test_a_caller_who_wants_no_stored_answer_is_not_looked_for(behind: tuple[Running, HeldStore]) -> None:
    proxy, store = behind
    async with wire(proxy.url) as connection:
        for _ in range(2):
            connection.ask("cache-control: no-cache", seed=0)
            assert (await connection.answer()).headers["x-cache"] == "miss"
    assert store.looks == 0
