"""What is written behind the request's back: in order, together, within bounds."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from redis.exceptions import OutOfMemoryError, ResponseError

from proxy.errors import CacheFailure
from proxy.redis_link.client import Reply
from proxy.redis_link.link import Link
from proxy.redis_link.script import Command
from proxy.redis_link.writes import MOST_AT_ONCE, MOST_BYTES_AT_ONCE, Writes
from proxy.telemetry.tasks import Tasks
from tests.redis_link import link_to
from tests.slow_wire import SlowWire


class Watched(Link):
    """A link that takes note of the batches that go through it."""

    batches: list[Sequence[Command]]

    async def run(self, commands: Sequence[Command], **other: Any) -> list[Reply]:
        self.batches.append(commands)
        return await super().run(commands, **other)

    @property
    def sizes(self) -> list[int]:
        return [len(batch) for batch in self.batches]


@pytest.fixture
async def wire(redis_url: str) -> AsyncIterator[SlowWire]:
    """The network in front of Redis."""
    port = int(redis_url.rpartition(":")[2].partition("/")[0])
    async with SlowWire("127.0.0.1", port) as wire:
        yield wire


@pytest.fixture
async def link(wire: SlowWire) -> AsyncIterator[Watched]:
    async for link in watched(f"redis://127.0.0.1:{wire.port}/0"):
        yield link


async def watched(url: str) -> AsyncIterator[Watched]:
    """A link that is up."""
    link = link_to(url, breaker_failures=1000)
    link.__class__ = Watched
    assert isinstance(link, Watched)
    link.batches = []
    await link.run([("ECHO", "x")], probe=True)
    link.batches.clear()
    yield link
    await link.close()


@pytest.fixture
def tasks() -> Tasks:
    return Tasks()


@pytest.fixture
def writes(link: Watched, tasks: Tasks) -> Writes:
    return Writes(link, tasks, limit_bytes=1000)


async def broken(wire: SlowWire) -> None:
    """As if Redis were gone."""
    wire.refusing = True
    await wire.cut()


async def test_one_alone_leaves_at_once_and_brings_its_reply(writes, link):
    assert await writes.add(("SET", "key", "value")) == b"OK"
    assert await writes.add(("GET", "key")) == b"value"
    assert link.sizes == [1, 1]


async def test_what_comes_while_a_batch_is_on_its_way_is_the_next_one(writes, link, wire):
    wire.frozen = True
    first = writes.add(("RPUSH", "list", "first"))
    await asyncio.sleep(0)
    assert link.sizes == [1]
    others = [writes.add(("RPUSH", "list", number)) for number in range(50)]
    wire.frozen = False
    assert await asyncio.gather(first, *others) == list(range(1, 52))
    assert link.sizes == [1, 50]


async def test_order_is_kept_within_a_batch_and_from_one_to_the_next(writes, link):
    done = [writes.add(("RPUSH", "list", number)) for number in range(3 * MOST_AT_ONCE + 1)]
    assert await asyncio.gather(*done) == list(range(1, 3 * MOST_AT_ONCE + 2))
    assert link.sizes == [MOST_AT_ONCE] * 3 + [1]
    [kept] = await link.run([("LRANGE", "list", 0, -1)])
    assert kept == [b"%d" % number for number in range(3 * MOST_AT_ONCE + 1)]


async def test_a_batch_holds_so_many_bytes_and_one_that_is_larger_goes_alone(writes, link):
    third = MOST_BYTES_AT_ONCE // 3
    weights = [third, third, third, third, 2 * MOST_BYTES_AT_ONCE, 0, third]
    await asyncio.gather(*(writes.add(("ECHO", "x"), weight) for weight in weights))
    assert link.sizes == [3, 1, 1, 2]


async def test_there_is_room_for_as_much_as_may_wait(writes, wire):
    wire.frozen = True
    first = writes.add(("ECHO", "x"), 600)
    assert writes.has_room_for(400)
    assert not writes.has_room_for(401)
    await asyncio.sleep(0)  # on its way it waits as well
    assert not writes.has_room_for(401)
    second = writes.add(("ECHO", "x"), 400)
    assert not writes.has_room_for(1)
    wire.frozen = False
    await asyncio.gather(first, second)
    assert writes.has_room_for(1000)
    assert not writes.has_room_for(1001)


async def test_what_redis_refuses_fails_alone(own_redis, tasks):
    server = own_redis(search=False, maxmemory=1)
    async for link in watched(server.url):
        writes = Writes(link, tasks, limit_bytes=1000)
        full, wrong, well = (writes.add(command) for command in [("SET", "key", "x"), ("SET", "key"), ("ECHO", "x")])
        with pytest.raises(OutOfMemoryError):
            await full
        with pytest.raises(ResponseError, match="wrong number"):
            await wrong
        assert await well == b"x"
        assert link.sizes == [3]


async def test_when_redis_fails_all_of_a_batch_fail_and_the_next_is_tried(writes, wire):
    await broken(wire)
    ends = await asyncio.gather(*(writes.add(("ECHO", "x"), 100) for _ in range(5)), return_exceptions=True)
    assert [type(end).__mro__[1] for end in ends] == [CacheFailure] * 5
    assert writes.has_room_for(1000)
    wire.refusing = False
    assert await writes.add(("ECHO", "x")) == b"x"


async def test_a_failure_that_nobody_asks_after_is_not_complained_about(writes, wire, tasks, caplog):
    said: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
    await broken(wire)
    writes.add(("ECHO", "x"))
    await tasks.drain(60)
    gc.collect()
    assert said == []
    assert caplog.records == []


async def test_who_stops_waiting_for_a_write_does_not_stop_it(writes, link, wire):
    wire.frozen = True
    first = asyncio.ensure_future(writes.add(("RPUSH", "list", "first")))
    second = asyncio.create_task(asyncio.wait_for(writes.add(("RPUSH", "list", "second")), 0))
    with pytest.raises(TimeoutError):
        await second
    third = writes.add(("RPUSH", "list", "third"))
    wire.frozen = False
    assert (await first, await third) == (1, 3)


async def test_settled_waits_for_what_is_on_its_way_and_for_what_waits(writes, wire):
    await writes.settled()
    wire.frozen = True
    sent = writes.add(("SET", "key"))
    await asyncio.sleep(0)
    waiting = writes.add(("ECHO", "x"))
    settling = asyncio.create_task(writes.settled())
    await asyncio.sleep(0)
    assert not settling.done()
    wire.frozen = False
    await settling
    assert isinstance(sent.exception(), ResponseError)
    assert waiting.result() == b"x"


async def test_when_its_task_is_ended_nobody_waits_for_ever(writes, wire, tasks):
    wire.frozen = True
    done = [writes.add(("ECHO", "x"), 5) for _ in range(MOST_AT_ONCE + 1)]
    await asyncio.sleep(0)
    await tasks.drain(0)
    assert all(each.cancelled() for each in done)
    await writes.settled()
    wire.frozen = False
    assert writes.has_room_for(1000)
    assert await writes.add(("ECHO", "x")) == b"x"
