"""What is learned of matching, in the background: whether stored answers would have done, by partition.

Labels come for nothing: a question that goes upstream although a stored one lies near brings a fresh answer to compare
with the stored one's. They go to the ledger and come back from it, with those of all other replicas, so that all of
them judge alike.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any

from proxy.errors import CacheFailure
from proxy.evidence import Comparison, Label
from proxy.judges.base import Answers, Judge, Opinion
from proxy.ledgers.base import Ledger
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.tasks import Tasks
from proxy.telemetry.tracing.base import Tracing
from proxy.telemetry.tracing.genai import JUDGE, JUDGED_RIGHT, JUDGING, SOURCE
from proxy.types import Digest
from proxy.verifiers.base import Threshold, Verifier

logger = logging.getLogger("askonce.meaning")

HEAR_S = 1.0
"""How often the ledger is asked for labels of other replicas: they change a bound by little, so a second is soon."""

MOST_PARTITIONS = 1024
"""Partitions that have a verifier of their own in memory; the others are judged by what is known of none. A label
weighs some 200 bytes, and a partition keeps 3,000 at most."""

KEPT = 3000
"""Latest labels of a partition that are kept to say what each threshold would have given."""

SHOWN_PARTITIONS = 50
"""Partitions with figures of their own in metrics: those with the most labels."""

COMPARISONS = 32
"""Answers that may wait to be compared; over it the label is not gathered."""

RIGHT = 0.5


class Learning:
    """Verifiers by partition, fed by the ledger.

    make_verifier: a verifier that has seen no label yet.
    thresholds: what each threshold on the cosine would have given, by labels.
    judge: tells whether two answers say the same.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        judge: Judge,
        close_judge: Callable[[], Awaitable[None]],
        make_verifier: Callable[[], Verifier],
        thresholds: Callable[[Iterable[Label]], Sequence[Threshold]],
        tasks: Tasks,
        metrics: Metrics,
        clock: Callable[[], float],
        tracing: Tracing,
    ) -> None:
        self._ledger = ledger
        self._judge = judge
        self._close_judge = close_judge
        self._make_verifier = make_verifier
        self._thresholds = thresholds
        self._tasks = tasks
        self._metrics = metrics
        self._clock = clock
        self._tracing = tracing
        self._fresh = make_verifier()
        self._verifiers: dict[Digest, Verifier] = {}
        self._labels: dict[Digest, deque[Label]] = {}
        self._suspended: set[Digest] = set()
        self._comparing = 0
        self._learning = asyncio.Lock()
        self._hearing: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Take over what the ledger has, and go on doing so."""
        await self._ledger.open()
        self._hearing = self._tasks.spawn(self._hear_on(), name="labels")

    def stop(self) -> None:
        """No more labels are asked for; what is at hand may still be noted."""
        if self._hearing is not None:
            self._hearing.cancel()

    async def close(self) -> None:
        """No more is noted."""
        await self._close_judge()
        await self._ledger.close()

    # -- asked in the path ---------------------------------------------------------------------------------------

    def verifier(self, partition: Digest) -> Verifier:
        """The one that judges for this partition."""
        return self._verifiers.get(partition, self._fresh)

    async def refused(self, pairs: list[Digest]) -> frozenset[Digest]:
        """Which of these pairs feedback has refused. Raises `errors.CacheFailure`."""
        return await self._ledger.refused(pairs)

    def refused_here(self, pair: Digest) -> bool:
        """As far as this process has heard: for where nothing may be waited for."""
        return self._ledger.refuses(pair)

    # -- gathering -----------------------------------------------------------------------------------------------

    async def refuse(self, pair: Digest) -> None:
        """For good. Raises `errors.CacheFailure`; here it holds all the same."""
        await self._ledger.refuse(pair)

    async def compare(self, partition: Digest, comparison: Comparison, answers: Answers, source: str) -> float | None:
        """Whether the stored answer would have done; None where the judge cannot tell, or too many wait."""
        if self._comparing >= COMPARISONS:
            self._metrics.semantic_skipped("comparing")
            return None
        self._comparing += 1
        try:
            opinion = await self._ask(answers, source)
            if opinion is not None:
                await self.note(partition, Label(comparison, opinion.right, source, self._clock()))
                return opinion.right
        except CacheFailure as failure:
            logger.debug("two answers were not compared: %s", failure.message)
        finally:
            self._comparing -= 1
        return None

    async def _ask(self, answers: Answers, source: str) -> Opinion | None:
        with self._tracing.step(JUDGING) as step:
            opinion = await self._judge.compare(answers)
            by = opinion.by if opinion is not None else "none"
            step.note(SOURCE, source)
            step.note(JUDGE, by)
            if opinion is not None:
                step.note(JUDGED_RIGHT, opinion.right)
        self._metrics.judged(by, source)
        return opinion

    async def certain(self, partition: Digest, comparison: Comparison, *, right: bool) -> None:
        """Somebody who knows said so. Learned from at once. Raises `errors.CacheFailure` where it is not kept."""
        try:
            await self._ledger.note(partition, [Label(comparison, float(right), "feedback", self._clock())])
        finally:
            await self.hear()

    async def note(self, partition: Digest, label: Label) -> None:
        """Keep a label. One that is lost is only learned later."""
        if label.source == "audit":
            self._metrics.audited(wrong=label.right < RIGHT)
        try:
            await self._ledger.note(partition, [label])
        except CacheFailure as failure:
            logger.debug("a label is lost: %s", failure.message)

    # -- learning ------------------------------------------------------------------------------------------------

    async def _hear_on(self) -> None:
        while True:
            await self.hear()
            await asyncio.sleep(HEAR_S)

    async def hear(self) -> None:
        """Learn from what has come in."""
        async with self._learning:
            await self._hear()

    async def _hear(self) -> None:
        try:
            heard = await self._ledger.hear()
        except CacheFailure as failure:
            logger.debug("labels cannot be read now: %s", failure.message)
            return
        for partition, labels in heard.labels.items():
            verifier = self._verifiers.get(partition)
            if verifier is None:
                if len(self._verifiers) >= MOST_PARTITIONS:
                    continue
                verifier = self._make_verifier()
            # Some milliseconds of algebra: not on the loop.
            await asyncio.to_thread(verifier.learn, labels)
            self._verifiers[partition] = verifier
            self._labels.setdefault(partition, deque(maxlen=KEPT)).extend(labels)
            self._note_budget(partition, verifier)

    def _note_budget(self, partition: Digest, verifier: Verifier) -> None:
        if verifier.standing().suspended == (partition in self._suspended):
            return
        if partition in self._suspended:
            self._suspended.discard(partition)
            logger.warning("partition %s is within its budget of wrong answers again", partition.hex()[:8])
        else:
            self._suspended.add(partition)
            logger.warning(
                "partition %s is over its budget of wrong answers: exact answers only until labels say otherwise",
                partition.hex()[:8],
            )

    # -- showing -------------------------------------------------------------------------------------------------

    def figures(self) -> Iterator[tuple[Digest, dict[str, Any]]]:
        """By partition, those with the most labels first."""
        for partition, verifier in self._most_known():
            standing = verifier.standing()
            yield (
                partition,
                {
                    "partition": partition.hex()[:8],
                    "labels": standing.labels,
                    "audited": standing.audited,
                    "wrong": round(standing.wrong, 2),
                    "false_hit_ratio_upper": round(standing.upper, 4),
                    "judge_noise": round(standing.noise, 4),
                    "suspended": standing.suspended,
                    "thresholds": [each._asdict() for each in self._thresholds(self._labels[partition])],
                },
            )

    def uppers(self) -> dict[tuple[str, ...], float]:
        """The upper bound of the false-hit rate by partition, for metrics."""
        return {(p.hex()[:8],): verifier.standing().upper for p, verifier in self._most_known()}

    def suspensions(self) -> dict[tuple[str, ...], float]:
        """1 for a partition that is over its budget, by partition, for metrics."""
        return {(p.hex()[:8],): float(p in self._suspended) for p, _ in self._most_known()}

    def _most_known(self) -> list[tuple[Digest, Verifier]]:
        most = sorted(self._verifiers, key=lambda partition: -len(self._labels[partition]))
        return [(partition, self._verifiers[partition]) for partition in most[:SHOWN_PARTITIONS]]

    def report(self) -> dict[str, Any]:
        """How the ledger is."""
        report = self._ledger.report()
        return {
            "kind": report.kind,
            "degraded": report.degraded,
            "labels": report.labels,
            "refused_pairs": report.refused,
            "errors": report.errors or {},
        }
