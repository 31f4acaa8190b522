"""Every metric, each with a line that says what is counted. Label values are closed sets or configured names."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from time import thread_time
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from proxy.telemetry.records import Served
from proxy.telemetry.summary import SAVING, Summary
from proxy.telemetry.tallies import Cell, Count, Spread
from proxy.types import Outcome, StoreReport

# fmt: off
# Floats throughout: comparing with an int takes twice as long.
SECONDS = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0,
)
"""Bounds for answers: a hit is under the first, a slow model under the last."""

LOOKUP_SECONDS = (0.000_01, 0.000_05, 0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 1.0)
"""Bounds for the store: memory is under the second, a disk that stalls in the last."""

EMBED_SECONDS = (0.0005, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 1.0)
"""Bounds for embedding: a short question is under the third, the deadline is the tenth."""

BATCHES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
"""Bounds for the questions embedded together."""

SIMILARITIES = (0.7, 0.75, 0.8, 0.82, 0.84, 0.86, 0.88, 0.9, 0.92, 0.94, 0.96, 0.98, 0.99, 1.0)
"""Bounds for cosines: fine where decisions are made."""

AGE_SECONDS = (1.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 43200.0, 86400.0, 259200.0, 604800.0, 2592000.0)
"""Bounds for the age of hits: to judge lifetimes by."""
# fmt: on

MAX_SEEN_MODELS = 200
"""Models an upstream answered for that get a label of their own; clients choose the names, so there is an end."""

MAX_ENDPOINTS = 64
"""A bound that is never reached unless somebody lets a path become an endpoint's label."""

MAX_COMBINATIONS = 200
"""The same for a counter of reasons, kinds or operations, which are all tokens of our own."""

OTHER = "other"

BREAKER_STATES = ("closed", "open", "half_open")


class Families:
    """What is counted."""

    def __init__(self) -> None:
        self.requests = Count(
            "askonce_requests",
            "Requests answered, by what answered them.",
            ("endpoint", "model", "outcome"),
        )
        self.errors = Count(
            "askonce_errors",
            "Requests that ended with an error of our own, or whose caller left before the end, by reason.",
            ("reason",),
        )
        self.request_seconds = Spread(
            "askonce_request_seconds",
            "Seconds from a request's first byte to its answer's last.",
            ("endpoint", "outcome"),
            SECONDS,
        )
        self.first_byte_seconds = Spread(
            "askonce_time_to_first_byte_seconds",
            "Seconds from a request's first byte to its answer's first.",
            ("endpoint", "outcome"),
            SECONDS,
        )
        self.hit_age_seconds = Spread(
            "askonce_hit_age_seconds",
            "Age of answers served from the store.",
            ("tier",),
            AGE_SECONDS,
        )
        self.saved_tokens = Count(
            "askonce_saved_tokens",
            "Tokens of answers served without a call of their own.",
            ("model", "kind"),
        )
        self.saved_usd = Count(
            "askonce_saved_usd",
            "USD that calls of their own would have cost, prompts that the upstream had cached at that price.",
            ("model",),
        )
        self.spent_usd = Count(
            "askonce_spent_usd",
            "USD of answers that upstreams were asked for, by the price table.",
            ("model",),
        )
        self.lookup_seconds = Spread(
            "askonce_lookup_seconds",
            "Seconds a look-up in a tier took.",
            ("tier",),
            LOOKUP_SECONDS,
        )
        self.bypass = Count(
            "askonce_bypass",
            "Requests that neither read nor wrote the cache.",
            ("reason",),
        )
        self.store_skipped = Count(
            "askonce_store_skipped",
            "Answers that were served and not kept.",
            ("reason",),
        )
        self.upstream_seconds = Spread(
            "askonce_upstream_seconds",
            "Seconds an upstream took for a whole answer.",
            ("upstream",),
            SECONDS,
        )
        self.upstream_errors = Count(
            "askonce_upstream_errors",
            "Calls of an upstream that brought no whole answer.",
            ("upstream", "kind"),
        )
        self.upstream_cached_tokens = Count(
            "askonce_upstream_cached_tokens",
            "Prompt tokens that an upstream had in its own prefix cache.",
            ("upstream",),
        )
        self.upstream_prompt_tokens = Count(
            "askonce_upstream_prompt_tokens",
            "Prompt tokens that an upstream was sent, the cached ones among them.",
            ("upstream",),
        )
        self.upstream_retries = Count(
            "askonce_upstream_retries",
            "Calls that went to another endpoint: connect, interrupted, status, rate_limited, failing.",
            ("upstream", "why"),
        )
        self.fallbacks = Count(
            "askonce_upstream_fallbacks",
            "Calls that an upstream could not serve and its fallback was asked.",
            ("upstream",),
        )
        self.flight_followers = Count(
            "askonce_flight_followers",
            "Requests that joined another's upstream call.",
        )
        self.leases = Count(
            "askonce_leases",
            "Upstream calls that replicas could share: led, followed, took_over, waited_out, alone.",
            ("outcome",),
        )

        self.embed_seconds = Spread(
            "askonce_embed_seconds",
            "Seconds a request waited for its question's vector.",
            (),
            EMBED_SECONDS,
        )
        self.embed_batch_size = Spread(
            "askonce_embed_batch_size",
            "Questions embedded together.",
            (),
            BATCHES,
        )
        self.similarity = Spread(
            "askonce_similarity",
            "Cosine of a question and a stored one, by what came of it: hit, audited, shadow, refused.",
            ("outcome",),
            SIMILARITIES,
        )
        self.refused_candidates = Count(
            "askonce_refused_candidates",
            "Stored questions that a guard told apart from the one that was asked.",
            ("guard",),
        )
        self.semantic_barred = Count(
            "askonce_semantic_barred",
            "Questions that cannot be matched by meaning.",
            ("reason",),
        )
        self.semantic_skipped = Count(
            "askonce_semantic_skipped",
            "Matching by meaning that was given up: deadline, busy, backlog, or what failed.",
            ("reason",),
        )
        self.judged = Count(
            "askonce_judged_answers",
            "Pairs of answers compared in the background, by the judge that decided and why they were compared.",
            ("judge", "source"),
        )
        self.audited_hits = Count(
            "askonce_audited_hits",
            "Would-be hits by meaning whose answer was compared with the upstream's.",
        )
        self.false_hits = Count(
            "askonce_false_hits",
            "Those of them that would have been wrong.",
        )

    def exported(self) -> Iterator[Metric]:
        """All of them, as prometheus_client wants them."""
        tallies: list[Count | Spread] = list(vars(self).values())
        return (tally.family() for tally in tallies)


@dataclass(slots=True)
class Row:
    """What requests of one kind (endpoint, model, outcome, tier) add up to: found once, then only added to."""

    requested: tuple[str, str, str]
    model: str
    seconds: Cell
    first_byte: Cell
    age: Cell | None
    """For hits of a tier."""
    saves: bool
    errors: Count | None
    """For errors: their reasons."""
    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    usd: float = 0.0

    def add(self, record: Served) -> None:
        """One more of them. Written out (`Cell.observe` thrice): calls would cost more than what they do."""
        self.requests += 1
        seconds, first_byte_s, age_s = record.seconds, record.first_byte_s, record.age_s
        cell = self.seconds
        cell.counts[bisect_left(SECONDS, seconds)] += 1
        cell.sum += seconds
        cell = self.first_byte
        cell.counts[bisect_left(SECONDS, first_byte_s)] += 1
        cell.sum += first_byte_s
        if self.age is not None:
            cell = self.age
            cell.counts[bisect_left(AGE_SECONDS, age_s)] += 1
            cell.sum += age_s
        if self.saves:
            usage = record.usage
            self.prompt_tokens += usage.prompt_tokens
            self.completion_tokens += usage.completion_tokens
            self.usd += record.saved_usd or 0.0
        elif self.errors is not None:
            _count(self.errors, (record.reason,))


class Metrics:
    """What `/metrics` and `/admin/stats` show. To be called from the event loop's thread only.

    `models` always have a label of their own. The callables are asked when somebody scrapes: how many flights are in
    the air, how the store is, and what the calling thread, which is the event loop's, has used of the processor (s).
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(
        self,
        *,
        version: str,
        models: frozenset[str],
        flights: Callable[[], int],
        store_report: Callable[[], StoreReport],
        loop_cpu: Callable[[], float] = thread_time,
    ) -> None:
        self._families = Families()
        self._rows: dict[tuple[str, str, Outcome, str], Row] = {}
        self._endpoints: set[str] = set()
        self._models = set(models)
        self._max_models = len(models) + MAX_SEEN_MODELS
        gauges = _Gauges(version, flights, store_report, loop_cpu)
        self.registry = CollectorRegistry()
        self.registry.register(_OnScrape(self._exported))
        self.registry.register(_OnScrape(gauges.exported))
        ProcessCollector(registry=self.registry)

    # -- counting ------------------------------------------------------------------------------------------------

    def served(self, record: Served) -> None:
        """A request is over."""
        row = self._rows.get((record.endpoint, record.model, record.outcome, record.tier)) or self._row(record)
        row.add(record)

    def _row(self, record: Served) -> Row:
        """For what has no row under its own name: the row of its labels, made if need be."""
        endpoint = _member(self._endpoints, record.endpoint, MAX_ENDPOINTS)
        model, outcome, tier = self._model(record.model), record.outcome, record.tier
        row = self._rows.get((endpoint, model, outcome, tier))
        if row is None:
            families = self._families
            row = self._rows[endpoint, model, outcome, tier] = Row(
                requested=(endpoint, model, outcome.value),
                model=model,
                seconds=families.request_seconds.cell((endpoint, outcome.value)),
                first_byte=families.first_byte_seconds.cell((endpoint, outcome.value)),
                age=families.hit_age_seconds.cell((tier,)) if tier else None,
                saves=outcome in SAVING,
                errors=families.errors if outcome is Outcome.ERROR else None,
            )
        return row

    def saw_model(self, name: str) -> None:
        """An upstream answered for this model: from now on it has a label of its own, if there is room."""
        _member(self._models, name, self._max_models)

    def _model(self, name: str) -> str:
        return name if name in self._models else OTHER

    def spent(self, model: str, usd: float | None) -> None:
        """An upstream's answer cost this; None: its price is not known."""
        if usd is not None:
            self._families.spent_usd.add((self._model(model),), usd)

    def lookup(self, tier: str, seconds: float) -> None:
        """A tier was asked."""
        self._families.lookup_seconds.cell((tier,)).observe(seconds)

    def upstream_seconds(self, upstream: str, seconds: float) -> None:
        """An upstream gave a whole answer."""
        self._families.upstream_seconds.cell((upstream,)).observe(seconds)

    def bypassed(self, reason: str) -> None:
        """A request neither read nor wrote the cache."""
        _count(self._families.bypass, (reason,))

    def store_skipped(self, reason: str) -> None:
        """An answer was served and not kept."""
        _count(self._families.store_skipped, (reason,))

    def upstream_error(self, upstream: str, kind: str) -> None:
        """An upstream failed; `kind` is the error's `reason`."""
        _count(self._families.upstream_errors, (upstream, kind))

    def upstream_retried(self, upstream: str, why: str) -> None:
        """A call went on to another endpoint of the same upstream."""
        self._families.upstream_retries.add((upstream, why))

    def fell_back(self, upstream: str) -> None:
        """A call went on to the fallback of this one."""
        self._families.fallbacks.add((upstream,))

    def prompt_tokens(self, upstream: str, tokens: int, cached: int) -> None:
        """An upstream was sent these, and had so many of them in its own prefix cache."""
        self._families.upstream_prompt_tokens.add((upstream,), tokens)
        self._families.upstream_cached_tokens.add((upstream,), cached)

    def followers(self, number: int = 1) -> None:
        """Requests joined another's upstream call."""
        self._families.flight_followers.add((), number)

    def leased(self, outcome: str) -> None:
        """How replicas agreed on who asks. `led`: this one did; `followed`: another's call was passed on; `took_over`:
        another's was lost before it began; `waited_out`: it took too long to begin; `alone`: nobody could be told."""
        _count(self._families.leases, (outcome,))

    def embedded(self, seconds: float) -> None:
        """A request had to wait this long for its question's vector."""
        self._families.embed_seconds.cell(()).observe(seconds)

    def batch_embedded(self, size: int) -> None:
        """So many questions were embedded together."""
        self._families.embed_batch_size.cell(()).observe(size)

    def similarity(self, outcome: str, cosine: float) -> None:
        """A candidate was decided on."""
        self._families.similarity.cell((outcome,)).observe(cosine)

    def refused_candidate(self, guard: str) -> None:
        """A guard told two questions apart."""
        _count(self._families.refused_candidates, (guard,))

    def semantic_barred(self, reason: str) -> None:
        """A question cannot be matched by meaning."""
        _count(self._families.semantic_barred, (reason,))

    def semantic_skipped(self, reason: str) -> None:
        """Matching was given up."""
        _count(self._families.semantic_skipped, (reason,))

    def judged(self, judge: str, source: str) -> None:
        """Two answers were compared."""
        _count(self._families.judged, (judge, source))

    def audited(self, *, wrong: bool) -> None:
        """A would-be hit was compared with the upstream's answer."""
        self._families.audited_hits.add(())
        if wrong:
            self._families.false_hits.add(())

    def show(self, gauges: Callable[[], Iterator[Metric]]) -> None:
        """Ask this too when somebody scrapes."""
        self.registry.register(_OnScrape(gauges))

    # -- showing -------------------------------------------------------------------------------------------------

    def text(self) -> bytes:
        """Prometheus' text format, as `content_type` says."""
        return generate_latest(self.registry)

    def families(self) -> list[Metric]:
        """All that is exported, as it is now."""
        return list(self.registry.collect())

    def summary(self) -> dict[str, Any]:
        """Sums since the start, for people."""
        return Summary(self.families()).since_the_start()

    def _exported(self) -> Iterator[Metric]:
        self._sum_up()
        return self._families.exported()

    def _sum_up(self) -> None:
        """Fill the counters that are kept as rows."""
        families = self._families
        for count in (families.requests, families.saved_tokens, families.saved_usd):
            count.clear()
        for row in self._rows.values():
            families.requests.add(row.requested, row.requests)
            if row.saves:
                families.saved_tokens.add((row.model, "prompt"), row.prompt_tokens)
                families.saved_tokens.add((row.model, "completion"), row.completion_tokens)
                families.saved_usd.add((row.model,), row.usd)


@dataclass(frozen=True, slots=True)
class _Gauges:
    """What is asked of others when somebody scrapes."""

    version: str
    flights: Callable[[], int]
    store_report: Callable[[], StoreReport]
    loop_cpu: Callable[[], float]

    def exported(self) -> Iterator[Metric]:
        report = self.store_report()
        yield gauge("askonce_store_bytes", "Bytes a tier holds.", ("tier",), _by_tier(report.bytes_by_tier))
        yield gauge("askonce_store_entries", "Answers a tier holds.", ("tier",), _by_tier(report.entries_by_tier))
        yield gauge(
            "askonce_store_degraded",
            "1 while a store does not do all it should; /readyz says why.",
            ("store",),
            {(report.kind,): int(report.degraded is not None)},
        )
        yield gauge("askonce_flights", "Upstream calls in the air.", (), {(): self.flights()})
        yield gauge("askonce_build_info", "The version that runs; always 1.", ("version",), {(self.version,): 1})
        # One core is all that an event loop can use: a rate near 1 for each of them is a proxy at its end, whatever
        # embedding does in other threads.
        yield _counter(
            "askonce_event_loop_cpu_seconds",
            "Seconds of processor time of the threads that event loops run in.",
            (),
            {(): self.loop_cpu()},
        )
        yield gauge("askonce_event_loops", "Event loops that serve: one in each process.", (), {(): 1})
        yield _counter(
            "askonce_evictions", "Answers that went without being asked to.", ("tier", "cause"), report.evictions
        )
        if report.breaker is not None:
            yield gauge(
                "askonce_store_breaker",
                "The state of a shared store's breaker: 1 for the one it is in.",
                ("store", "state"),
                {(report.kind, state): int(state == report.breaker) for state in BREAKER_STATES},
            )
            yield _counter(
                "askonce_store_breaker_openings",
                "How often a shared store's breaker opened.",
                ("store",),
                {(report.kind,): report.openings},
            )
        yield _counter(
            "askonce_store_errors", "What failed in a store, by operation.", ("store", "operation"), report.errors
        )


class _OnScrape(Collector):
    """A function as a registry wants it."""

    def __init__(self, exported: Callable[[], Iterator[Metric]]) -> None:
        self._exported = exported

    def collect(self) -> Iterator[Metric]:
        return self._exported()

    def describe(self) -> Iterator[Metric]:
        # Without it registering would collect, and so ask a store that is not open yet.
        return iter(())


def _member(known: set[str], name: str, room_for: int) -> str:
    """The name, if it is known or there is room to know it; else `other`."""
    if name not in known and len(known) >= room_for:
        return OTHER
    known.add(name)
    return name


def _count(count: Count, labels: tuple[str, ...]) -> None:
    if labels not in count.values and len(count.values) >= MAX_COMBINATIONS:
        labels = (OTHER,) * len(labels)
    count.add(labels)


Labels = TypeVar("Labels", bound=tuple[str, ...])


def _counter(name: str, what: str, labels: tuple[str, ...], values: Mapping[Labels, float]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, what, labels=labels)
    for label_values, value in values.items():
        family.add_metric(label_values, value)
    return family


def gauge(name: str, what: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, what, labels=labels)
    for label_values, value in values.items():
        family.add_metric(label_values, value)
    return family


def _by_tier(values: Mapping[str, int]) -> dict[tuple[str, ...], float]:
    return {(tier,): value for tier, value in values.items()}
