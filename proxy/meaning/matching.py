"""Matching by meaning, step by step.

    seek       who may be matched; normalised words; embed; nearest of the shape; guards; verifier   (one deadline)
    remember   a kept answer's question becomes a candidate, and tells about the candidate it had     (background)

Read `_seek` and `_near` from top to bottom. A step that fails, or is late, ends the search: the question goes upstream.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from time import perf_counter
from typing import Any, Literal, NamedTuple

from proxy.case import Case
from proxy.eligibility.base import Bar
from proxy.embedders.base import Embedder
from proxy.endpoints.base import Endpoint
from proxy.errors import CacheFailure
from proxy.evidence import Comparison
from proxy.fingerprint import Namer
from proxy.guards.base import Guard
from proxy.judges.base import Answers
from proxy.lexis.difference import compare
from proxy.lexis.folding import folded
from proxy.lexis.reading import Reading, read
from proxy.match import Kind, Match, alias, matched
from proxy.meaning.base import Fits, Sought, Trial
from proxy.meaning.learning import Learning
from proxy.stores.base import ExactStore
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.tasks import Tasks
from proxy.types import Asking, Digest, Entry, Form, Vector
from proxy.vectors.base import Near, Point, VectorIndex

logger = logging.getLogger("askonce.meaning")

AFTERWARDS = 256
"""Kept answers that may wait to become candidates; over it they do not (they are found by their exact name)."""

NEAR_MISSES = 200
"""Latest ones that an operator can look at."""

READINGS = 4096
"""Stored questions' words that are not read anew each time they are a candidate."""

BEYOND_THE_EMBEDDER = frozenset({"too_long", "language", "fresh"})
"""Reasons that are about what an embedder understands: words that are the very same still share an answer."""

NOTHING = read("")

TESTS_OF_THE_JUDGE = 0.1
"""Share of comparisons after which the judge is tested by answers known to differ."""
UNRELATED = 1024
"""Partitions whose last answer is kept for that."""

DRAIN_S = 2.0
"""How long a stop waits for what is done in the background."""

REEMBED_POINTS = 32
REEMBED_REST_S = 30.0
"""How many stored questions are embedded anew before the next are fetched, and how long none were left before it is
looked again: a change of embedder and a lost index are rare, and nobody waits for their repair."""


@dataclass(frozen=True, slots=True)
class MatchingSettings:
    """What matching must know of the configuration."""

    mode: Literal["shadow", "on"]
    policy: str
    budget: float
    deadline_s: float
    floor: float
    candidates: int
    audit_rate: float


class Candidate(NamedTuple):
    """A stored question that no guard refused."""

    near: Near
    comparison: Comparison
    pair: Digest


@dataclass(frozen=True, slots=True)
class Rooms:
    """Whom matching asks."""

    store: ExactStore
    embedder: Embedder
    index: VectorIndex
    length: Bar
    """Asked before the words are read: what is far too long is not even that."""
    bars: Sequence[Bar]
    guards: Sequence[Guard]
    learning: Learning
    endpoints: dict[str, Endpoint]
    """By path."""


class Matching:
    """`semantic.mode: shadow` and `on`."""

    active = True

    def __init__(
        self,
        rooms: Rooms,
        settings: MatchingSettings,
        *,
        namer: Namer,
        tasks: Tasks,
        metrics: Metrics,
        clock: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self._rooms = rooms
        self._settings = settings
        self._namer = namer
        self._tasks = tasks
        self._metrics = metrics
        self._clock = clock
        self._random = random
        self._read = lru_cache(READINGS)(read)
        self._afterwards = 0
        self._near_misses: deque[dict[str, Any]] = deque(maxlen=NEAR_MISSES)
        self._served: dict[Digest, int] = {}
        self._unrelated: OrderedDict[Digest, tuple[str, str]] = OrderedDict()
        """A question and its answer, by partition."""
        self._reembedding: asyncio.Task[None] | None = None

    async def open(self) -> None:
        await self._rooms.embedder.open()
        await self._rooms.index.open()
        await self._rooms.learning.open()
        self._reembedding = self._tasks.spawn(self._reembed_on(), name="re-embedding")

    # -- who may be matched --------------------------------------------------------------------------------------

    def allows(self, case: Case, match: Match) -> bool:
        if self._settings.mode != "on" or not _may_match(case) or match.similarity < case.directives.threshold:
            return False
        if match.kind == "normalized":
            return case.rule.match_normalized
        return not self._rooms.learning.suspended(match.partition)

    # -- seek ----------------------------------------------------------------------------------------------------

    async def seek(self, case: Case, asking: Asking, shape: Digest, fits: Fits | None) -> Sought:
        too_long = self._rooms.length(asking, NOTHING, case.rule)
        reading = NOTHING if too_long else self._read(asking.words)
        sought = Sought(
            case,
            asking.words,
            shape,
            partition=self._namer.partition(case.scope, case.model, _rule(case)),
            normalized=None if too_long else self._namer.normalized(shape, folded(asking.words)),
            barred=too_long or self._barred(case, asking, reading),
        )
        if sought.barred:
            self._metrics.semantic_barred(sought.barred)
        if fits is None or not _may_match(case):
            return sought
        try:
            async with asyncio.timeout(self._settings.deadline_s):
                await self._seek(sought, reading, fits)
        except TimeoutError:
            self._metrics.semantic_skipped("deadline")
        except CacheFailure as failure:
            self._metrics.semantic_skipped(failure.reason)
            logger.debug("not matched by meaning: %s", failure.message)
        return sought

    def _barred(self, case: Case, asking: Asking, reading: Reading) -> str:
        if case.directives.no_transform:
            return "no-transform"
        if not case.rule.match_by_meaning:
            return "rule"
        if case.verdict.pool:
            return "temperature"
        said = (asking.barred or bar(asking, reading, case.rule) for bar in self._rooms.bars)
        return next(filter(None, said), "")

    async def _seek(self, sought: Sought, reading: Reading, fits: Fits) -> None:
        if sought.barred and sought.barred not in BEYOND_THE_EMBEDDER:
            return
        if sought.case.rule.match_normalized and await self._same_words(sought, reading, fits):
            return
        if not sought.barred and await self._embed(sought):
            await self._near(sought, reading, fits)

    async def _same_words(self, sought: Sought, reading: Reading, fits: Fits) -> bool:
        """Words that differ in how they are typed only."""
        normalized = sought.normalized
        found = await self._entry(normalized) if normalized is not None else None
        if normalized is None or found is None or found.form is not Form.ALIAS:
            return False
        stored = matched(found)
        if any(self._refuses(guard, reading, self._read(stored.words)) for guard in self._rooms.guards):
            return False
        pair = self._namer.pair(normalized, stored.of)
        if stored.of == sought.case.name or pair in await self._rooms.learning.refused([pair]):
            return False
        entry = await self._entry(stored.of)
        if entry is None or not fits(entry):
            return False
        self._decide(sought, entry, self._match(sought, stored.of, "normalized", 1.0, pair, None), audit=False)
        return True

    async def _embed(self, sought: Sought, *, patient: bool = False) -> bool:
        began = perf_counter()
        embedding = await self._rooms.embedder.embed(sought.words, patient=patient)
        if not patient:
            self._metrics.embedded(perf_counter() - began)
        if not embedding.whole:
            sought.barred = "too_long"
            self._metrics.semantic_barred(sought.barred)
            return False
        sought.vector = embedding.vector
        return True

    async def _near(self, sought: Sought, reading: Reading, fits: Fits) -> None:
        if sought.vector is None:
            return
        began = perf_counter()
        near = await self._rooms.index.nearest(
            sought.shape, sought.vector, most=self._settings.candidates, floor=self._settings.floor
        )
        self._metrics.lookup("vectors", perf_counter() - began)
        candidates = list(self._let_through(sought, reading, near))
        if not candidates:
            return
        refused = await self._rooms.learning.refused([candidate.pair for candidate in candidates])
        verifier = self._rooms.learning.verifier(sought.partition)
        for candidate in candidates:
            if candidate.pair in refused:
                self._refused(sought, candidate.near, "feedback")
                continue
            judgement = verifier.judge(candidate.comparison)
            source = "audit" if judgement.serve or judgement.reason == "budget" else "miss"
            if sought.trial is None or (source == "audit" and sought.trial.source == "miss"):
                sought.trial = Trial(candidate.comparison, candidate.near.name, candidate.near.words, source)
            if not judgement.serve:
                self._refused(sought, candidate.near, judgement.reason)
            elif await self._serve(sought, candidate, fits):
                return

    def _let_through(self, sought: Sought, reading: Reading, near: Sequence[Near]) -> Iterator[Candidate]:
        for each in near:
            if each.name == sought.case.name:
                continue
            stored = self._read(each.words)
            guard = next((guard for guard in self._rooms.guards if self._refuses(guard, reading, stored)), None)
            if guard is not None:
                self._refused(sought, each, guard.name)
                continue
            comparison = Comparison(each.similarity, compare(reading, stored))
            yield Candidate(each, comparison, self._namer.pair(sought.normalized or sought.case.name, each.name))

    def _refuses(self, guard: Guard, asked: Reading, stored: Reading) -> bool:
        if not guard.refuses(asked, stored):
            return False
        self._metrics.refused_candidate(guard.name)
        return True

    async def _serve(self, sought: Sought, candidate: Candidate, fits: Fits) -> bool:
        """Whether the search ends with this candidate."""
        near = candidate.near
        if near.similarity < sought.case.directives.threshold:
            return False
        entry = await self._entry(near.name)
        if entry is None or entry.form is Form.ALIAS:
            await self._rooms.index.remove(near.name)
            return False
        if not fits(entry):
            return False
        match = self._match(sought, near.name, "meaning", near.similarity, candidate.pair, candidate.comparison)
        self._decide(sought, entry, match, audit=self._random() < self._settings.audit_rate)
        return True

    async def _entry(self, name: Digest) -> Entry | None:
        return self._rooms.store.peek(name) or await self._rooms.store.get(name)

    def _match(
        self, sought: Sought, of: Digest, kind: Kind, similarity: float, pair: Digest, comparison: Comparison | None
    ) -> Match:
        return Match(of, kind, similarity, sought.case.scope, sought.partition, pair, comparison)

    def _decide(self, sought: Sought, entry: Entry, match: Match, *, audit: bool) -> None:
        outcome = "shadow" if self._settings.mode == "shadow" else "audited" if audit else "hit"
        self._metrics.similarity(outcome, match.similarity)
        if outcome != "hit":
            return
        sought.entry, sought.match, sought.trial = entry, match, None
        self._served[match.partition] = self._served.get(match.partition, 0) + 1
        self._later(self._keep(alias(sought.case.name, entry, match)))

    def _refused(self, sought: Sought, near: Near, by: str) -> None:
        self._metrics.similarity("refused", near.similarity)
        self._near_misses.append(
            {
                "key": sought.case.name.hex(),
                "near": near.name.hex(),
                "similarity": round(near.similarity, 4),
                "refused_by": by,
                "partition": sought.partition.hex()[:8],
                "at": round(self._clock(), 3),
            }
        )

    # -- remember ------------------------------------------------------------------------------------------------

    def remember(self, sought: Sought, entry: Entry) -> None:
        if not sought.barred or sought.barred in BEYOND_THE_EMBEDDER:
            self._later(self._remember(sought, entry))

    async def _remember(self, sought: Sought, entry: Entry) -> None:
        if sought.case.rule.match_normalized and sought.normalized is not None:
            pair = self._namer.pair(sought.normalized, entry.name)
            match = self._match(sought, entry.name, "normalized", 1.0, pair, None)._replace(words=sought.words)
            await self._keep(alias(sought.normalized, entry, match))
        if sought.barred or (sought.vector is None and not await self._embed(sought, patient=True)):
            return
        if sought.vector is not None:
            await self._rooms.index.add(_point(sought, entry, sought.vector))
        if sought.trial is not None:
            await self._try(sought, sought.trial, entry)

    async def _try(self, sought: Sought, trial: Trial, fresh: Entry) -> None:
        stored = await self._entry(trial.name)
        if stored is None:
            return
        endpoint = self._rooms.endpoints[fresh.endpoint]
        texts = endpoint.said(fresh.form, fresh.body), endpoint.said(stored.form, stored.body)
        if texts[0] is None or texts[1] is None:
            return
        answers = Answers(sought.words, texts[0], trial.words, texts[1], fresh.model)
        await self._rooms.learning.compare(sought.partition, trial.comparison, answers, trial.source)
        await self._test_the_judge(sought, texts[0])

    async def _test_the_judge(self, sought: Sought, fresh: str) -> None:
        """Now and then it is shown two answers to questions that share no word: what it makes of those measures it."""
        before = self._unrelated.get(sought.partition)
        self._unrelated[sought.partition] = (sought.words, fresh)
        self._unrelated.move_to_end(sought.partition)
        if len(self._unrelated) > UNRELATED:
            self._unrelated.popitem(last=False)
        if before is None or self._random() >= TESTS_OF_THE_JUDGE:
            return
        difference = compare(self._read(sought.words), self._read(before[0]))
        if difference.jaccard == 0:
            answers = Answers(sought.words, fresh, *before, sought.case.model)
            await self._rooms.learning.compare(sought.partition, Comparison(0.0, difference), answers, "other")

    def repeated(self, before: Entry, after: Entry, partition: Digest) -> None:
        self._later(self._repeated(before, after, partition))

    async def _repeated(self, before: Entry, after: Entry, partition: Digest) -> None:
        endpoint = self._rooms.endpoints[after.endpoint]
        texts = endpoint.said(after.form, after.body), endpoint.said(before.form, before.body)
        if texts[0] is None or texts[1] is None:
            return
        same = self._read("")
        answers = Answers("", texts[0], "", texts[1], after.model)
        await self._rooms.learning.compare(partition, Comparison(1.0, compare(same, same)), answers, "same")

    async def _keep(self, entry: Entry) -> None:
        await self._rooms.store.put(entry)

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        if self._afterwards >= AFTERWARDS:
            work.close()
            self._metrics.semantic_skipped("backlog")
            return
        self._afterwards += 1
        task = self._tasks.spawn(self._forgiving(work), name="remember")
        task.add_done_callback(self._done)

    def _done(self, _task: asyncio.Task[None]) -> None:
        self._afterwards -= 1

    async def _forgiving(self, work: Coroutine[Any, Any, None]) -> None:
        """A point that is missing, or is there without its answer, is a miss: nobody has to hear of it."""
        try:
            await work
        except CacheFailure as failure:
            self._metrics.semantic_skipped(failure.reason)
            logger.debug("the index of questions is behind: %s", failure.message)

    # -- forget --------------------------------------------------------------------------------------------------

    async def forget(self, name: Digest) -> None:
        await self._forgiving(self._rooms.index.remove(name))

    async def purge(self) -> None:
        await self._forgiving(self._rooms.index.purge(self._rooms.store.generation))

    async def feedback(self, match: Match, *, good: bool) -> None:
        if not good:
            await self._rooms.learning.refuse(match.pair)
        if match.comparison is not None:
            await self._rooms.learning.certain(match.partition, match.comparison, right=good)

    # -- repair --------------------------------------------------------------------------------------------------

    async def _reembed_on(self) -> None:
        while True:
            try:
                await self._rooms.embedder.ready()
                while await self._reembed():
                    pass
            except CacheFailure as failure:
                logger.debug("stored questions cannot be embedded anew now: %s", failure.message)
            await asyncio.sleep(REEMBED_REST_S)

    async def _reembed(self) -> int:
        """Embed some stored questions that have no vector of this embedder; how many."""
        stale = [point async for point in self._rooms.index.stale(REEMBED_POINTS)]
        for point in stale:
            embedding = await self._rooms.embedder.embed(point.words, patient=True)
            if embedding.whole:
                await self._rooms.index.add(replace(point, vector=embedding.vector))
            else:
                await self._rooms.index.remove(point.name)
        return len(stale)

    # -- showing -------------------------------------------------------------------------------------------------

    def report(self) -> dict[str, Any]:
        embedder, index = self._rooms.embedder.report(), self._rooms.index.report()
        degraded = embedder.degraded or index.degraded or self._rooms.learning.report()["degraded"]
        said: dict[str, Any] = {"mode": self._settings.mode, "status": "degraded" if degraded else "ok"}
        return said | ({"detail": degraded} if degraded else {})

    def figures(self) -> dict[str, Any]:
        embedder, index = self._rooms.embedder.report(), self._rooms.index.report()
        return {
            "mode": self._settings.mode,
            "policy": self._settings.policy,
            "budget": self._settings.budget,
            "embedder": {"kind": embedder.kind, "identity": embedder.identity, "degraded": embedder.degraded},
            "index": {
                "kind": index.kind,
                "degraded": index.degraded,
                "points": index.points,
                "bytes": index.bytes,
                "pending": index.pending,
                "errors": index.errors or {},
            },
            "ledger": self._rooms.learning.report(),
            "partitions": [
                {"hits": self._served.get(partition, 0), **figures}
                for partition, figures in self._rooms.learning.figures()
            ],
        }

    def near_misses(self) -> list[dict[str, Any]]:
        return list(reversed(self._near_misses))

    async def close(self) -> None:
        if self._reembedding is not None:
            self._reembedding.cancel()
        self._rooms.learning.stop()
        # What was kept lately becomes a candidate, and is learned from.
        await self._tasks.drain(DRAIN_S)
        await self._rooms.learning.close()
        await self._rooms.index.close()
        await self._rooms.embedder.close()


def _may_match(case: Case) -> bool:
    """What the caller and the rule say, whatever the question."""
    asked = case.directives
    return (
        case.verdict.read
        and case.verdict.write
        and not case.verdict.pool
        and not asked.exact_only
        and not asked.no_transform
        and case.rule.match_by_meaning
    )


def _rule(case: Case) -> str:
    match = case.rule.match
    return f"{match.path or ''} {match.model or ''}"


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
