"""The ledger in memory: its bounds."""

from __future__ import annotations

from proxy.ledgers.memory import MemoryLedger
from tests.ledgers import OTHER_PARTITION, PARTITION, label, pair_of


async def test_only_the_last_labels_of_each_partition_wait_to_be_heard():
    ledger = MemoryLedger(most=3)
    for number in range(10):
        await ledger.note(PARTITION, [label(number)])
    await ledger.note(OTHER_PARTITION, [label(1)])
    assert ledger.report().labels == 4
    assert (await ledger.hear()).labels == {
        PARTITION: [label(number) for number in (7, 8, 9)],
        OTHER_PARTITION: [label(1)],
    }
    assert ledger.report().labels == 4


async def test_over_the_bound_the_oldest_refused_pairs_go():
    ledger = MemoryLedger(most_refused=3)
    for number in (0, 1, 2, 0, 3):
        await ledger.refuse(pair_of(number))
    asked = [pair_of(number) for number in range(5)]
    assert await ledger.refused(asked) == {pair_of(1), pair_of(2), pair_of(3)}
    assert list(ledger.refused_pairs) == [pair_of(1), pair_of(2), pair_of(3)]
    assert ledger.report().refused == 3


async def test_what_was_given_is_the_callers():
    ledger = MemoryLedger()
    noted = [label(1)]
    await ledger.note(PARTITION, noted)
    noted.append(label(2))
    heard = await ledger.hear()
    assert heard.labels == {PARTITION: [label(1)]}
    heard.labels[PARTITION].append(label(3))
    assert ledger.give().labels == {}
