"""Matching by meaning, step by step.

    seek       who may be matched; normalised words; embed; nearest of the shape; guards; verifier   (one deadline)
    remember   a kept answer's question becomes a candidate, and tells about the candidate it had     (remembering.py)

Read `_seek` and `_near` from top to bottom. A step that fails, or is late, ends the search: the question goes upstream.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
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
from proxy.lexis.difference import compare
from proxy.lexis.folding import folded
from proxy.lexis.reading import Reading, read
from proxy.match import Kind, Match, matched
from proxy.meaning.base import BEYOND_THE_EMBEDDER, Fits, Sought, Trial
from proxy.meaning.learning import Learning
from proxy.meaning.remembering import Remembering
from proxy.stores.base import ExactStore
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.tasks import Tasks
from proxy.telemetry.tracing.base import Tracing
from proxy.telemetry.tracing.genai import EMBED, FOUND, MATCH, MATCHED, REFUSED, REFUSED_BY, SEARCH, SIMILARITY
from proxy.types import Asking, Digest, Entry, Form
from proxy.vectors.base import Near, VectorIndex

logger = logging.getLogger("askonce.meaning")

NEAR_MISSES = 200
"""Latest ones that an operator can look at."""

READINGS = 1024
"""Stored questions' words that are not read anew each time they are a candidate: some 10 kB each."""

READING_CHARS = 400
LONG_READINGS = 128
"""So many of longer ones: they weigh as much as a dozen others, and reading them takes as much longer."""

PARTITIONS = 4096
"""Whose hits are counted; over it the one that had none for longest goes."""

NOTHING = read("")


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
        tracing: Tracing,
    ) -> None:
        self._rooms = rooms
        self._settings = settings
        self._namer = namer
        self._tasks = tasks
        self._metrics = metrics
        self._clock = clock
        self._random = random
        self._tracing = tracing
        self._read_short = lru_cache(READINGS)(read)
        self._read_long = lru_cache(LONG_READINGS)(read)
        self._folded = lru_cache(READINGS)(folded)
        self._near_misses: deque[dict[str, Any]] = deque(maxlen=NEAR_MISSES)
        self._served: OrderedDict[Digest, int] = OrderedDict()
        self._remembering = Remembering(
            store=rooms.store,
            embedder=rooms.embedder,
            index=rooms.index,
            learning=rooms.learning,
            endpoints=rooms.endpoints,
            namer=namer,
            tasks=tasks,
            metrics=metrics,
            random=random,
            tracing=tracing,
        )

    async def open(self) -> None:
        await self._rooms.embedder.open()
        await self._rooms.index.open()
        await self._rooms.learning.open()
        self._remembering.open()

    # -- who may be matched --------------------------------------------------------------------------------------

    def allows(self, case: Case, match: Match) -> bool:
        if self._settings.mode != "on" or not _may_match(case) or match.similarity < case.directives.threshold:
            return False
        learning = self._rooms.learning
        if learning.refused_here(match.pair):
            return False
        if match.kind == "normalized":
            return case.rule.match_normalized
        # An alias may be older than what was learned since, than the policy, or than an overrun of the budget.
        return match.comparison is not None and learning.verifier(match.partition).judge(match.comparison).serve

    # -- seek ----------------------------------------------------------------------------------------------------

    async def seek(self, case: Case, asking: Asking, shape: Digest, fits: Fits | None) -> Sought:
        with self._tracing.step(MATCH) as step:
            sought = await self._sought(case, asking, shape, fits)
            if sought.barred:
                step.note(MATCHED, f"barred: {sought.barred}")
        return sought

    async def _sought(self, case: Case, asking: Asking, shape: Digest, fits: Fits | None) -> Sought:
        too_long = self._rooms.length(asking, NOTHING, case.rule)
        reading = NOTHING if too_long else read(asking.words)
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
            self._skipped("deadline")
        except CacheFailure as failure:
            self._skipped(failure.reason)
            logger.debug("not matched by meaning: %s", failure.message)
        return sought

    def _skipped(self, reason: str) -> None:
        self._metrics.semantic_skipped(reason)
        self._tracing.note(MATCHED, f"skipped: {reason}")

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
        normalized = sought.normalized if sought.case.rule.match_normalized else None
        typed = self._rooms.store.peek(normalized) if normalized is not None else None
        if typed is not None and await self._same_words(sought, typed, reading, fits):
            return
        if normalized is None or typed is not None:
            if not sought.barred and await self._embed(sought):
                await self._near(sought, reading, fits)
        else:
            await self._ask_and_embed(sought, normalized, reading, fits)

    async def _ask_and_embed(self, sought: Sought, normalized: Digest, reading: Reading, fits: Fits) -> None:
        """What memory has not is asked of the store while the words are embedded."""
        embedding = None
        if not sought.barred:
            embedding = self._tasks.spawn(self._embed(sought), name="embed", expected=CacheFailure)
        try:
            typed = await self._rooms.store.get(normalized)
            if typed is not None and await self._same_words(sought, typed, reading, fits):
                return
            if embedding is not None and await embedding:
                await self._near(sought, reading, fits)
        finally:
            if embedding is not None:
                embedding.cancel()

    async def _same_words(self, sought: Sought, typed: Entry, reading: Reading, fits: Fits) -> bool:
        """Words that differ in how they are typed only. `typed`: what is stored by them."""
        if sought.normalized is None or typed.form is not Form.ALIAS:
            return False
        stored = matched(typed)
        there = self._read(stored.words)
        if any(self._refuses(guard, reading, there) for guard in self._rooms.guards):
            return False
        pair = self._namer.pair(sought.normalized, sought.normalized)
        if stored.of == sought.case.name or pair in await self._rooms.learning.refused([pair]):
            return False
        entry = await self._entry(stored.of)
        if entry is None or not fits(entry):
            return False
        # The very same question: what a judge makes of two answers to it measures the judge.
        sought.trial = Trial(Comparison(1.0, compare(reading, there)), stored.of, stored.words, "same")
        match = self._match(sought, stored.of, "normalized", 1.0, pair, None)
        self._decide(sought, entry, match, audit=self._random() < self._settings.audit_rate)
        return True

    async def _embed(self, sought: Sought) -> bool:
        began = perf_counter()
        with self._tracing.step(EMBED):
            embedding = await self._rooms.embedder.embed(sought.words)
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
        most, floor = self._settings.candidates, self._settings.floor
        with self._tracing.step(SEARCH) as step:
            near = await self._rooms.index.nearest(sought.shape, sought.vector, most=most, floor=floor)
            step.note(FOUND, len(near))
        self._metrics.lookup("vectors", perf_counter() - began)
        verifier = self._rooms.learning.verifier(sought.partition)
        # One after the other: mostly the first is served, and the others need not be read.
        for candidate in self._let_through(sought, reading, near):
            judgement = verifier.judge(candidate.comparison)
            if not judgement.serve:
                _try_later(sought, candidate, "audit" if judgement.reason == "budget" else "miss")
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
            yield Candidate(each, comparison)

    def _pair(self, sought: Sought, words: str) -> Digest:
        """Both however they are typed, and whichever was stored first: what was refused comes back in no other form."""
        asked = sought.normalized or sought.case.name
        stored = self._namer.normalized(sought.shape, self._folded(words))
        return self._namer.pair(min(asked, stored), max(asked, stored))

    def _read(self, words: str) -> Reading:
        """Of a stored question, which may be a candidate again soon."""
        return self._read_short(words) if len(words) <= READING_CHARS else self._read_long(words)

    def _refuses(self, guard: Guard, asked: Reading, stored: Reading) -> bool:
        if not guard.refuses(asked, stored):
            return False
        self._metrics.refused_candidate(guard.name)
        return True

    async def _serve(self, sought: Sought, candidate: Candidate, fits: Fits) -> bool:
        """Whether the search ends with this candidate."""
        near, pair = candidate.near, self._pair(sought, candidate.near.words)
        refused, entry = await self._refused_and_entry(pair, near.name)
        if refused:
            self._refused(sought, near, "feedback")
            return False
        _try_later(sought, candidate, "audit")
        if near.similarity < sought.case.directives.threshold:
            return False
        if entry is None or entry.form is Form.ALIAS:
            # That a store in trouble has not found it does not say that it is gone.
            if entry is not None or self._rooms.store.report().degraded is None:
                await self._rooms.index.remove(near.name)
            return False
        if not fits(entry):
            return False
        match = self._match(sought, near.name, "meaning", near.similarity, pair, candidate.comparison)
        self._decide(sought, entry, match, audit=self._random() < self._settings.audit_rate)
        return True

    async def _refused_and_entry(self, pair: Digest, name: Digest) -> tuple[frozenset[Digest], Entry | None]:
        """On Redis in one round trip."""
        refused, entry = self._rooms.learning.refused([pair]), self._rooms.store.peek(name)
        if entry is not None:
            return await refused, entry
        return await asyncio.gather(refused, self._rooms.store.get(name))

    async def _entry(self, name: Digest) -> Entry | None:
        return self._rooms.store.peek(name) or await self._rooms.store.get(name)

    def _match(
        self, sought: Sought, of: Digest, kind: Kind, similarity: float, pair: Digest, comparison: Comparison | None
    ) -> Match:
        return Match(of, kind, similarity, sought.case.scope, sought.partition, pair, comparison)

    def _decide(self, sought: Sought, entry: Entry, match: Match, *, audit: bool) -> None:
        outcome = "shadow" if self._settings.mode == "shadow" else "audited" if audit else "hit"
        self._metrics.similarity(outcome, match.similarity)
        self._tracing.note(MATCHED, outcome)
        self._tracing.note(SIMILARITY, match.similarity)
        if outcome != "hit":
            return
        sought.entry, sought.match, sought.trial = entry, match, None
        self._count(match.partition)
        self._remembering.keep(sought.case.name, entry, match)

    def _count(self, partition: Digest) -> None:
        self._served[partition] = self._served.get(partition, 0) + 1
        self._served.move_to_end(partition)
        if len(self._served) > PARTITIONS:
            self._served.popitem(last=False)

    def _refused(self, sought: Sought, near: Near, by: str) -> None:
        self._metrics.similarity("refused", near.similarity)
        self._tracing.event(REFUSED, {REFUSED_BY: by, SIMILARITY: near.similarity})
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

    # -- remember, forget ----------------------------------------------------------------------------------------

    def remember(self, sought: Sought, entry: Entry) -> None:
        self._remembering.remember(sought, entry)

    def repeated(self, before: Entry, after: Entry, partition: Digest) -> None:
        self._remembering.repeated(before, after, partition)

    async def forget(self, name: Digest) -> None:
        await self._remembering.forgiving(self._rooms.index.remove(name))

    async def purge(self) -> None:
        await self._remembering.forgiving(self._rooms.index.purge(self._rooms.store.generation))

    async def feedback(self, match: Match, *, good: bool) -> None:
        if not good:
            await self._rooms.learning.refuse(match.pair)
        if match.comparison is None:
            return
        try:
            await self._rooms.learning.certain(match.partition, match.comparison, right=good)
        except CacheFailure:
            # Of bad feedback the promise is the refused pair; good feedback is nothing but its label.
            if good:
                raise

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
        self._rooms.learning.stop()
        await self._remembering.close()
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


def _try_later(sought: Sought, candidate: Candidate, source: str) -> None:
    """One candidate is compared when the question has its own answer: the first, or the one that would be a hit."""
    if sought.trial is None or (source == "audit" and sought.trial.source == "miss"):
        sought.trial = Trial(candidate.comparison, candidate.near.name, candidate.near.words, source)


def _rule(case: Case) -> str:
    match = case.rule.match
    return f"{match.path or ''} {match.model or ''}"
