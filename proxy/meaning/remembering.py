"""What matching does behind the caller's back: a kept answer's question becomes a candidate for others, and the answer
tells whether the candidate that was near it would have done.

All of it may fail or be dropped when too much waits: a question that is no candidate is found by its exact name.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from proxy.embedders.base import Embedder
from proxy.endpoints.base import Endpoint
from proxy.errors import CacheFailure
from proxy.evidence import Comparison
from proxy.fingerprint import Namer
from proxy.judges.base import Answers
from proxy.lexis.difference import compare
from proxy.lexis.reading import read
from proxy.match import Match, alias
from proxy.meaning.base import BEYOND_THE_EMBEDDER, Sought, Trial
from proxy.meaning.learning import Learning
from proxy.stores.base import ExactStore
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.tasks import Tasks
from proxy.telemetry.tracing.base import Tracing
from proxy.telemetry.tracing.genai import REMEMBER
from proxy.types import Digest, Entry, Vector
from proxy.vectors.base import Point, VectorIndex

logger = logging.getLogger("askonce.meaning")

AFTERWARDS = 256
"""Kept answers that may wait to become candidates; over it they do not (they are found by their exact name)."""

TESTS_OF_THE_JUDGE = 0.3
"""Share of comparisons after which the judge is tested by answers known to differ. With 5 % of labels wrong, 0.1 was
too few to tell the judge's mistakes from the world's (hits on banking77 .05 instead of .18)."""
UNRELATED = 1024
"""Partitions whose last answer is kept for that."""
UNRELATED_CHARS = 4096
"""A longer answer is not kept: together they would weigh as much as the store."""

REEMBED_POINTS = 32
REEMBED_REST_S = 30.0
"""How many stored questions are embedded anew before the next are fetched, and how long none were left before it is
looked again: a change of embedder and a lost index are rare, and nobody waits for their repair."""

DRAIN_S = 2.0
"""How long a stop waits for what is done in the background."""


class Remembering:
    """Tasks in the background, bounded in number."""

    def __init__(
        self,
        *,
        store: ExactStore,
        embedder: Embedder,
        index: VectorIndex,
        learning: Learning,
        endpoints: dict[str, Endpoint],
        namer: Namer,
        tasks: Tasks,
        metrics: Metrics,
        random: Callable[[], float],
        tracing: Tracing,
    ) -> None:
        self._store = store
        self._embedder = embedder
        self._index = index
        self._learning = learning
        self._endpoints = endpoints
        self._namer = namer
        self._tasks = tasks
        self._metrics = metrics
        self._random = random
        self._tracing = tracing
        self._waiting = 0
        self._unrelated: OrderedDict[Digest, tuple[str, str]] = OrderedDict()
        """A question and its answer, by partition."""
        self._reembedding: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Begin to repair what was lost."""
        self._reembedding = self._tasks.spawn(self._reembed_on(), name="re-embedding")

    async def close(self) -> None:
        """What was kept lately becomes a candidate, and is learned from."""
        if self._reembedding is not None:
            self._reembedding.cancel()
        await self._tasks.drain(DRAIN_S)

    # -- what was matched ----------------------------------------------------------------------------------------

    def keep(self, name: Digest, source: Entry, match: Match) -> None:
        """So that the same question is an exact hit the next time."""
        self._later(self._keep_match(alias(name, source, match), match))

    async def _keep_match(self, entry: Entry, match: Match) -> None:
        await self._keep(entry)
        # Who refused the pair meanwhile has removed what was there then: this came after.
        if await self._learning.refused([match.pair]):
            await self._store.delete(entry.name)

    async def _keep(self, entry: Entry) -> None:
        await self._store.put(entry)

    # -- what was asked ------------------------------------------------------------------------------------------

    def remember(self, sought: Sought, entry: Entry) -> None:
        if not sought.barred or sought.barred in BEYOND_THE_EMBEDDER:
            self._later(self._remember(sought, entry))

    async def _remember(self, sought: Sought, entry: Entry) -> None:
        if sought.case.rule.match_normalized and sought.normalized is not None:
            pair = self._namer.pair(sought.normalized, sought.normalized)
            scope, partition = sought.case.scope, sought.partition
            match = Match(entry.name, "normalized", 1.0, scope, partition, pair, words=sought.words)
            await self._keep(alias(sought.normalized, entry, match))
        if sought.barred:
            return
        vector = sought.vector if sought.vector is not None else await self._vector(sought.words)
        if vector is None:
            return
        await self._index.add(_point(sought, entry, vector))
        if sought.trial is not None:
            await self._try(sought, sought.trial, entry)

    async def _vector(self, words: str) -> Vector | None:
        embedding = await self._embedder.embed(words, patient=True)
        return embedding.vector if embedding.whole else None

    async def _try(self, sought: Sought, trial: Trial, fresh: Entry) -> None:
        stored = await self._store.get(trial.name)
        if stored is None:
            return
        texts = self._texts(fresh, stored)
        if texts is None:
            return
        answers = Answers(sought.words, texts[0], trial.words, texts[1], fresh.model)
        await self._learning.compare(sought.partition, trial.comparison, answers, trial.source)
        await self._test_the_judge(sought, texts[0])

    async def _test_the_judge(self, sought: Sought, fresh: str) -> None:
        """Now and then it is shown two answers to questions that share no word: what it makes of those measures it."""
        before = self._unrelated.get(sought.partition)
        if len(fresh) > UNRELATED_CHARS:
            return
        self._unrelated[sought.partition] = (sought.words, fresh)
        self._unrelated.move_to_end(sought.partition)
        if len(self._unrelated) > UNRELATED:
            self._unrelated.popitem(last=False)
        if before is None or self._random() >= TESTS_OF_THE_JUDGE:
            return
        difference = compare(read(sought.words), read(before[0]))
        if difference.jaccard == 0:
            answers = Answers(sought.words, fresh, *before, sought.case.model)
            await self._learning.compare(sought.partition, Comparison(0.0, difference), answers, "other")

    def repeated(self, before: Entry, after: Entry, partition: Digest) -> None:
        self._later(self._repeated(before, after, partition))

    async def _repeated(self, before: Entry, after: Entry, partition: Digest) -> None:
        texts = self._texts(after, before)
        if texts is None:
            return
        same = read("")
        answers = Answers("", texts[0], "", texts[1], after.model)
        await self._learning.compare(partition, Comparison(1.0, compare(same, same)), answers, "same")

    def _texts(self, fresh: Entry, stored: Entry) -> tuple[str, str] | None:
        endpoint = self._endpoints[fresh.endpoint]
        one, other = endpoint.said(fresh.form, fresh.body), endpoint.said(stored.form, stored.body)
        return None if one is None or other is None else (one, other)

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        if self._waiting >= AFTERWARDS:
            work.close()
            self._metrics.semantic_skipped("backlog")
            return
        self._waiting += 1
        task = self._tasks.spawn(self._behind(work), name="remember")
        task.add_done_callback(self._done)

    def _done(self, _task: asyncio.Task[None]) -> None:
        self._waiting -= 1

    async def _behind(self, work: Coroutine[Any, Any, None]) -> None:
        with self._tracing.afterwards(REMEMBER):
            await self.forgiving(work)

    async def forgiving(self, work: Coroutine[Any, Any, None]) -> None:
        """A point that is missing, or is there without its answer, is a miss: nobody has to hear of it."""
        try:
            await work
        except CacheFailure as failure:
            self._metrics.semantic_skipped(failure.reason)
            logger.debug("the index of questions is behind: %s", failure.message)

    # -- repair --------------------------------------------------------------------------------------------------

    async def _reembed_on(self) -> None:
        try:
            await self._embedder.ready()
            logger.info("questions are embedded by %s", self._embedder.identity)
        except CacheFailure as failure:
            logger.warning("nothing is matched by meaning: %s", failure.message)
        while True:
            try:
                await self._embedder.ready()
                while await self._reembed():
                    pass
            except CacheFailure as failure:
                logger.debug("stored questions cannot be embedded anew now: %s", failure.message)
            await asyncio.sleep(REEMBED_REST_S)

    async def _reembed(self) -> int:
        """Embed some stored questions that have no vector of this embedder; how many."""
        stale = [point async for point in self._index.stale(REEMBED_POINTS)]
        for point in stale:
            embedding = await self._embedder.embed(point.words, patient=True)
            if embedding.whole:
                await self._index.add(replace(point, vector=embedding.vector))
            else:
                await self._index.remove(point.name)
        return len(stale)


def _point(sought: Sought, entry: Entry, vector: Vector) -> Point:
    return Point(
        name=entry.name,
        shape=sought.shape,
        scope=sought.case.scope,
        model=entry.model,
        words=sought.words,
        vector=vector,
        tags=entry.tags,
        generation=entry.generation,
        kept_until=entry.finished_at + entry.kept_s,
    )
