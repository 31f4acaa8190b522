"""The shared store on a real Redis: what it leaves there, what it makes of what it finds there, and what goes wrong."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import Callable
from typing import Any

import pytest
import redis as redis_py

from proxy.errors import CacheFailure
from proxy.redis_link.client import Reply
from proxy.stores.redis import LARGE_FRAME, LAYOUT, Figures
from proxy.types import Entry
from tests.path.test_redis_topologies import PASSWORD, RIGHTS, rules
from tests.redis_link import until
from tests.redis_servers import ClusterSet, RedisServer
from tests.slow_wire import SlowWire
from tests.stores import BEGIN, SECRET, Clock, codec, entry, name_of
from tests.stores.replica import StoreReplica

Own = Callable[..., RedisServer]


@pytest.fixture
def raw(redis_url: str) -> Any:
    """Redis as another program sees it."""
    with redis_py.Redis.from_url(redis_url, protocol=2) as client:
        yield client


def made(replica: StoreReplica, number: int = 1, **other: Any) -> Entry:
    """An answer to a question that is asked now."""
    return entry(number, generation=replica.store.generation, **other)


def key_of(replica: StoreReplica, number: int = 1) -> str:
    return f"askonce:{LAYOUT}:{replica.store.generation:x}:{name_of(number).hex()}"


async def kept(replica: StoreReplica, number: int = 1, **other: Any) -> Entry:
    """Put, and there."""
    stored = made(replica, number, **other)
    assert await replica.store.put(stored)
    await replica.written()
    return stored


# --- what it leaves in Redis


async def test_an_entry_is_one_hash_that_ends_with_its_physical_lifetime(redis_url: str, raw: Any) -> None:
    async with StoreReplica(redis_url) as replica:
        replica.clock.now = BEGIN + 200.0
        await kept(replica, kept_s=7200.0)
        assert set(raw.hgetall(key_of(replica))) == {b"frame", b"model"}
        assert 6_900_000 < raw.pttl(key_of(replica)) <= 7_000_000


async def test_notes_are_one_hash_that_never_ends(redis_url: str, raw: Any) -> None:
    async with StoreReplica(redis_url) as replica:
        await replica.store.put_note("epoch:a", b"value")
        await replica.store.put_note("epoch:b", b"value")
        assert set(raw.hgetall("askonce:notes")) == {b"epoch:a", b"epoch:b"}
        assert raw.pttl("askonce:notes") == -1


async def test_what_one_replica_noted_another_reads(redis_url: str) -> None:
    async with StoreReplica(redis_url) as one, StoreReplica(redis_url) as other:
        assert await other.store.note("epoch:a") is None
        await one.store.put_note("epoch:a", b"value")
        assert await other.store.note("epoch:a") == b"value"
        await other.store.purge()
        assert await one.store.note("epoch:a") == b"value"


@pytest.mark.parametrize("forged", [b"", b"value", b"AN\0\1" + bytes(16) + b"value", codec().encode(entry())])
async def test_a_note_that_another_wrote_is_none(redis_url: str, raw: Any, forged: bytes) -> None:
    async with StoreReplica(redis_url) as replica:
        raw.hset("askonce:notes", "epoch:a", forged)
        assert await replica.store.note("epoch:a") is None
        assert sum(replica.store.unreadable.values()) == 1
        await replica.store.put_note("epoch:a", b"value")
        raw.hset("askonce:notes", "epoch:b", raw.hget("askonce:notes", "epoch:a"))
        assert await replica.store.note("epoch:b") is None
        assert await replica.store.note("epoch:a") == b"value"


async def test_where_redis_cannot_say_whether_there_is_a_note_that_is_a_failure(redis_url: str, raw: Any) -> None:
    async with StoreReplica(redis_url) as replica:
        raw.set("askonce:notes", "no hash")
        with pytest.raises(CacheFailure):
            await replica.store.note("epoch:a")
        with pytest.raises(CacheFailure):
            await replica.store.put_note("epoch:a", b"value")
        assert replica.store.errors["note"] == 2


async def test_a_note_waits_for_no_redis_that_is_away(own_redis: Own) -> None:
    server = own_redis()
    async with StoreReplica(server.url) as replica:
        server.kill()
        for _ in range(20):
            with pytest.raises(CacheFailure):
                await replica.store.note("epoch:a")
        assert not replica.link.breaker.closed
        counted = replica.store.errors["note"]
        with pytest.raises(CacheFailure):
            await replica.store.note("epoch:a")
        with pytest.raises(CacheFailure):
            await replica.store.put_note("epoch:a", b"value")
        assert replica.store.errors["note"] == counted + 1


async def test_notes_need_no_rights_beside_those_of_answers(own_redis: Own) -> None:
    server = own_redis(users={"askonce": rules(RIGHTS)})
    async with StoreReplica(server.url_as("askonce", PASSWORD)) as replica:
        await replica.store.put_note("epoch:a", b"value")
        assert await replica.store.note("epoch:a") == b"value"
    assert server.raw("ACL", "LOG") == []


async def test_a_note_that_does_not_fit_into_the_backlog_is_refused(redis_url: str) -> None:
    async with StoreReplica(redis_url, backlog=1000) as replica:
        with pytest.raises(CacheFailure, match="waits to be written"):
            await replica.store.put_note("epoch:a", bytes(1000))
        await replica.store.put_note("epoch:a", bytes(900))
        assert await replica.store.note("epoch:a") == bytes(900)


async def test_a_hit_does_not_make_it_live_longer(redis_url: str, raw: Any) -> None:
    async with StoreReplica(redis_url) as replica:
        await kept(replica)
        raw.pexpire(key_of(replica), 5_000_000)
        assert await replica.store.get(name_of(1)) is not None
        assert raw.pttl(key_of(replica)) <= 5_000_000


async def test_a_put_leaves_nothing_of_what_it_replaces(redis_url: str, raw: Any) -> None:
    async with StoreReplica(redis_url) as replica:
        await kept(replica)
        raw.hset(key_of(replica), "vector", "of the old one")
        await kept(replica, body=b'{"new":1}')
        assert set(raw.hgetall(key_of(replica))) == {b"frame", b"model"}


async def test_an_ended_one_is_refused(redis_url: str, raw: Any) -> None:
    async with StoreReplica(redis_url) as replica:
        late = made(replica, kept_s=10.0)
        replica.clock.now = BEGIN + 10.0
        assert not await replica.store.put(late)
        assert raw.keys(f"askonce:{LAYOUT}:*") == []


async def test_look_ups_of_one_turn_are_one_round_trip(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with StoreReplica(redis_url) as replica:
        stored = [await kept(replica, number) for number in range(20)]
        batches: list[int] = []
        run = replica.link.run

        async def counted(commands: Any, **how: Any) -> list[Reply]:
            batches.append(len(commands))
            return await run(commands, **how)

        monkeypatch.setattr(replica.link, "run", counted)
        asked = [*stored, *stored]
        assert await asyncio.gather(*(replica.store.get(each.name) for each in asked)) == asked
        assert batches == [20]


async def test_large_answers_come_back_whole(redis_url: str) -> None:
    async with StoreReplica(redis_url, max_body=1 << 23) as replica:
        noise = b"".join(name_of(number) for number in range(LARGE_FRAME // 8))
        stored = await kept(replica, body=noise)
        assert await replica.store.get(name_of(1)) == stored


async def test_what_waits_to_be_written_is_served_already(redis_url: str, raw: Any) -> None:
    async with StoreReplica(redis_url) as replica:
        stored = made(replica)
        assert await replica.store.put(stored)
        assert raw.exists(key_of(replica)) == 0
        assert await replica.store.get(name_of(1)) == stored
        await replica.written()
        assert await replica.store.get(name_of(1)) == stored


def large(replica: StoreReplica, number: int = 1, **other: Any) -> Entry:
    """One whose frame is made in a thread."""
    return made(replica, number, body=random.Random(number).randbytes(2 * LARGE_FRAME), **other)


async def test_what_a_thread_still_makes_a_frame_of_is_served_already(redis_url: str) -> None:
    async with StoreReplica(redis_url) as replica:
        stored = large(replica)
        putting = asyncio.create_task(replica.store.put(stored))
        await asyncio.sleep(0)
        assert await replica.store.get(name_of(1)) is stored
        assert await putting
        await replica.written()
        assert await replica.store.get(name_of(1)) == stored


async def test_a_large_answer_that_was_put_first_does_not_overtake_a_small_one(redis_url: str) -> None:
    async with StoreReplica(redis_url) as replica:
        putting = asyncio.create_task(replica.store.put(large(replica)))
        await asyncio.sleep(0)
        later = made(replica)
        assert await replica.store.put(later)
        assert not await putting
        await replica.written()
        assert await replica.store.get(name_of(1)) == later


@pytest.mark.parametrize("how", ["delete", "purge"])
async def test_a_large_answer_does_not_come_back_when_it_is_forgotten_meanwhile(
    redis_url: str, raw: Any, how: str
) -> None:
    async with StoreReplica(redis_url) as replica:
        putting = asyncio.create_task(replica.store.put(large(replica)))
        await asyncio.sleep(0)
        await (replica.store.delete(name_of(1)) if how == "delete" else replica.store.purge())
        assert not await putting
        await replica.written()
        assert await replica.store.get(name_of(1)) is None
        assert raw.keys(f"askonce:{LAYOUT}:*") == []


async def test_large_answers_at_once_are_held_to_the_backlog_too(redis_url: str, raw: Any) -> None:
    async with StoreReplica(redis_url, backlog=5 * LARGE_FRAME) as replica:
        held_up = replica.writes.add(("BLPOP", "list", 0))
        taken = await asyncio.gather(*(replica.store.put(large(replica, number)) for number in range(5)))
        assert sorted(taken) == [False, False, False, True, True]
        assert replica.store.errors["put_refused"] == 3
        raw.rpush("list", "x")
        await held_up
        await replica.written()
        assert [await replica.store.get(name_of(number)) is not None for number in range(5)] == taken


async def test_closing_writes_what_waits(redis_url: str, raw: Any) -> None:
    async with StoreReplica(redis_url) as replica:
        for number in range(300):
            await replica.store.put(made(replica, number))
        assert raw.exists(key_of(replica, 299)) == 0
    assert len(raw.keys(f"askonce:{LAYOUT}:*")) == 300


async def test_over_the_backlog_nothing_more_is_taken(redis_url: str) -> None:
    async with StoreReplica(redis_url, backlog=2000) as replica:
        taken = [await replica.store.put(made(replica, number, body=b"x" * 500)) for number in range(20)]
        assert taken[0]
        assert not all(taken)
        assert replica.store.errors["put_refused"] == taken.count(False)
        await replica.written()
        assert await replica.store.put(made(replica, 50))


# --- what it makes of what it finds there


async def test_a_value_of_another_type_is_a_miss_and_makes_room_for_an_answer(redis_url: str, raw: Any) -> None:
    async with StoreReplica(redis_url) as replica:
        raw.rpush(key_of(replica), "not a hash")
        assert await replica.store.get(name_of(1)) is None
        assert replica.store.unreadable["type"] == 1
        stored = await kept(replica)
        assert await replica.store.get(name_of(1)) == stored


async def test_a_frame_that_was_tampered_with_moved_or_torn_is_a_miss(redis_url: str, raw: Any) -> None:
    async with StoreReplica(redis_url) as replica:
        await kept(replica)
        frame = raw.hget(key_of(replica), "frame")
        raw.hset(key_of(replica, 2), "frame", frame)
        raw.hset(key_of(replica, 3), "frame", frame[:20])
        raw.hset(key_of(replica, 4), "frame", b"AO\x00\x09" + frame[4:])
        raw.hset(key_of(replica), "frame", frame[:-1] + bytes([frame[-1] ^ 1]))
        raw.hset(key_of(replica, 5), "model", "without a frame")
        for number in range(1, 6):
            assert await replica.store.get(name_of(number)) is None
        assert replica.store.unreadable == {"version": 1, "tag": 2, "torn": 1, "type": 0}


async def test_a_frame_of_an_earlier_generation_is_a_miss_wherever_it_lies(redis_url: str, raw: Any) -> None:
    async with StoreReplica(redis_url) as replica:
        await kept(replica)
        before = raw.hget(key_of(replica), "frame")
        await replica.store.purge()
        raw.hset(key_of(replica), "frame", before)
        assert await replica.store.get(name_of(1)) is None


async def test_an_entry_of_another_secret_is_a_miss(redis_url: str) -> None:
    async with StoreReplica(redis_url) as ours, StoreReplica(redis_url) as theirs:
        await kept(ours)
        theirs.codec.rekey(b"another secret")
        assert await theirs.store.get(name_of(1)) is None
        assert theirs.store.unreadable["tag"] == 1


# --- several replicas


async def test_what_one_replica_put_another_finds(redis_url: str) -> None:
    async with StoreReplica(redis_url) as one, StoreReplica(redis_url) as other:
        stored = await kept(one)
        assert await other.store.get(name_of(1)) == stored


async def test_a_deleted_and_a_replaced_one_are_told_to_the_others_and_only_to_them(redis_url: str) -> None:
    async with StoreReplica(redis_url, poll_s=0.01) as one, StoreReplica(redis_url, poll_s=0.01) as other:
        await kept(one, 1)
        await kept(one, 2)
        told = asyncio.create_task(other.hears(lambda beat: name_of(1) in beat.changes))
        assert await one.store.delete(name_of(1))
        await told
        told = asyncio.create_task(other.hears(lambda beat: name_of(2) in beat.changes))
        await kept(one, 2, body=b'{"new":1}')
        await told
        assert [beat for beat in one.beats if beat.changes] == []
        assert all(beat.sure for beat in (*one.beats, *other.beats))


async def test_what_is_not_in_redis_may_be_in_a_memory_and_its_deletion_is_told_too(redis_url: str) -> None:
    async with StoreReplica(redis_url) as one, StoreReplica(redis_url, poll_s=0.01) as other:
        told = asyncio.create_task(other.hears(lambda beat: name_of(1) in beat.changes))
        assert not await one.store.delete(name_of(1))
        await told


async def test_a_purge_is_heard_by_the_others_and_nothing_of_before_is_left(redis_url: str, raw: Any) -> None:
    async with StoreReplica(redis_url) as one, StoreReplica(redis_url, poll_s=0.01) as other:
        for number in range(2500):
            await one.store.put(made(one, number))
        heard = asyncio.create_task(other.hears(lambda beat: beat.generation > one_before))
        one_before = one.store.generation
        one.clock.now = other.clock.now = BEGIN + 1.0
        assert await one.store.purge() == 2500
        await heard
        assert other.store.generation == one.store.generation > one_before
        assert await other.store.get(name_of(1)) is None
        assert raw.keys(f"askonce:{LAYOUT}:*") == []


async def test_what_is_put_while_a_purge_is_under_way_is_of_before_and_refused(redis_url: str, raw: Any) -> None:
    port = int(redis_url.rpartition(":")[2].partition("/")[0])
    async with SlowWire("127.0.0.1", port) as wire, StoreReplica(f"redis://127.0.0.1:{wire.port}/0") as replica:
        early, late = made(replica, 1), made(replica, 2)
        wire.frozen = True
        assert await replica.store.put(early)
        purging = asyncio.create_task(replica.store.purge())
        await asyncio.sleep(0)
        assert not await replica.store.put(late)
        wire.frozen = False
        assert await purging == 1
        assert raw.keys(f"askonce:{LAYOUT}:*") == []


async def test_what_waits_to_be_written_is_not_served_after_a_purge_was_heard(redis_url: str, raw: Any) -> None:
    async with StoreReplica(redis_url) as one, StoreReplica(redis_url) as other:
        held_up = one.writes.add(("BLPOP", "list", 0))
        await asyncio.sleep(0)
        assert await one.store.put(made(one))
        assert await one.store.get(name_of(1)) is not None
        await other.store.purge()
        await one.store.beat()
        assert await one.store.get(name_of(1)) is None
        raw.rpush("list", "x")
        await held_up


async def test_a_purge_leaves_other_layouts_and_other_installations_alone(redis_url: str, raw: Any) -> None:
    foreign = [f"askonce:{LAYOUT + 1}:1:aa", "askonce-two:1:1:aa", "somebody:else"]
    for key in foreign:
        raw.set(key, "theirs")
    async with StoreReplica(redis_url) as replica:
        await kept(replica)
        assert await replica.store.purge() == 1
    assert raw.exists(*foreign) == len(foreign)


async def test_two_installations_on_one_redis_know_nothing_of_each_other(redis_url: str) -> None:
    async with StoreReplica(redis_url) as one, StoreReplica(redis_url, prefix="two") as two:
        await kept(one)
        assert await two.store.get(name_of(1)) is None
        await two.store.purge()
        assert await one.store.get(name_of(1)) is not None


# --- the agreement


async def test_the_first_secret_is_everyones(redis_url: str, raw: Any) -> None:
    async with StoreReplica(redis_url, secret=b"first") as one, StoreReplica(redis_url, secret=b"second") as other:
        assert [beat.secret for beat in (one.beats[0], other.beats[0])] == [b"first"] * 2
    assert raw.hget("{askonce}:control", "secret") == b"first"


async def test_a_configured_secret_never_goes_to_redis(redis_url: str, raw: Any) -> None:
    async with StoreReplica(redis_url, secret=b"") as replica:
        await kept(replica)
        assert replica.beats[0].secret == b""
    assert raw.hexists("{askonce}:control", "secret") is False
    assert all(SECRET not in (raw.dump(key) or b"") for key in raw.keys("*"))


async def test_a_redis_that_is_emptied_learns_again_what_was_agreed_on(redis_url: str, raw: Any) -> None:
    async with StoreReplica(redis_url, poll_s=0.01, secret=b"agreed") as replica:
        await replica.store.delete(name_of(1))
        generation = replica.store.generation
        await replica.hears(lambda beat: True)
        unsure = asyncio.create_task(replica.hears(lambda beat: not beat.sure))
        raw.flushall()
        await unsure
        await until(lambda: raw.hgetall("{askonce}:control") != {})
        assert raw.hget("{askonce}:control", "secret") == b"agreed"
        assert int(raw.hget("{askonce}:control", "generation")) == generation


async def test_a_purge_is_not_undone_when_redis_forgets_it(redis_url: str, raw: Any) -> None:
    async with StoreReplica(redis_url, poll_s=0.01) as replica:
        before = replica.store.generation
        replica.clock.now = BEGIN + 5.0
        await replica.store.purge()
        raw.hset("{askonce}:control", "generation", before)
        await until(lambda: int(raw.hget("{askonce}:control", "generation")) == replica.store.generation)
        assert replica.store.generation > before


async def test_beats_at_once_read_each_change_once(redis_url: str) -> None:
    async with StoreReplica(redis_url) as one, StoreReplica(redis_url) as other:
        await one.store.delete(name_of(1))
        await asyncio.gather(*(other.store.beat() for _ in range(3)))
        assert [name for beat in other.beats for name in beat.changes] == [name_of(1)]
        assert all(beat.sure for beat in other.beats)


async def test_a_purge_while_a_beat_is_on_its_way_is_not_lost(redis_url: str) -> None:
    port = int(redis_url.rpartition(":")[2].partition("/")[0])
    async with SlowWire("127.0.0.1", port) as wire, StoreReplica(f"redis://127.0.0.1:{wire.port}/0") as replica:
        before = replica.store.generation
        replica.clock.now = BEGIN + 5.0
        wire.delay_s = 0.05
        beating = asyncio.create_task(replica.store.beat())
        await asyncio.sleep(0)
        await replica.store.purge()
        await beating
        assert replica.store.generation > before


# --- what goes wrong


def full_of(server: RedisServer) -> None:
    """From now on it takes no more."""
    server.config("maxmemory-policy", "noeviction")
    server.config("maxmemory", "1")


async def test_a_full_redis_is_said_reads_go_on_and_writes_come_back(own_redis: Own) -> None:
    server = own_redis()
    async with StoreReplica(server.url, retry_s=5.0) as replica:
        stored = await kept(replica)
        full_of(server)
        await replica.store.put(made(replica, 2))
        await replica.written()
        assert replica.store.errors["put"] == 1
        assert "allkeys-lfu" in (replica.store.report().degraded or "")
        assert replica.link.breaker.closed
        assert await replica.store.get(name_of(1)) == stored
        assert await replica.store.get(name_of(2)) is None
        assert not await replica.store.put(made(replica, 2))
        server.config("maxmemory", "0")
        replica.steady.now += 6.0
        await kept(replica, 2)
        assert replica.store.report().degraded is None


async def test_a_redis_that_is_not_there_costs_nothing_and_is_heard_when_it_comes(own_redis: Own) -> None:
    server = own_redis()
    server.stop()
    async with StoreReplica(server.url, poll_s=0.01, retry_s=0.01) as replica:
        assert "unreachable" in replica.link.failures
        assert not await replica.store.put(made(replica))
        assert await replica.store.get(name_of(1)) is None
        assert str(server.port) in (replica.store.report().degraded or "")
        assert replica.store.report().breaker in ("open", "half_open")
        server.start()
        await replica.hears(lambda beat: True)
        await until(lambda: replica.store.report().degraded is None)
        stored = await kept(replica)
        assert await replica.store.get(name_of(1)) == stored


async def test_who_hears_nothing_for_too_long_is_told_to_forget_and_again_each_time(own_redis: Own) -> None:
    server = own_redis()
    forgotten: list[float] = []
    async with StoreReplica(server.url, max_silence_s=30.0) as replica:
        replica.store.unheard.append(lambda: forgotten.append(replica.steady.now))
        server.stop()
        for seconds in (29.9, 30.0, 59.9, 60.0):
            replica.steady.now = BEGIN + seconds
            await replica.store.beat()
        assert forgotten == [BEGIN + 30.0, BEGIN + 60.0]


async def test_a_purge_that_cannot_be_told_holds_here_and_is_told_later(own_redis: Own) -> None:
    server = own_redis()
    async with StoreReplica(server.url) as replica, StoreReplica(server.url) as other:
        before = replica.store.generation
        server.pause(600_000)
        replica.clock.now = BEGIN + 5.0
        replica.link._limit_s = 0.05
        with pytest.raises(CacheFailure):
            await replica.store.purge()
        assert replica.store.generation > before
        assert replica.store.errors["purge"] == 1
        server.kill()
        server.start()
        replica.link._limit_s = 60.0
        await replica.store.beat()
        await other.store.beat()
        assert other.store.generation == replica.store.generation


async def test_a_delete_that_cannot_be_promised_is_an_error(own_redis: Own) -> None:
    server = own_redis()
    async with StoreReplica(server.url) as replica:
        server.stop()
        with pytest.raises(CacheFailure):
            await replica.store.delete(name_of(1))
        assert replica.store.errors["delete"] == 1


async def test_the_report_tells_the_servers_own_figures(redis_url: str, raw: Any) -> None:
    raw.mset({"what somebody": "has", "put": "there"})
    async with StoreReplica(redis_url, poll_s=0.01) as replica:
        await until(lambda: replica.store.report().bytes_by_tier["redis"] > 0)
        report = replica.store.report()
        assert report.entries_by_tier["redis"] == raw.dbsize()
        assert report.evictions == {("redis", "size"): 0}
        assert (report.breaker, report.openings) == ("closed", 0)


def test_figures_of_several_servers_are_added_up() -> None:
    one = b"# Memory\r\nused_memory:100\r\nused_memory_human:100B\r\nevicted_keys:2\r\ndb0:keys=3,expires=3\r\n"
    other = b"used_memory:50\r\nevicted_keys:0\r\ndb0:keys=1,expires=0\r\ndb7:keys=4,expires=0\r\n"
    figures = Figures.read(one + b"\n" + other)
    assert (figures.used_bytes, figures.keys, figures.evicted) == (150, 8, 2)
    nothing = Figures.read(b"")
    assert (nothing.used_bytes, nothing.keys, nothing.evicted) == (0, 0, 0)


async def test_in_a_cluster_it_is_as_on_one_server(cluster: ClusterSet) -> None:
    async with StoreReplica(cluster.url) as one, StoreReplica(cluster.url) as other:
        stored = [await kept(one, number) for number in range(30)]
        assert await asyncio.gather(*(other.store.get(each.name) for each in stored)) == stored
        assert all(node.raw("DBSIZE") for node in cluster.nodes)
        await kept(one, 1, body=b'{"new":1}')
        assert await one.store.delete(name_of(2))
        await other.store.beat()
        assert other.beats[-1].changes == (name_of(1), name_of(2))
        assert await one.store.purge(dry_run=True) == 29
        assert await one.store.purge() == 29
        await other.store.beat()
        assert other.store.generation == one.store.generation
        assert await other.store.get(name_of(1)) is None
        assert sum(node.raw("DBSIZE") for node in cluster.nodes) == 2  # what is agreed on, and the log
        assert sum(sum(each.store._errors().values()) for each in (one, other)) == 0


async def test_an_outage_is_said_once_and_its_end_too(own_redis: Own, caplog: pytest.LogCaptureFixture) -> None:
    server = own_redis()
    caplog.set_level("INFO", "askonce.store")
    async with StoreReplica(server.url) as replica:
        server.stop()
        for _ in range(5):
            await replica.store.beat()
        server.start()
        for _ in range(5):
            await replica.store.beat()
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


async def test_text_that_cannot_be_stored_is_refused_as_any_store_does(redis_url: str) -> None:
    async with StoreReplica(redis_url) as replica:
        broken = dataclasses.replace(made(replica), model="\ud800")
        with pytest.raises(CacheFailure):
            await replica.store.put(broken)
        assert await replica.store.get(name_of(1)) is None


def test_the_stored_frame_is_the_codecs(redis_url: str, raw: Any) -> None:
    async def put() -> None:
        async with StoreReplica(redis_url) as replica:
            stored = await kept(replica)
            assert codec().decode(stored.name, raw.hget(key_of(replica), "frame")) == stored

    asyncio.run(put())


def test_a_clock_by_hand_is_what_a_generation_begins_with(redis_url: str) -> None:
    async def begin() -> int:
        async with StoreReplica(redis_url, clock=Clock(BEGIN + 7.0)) as replica:
            return replica.store.generation

    assert asyncio.run(begin()) == int((BEGIN + 7.0) * 1000)


async def test_what_was_deleted_lately_is_deleted_again_when_redis_is_not_as_it_was_left(own_redis: Own) -> None:
    """As after a failover to a replica that had not heard of the deletion."""
    server = own_redis()
    async with StoreReplica(server.url) as replica, StoreReplica(server.url) as other:
        for number in (1, 2):
            await kept(replica, number)
        frame = server.raw("HGET", key_of(replica, 1), "frame")
        assert await replica.store.delete(name_of(1))
        server.kill()
        await replica.store.beat()
        server.start()
        server.raw("HSET", key_of(replica, 1), "frame", frame)
        await replica.store.beat()
        await other.store.beat()
        assert server.raw("EXISTS", key_of(replica, 1)) == 0
        assert name_of(1) in other.beats[-1].changes or not other.beats[-1].sure
