"""The ledger on a real Redis: what it leaves there, what it believes, what is lost and what is not."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import redis as redis_py

from proxy.errors import CacheFailure
from tests.ledgers import OTHER_PARTITION, PARTITION, label, pair_of
from tests.ledgers.redis_ledger import CONNECT_S, OwnLedger
from tests.redis_link import PATIENT_S, SHORT_S
from tests.redis_servers import RedisServer

Own = Callable[..., RedisServer]

LABELS = "{askonce}:ledger:1:labels:" + PARTITION.hex()
PARTITIONS = "{askonce}:ledger:1:partitions"
REFUSED = "{askonce}:ledger:1:refused"


@pytest.fixture
def raw(redis_url: str) -> Any:
    """Redis as another program sees it."""
    with redis_py.Redis.from_url(redis_url, protocol=2) as client:
        yield client


@pytest.fixture
async def ledger(redis_url: str) -> AsyncIterator[OwnLedger]:
    made = OwnLedger(redis_url)
    await made.open()
    yield made
    await made.close()


@pytest.fixture
async def other(redis_url: str) -> AsyncIterator[OwnLedger]:
    """Another replica's."""
    made = OwnLedger(redis_url)
    await made.open()
    yield made
    await made.close()


def round_trips(ledger: OwnLedger, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many commands each has, from now on."""
    seen: list[int] = []
    run = ledger.link.run

    async def counted(commands: Any, **how: Any) -> Any:
        seen.append(len(commands))
        return await run(commands, **how)

    monkeypatch.setattr(ledger.link, "run", counted)
    return seen


# --- what it costs and leaves


async def test_hearing_nothing_new_and_asking_for_refused_ones_are_one_round_trip_each(
    ledger: OwnLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ledger.note(PARTITION, [label(1)])
    await ledger.refuse(pair_of(1))
    await ledger.hear()
    seen = round_trips(ledger, monkeypatch)
    await ledger.hear()
    assert len(seen) == 1
    await ledger.refused([pair_of(number) for number in range(3)])
    assert seen[1:] == [1]


async def test_what_is_kept_is_bounded_and_ends_by_itself(redis_url: str, raw: Any) -> None:
    ledger = OwnLedger(redis_url, most=10, most_refused=5)
    await ledger.open()
    await ledger.note(PARTITION, [label(number) for number in range(8)])
    await ledger.note(PARTITION, [label(number) for number in range(8)])
    for number in range(12):
        await ledger.refuse(pair_of(number))
    assert raw.xlen(LABELS) == 10
    assert raw.pttl(LABELS) > 0
    assert raw.zcard(REFUSED) == 5
    asked = [pair_of(number) for number in range(12)]
    assert await ledger.refused(asked) == set(asked[7:])
    await ledger.close()


async def test_many_partitions_and_many_refused_are_all_heard(ledger: OwnLedger, other: OwnLedger) -> None:
    partitions = [pair_of(number) for number in range(30)]
    for number, partition in enumerate(partitions):
        await ledger.note(partition, [label(number)])
    for number in range(1500):
        await ledger.refuse(pair_of(number))
    assert (await other.hear()).labels == {partition: [label(at)] for at, partition in enumerate(partitions)}
    assert other.report().refused == 1500
    assert other.report().labels == 30


# --- what it believes


async def test_labels_that_were_made_up_or_moved_are_left_out(ledger: OwnLedger, raw: Any) -> None:
    await ledger.note(PARTITION, [label(1)])
    [(_, kept)] = raw.xrange(LABELS)
    sealed = kept[b"label"]
    flipped = sealed[:-1] + bytes([sealed[-1] ^ 1])
    for bad in (flipped, sealed[:20], b"", sealed[1:]):
        raw.xadd(LABELS, {"label": bad})
    raw.xadd(LABELS, {"else": "x"})
    raw.xadd(LABELS.replace(PARTITION.hex(), OTHER_PARTITION.hex()), {"label": sealed})
    raw.zadd(PARTITIONS, {OTHER_PARTITION: 2e15})
    assert (await ledger.hear()).labels == {PARTITION: [label(1)]}
    assert ledger.errors["seal"] == 6
    await ledger.note(PARTITION, [label(2)])
    assert (await ledger.hear()).labels == {PARTITION: [label(2)]}


async def test_another_secret_believes_nothing_until_it_is_agreed_on(redis_url: str, ledger: OwnLedger) -> None:
    await ledger.note(PARTITION, [label(1)])
    stranger = OwnLedger(redis_url, secret=b"another")
    await stranger.open()
    assert (await stranger.hear()).labels == {}
    stranger.rekey(bytes(range(32)))
    await ledger.note(PARTITION, [label(2)])
    assert (await stranger.hear()).labels == {PARTITION: [label(2)]}
    await stranger.close()


async def test_a_refused_pair_that_was_taken_away_comes_back(ledger: OwnLedger, other: OwnLedger, raw: Any) -> None:
    await ledger.refuse(pair_of(1))
    await ledger.refuse(pair_of(2))
    await other.hear()
    await ledger.close()
    raw.zrem(REFUSED, pair_of(1))
    assert await other.refused([pair_of(1)]) == {pair_of(1)}
    await other.hear()
    assert raw.zscore(REFUSED, pair_of(1)) is not None
    assert raw.zcard(REFUSED) == 2


# --- what goes wrong


async def test_an_emptied_redis_begins_to_learn_anew_and_gets_the_refused_ones_back(
    ledger: OwnLedger, other: OwnLedger, raw: Any
) -> None:
    await ledger.note(PARTITION, [label(1)])
    await ledger.refuse(pair_of(1))
    assert (await other.hear()).labels == {PARTITION: [label(1)]}
    await ledger.hear()
    raw.flushall()
    await ledger.note(PARTITION, [label(2)])
    await other.refuse(pair_of(2))
    assert (await other.hear()).labels == (await ledger.hear()).labels == {PARTITION: [label(2)]}
    assert set(raw.zrange(REFUSED, 0, -1)) == {pair_of(1), pair_of(2)}
    assert await ledger.refused([pair_of(1), pair_of(2), pair_of(3)]) == {pair_of(1), pair_of(2)}


async def test_a_new_one_knows_what_old_ones_wrote_back(
    redis_url: str, ledger: OwnLedger, other: OwnLedger, raw: Any
) -> None:
    await ledger.refuse(pair_of(1))
    await other.hear()
    await ledger.close()
    raw.flushall()
    await other.hear()
    new = OwnLedger(redis_url)
    await new.open()
    assert await new.refused([pair_of(1)]) == {pair_of(1)}
    await new.close()


async def test_a_stalled_redis_costs_one_deadline_and_nothing_that_was_noted_is_told_twice(own_redis: Own) -> None:
    server = own_redis()
    ledger = OwnLedger(server.url, connect_timeout_s=CONNECT_S)
    await ledger.open()
    await ledger.note(PARTITION, [label(1)])
    process = server.raw("INFO", "server")["process_id"]
    ledger.link._limit_s = SHORT_S
    os.kill(process, signal.SIGSTOP)
    try:
        with pytest.raises(CacheFailure):
            await ledger.refused([pair_of(1)])
        assert ledger.errors["refused"] == 1
        for _ in range(50):
            with pytest.raises(CacheFailure):
                await ledger.refused([pair_of(1)])
        assert ledger.errors["refused"] == 1
        with pytest.raises(CacheFailure):
            await ledger.hear()
        with pytest.raises(CacheFailure):
            await ledger.refuse(pair_of(7))
        assert not ledger.link.breaker.closed
        assert "nothing is answered by meaning" in str(ledger.report().degraded)
    finally:
        os.kill(process, signal.SIGCONT)
    ledger.link._limit_s = PATIENT_S
    await ledger.back()
    assert (await ledger.hear()).labels == {PARTITION: [label(1)]}
    assert (await ledger.hear()).labels == {}
    # It was promised to nobody, but it was meant.
    assert server.raw("ZSCORE", REFUSED, pair_of(7)) is not None
    assert ledger.report().degraded is None
    await ledger.close()


async def test_a_hearing_that_failed_half_way_is_heard_in_full_the_next_time(
    ledger: OwnLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(10):
        await ledger.note(pair_of(number), [label(number)])
    run, calls = ledger.link.run, 0

    async def failing(commands: Any, **how: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise CacheFailure("broken")
        return await run(commands, **how)

    monkeypatch.setattr(ledger.link, "run", failing)
    with pytest.raises(CacheFailure):
        await ledger.hear()
    assert calls == 3
    assert (await ledger.hear()).labels == {pair_of(number): [label(number)] for number in range(10)}


async def test_a_full_redis_is_told_of_and_still_answers(own_redis: Own) -> None:
    server = own_redis(policy="noeviction")
    ledger = OwnLedger(server.url)
    await ledger.open()
    await ledger.refuse(pair_of(1))
    server.config("maxmemory", 1)
    for use in (ledger.note(PARTITION, [label(1)]), ledger.refuse(pair_of(2))):
        with pytest.raises(CacheFailure):
            await use
    assert "refuses" in str(ledger.report().degraded)
    assert await ledger.refused([pair_of(1), pair_of(2), pair_of(3)]) == {pair_of(1), pair_of(2)}
    server.config("maxmemory", 0)
    await ledger.hear()
    assert server.raw("ZCARD", REFUSED) == 2
    assert ledger.report().degraded is None
    await ledger.close()


async def test_a_link_that_nobody_probed_cannot_tell() -> None:
    ledger = OwnLedger("redis://127.0.0.1:1/0")
    with pytest.raises(CacheFailure):
        await ledger.refused([])
    assert ledger.report().degraded
    await ledger.close()
