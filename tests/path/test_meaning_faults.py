"""What matching by meaning stands on breaks while it runs: every question is still answered, a promise that cannot be
kept is not made, and nothing refused comes back.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.embedding_model import lend
from tests.path.by_meaning import (
    ASKED,
    ON,
    OTHERWISE,
    TYPED,
    Begin,
    echo,
    feedback,
    figures,
    first,
    ready,
    remembered,
    until_hit,
    user,
    x,
)
from tests.path.test_meaning_races import Embeddings, begin_gated, embeddings
from tests.provider import Provider
from tests.redis_servers import RedisServer
from tests.running import Running, Start, error, said

__all__ = ["begin_gated", "embeddings"]

OWN = f"You asked: {OTHERWISE}"
MATCHED = f"You asked: {ASKED}"
FILES = ("vectors", "labels")
OwnRedis = Callable[..., RedisServer]


def file_of(tmp_path: Path, what: str) -> Path:
    return tmp_path / "data" / f"cache.{what}.db"


async def semantic_status(proxy: Running) -> dict[str, Any]:
    answer = await proxy.http.get("/readyz")
    assert answer.status_code == 200
    status: dict[str, Any] = answer.json()["semantic"]
    return status


async def answers_all(proxy: Running) -> None:
    """Each way of asking gets an answer that is right, and what is asked again is an exact hit."""
    for words in ("Where is the moon?", "where is the MOON", "Where does the moon live?"):
        answer = await proxy.chat(**user(words))
        assert answer.status_code == 200
        assert said(answer).lower().startswith("you asked: where")
    assert x(await proxy.chat(**user("Where is the moon?")), "cache") == "hit"


# --- the embedder


async def test_an_embedder_that_hangs_keeps_nobody_waiting(begin_gated: Begin, embeddings: Embeddings):
    async with begin_gated({"semantic.deadline": 0.02}) as proxy:
        await first(proxy)
        embeddings.gate.clear()
        crowd = await asyncio.gather(*(proxy.chat(seed=seed, **user(OTHERWISE)) for seed in range(12)))
        assert {said(answer) for answer in crowd} == {OWN}
        assert await proxy.metric("askonce_semantic_skipped_total", reason="deadline") >= 12
        # Neither what memory has nor what differs in typing needs it.
        assert x(await proxy.chat(**user(ASKED)), "cache") == "hit"
        assert said(await proxy.chat(**user(TYPED))) == MATCHED


async def test_a_crowd_that_the_embedders_queue_does_not_hold_goes_upstream_and_is_counted(
    begin_gated: Begin, embeddings: Embeddings, provider: Provider
):
    async with begin_gated({"semantic.embedder.queue": 1, "semantic.embedder.batch": 1}) as proxy:
        await first(proxy)
        embeddings.gate.clear()
        crowd = [asyncio.create_task(proxy.chat(seed=seed, **user(OTHERWISE))) for seed in range(20)]
        # Four are under way, one waits; all others are served before any of those is embedded.
        done, waiting = set(), set(crowd)
        while len(waiting) > 5:
            some, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            done |= some
        assert {said(task.result()) for task in done} == {OWN}
        assert await proxy.metric("askonce_semantic_skipped_total", reason="busy") >= 15
        embeddings.gate.set()
        assert {said(answer) for answer in await asyncio.gather(*waiting)} == {OWN}


async def test_an_endpoint_that_goes_away_while_it_runs_costs_no_answer(
    begin_gated: Begin, embeddings: Embeddings, provider: Provider
):
    async with begin_gated() as proxy:
        await first(proxy)
        await embeddings.server.stop()
        for seed in range(5):
            assert said(await proxy.chat(seed=seed, **user(OTHERWISE))) == OWN
        assert (await semantic_status(proxy))["status"] == "degraded"


# --- the files beside the store


@pytest.mark.parametrize("what", FILES)
async def test_a_directory_in_a_files_place_is_lived_without(
    askonce: Start, provider: Provider, tmp_path: Path, what: str
):
    lend(tmp_path / "data")
    provider.answer = echo
    file_of(tmp_path, what).mkdir()
    async with askonce(ON) as proxy:
        await ready(proxy)
        await answers_all(proxy)
        assert f"cache.{what}.db" in (await semantic_status(proxy))["detail"]


@pytest.mark.parametrize("what", FILES)
async def test_a_file_of_another_programs_is_left_alone(askonce: Start, provider: Provider, tmp_path: Path, what: str):
    lend(tmp_path / "data")
    provider.answer = echo
    file_of(tmp_path, what).write_text("my diary " * 1000)
    async with askonce(ON) as proxy:
        await ready(proxy)
        await answers_all(proxy)
        assert (await semantic_status(proxy))["status"] == "degraded"
    assert file_of(tmp_path, what).read_text() == "my diary " * 1000


def scribble(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(100)
        file.write(os.urandom(max(path.stat().st_size - 100, 4096)))


def remove(path: Path) -> None:
    for each in path.parent.glob(f"{path.name}*"):
        each.unlink()


def empty(path: Path) -> None:
    os.truncate(path, 0)


@pytest.mark.parametrize("harm", [scribble, remove, empty])
@pytest.mark.parametrize("what", FILES)
async def test_a_file_that_is_harmed_while_it_runs_harms_no_answer(
    begin: Begin, provider: Provider, tmp_path: Path, what: str, harm: Callable[[Path], None]
):
    async with begin() as proxy:
        await first(proxy)
        answer = await proxy.chat(**user(OTHERWISE))
        assert said(answer) == MATCHED
        harm(file_of(tmp_path, what))
        await answers_all(proxy)
        given = await feedback(proxy, key=x(answer, "cache-key"), verdict="bad")
        assert given.status_code in (200, 503)
        assert said(await proxy.chat(**user(OTHERWISE))) == OWN
        await answers_all(proxy)
    # Whatever is left of the files.
    async with begin() as proxy:
        assert (await proxy.chat(**user(OTHERWISE))).status_code == 200
        await answers_all(proxy)


async def test_feedback_that_cannot_be_written_down_is_not_said_to_be_done(
    begin: Begin, provider: Provider, askonce: Start, tmp_path: Path
):
    async with begin() as proxy:
        await first(proxy)
        await proxy.chat(**user(OTHERWISE))
        key = x(await until_hit(proxy, **user(OTHERWISE)), "cache-key")
    labels = file_of(tmp_path, "labels")
    remove(labels)
    labels.mkdir()
    async with askonce(ON) as proxy:
        given = await feedback(proxy, key=key, verdict="bad")
        assert given.status_code == 503
        assert "try again" in error(given)["message"]
        # It holds all the same: here, and for what was stored of the match.
        assert said(await proxy.chat(**user(OTHERWISE))) == OWN


async def test_a_store_that_cannot_be_opened_costs_no_candidate(begin: Begin, provider: Provider, tmp_path: Path):
    """The answer is not found, which does not say that it is gone."""
    database, aside = tmp_path / "data" / "cache.db", tmp_path / "aside.db"
    async with begin() as proxy:
        await first(proxy)
    database.rename(aside)
    database.mkdir()
    async with begin() as proxy:
        await remembered(proxy)
        assert said(await proxy.chat(**user(OTHERWISE))) == OWN
        assert (await figures(proxy))["index"]["points"] == 1
    database.rmdir()
    aside.rename(database)
    async with begin() as proxy:
        await remembered(proxy)
        assert said(await proxy.chat(**user(OTHERWISE))) == MATCHED


# --- Redis

PATIENT: dict[str, Any] = {"store.redis.connect_timeout": 60, "store.redis.command_timeout": 60}
IMPATIENT: dict[str, Any] = {"store.redis.connect_timeout": 0.3, "store.redis.command_timeout": 0.3}


async def matching_on(proxy: Running) -> str:
    """Until a first question is matched; gives the key of the match."""
    await ready(proxy)
    while (await figures(proxy))["index"]["degraded"] is not None:
        await asyncio.sleep(0.02)
    await proxy.chat(**user(ASKED))
    await remembered(proxy)
    while x(answer := await proxy.chat(**user(OTHERWISE)), "cache") == "miss":
        await proxy.http.delete(f"/admin/entries/{x(answer, 'cache-key')}")
        await asyncio.sleep(0.01)
    await until_hit(proxy, **user(OTHERWISE))
    return x(answer, "cache-key") or ""


def gone(server: RedisServer) -> None:
    server.kill()


def paused(server: RedisServer) -> None:
    server.pause(60_000)


@pytest.mark.parametrize("harm", [gone, paused])
async def test_a_redis_in_trouble_costs_no_answer_and_makes_no_promise(
    askonce: Start, provider: Provider, own_redis: OwnRedis, tmp_path: Path, harm: Callable[[RedisServer], None]
):
    lend(tmp_path / "data")
    provider.answer = echo
    server = own_redis()
    async with askonce(ON | IMPATIENT, {"ASKONCE_STORE": server.url}) as proxy:
        key = await matching_on(proxy)
        harm(server)
        await asyncio.gather(*(proxy.chat(**user(f"Which city is number {number}?")) for number in range(8)))
        assert said(await proxy.chat(**user(OTHERWISE.upper()))) == f"You asked: {OTHERWISE.upper()}"
        for verdict in ("bad", "good"):
            given = await feedback(proxy, key=key, verdict=verdict)
            assert given.status_code == 503
        # Nobody can tell whether there is such an answer.
        assert (await feedback(proxy, key="00" * 16, verdict="bad")).status_code == 503
        assert said(await proxy.chat(**user(OTHERWISE))) == OWN
