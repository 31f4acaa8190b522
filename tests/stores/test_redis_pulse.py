"""The agreement that is polled: nothing that happened elsewhere is missed without being noticed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis as redis_py

from proxy.redis_link.link import Link
from proxy.stores.redis_pulse import LOG_LENGTH, MOST_AT_ONCE, Pulse
from proxy.types import Beat
from tests.redis_link import link_to
from tests.stores import name_of

CHANGES = "{askonce}:changes"
FIRST = 1000


@pytest.fixture
def raw(redis_url: str) -> Any:
    """Redis as another program sees it."""
    with redis_py.Redis.from_url(redis_url, protocol=2) as client:
        yield client


@pytest.fixture
async def link(redis_url: str) -> AsyncIterator[Link]:
    link = link_to(redis_url)
    await link.run([("EXISTS", "up")], probe=True)
    yield link
    await link.close()


async def beat(pulse: Pulse, *, generation: int = 0) -> Beat:
    return await pulse.beat(generation=generation, first_generation=FIRST, secret=b"ours")


async def change(link: Link, pulse: Pulse, *numbers: int) -> None:
    await link.run([pulse.changed(name_of(number)) for number in numbers])


async def test_changes_of_others_are_told_once_and_in_order(link: Link) -> None:
    ours, theirs = Pulse(link, "askonce", "ours"), Pulse(link, "askonce", "theirs")
    await beat(ours)
    await change(link, theirs, 3, 1, 2)
    await change(link, ours, 9)
    assert (await beat(ours)).changes == (name_of(3), name_of(1), name_of(2))
    assert (await beat(ours)).changes == ()


async def test_who_has_a_secret_of_its_own_neither_gives_nor_gets_one(link: Link, raw: Any) -> None:
    configured = Pulse(link, "askonce", "configured")
    assert (await configured.beat(generation=0, first_generation=FIRST, secret=b"")).secret == b""
    assert not raw.hexists("{askonce}:control", "secret")
    assert (await beat(Pulse(link, "askonce", "ours"))).secret == b"ours"
    assert (await configured.beat(generation=0, first_generation=FIRST, secret=b"")).secret == b""


async def test_what_was_before_the_first_beat_concerns_nobody(link: Link) -> None:
    theirs = Pulse(link, "askonce", "theirs")
    await beat(theirs)
    await change(link, theirs, 1, 2, 3)
    ours = Pulse(link, "askonce", "ours")
    assert await beat(ours) == Beat(b"ours", FIRST, (), sure=True)
    assert (await beat(ours)).sure


async def test_more_changes_than_one_beat_reads_are_read_over_several_and_none_is_missed(link: Link) -> None:
    ours, theirs = Pulse(link, "askonce", "ours"), Pulse(link, "askonce", "theirs")
    await beat(ours)
    count = 2 * MOST_AT_ONCE + 5
    await change(link, theirs, *range(count))
    beats = [await beat(ours) for _ in range(4)]
    assert all(each.sure for each in beats)
    assert [len(each.changes) for each in beats] == [MOST_AT_ONCE, MOST_AT_ONCE, 5, 0]
    assert [name for each in beats for name in each.changes] == [name_of(number) for number in range(count)]


async def test_a_log_that_was_trimmed_past_our_place_is_no_proof(link: Link, raw: Any) -> None:
    ours, theirs = Pulse(link, "askonce", "ours"), Pulse(link, "askonce", "theirs")
    await change(link, theirs, 0)
    await beat(ours)
    await change(link, theirs, *range(10))
    raw.xtrim(CHANGES, maxlen=3, approximate=False)
    unsure = await beat(ours)
    assert (unsure.sure, unsure.changes) == (False, ())
    await change(link, theirs, 7)
    assert await beat(ours) == Beat(b"ours", FIRST, (name_of(7),), sure=True)


async def test_a_log_that_was_trimmed_up_to_our_place_is_whole(link: Link, raw: Any) -> None:
    ours, theirs = Pulse(link, "askonce", "ours"), Pulse(link, "askonce", "theirs")
    await change(link, theirs, *range(10))
    await beat(ours)
    raw.xtrim(CHANGES, maxlen=0, approximate=False)
    assert (await beat(ours)).sure
    await change(link, theirs, 3)
    assert await beat(ours) == Beat(b"ours", FIRST, (name_of(3),), sure=True)


async def test_a_log_that_was_emptied_is_no_proof_and_neither_is_one_that_began_anew(link: Link, raw: Any) -> None:
    ours, theirs = Pulse(link, "askonce", "ours"), Pulse(link, "askonce", "theirs")
    await change(link, theirs, 1, 2)
    await beat(ours)
    raw.delete(CHANGES)
    assert not (await beat(ours)).sure
    assert (await beat(ours)).sure
    await change(link, theirs, 1)
    assert (await beat(ours)).sure  # we had read nothing of it, and read the one there is


async def test_a_log_whose_end_a_failover_lost_is_no_proof(link: Link, raw: Any) -> None:
    ours, theirs = Pulse(link, "askonce", "ours"), Pulse(link, "askonce", "theirs")
    await change(link, theirs, 1, 2, 3)
    await beat(ours)
    # As on a replica that had got only one of them, and two others since it became the master.
    raw.delete(CHANGES)
    for number in (1, 8, 9):
        raw.xadd(CHANGES, {"name": name_of(number), "by": "theirs"}, id=f"99999999999999-{number}")
    assert not (await beat(ours)).sure


async def test_a_log_that_began_anew_on_a_server_with_an_earlier_clock_is_no_proof(link: Link, raw: Any) -> None:
    ours = Pulse(link, "askonce", "ours")
    raw.xadd(CHANGES, {"name": name_of(1), "by": "theirs"}, id="5000-0")
    await beat(ours)
    raw.delete(CHANGES)
    raw.xadd(CHANGES, {"name": name_of(2), "by": "theirs"}, id="4000-0")
    assert not (await beat(ours)).sure


async def test_a_generation_that_went_back_is_raised_again(link: Link, raw: Any) -> None:
    ours = Pulse(link, "askonce", "ours")
    assert (await beat(ours)).generation == FIRST
    raw.hset("{askonce}:control", "generation", 900)
    assert (await beat(ours, generation=2000)).generation == 2000
    assert raw.hget("{askonce}:control", "generation") == b"2000"


async def test_a_later_generation_is_nobodys_to_lower(link: Link, raw: Any) -> None:
    ours = Pulse(link, "askonce", "ours")
    await beat(ours)
    raw.hset("{askonce}:control", "generation", 5000)
    assert (await beat(ours, generation=2000)).generation == 5000


async def test_a_generation_that_vanished_begins_with_now_and_not_with_nothing(link: Link, raw: Any) -> None:
    ours = Pulse(link, "askonce", "ours")
    await beat(ours)
    raw.hdel("{askonce}:control", "generation")
    assert (await beat(ours, generation=700)).generation == FIRST


async def test_the_log_stays_within_its_length(link: Link, raw: Any) -> None:
    ours = Pulse(link, "askonce", "ours")
    command = ours.changed(name_of(1))
    assert command[:5] == ("XADD", CHANGES, "MAXLEN", "~", LOG_LENGTH)


async def test_changes_of_a_newer_version_with_more_fields_are_understood(link: Link, raw: Any) -> None:
    ours = Pulse(link, "askonce", "ours")
    await beat(ours)
    raw.xadd(CHANGES, {"name": name_of(1), "by": "newer", "why": "feedback"})
    assert (await beat(ours)).changes == (name_of(1),)
