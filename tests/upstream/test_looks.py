"""Looks: when they are taken, what they are good for, and that nothing ends them."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from proxy.errors import CacheFailure, UpstreamUnreachable
from proxy.types import Call
from proxy.upstream.kinds.base import Condition, Identity
from proxy.upstream.looks import JITTER, TRAFFIC_S
from tests.upstream.fleets import ILL, WELL, InOrder, ScriptedKind, StandInEpochs, scripted, until
from tests.upstream.wire import Wire, never

ASK = Call("POST", "/chat/completions", (), b"{}", repeatable=True)
HERE, THERE = "http://127.0.0.1:9/v1", "http://127.0.0.1:10/v1"
"""Nobody's: the kinds of these tests do not really ask."""


class AlwaysWell(ScriptedKind):
    """Says so at once."""

    async def look(self, wire: Any) -> Condition:
        self.looks[wire.address] += 1
        return WELL


async def test_a_server_that_is_watched_was_looked_at_before_the_first_call() -> None:
    async with scripted(HERE, kind=AlwaysWell(watched=True), called=False) as one:
        assert one.states == ["well"]


async def test_a_watched_server_that_does_not_say_is_waited_for_no_longer_than_a_look() -> None:
    async with scripted(HERE, kind=ScriptedKind(watched=True), limits={"health_timeout_s": 0.02}) as one:
        await until(lambda: one.states == ["failing"])
        assert one.fleet.report().endpoints[0].detail == (
            "it did not say within 0.02 s (upstreams.health_timeout) how it is"
        )


async def test_nor_is_it_waited_for_what_is_behind_it() -> None:
    class Slowly(AlwaysWell):
        async def look(self, wire: Any) -> Condition:
            await asyncio.sleep(0.05)
            return Condition(well=True, identity=Identity())

    class Stuck(StandInEpochs):
        async def saw(self, address: str, identity: Identity) -> None:
            await asyncio.Event().wait()

    limits = {"health_timeout_s": 0.1}
    async with scripted(HERE, kind=Slowly(watched=True), epochs=Stuck(), limits=limits, called=False) as one:
        assert one.states == ["unknown"]


async def test_a_server_that_is_not_watched_is_not_waited_for() -> None:
    async with scripted(HERE, THERE) as two:
        assert two.states == ["unknown", "unknown"]


@pytest.mark.parametrize(
    ("urls", "watched", "fallback", "looks"),
    [
        ((HERE,), False, None, False),
        ((HERE,), True, None, True),
        ((HERE,), False, object(), True),
        ((HERE, THERE), False, None, True),
    ],
    ids=["one", "watched", "fallback", "two"],
)
async def test_looks_are_taken_where_they_are_of_use(
    urls: tuple[str, ...], watched: bool, fallback: Any, looks: bool
) -> None:
    async with scripted(*urls, kind=AlwaysWell(watched=watched), fallback=fallback) as fleet:
        if looks:
            await until(lambda: all(fleet.kind.looks[url] > 1 for url in urls))
        else:
            await asyncio.sleep(0.01)
            assert fleet.kind.looks == {}


async def test_nobody_is_called_for_nothing() -> None:
    async with scripted(HERE, THERE, kind=AlwaysWell(), called=False) as two:
        await asyncio.sleep(0.01)
        assert two.kind.looks == {}


async def test_a_minute_after_the_last_call_looks_rest_until_the_next() -> None:
    async with Wire() as wire, scripted(wire.url, THERE, kind=AlwaysWell(), called=False) as two:
        reply = await two.fleet.send(ASK)
        await reply.aclose()
        await until(lambda: two.kind.looks[THERE] > 1)
        two.time.now += TRAFFIC_S + 1
        await asyncio.sleep(0.01)
        rested = two.kind.looks.copy()
        await asyncio.sleep(0.01)
        assert two.kind.looks == rested
        await (await two.fleet.send(ASK)).aclose()
        await until(lambda: two.kind.looks[THERE] > rested[THERE])


async def test_looks_go_on_while_a_call_is_under_way_however_long() -> None:
    async with Wire() as wire, scripted(wire.url, THERE, called=False) as two:
        wire.then(never)
        task = asyncio.create_task(two.fleet.send(ASK))
        await until(lambda: bool(wire.asked))
        two.time.now += 10 * TRAFFIC_S
        await two.kind.tells(wire.url, ILL, WELL)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_one_that_fails_is_looked_at_although_nobody_calls() -> None:
    async with scripted(HERE, THERE) as two:
        await two.kind.tells(HERE, ILL, ILL, ILL)
        two.time.now += 10 * TRAFFIC_S
        await two.kind.tells(HERE, ILL, ILL)
        assert two.states[0] == "failing"


async def test_what_is_behind_it_is_noted_before_it_is_called_well() -> None:
    class Slow(StandInEpochs):
        async def saw(self, address: str, identity: Identity) -> None:
            saving.set()
            await saved.wait()
            await super().saw(address, identity)

    saving, saved = asyncio.Event(), asyncio.Event()
    identity = Identity("0.33.0", {"m": "root"})
    async with scripted(HERE, THERE, epochs=Slow()) as two:
        await two.kind.tells(HERE, ILL, ILL, ILL)
        telling = asyncio.create_task(two.kind.tells(HERE, Condition(well=True, identity=identity)))
        await saving.wait()
        assert two.states[0] == "failing"
        saved.set()
        await telling
        assert (two.states[0], two.epochs.seen) == ("well", [(HERE, identity)])


async def test_that_it_cannot_be_noted_is_no_fault_of_the_endpoints(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(StandInEpochs):
        async def saw(self, address: str, identity: Identity) -> None:
            raise CacheFailure("no store")

    async with scripted(HERE, THERE, epochs=Broken()) as two:
        with caplog.at_level(logging.ERROR, logger="askonce.upstream"):
            await two.kind.tells(HERE, *[Condition(well=True, identity=Identity())] * 4)
        assert two.states[0] == "well"
    assert "could not be noted" in caplog.text


@pytest.mark.parametrize(
    ("raised", "why"),
    [
        (UpstreamUnreachable("upstream local: the connection was refused"), "the connection was refused"),
        (KeyError("data"), "what it says of itself could not be understood (KeyError)"),
        (ILL, ILL.why),
    ],
    ids=["unreachable", "bug", "ill"],
)
async def test_whatever_a_look_finds_looking_goes_on(raised: Any, why: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="askonce.upstream")
    async with scripted(HERE, THERE) as two:
        await two.kind.tells(HERE, raised, raised, raised)
        assert (two.states[0], two.fleet.report().endpoints[0].detail) == ("failing", why)
        await two.kind.tells(HERE, WELL)
        assert two.states[0] == "well"


async def test_its_load_is_what_the_last_look_found() -> None:
    balancer = InOrder()
    async with Wire() as wire, scripted(wire.url, THERE, balancer=balancer) as two:
        await two.kind.tells(wire.url, Condition(well=True, running=5, waiting=2, kv_usage=0.99))
        await (await two.fleet.send(ASK)).aclose()
        load = balancer.shown[0][0]
        assert (load.elsewhere, load.full) == (7, True)
        endpoint = two.fleet.report().endpoints[0]
        assert (endpoint.waiting, endpoint.kv_usage) == (2, 0.99)


async def test_looks_come_a_little_earlier_or_later_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    rests, numbers = [], iter([0.0, 0.5, 1.0])
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        rests.append(seconds)
        await sleep(0 if len(rests) < 3 else 60)

    async with scripted(HERE, kind=AlwaysWell(watched=True), called=False) as one:
        one.fleet._looks._random = lambda: next(numbers)
        one.fleet._looks._interval_s = 10
        monkeypatch.setattr("proxy.upstream.looks.asyncio.sleep", noted)
        while len(rests) < 3:
            await sleep(0.001)
        monkeypatch.undo()
    assert rests == pytest.approx([10 * (1 - JITTER), 10, 10 * (1 + JITTER)])


async def test_closing_ends_a_look_that_is_under_way() -> None:
    async with scripted(HERE, THERE) as two:
        await until(lambda: two.kind.looks[HERE] == 1)
        await two.fleet.close()
        # `scripted` sees to it that no task is left.
