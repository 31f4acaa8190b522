"""A little of everything that a proxy can meet, so that each of its metrics moves: two replicas on one Redis, three
upstreams of which one is a vLLM, one has a dead endpoint and one is dead altogether."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.conftest import Process, alive, launch
from tests.embedding_model import lend
from tests.path.test_vllm import Vllm
from tests.provider import Asked, Ending, Provider, Script, completion, event, failure, plain, stream, words
from tests.redis_servers import RedisServer, free_port
from tests.running import ALICE, client

HOSTED, LOCAL, LOST = "gpt-4o-mini", "llama-3", "lost-model"

SECRETS = {"ASKONCE_UPSTREAMS__0__API_KEY": "sk-hosted", "ASKONCE_UPSTREAMS__2__API_KEY": "sk-lost"}

PATIENCE = 50
"""Looks for what becomes a candidate in the background. Those that have not after a second are not needed: there are
more."""

LOAD_S = 200
"""All of it takes a tenth of that. Only something broken takes so long."""

SLOW_S = 0.3
"""How long a slow answer takes: long enough for others to ask the same meanwhile."""


def answer(asked: Asked) -> Script:
    """A hosted API. Two ways to ask one thing get one answer, but what something costs is another each time."""
    if asked.path.endswith("/models"):
        return plain({"object": "list", "data": [{"id": HOSTED, "object": "model", "created": 1, "owned_by": "us"}]})
    said = asked.json()["messages"][-1]["content"]
    if "broken" in said:
        return failure(500)
    if "torn" in said:
        return [Ending.RESET]
    words_said = (
        f"It costs {sum(said.encode())} dollars." if "cost" in said else "Open the settings, press Reset. " * 20
    )
    if "slow" not in said:
        return _spoken(asked, words_said)
    return [_rest, *_spoken(asked, words_said)]


async def _rest(_asked: Asked) -> None:
    await asyncio.sleep(SLOW_S)


def _spoken(asked: Asked, said: str) -> Script:
    """Plainly or as a stream, with usage that says that half of the prompt was cached."""
    usage = {
        "prompt_tokens": 2000,
        "completion_tokens": 50,
        "total_tokens": 2050,
        "prompt_tokens_details": {"cached_tokens": 1024},
    }
    model = asked.model or HOSTED
    if not asked.streams:
        return plain(completion(said, model=model, usage=usage))
    frames = words(said, usage=asked.wants_usage, model=model)
    if asked.wants_usage:
        last = json.loads(frames[-2].removeprefix(b"data: "))
        frames[-2] = event(last | {"usage": usage})
    return stream(frames)


class CachingVllm(Vllm):
    """One that had half of each prompt in its prefix cache."""

    def __init__(self) -> None:
        super().__init__(roots={LOCAL: "org/weights"})

    def answer(self, asked: Asked) -> Script:
        return _spoken(asked, "from the local model") if asked.method == "POST" else super().answer(asked)


@dataclass
class Loaded:
    """The two replicas, and what they stand on."""

    replicas: list[Process]
    redis: RedisServer

    async def ask(self, content: str, *, at: int = 0, model: str = HOSTED, **headers: str) -> httpx.Response:
        """A question to one of the replicas, plainly."""
        return await self.post({"model": model, "messages": [{"role": "user", "content": content}]}, at=at, **headers)

    async def post(self, body: dict[str, Any], *, at: int = 0, **headers: str) -> httpx.Response:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.replicas[at].http.post(
            "/v1/chat/completions",
            content=json.dumps(body),
            headers={"authorization": f"Bearer {ALICE}", "content-type": "application/json"} | given,
        )

    async def learned(self, content: str) -> None:
        """Ask it, and wait until it is a candidate for others. It may never be, where another has its place."""
        points = await self._points()
        await self.ask(content)
        for _ in range(PATIENCE):
            if await self._points() > points:
                return
            await asyncio.sleep(0.02)

    async def _points(self) -> int:
        figures = (await self.replicas[0].http.get("/admin/semantic")).json()
        points: int = figures["index"]["points"]
        return points

    async def until(self, happened: Callable[[], Awaitable[bool]]) -> None:
        while not await happened():
            await asyncio.sleep(0.02)

    async def metric(self, begins: str, *, at: int = 0) -> float:
        """What a replica's samples that begin so add up to."""
        lines = (await self.replicas[at].http.get("/metrics")).text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(begins))

    async def seen(self, begins: str, least: float = 1, *, at: int = 0) -> None:
        """Until they add up to that."""

        async def enough() -> bool:
            return await self.metric(begins, at=at) >= least

        await self.until(enough)


@asynccontextmanager
async def loaded(redis: RedisServer, folder: Path, ports: list[int]) -> AsyncIterator[Loaded]:
    """The replicas, answering."""
    async with AsyncExitStack() as stack:
        hosted, local = [await stack.enter_async_context(Provider()) for _ in range(2)]
        hosted.always(answer)
        local.always(CachingVllm().answer)
        settings = folder / "askonce.yaml"
        settings.write_text(yaml.safe_dump(_settings(redis, hosted, local)), encoding="utf-8")
        replicas = []
        for number, port in enumerate(ports):
            own = folder / f"replica-{number}"
            lend(own / "data")
            environ = SECRETS | {"ASKONCE_SEMANTIC__MODE": "on", "ASKONCE_DATA_DIR": str(own / "data")}
            popen = stack.enter_context(launch(own, port, "--config", str(settings), environ=environ))
            stack.callback(popen.kill)
            http = await stack.enter_async_context(client(f"http://127.0.0.1:{port}"))
            replicas.append(Process(popen, f"http://127.0.0.1:{port}", own, http))
        await asyncio.gather(*(alive(replica) for replica in replicas))
        proxies = Loaded(replicas, redis)

        async def has_a_model() -> bool:
            answers = [(await each.http.get("/admin/semantic")).json() for each in replicas]
            return all(each["embedder"]["degraded"] is None for each in answers)

        await proxies.until(has_a_model)
        yield proxies


def _settings(redis: RedisServer, hosted: Provider, local: Provider) -> dict[str, Any]:
    quick = {"health_interval": "200ms", "breaker_failures": 3}
    dead = f"http://127.0.0.1:{free_port()}/v1"
    return {
        "upstreams": [
            {
                "name": "hosted",
                # Each is asked in turn: until its breaker opens calls go on from the dead one.
                "base_url": [dead, hosted.url],
                "models": [f"{HOSTED}*"],
                **quick,
            },
            {"name": "local", "kind": "vllm", "base_url": local.url, "models": ["llama-*"], **quick},
            {
                "name": "lost",
                "base_url": f"http://127.0.0.1:{free_port()}/v1",
                "models": ["lost-*"],
                "fallback": "hosted",
                **quick,
            },
        ],
        # Memory for some dozen answers, so that some are evicted.
        "store": {"url": redis.url, "memory": "48KiB", "redis": {"command_timeout": "500ms", "retry": "100ms"}},
        "semantic": {
            "policy": "faq",
            "deadline": "30s",
            "audit_rate": 0.5,
            # More than two at a time are given up: one of the ways in which there is no time for it.
            "embedder": {"queue": 2, "batch": 1},
        },
        "rules": [{"match": {"path": "/v1/chat/completions"}, "stale_while_revalidate": "1h", "ttl_jitter": 0}],
    }


async def everything(proxies: Loaded, turn: str) -> None:
    """All of it once, with questions of its own. Each step waits for what it brings about, and none for a time."""
    async with asyncio.timeout(LOAD_S):
        for step in (misses_and_hits, together, by_meaning, not_cached, failing, aged):
            await step(proxies, turn)


TOWNS = ("Oslo", "Bergen", "Madrid", "Lisbon", "Vienna", "Prague", "Warsaw", "Athens", "Dublin", "Helsinki")


async def misses_and_hits(proxies: Loaded, turn: str) -> None:
    """From memory, from Redis by way of the other replica, as a stream, and more than memory holds."""
    for town in TOWNS * 2:
        for model in (HOSTED, LOCAL):
            await proxies.ask(f"What is {town} known for in {turn}?", model=model)
    for town in TOWNS:
        await proxies.ask(f"What is {town} known for in {turn}?", at=1)
        said = f"Tell me of {town} in {turn}"
        streamed = {"model": HOSTED, "stream": True, "messages": [{"role": "user", "content": said}]}
        await proxies.post(streamed)
        await proxies.post(streamed)
    for number in range(40):
        await proxies.ask(f"Long story {number} of {turn}", model=LOCAL)


async def together(proxies: Loaded, turn: str) -> None:
    """Equal questions at once, on one replica and on both."""
    for number in range(3):
        await asyncio.gather(*(proxies.ask(f"A slow question {number} of {turn}", at=at) for at in (0, 0, 0, 1, 1)))


async def by_meaning(proxies: Loaded, turn: str) -> None:
    """In other words: served and audited, then wrong, then too many at once."""
    audited, wrong = "askonce_audited_hits_total", "askonce_false_hits_total"
    hits = 'askonce_similarity_count{outcome="hit"'
    audits_before, wrong_before, hits_before = [await proxies.metric(name) for name in (audited, wrong, hits)]
    for place in _places(turn):
        await proxies.learned(f"How do I reset my password in {place}?")
        await proxies.ask(f"How can I reset my password in {place}?")
        await proxies.ask(f"  how do i reset my PASSWORD in {place}??")
        # Which of them are audits is left to chance.
        if await proxies.metric(hits) > hits_before and await proxies.metric(audited) > audits_before:
            break
    for place in _places(turn):
        await proxies.learned(f"What does a ticket to {place} cost by train?")
        await proxies.ask(f"What would a ticket to {place} cost by train?")
        if await proxies.metric(wrong) > wrong_before:
            break
    await asyncio.gather(*(proxies.ask(f"Which of the many things is number {number} {turn}?") for number in range(40)))
    await proxies.seen("askonce_false_hit_ratio_upper", 0.001)


def _places(turn: str) -> Iterator[str]:
    """Questions about two of them are two questions: a guard sees to that."""
    return (f"{town} {number} {turn}" for number in itertools.count() for town in TOWNS)


async def not_cached(proxies: Loaded, turn: str) -> None:
    """Bypassed, not kept, not matched."""
    for number in range(3):
        await proxies.ask(f"Private {number} {turn}", x_cache_bypass="true")
        await proxies.ask(f"Fleeting {number} {turn}", cache_control="no-store")
        await proxies.ask(f"What is the latest news of {number} {turn}?")


async def failing(proxies: Loaded, turn: str) -> None:
    """An upstream's errors, a fallback's answers, errors of our own, and a Redis that hangs for a moment."""
    for number in range(3):
        await proxies.ask(f"A broken question {number} {turn}")
        await proxies.ask(f"A torn question {number} {turn}")
        await proxies.ask(f"Is anybody there {number} {turn}?", model=LOST)
        await proxies.ask(f"Only if you have it {number} {turn}", cache_control="only-if-cached")
    await asyncio.to_thread(proxies.redis.pause, 1500)
    for number in range(8):
        await proxies.ask(f"While Redis hangs {number} {turn}")
    for at in range(len(proxies.replicas)):
        await proxies.seen("askonce_store_breaker_openings_total", at=at)
        await proxies.seen('askonce_store_breaker{state="closed"', at=at)


async def aged(proxies: Loaded, turn: str) -> None:
    """Answers past their lifetime, served while new ones are fetched."""
    for number in range(3):
        await proxies.ask(f"Soon old {number} {turn}", x_cache_ttl="1")
    for number in range(3):

        async def is_stale(number: int = number) -> bool:
            said = await proxies.ask(f"Soon old {number} {turn}", x_cache_ttl="1")
            return said.headers["x-cache"] == "stale"

        await proxies.until(is_stale)


@contextmanager
def redis_for(stack: Path, folder: Path) -> Iterator[RedisServer]:
    """A Redis of its own, which evicts what is too much."""
    with RedisServer(stack, folder, maxmemory="64mb", policy="allkeys-lfu") as server:
        yield server
