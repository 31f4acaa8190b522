"""What every ledger promises, on every one there is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from proxy.errors import CacheFailure
from proxy.ledgers.base import Ledger
from proxy.types import Digest
from tests.ledgers import OTHER_PARTITION, PARTITION, label, pair_of
from tests.ledgers.implementations import IMPLEMENTATIONS, MOST, Implementation


@pytest.fixture(params=IMPLEMENTATIONS)
def implementation(request) -> Implementation:
    return IMPLEMENTATIONS[request.param]


@pytest.fixture
def make(request, implementation):
    return implementation.prepare(request)


async def ready(made: Ledger) -> Ledger:
    """Opened, and able to tell."""
    await made.open()
    async with asyncio.timeout(30):
        while True:
            try:
                await made.refused([])
            except CacheFailure:
                await asyncio.sleep(0.005)  # a file that loads in a thread can only be asked again
            else:
                return made


@pytest.fixture
async def ledger(make) -> AsyncIterator[Ledger]:
    made = await ready(make())
    yield made
    await made.close()


async def test_a_new_one_has_nothing_to_say(ledger):
    assert (await ledger.hear()).labels == {}
    assert await ledger.refused([pair_of(1)]) == frozenset()


async def test_what_was_noted_is_heard_once_whole_and_oldest_first(ledger):
    first, second, third = label(1), label(2, right=0.0, source="feedback"), label(3, right=1 / 3, source="audit")
    await ledger.note(PARTITION, [first, second])
    await ledger.note(PARTITION, [third])
    assert (await ledger.hear()).labels == {PARTITION: [first, second, third]}
    assert (await ledger.hear()).labels == {}


async def test_labels_come_by_their_partition(ledger):
    await ledger.note(PARTITION, [label(1)])
    await ledger.note(OTHER_PARTITION, [label(2)])
    await ledger.note(PARTITION, [label(3)])
    assert (await ledger.hear()).labels == {PARTITION: [label(1), label(3)], OTHER_PARTITION: [label(2)]}


async def test_noting_nothing_is_nothing(ledger):
    await ledger.note(PARTITION, [])
    assert (await ledger.hear()).labels == {}


async def test_equal_labels_are_as_many_as_were_noted(ledger):
    await ledger.note(PARTITION, [label(1), label(1)])
    await ledger.note(PARTITION, [label(1)])
    assert (await ledger.hear()).labels == {PARTITION: [label(1)] * 3}


async def test_what_is_noted_after_hearing_is_heard_next(ledger):
    await ledger.note(PARTITION, [label(1)])
    await ledger.hear()
    await ledger.note(PARTITION, [label(2)])
    assert (await ledger.hear()).labels == {PARTITION: [label(2)]}


async def test_of_many_noted_at_once_none_is_lost_or_told_twice(ledger):
    heard = []
    for _ in range(4):
        await asyncio.gather(*(ledger.note(PARTITION, [label(number)]) for number in range(4)))
        heard += (await ledger.hear()).labels[PARTITION]
    assert sorted(each.at for each in heard) == sorted(label(number).at for number in range(4) for _ in range(4))


async def test_a_refused_pair_is_refused_from_then_on(ledger):
    await ledger.refuse(pair_of(1))
    await ledger.refuse(pair_of(3))
    await ledger.refuse(pair_of(1))
    asked = [pair_of(number) for number in range(5)]
    assert await ledger.refused(asked) == {pair_of(1), pair_of(3)}
    assert await ledger.refused([pair_of(0)]) == frozenset()
    assert await ledger.refused([]) == frozenset()


async def test_a_report_tells_kind_and_that_all_is_well(ledger):
    await ledger.note(PARTITION, [label(1), label(2)])
    await ledger.refuse(pair_of(1))
    report = ledger.report()
    assert report.kind
    assert report.degraded is None
    if report.kind != "redis":  # a server tells its own sizes, from time to time
        assert (report.labels, report.refused) == (2, 1)


async def test_closing_twice_is_harmless(ledger):
    await ledger.close()
    await ledger.close()


async def test_the_next_one_hears_everything_and_knows_the_refused(make, implementation):
    if not implementation.durable:
        pytest.skip("in memory only")
    first = await ready(make())
    await first.note(PARTITION, [label(1), label(2, source="feedback", right=1.0)])
    await first.note(OTHER_PARTITION, [label(3)])
    await first.refuse(pair_of(1))
    await first.hear()
    await first.close()
    second = await ready(make())
    assert (await second.hear()).labels == {
        PARTITION: [label(1), label(2, source="feedback", right=1.0)],
        OTHER_PARTITION: [label(3)],
    }
    assert (await second.hear()).labels == {}
    assert await second.refused([pair_of(1), pair_of(2)]) == {pair_of(1)}
    await second.close()


async def test_the_next_one_hears_the_last_of_a_partition_only(make, implementation):
    if not implementation.durable:
        pytest.skip("in memory only")
    first = await ready(make())
    await first.note(OTHER_PARTITION, [label(0)])
    for number in range(MOST * 3):
        await first.note(PARTITION, [label(number)])
    await first.close()
    second = await ready(make())
    heard = (await second.hear()).labels
    assert heard == {
        PARTITION: [label(number) for number in range(MOST * 2, MOST * 3)],
        OTHER_PARTITION: [label(0)],
    }
    await second.close()


async def test_two_at_once_hear_each_other_and_refuse_alike(make, implementation):
    if not implementation.shared:
        pytest.skip("for one process only")
    one, two = await ready(make()), await ready(make())
    await one.note(PARTITION, [label(1)])
    await two.note(PARTITION, [label(2)])
    assert (await one.hear()).labels == (await two.hear()).labels == {PARTITION: [label(1), label(2)]}
    await two.refuse(pair_of(1))
    assert await one.refused([pair_of(1)]) == {pair_of(1)}
    partition: Digest = OTHER_PARTITION
    await one.note(partition, [label(3)])
    assert (await two.hear()).labels == {partition: [label(3)]}
    await one.close()
    await two.close()
