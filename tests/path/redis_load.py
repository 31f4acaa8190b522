"""What the tests of Redis' faults and topologies share: a crowd that checks every answer, and what must not leak."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import redis
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

import proxy
from tests.path.faults import CHAT
from tests.provider import DONE, Asked, Script, as_said
from tests.redis_servers import RedisServer
from tests.running import ALICE, credential, question, said

Processes = Callable[..., AbstractAsyncContextManager[Any]]
"""The `askonce_process` fixture."""

GATEWAY_TIMEOUT = 504
"""What `only-if-cached` is answered with where there is nothing."""

OUR_CODE = (str(Path(proxy.__file__).parent), str(Path(redis.__file__).parent))


# --- questions and answers


def echo(asked: Asked) -> Script:
    """An answer that says which question it is for: a reply that went to the wrong request would show."""
    return as_said(asked, "echo of ", asked.json()["messages"][0]["content"])


def about(words: str, **members: Any) -> dict[str, Any]:
    """A question in these words."""
    return question(messages=[{"role": "user", "content": words}], **members)


async def ask(http: httpx.AsyncClient, words: str, headers: dict[str, str] | None = None, **members: Any) -> str:
    """Ask, and check that the answer is whole and the right one; gives what `X-Cache` says."""
    answer = await answered(http, words, headers, **members)
    return str(answer.headers["x-cache"])


async def answered(
    http: httpx.AsyncClient, words: str, headers: dict[str, str] | None = None, **members: Any
) -> httpx.Response:
    """The same; gives the answer."""
    content = json.dumps(about(words, **members))
    answer = await http.post(CHAT, content=content, headers=credential(ALICE) | (headers or {}))
    assert answer.status_code == 200, answer.text
    assert said(answer) == f"echo of {words}"
    if members.get("stream"):
        assert answer.content.endswith(DONE)
    return answer


async def until_hit(http: httpx.AsyncClient, words: str, headers: dict[str, str] | None = None) -> None:
    """Until it is found: what is written behind a request's back is written some time after it."""
    while await ask(http, words, headers) != "hit":
        await asyncio.sleep(0.01)


async def kept(http: httpx.AsyncClient, words: str) -> None:
    """Ask until it is kept and found."""
    await ask(http, words)
    await until_hit(http, words)


async def until_gone(http: httpx.AsyncClient, words: str) -> None:
    """Until nothing stored answers this; the upstream is not asked."""
    headers = credential(ALICE) | {"cache-control": "only-if-cached"}
    while (await http.post(CHAT, json=about(words), headers=headers)).status_code != GATEWAY_TIMEOUT:
        await asyncio.sleep(0.01)


# --- a crowd


class Crowd:
    """Several callers who ask without a pause: what was asked before, new questions, and streams of both."""

    def __init__(self, clients: Collection[httpx.AsyncClient], topic: str) -> None:
        self.seen: Counter[str] = Counter()
        """Answers by what `X-Cache` said."""
        self._clients = list(clients)
        self._topic = topic
        self._numbers = itertools.count()
        self._served = asyncio.Condition()
        self._over = False

    async def serves(self, count: int) -> Counter[str]:
        """Until so many more are served; gives what `X-Cache` said of them. Fails when a request did."""
        before = self.seen.copy()
        async with self._served:
            await self._served.wait_for(lambda: self.seen.total() >= before.total() + count)
        return self.seen - before

    async def get(self, cache: str) -> None:
        """Until one gets an answer of which `X-Cache` says this."""
        before = self.seen[cache]
        async with self._served:
            await self._served.wait_for(lambda: self.seen[cache] > before)

    def stop(self) -> None:
        """Everybody goes home with the answer they wait for."""
        self._over = True

    async def go_on(self, number: int) -> None:
        """Ask, until it is over."""
        http = self._clients[number % len(self._clients)]
        for turn in itertools.count():
            if self._over:
                return
            new = next(self._numbers)
            # Three of four questions are among the last few, so that there are hits, and callers who join others.
            words = f"{self._topic} {new if turn % 4 == 0 else new // 8 * 8}"
            cache = await ask(http, words, stream=turn % 3 == 0 or None)
            async with self._served:
                self.seen[cache] += 1
                self._served.notify_all()


@asynccontextmanager
async def crowd(*clients: httpx.AsyncClient, callers: int = 8, topic: str = "question") -> AsyncIterator[Crowd]:
    """So many callers, each on connections of their own, spread over these proxies. One bad answer fails the test."""
    asking = Crowd(clients, topic)
    async with asyncio.TaskGroup() as group:
        for number in range(callers):
            group.create_task(asking.go_on(number))
        yield asking
        asking.stop()


# --- what a proxy says of itself


async def readiness(http: httpx.AsyncClient) -> dict[str, Any]:
    """What `/readyz` says, with 200 in any case."""
    answer = await http.get("/readyz")
    assert answer.status_code == 200
    body: dict[str, Any] = answer.json()
    assert (body["status"], body["store"]["status"]) in {("ready", "ok"), ("degraded", "degraded")}
    return body


async def until_degraded(http: httpx.AsyncClient, why: str = "") -> str:
    """Until the store is degraded for this reason (a regular expression); gives what is said."""
    while True:
        detail: str = (await readiness(http))["store"].get("detail", "")
        if detail and re.search(why, detail):
            return detail
        await asyncio.sleep(0.01)


async def until_well(http: httpx.AsyncClient) -> None:
    """Until nothing is degraded, and the breaker says so too."""
    while (await readiness(http))["status"] != "ready":
        await asyncio.sleep(0.01)
    assert await breaker(http) == "closed"


async def samples(http: httpx.AsyncClient, name: str, **labels: str) -> list[Sample]:
    """A metric's samples that carry these labels, of one scrape."""
    text = (await http.get("/metrics")).text
    found = (s for family in text_string_to_metric_families(text) for s in family.samples if s.name == name)
    return [sample for sample in found if labels.items() <= sample.labels.items()]


async def metric(http: httpx.AsyncClient, name: str, **labels: str) -> float:
    """Their sum."""
    return sum(sample.value for sample in await samples(http, name, **labels))


async def errors(http: httpx.AsyncClient, operation: str) -> float:
    """How often this failed in the store."""
    return await metric(http, "askonce_store_errors_total", store="redis", operation=operation)


async def breaker(http: httpx.AsyncClient) -> str:
    """The breaker's state: the one that is marked."""
    found = await samples(http, "askonce_store_breaker", store="redis")
    assert {sample.labels["state"] for sample in found} == {"closed", "open", "half_open"}
    [state] = [sample.labels["state"] for sample in found if sample.value]
    return state


# --- what Redis has


def keys(server: RedisServer, pattern: str = "askonce:1:*") -> list[bytes]:
    """A server's own keys: those of the answers, or others."""
    cursor, found = server.raw("SCAN", 0, "MATCH", pattern, "COUNT", 100_000)
    assert cursor == 0
    return sorted(found)


async def written(answers: int, *servers: RedisServer) -> None:
    """Until so many answers are in Redis: until then a proxy answers from what waits to be written."""
    await until(lambda: sum(len(keys(server)) for server in servers) == answers)


# --- what must not leak


def our_tasks() -> Counter[str]:
    """The tasks of this loop that run the program's code, by name: not those of the tests, nor of what they imitate."""
    coros = [task.get_coro() for task in asyncio.all_tasks()]
    files = {coro: coro.cr_code.co_filename for coro in coros if coro is not None and hasattr(coro, "cr_code")}
    return Counter(coro.__qualname__ for coro, file in files.items() if file.startswith(OUR_CODE))


def descriptors(pid: int) -> int:
    """How many a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def connections(server: RedisServer) -> int:
    """How many clients a Redis has, the one that asks apart."""
    clients: int = server.raw("INFO", "clients")["connected_clients"]
    return clients - 1


async def until(condition: Callable[[], bool]) -> None:
    """Other processes cannot be awaited, only asked."""
    while not condition():
        await asyncio.sleep(0.01)
