"""Writes the Grafana dashboard, `helm/askonce/dashboards/askonce.json`: `python helm/dashboard.py`.

A panel is a line or two below, in the order of the page; the JSON around it is made here, so that every panel has the
same manners. Two rules hold throughout:

- What each replica counts is summed; what a shared store tells each of them alike is taken once (`max`).
- Every rate is over `$__rate_interval`, but for the figures of the whole range at the top.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DASHBOARD = Path(__file__).parent / "askonce" / "dashboards" / "askonce.json"

DOCS = "https://github.com/askonce/askonce/blob/main"

COLUMNS = 24
"""Of Grafana's grid."""

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}

SELECTED = 'job=~"$job",instance=~"$instance"'
MODEL, UPSTREAM = 'model=~"$model"', 'upstream=~"$upstream"'

HITS = 'outcome=~"hit|semantic|stale|collapsed"'
"""Answered without an upstream call of their own."""
ASKED = 'outcome=~"hit|semantic|stale|collapsed|miss"'
"""What could have been a hit. Their quotient is the hit ratio of `askonce stats`."""

SERVED, MATCHED, MISSED, COLLAPSED, REFUSED = (
    f'outcome="{outcome}"' for outcome in ("hit", "semantic", "miss", "collapsed", "refused")
)
OPEN, HALF_OPEN = 'state="open"', 'state="half_open"'

SHARED = 'tier="redis"'
OWN = 'tier!="redis"'

QUANTILES = (0.5, 0.95, 0.99)

Json = dict[str, Any]


@dataclass(frozen=True)
class Query:
    """PromQL and what its series are called."""

    expr: str
    legend: str
    instant: bool = False
    buckets: bool = False
    """The series are a histogram's buckets, for a heatmap."""


@dataclass(frozen=True)
class Panel:
    """One picture. `custom` and `options` go over what its kind has by default; `overrides` are Grafana's."""

    title: str
    description: str
    unit: str
    queries: Sequence[Query]
    kind: str = "timeseries"
    width: int = 8
    height: int = 8
    defaults: Json = field(default_factory=dict)
    custom: Json = field(default_factory=dict)
    options: Json = field(default_factory=dict)
    overrides: Sequence[Json] = ()


# --- PromQL


def series(name: str, *matchers: str) -> str:
    return f"{name}{{{','.join((SELECTED, *matchers))}}}"


def rate(name: str, *matchers: str) -> str:
    return f"rate({series(name, *matchers)}[$__rate_interval])"


def within(name: str, *matchers: str) -> str:
    """How much it grew over the whole range that is looked at."""
    return f"increase({series(name, *matchers)}[$__range])"


def quantile(share: float, name: str, *matchers: str, by: str = "") -> str:
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, sum by ({labels}) ({rate(f'{name}_bucket', *matchers)}))"


def quantiles(name: str, *matchers: str, by: str = "", legend: str = "") -> list[Query]:
    """The median and what is slow."""
    return [
        Query(quantile(share, name, *matchers, by=by), f"{legend}p{share * 100:.0f}".strip()) for share in QUANTILES
    ]


def counted(name: str, by: str, *matchers: str) -> Query:
    """Events a second, by labels."""
    legend = " ".join(f"{{{{{label}}}}}" for label in by.split(", "))
    return Query(f"sum by ({by}) ({rate(name, *matchers)})", legend)


def by_tier(name: str) -> Query:
    """Of replicas' own tiers the sum, of the shared one what each of them says."""
    own, shared = series(name, OWN), series(name, SHARED)
    return Query(f"sum by (tier) ({own}) or max by (tier) ({shared})", "{{tier}}")


# --- looks

STACKED: Json = {"stacking": {"mode": "normal", "group": "A"}, "fillOpacity": 40, "lineWidth": 0}
LOGARITHMIC: Json = {"scaleDistribution": {"type": "log", "log": 10}}
STEPS: Json = {"lineInterpolation": "stepAfter"}
SHARE: Json = {"min": 0, "max": 1}
FROM_ZERO: Json = {"min": 0}


def colour(name: str, value: str, **custom: Any) -> Json:
    """The series of this name looks so."""
    properties: list[Json] = [{"id": "color", "value": {"mode": "fixed", "fixedColor": value}}]
    properties += [{"id": f"custom.{key}", "value": each} for key, each in custom.items()]
    return {"matcher": {"id": "byName", "options": name}, "properties": properties}


OUTCOMES = (
    colour("hit", "green"),
    colour("semantic", "blue"),
    colour("stale", "yellow"),
    colour("collapsed", "purple"),
    colour("miss", "orange"),
    colour("bypass", "super-light-orange"),
    colour("error", "red"),
)


def figure(title: str, description: str, unit: str, expr: str, legend: str, *, bad_from: float | None = None) -> Panel:
    """One number of the first row; red from `bad_from` on."""
    steps: list[Json] = [{"color": "green", "value": None}]
    if bad_from is not None:
        steps.append({"color": "red", "value": bad_from})
    return Panel(
        title,
        description,
        unit,
        [Query(expr, legend, instant=True)],
        kind="stat",
        width=3,
        height=4,
        defaults={"thresholds": {"mode": "absolute", "steps": steps}, "noValue": "none yet"},
    )


def heatmap(title: str, description: str, expr: str) -> Panel:
    return Panel(title, description, "short", [Query(expr, "{{le}}", buckets=True)], kind="heatmap")


# --- the page

GLANCE = [
    figure(
        "Hit ratio",
        "Share of the questions that were answered without an upstream call of their own, over the whole range. What "
        "bypassed the cache, or ended with an error, is not counted: the same figure as in `askonce stats`.",
        "percentunit",
        f"(sum({within('askonce_requests_total', MODEL, HITS)}) or vector(0))"
        f" / sum({within('askonce_requests_total', MODEL, ASKED)})",
        "hit ratio",
    ),
    figure(
        "Requests",
        "Requests a second, whatever answered them.",
        "reqps",
        f"sum({rate('askonce_requests_total', MODEL)})",
        "requests",
    ),
    figure(
        "Tokens saved",
        "Tokens of answers that were served without a call of their own, over the whole range.",
        "short",
        f"sum({within('askonce_saved_tokens_total', MODEL)})",
        "tokens",
    ),
    figure(
        "USD saved",
        "What those calls would have cost, over the whole range. Prompts that the upstream had cached count at that "
        "price; models without a known price count nothing.",
        "currencyUSD",
        f"sum({within('askonce_saved_usd_total', MODEL)})",
        "saved",
    ),
    figure(
        "USD spent",
        "What the answers cost that upstreams were asked for, over the whole range, by the price table.",
        "currencyUSD",
        f"sum({within('askonce_spent_usd_total', MODEL)})",
        "spent",
    ),
    figure(
        "A hit takes",
        "The time that 99 of 100 hits take at most, from the request's first byte to the answer's last.",
        "s",
        quantile(0.99, "askonce_request_seconds", SERVED),
        "p99",
    ),
    figure(
        "Parts in trouble",
        "Stores and matching that are degraded on any replica, and endpoints that are left alone. /readyz says why.",
        "short",
        f"(sum(max by (store) ({series('askonce_store_degraded')})) or vector(0))"
        f" + (max({series('askonce_semantic_degraded')}) or vector(0))"
        f" + (sum(1 - min by (upstream, endpoint) ({series('askonce_upstream_endpoint_up')})) or vector(0))",
        "in trouble",
        bad_from=1,
    ),
    figure(
        "Instances",
        "Replicas that answer a scrape.",
        "short",
        f"count({series('askonce_build_info')})",
        "instances",
    ),
]

ANSWERS = [
    Panel(
        "Requests by outcome",
        "How requests were answered: the values of `X-Cache`, and errors.",
        "reqps",
        [counted("askonce_requests_total", "outcome", MODEL)],
        custom=STACKED,
        overrides=OUTCOMES,
    ),
    Panel(
        "Hit ratio by outcome",
        "Share of the questions that were hits of each kind; together they are the hit ratio.",
        "percentunit",
        [
            Query(
                f"sum by (outcome) ({rate('askonce_requests_total', MODEL, HITS)})"
                f" / ignoring (outcome) group_left () sum({rate('askonce_requests_total', MODEL, ASKED)})",
                "{{outcome}}",
            )
        ],
        defaults=SHARE,
        custom=STACKED,
        overrides=OUTCOMES,
    ),
    Panel(
        "Hit ratio by tier",
        "Share of the questions that were answered from each place: this replica's memory, the store behind it, a "
        "question of the same words, one of the same meaning, or a call that was running. Stale answers count where "
        "they lay.",
        "percentunit",
        [
            Query(
                f"sum by (tier) ({rate('askonce_hit_age_seconds_count')})"
                f" / ignoring (tier) group_left () sum({rate('askonce_requests_total', ASKED)})",
                "{{tier}}",
            ),
            Query(
                f"sum({rate('askonce_requests_total', COLLAPSED)}) / sum({rate('askonce_requests_total', ASKED)})",
                "collapsed",
            ),
        ],
        defaults=SHARE,
        custom=STACKED,
    ),
    Panel(
        "Hit ratio by model",
        "Share of each model's questions that were hits. `other` are names that no upstream has answered for.",
        "percentunit",
        [
            Query(
                f"(sum by (model) ({rate('askonce_requests_total', MODEL, HITS)})"
                f" or sum by (model) ({rate('askonce_requests_total', MODEL, ASKED)}) * 0)"
                f" / sum by (model) ({rate('askonce_requests_total', MODEL, ASKED)})",
                "{{model}}",
            )
        ],
        defaults=SHARE,
    ),
    Panel(
        "Age of hits",
        "How old answers are when they are served: the median and the oldest 5 % by tier. To judge lifetimes by.",
        "s",
        [
            Query(quantile(0.5, "askonce_hit_age_seconds", by="tier"), "{{tier}} p50"),
            Query(quantile(0.95, "askonce_hit_age_seconds", by="tier"), "{{tier}} p95"),
        ],
        custom=LOGARITHMIC,
    ),
    Panel(
        "Errors by reason",
        "Requests that ended with an error of AskOnce's own, or whose caller left (`client_left`). `internal_error`, "
        "`overloaded` and `upstream_...` are not the caller's doing.",
        "reqps",
        [counted("askonce_errors_total", "reason")],
        custom=STACKED,
    ),
]

SAVINGS = [
    Panel(
        "Tokens saved",
        "Tokens of answers that were served without a call of their own, a second.",
        "short",
        [counted("askonce_saved_tokens_total", "kind", MODEL)],
        custom=STACKED,
    ),
    Panel(
        "Money an hour",
        "What hits saved and what upstreams' answers cost, in USD an hour, by the price table (`telemetry.prices`).",
        "currencyUSD",
        [
            Query(f"sum({rate('askonce_saved_usd_total', MODEL)}) * 3600", "saved"),
            Query(f"sum({rate('askonce_spent_usd_total', MODEL)}) * 3600", "spent"),
        ],
        defaults=FROM_ZERO,
        overrides=(colour("saved", "green"), colour("spent", "orange")),
    ),
    Panel(
        "Money saved by model",
        "What hits saved in USD an hour.",
        "currencyUSD",
        [Query(f"sum by (model) ({rate('askonce_saved_usd_total', MODEL)}) * 3600", "{{model}}")],
        custom=STACKED,
    ),
]

LATENCY = [
    Panel(
        "Exact hits",
        "From the request's first byte to the answer's last, for answers of this very question.",
        "s",
        quantiles("askonce_request_seconds", SERVED),
        custom=LOGARITHMIC,
    ),
    Panel(
        "Hits by meaning",
        "The same for answers of a question in other words, which include embedding and search.",
        "s",
        quantiles("askonce_request_seconds", MATCHED),
        custom=LOGARITHMIC,
    ),
    Panel(
        "Misses",
        "The same for what the upstream was asked for; most of it is the model's time.",
        "s",
        quantiles("askonce_request_seconds", MISSED),
        custom=LOGARITHMIC,
    ),
    Panel(
        "Time to first byte, median",
        "From the request's first byte to the answer's first, by outcome.",
        "s",
        [Query(quantile(0.5, "askonce_time_to_first_byte_seconds", by="outcome"), "{{outcome}}")],
        width=12,
        custom=LOGARITHMIC,
        overrides=OUTCOMES,
    ),
    Panel(
        "Time to first byte, p95",
        "The same for the slowest 5 %.",
        "s",
        [Query(quantile(0.95, "askonce_time_to_first_byte_seconds", by="outcome"), "{{outcome}}")],
        width=12,
        custom=LOGARITHMIC,
        overrides=OUTCOMES,
    ),
]

NOT_CACHED = [
    Panel(
        "Bypasses by reason",
        "Requests that neither read nor wrote the cache, by the reason that `X-Cache-Reason` gives.",
        "reqps",
        [counted("askonce_bypass_total", "reason")],
        custom=STACKED,
    ),
    Panel(
        "Answers not kept, by reason",
        "Answers that were served and not stored.",
        "reqps",
        [counted("askonce_store_skipped_total", "reason")],
        custom=STACKED,
    ),
    Panel(
        "Not matched by meaning, by reason",
        "Questions that cannot be matched by meaning: what they ask for, how long they are, or in which language.",
        "reqps",
        [counted("askonce_semantic_barred_total", "reason")],
        custom=STACKED,
    ),
]

MEANING = [
    heatmap(
        "Similarity of what was served",
        "Cosines of questions and the stored ones whose answers they got. Much near the lower end: look at audits.",
        f"sum by (le) (increase({series('askonce_similarity_bucket', SERVED)}[$__rate_interval]))",
    ),
    heatmap(
        "Similarity of what was refused",
        "Cosines of questions and stored ones that a guard or the verifier told apart.",
        f"sum by (le) (increase({series('askonce_similarity_bucket', REFUSED)}[$__rate_interval]))",
    ),
    Panel(
        "Similarity, median by outcome",
        "Where it is decided: `hit` was served, `audited` and `shadow` would have been, `refused` was not.",
        "percentunit",
        [Query(quantile(0.5, "askonce_similarity", by="outcome"), "{{outcome}}")],
        defaults={"min": 0.7, "max": 1},
        overrides=OUTCOMES,
    ),
    Panel(
        "Candidates by outcome",
        "Stored questions that were near enough to be looked at, and what came of them.",
        "ops",
        [counted("askonce_similarity_count", "outcome")],
        custom=STACKED,
    ),
    Panel(
        "Guards that refused",
        "Stored questions that were told apart from the one that was asked, by what told them apart.",
        "ops",
        [counted("askonce_refused_candidates_total", "guard")],
        custom=STACKED,
    ),
    Panel(
        "Given up, by reason",
        "Questions for which matching was given up: no time (`deadline`), too many waiting (`busy`, `backlog`), or "
        "what failed.",
        "ops",
        [counted("askonce_semantic_skipped_total", "reason")],
        custom=STACKED,
    ),
    Panel(
        "False hits: upper bound by partition",
        "95 % upper bound of the share of wrong answers among hits by meaning. Near 1 with few audits: nothing is "
        "known yet. A partition that is surely above the budget gets exact answers only.",
        "percentunit",
        [
            Query(f"max by (partition) ({series('askonce_false_hit_ratio_upper')})", "{{partition}}"),
            Query(f"max({series('askonce_false_hit_budget')})", "budget"),
        ],
        defaults=SHARE,
        overrides=(colour("budget", "red", lineStyle={"fill": "dash", "dash": [10, 10]}, lineWidth=2, fillOpacity=0),),
    ),
    Panel(
        "Audits",
        "Would-be hits whose answer was compared with the upstream's, and those that would have been wrong, an hour.",
        "short",
        [
            Query(f"sum({rate('askonce_audited_hits_total')}) * 3600", "audited"),
            Query(f"sum({rate('askonce_false_hits_total')}) * 3600", "wrong"),
        ],
        defaults=FROM_ZERO,
        overrides=(colour("audited", "blue"), colour("wrong", "red")),
    ),
    Panel(
        "Suspended partitions",
        "Partitions that are over their budget of wrong answers.",
        "short",
        [Query(f"sum(max by (partition) ({series('askonce_semantic_suspended')}))", "suspended")],
        defaults=FROM_ZERO,
        custom=STEPS,
    ),
    Panel(
        "Answers compared",
        "Pairs of answers compared in the background, by the judge that decided and why they were compared.",
        "ops",
        [counted("askonce_judged_answers_total", "judge, source")],
        custom=STACKED,
    ),
    Panel(
        "Embedding",
        "How long a question waited for its vector. `semantic.deadline` ends it.",
        "s",
        quantiles("askonce_embed_seconds"),
    ),
    Panel(
        "Stored questions and batches",
        "Questions that can be matched by meaning (a shared index is counted once), and how many are embedded "
        "together.",
        "short",
        [
            Query(f"max({series('askonce_semantic_points')})", "stored questions"),
            Query(
                f"sum({rate('askonce_embed_batch_size_sum')}) / sum({rate('askonce_embed_batch_size_count')})",
                "questions in a batch",
            ),
        ],
        overrides=(
            {
                "matcher": {"id": "byName", "options": "questions in a batch"},
                "properties": [{"id": "custom.axisPlacement", "value": "right"}],
            },
        ),
    ),
]

STORE = [
    Panel(
        "Breaker of the shared store",
        "Open: the store failed several times in a row and is left alone. Half open: it is being tried. Embedded "
        "stores have none.",
        "short",
        [
            Query(
                f"max by (instance, store) ({series('askonce_store_breaker', HALF_OPEN)}"
                f" or 2 * {series('askonce_store_breaker', OPEN)})",
                "{{instance}} {{store}}",
            )
        ],
        kind="state-timeline",
        defaults={
            "mappings": [
                {
                    "type": "value",
                    "options": {
                        "0": {"text": "closed", "color": "green", "index": 0},
                        "1": {"text": "half open", "color": "yellow", "index": 1},
                        "2": {"text": "open", "color": "red", "index": 2},
                    },
                }
            ]
        },
    ),
    Panel(
        "Openings and degraded stores",
        "How often breakers opened, an hour, and how many replicas say that their store does not do all it should.",
        "short",
        [
            Query(f"sum by (store) ({rate('askonce_store_breaker_openings_total')}) * 3600", "{{store}} openings"),
            Query(f"sum by (store) ({series('askonce_store_degraded')})", "{{store}} degraded"),
        ],
        defaults=FROM_ZERO,
    ),
    Panel(
        "Store errors",
        "What failed, by store and operation. `unreadable_...`: what was found is of another version, torn, or not "
        "ours.",
        "ops",
        [counted("askonce_store_errors_total", "store, operation")],
        custom=STACKED,
    ),
    Panel(
        "Look-up time",
        "How long look-ups take behind memory, by tier; `vectors` is the search by meaning.",
        "s",
        [
            Query(quantile(0.5, "askonce_lookup_seconds", by="tier"), "{{tier}} p50"),
            Query(quantile(0.99, "askonce_lookup_seconds", by="tier"), "{{tier}} p99"),
        ],
        custom=LOGARITHMIC,
    ),
    Panel(
        "Size",
        "Bytes by tier: of memory the sum over the replicas, of the shared store its own figure (of all that is "
        "in it).",
        "bytes",
        [by_tier("askonce_store_bytes")],
        defaults=FROM_ZERO,
    ),
    Panel(
        "Answers held",
        "By tier, like the size.",
        "short",
        [by_tier("askonce_store_entries")],
        defaults=FROM_ZERO,
    ),
    Panel(
        "Evictions",
        "Answers that went without being asked to. `size`: there was no room. `unsure`: memory was emptied because it "
        "could not be known what others deleted.",
        "ops",
        [
            Query(
                f"sum by (tier, cause) ({rate('askonce_evictions_total', OWN)})"
                f" or max by (tier, cause) ({rate('askonce_evictions_total', SHARED)})",
                "{{tier}} {{cause}}",
            )
        ],
        custom=STACKED,
    ),
    Panel(
        "Flights and followers",
        "Upstream calls in the air that others can join, and requests that joined one, a second.",
        "short",
        [
            Query(f"sum({series('askonce_flights')})", "in the air"),
            Query(f"sum({rate('askonce_flight_followers_total')})", "joined, a second"),
        ],
        defaults=FROM_ZERO,
    ),
    Panel(
        "Leases",
        "How replicas agreed on who asks: `led` asked, `followed` passed on another's call, `took_over` after another "
        "was lost, `waited_out` gave up waiting, `alone` could tell nobody.",
        "ops",
        [counted("askonce_leases_total", "outcome")],
        custom=STACKED,
    ),
]

UPSTREAMS = [
    Panel(
        "Answer time",
        "How long upstreams take for a whole answer.",
        "s",
        [
            Query(
                quantile(share, "askonce_upstream_seconds", UPSTREAM, by="upstream"), f"{{{{upstream}}}} p{share:.0%}"
            )
            for share in QUANTILES
        ],
        custom=LOGARITHMIC,
    ),
    Panel(
        "Errors",
        "Calls that brought no whole answer, by upstream and kind. 4xx are mostly the callers' doing.",
        "ops",
        [counted("askonce_upstream_errors_total", "upstream, kind", UPSTREAM)],
        custom=STACKED,
    ),
    Panel(
        "Retries and fallbacks",
        "Calls that went to another endpoint of the same upstream, by why, and calls that went to its fallback.",
        "ops",
        [
            Query(
                f"sum by (upstream, why) ({rate('askonce_upstream_retries_total', UPSTREAM)})", "{{upstream}} {{why}}"
            ),
            Query(f"sum by (upstream) ({rate('askonce_upstream_fallbacks_total', UPSTREAM)})", "{{upstream}} fallback"),
        ],
        custom=STACKED,
    ),
    Panel(
        "Endpoints",
        "1: asked by every replica. 0: left alone by at least one, until a look finds it well.",
        "short",
        [
            Query(
                f"min by (upstream, endpoint) ({series('askonce_upstream_endpoint_up', UPSTREAM)})",
                "{{upstream}} {{endpoint}}",
            )
        ],
        kind="state-timeline",
        defaults={
            "mappings": [
                {
                    "type": "value",
                    "options": {
                        "0": {"text": "left alone", "color": "red", "index": 0},
                        "1": {"text": "asked", "color": "green", "index": 1},
                    },
                }
            ]
        },
    ),
    Panel(
        "Calls in flight",
        "Calls of all replicas that have not ended, by endpoint.",
        "short",
        [
            Query(
                f"sum by (upstream, endpoint) ({series('askonce_upstream_endpoint_in_flight', UPSTREAM)})",
                "{{upstream}} {{endpoint}}",
            )
        ],
        defaults=FROM_ZERO,
        custom=STACKED,
    ),
    Panel(
        "Waiting at the endpoint",
        "Requests of anybody that wait there, as it says itself (vLLM).",
        "short",
        [
            Query(
                f"max by (upstream, endpoint) ({series('askonce_upstream_endpoint_waiting', UPSTREAM)})",
                "{{upstream}} {{endpoint}}",
            )
        ],
        defaults=FROM_ZERO,
    ),
    Panel(
        "KV cache in use",
        "Share of an endpoint's KV cache that is in use, as it says itself (vLLM).",
        "percentunit",
        [
            Query(
                f"max by (upstream, endpoint) ({series('askonce_upstream_endpoint_kv_cache_usage', UPSTREAM)})",
                "{{upstream}} {{endpoint}}",
            )
        ],
        defaults=SHARE,
    ),
    Panel(
        "Prompt tokens from the prefix cache",
        "Share of the prompt tokens sent that the upstream had in its own prefix cache.",
        "percentunit",
        [
            Query(
                f"sum by (upstream) ({rate('askonce_upstream_cached_tokens_total', UPSTREAM)})"
                f" / sum by (upstream) ({rate('askonce_upstream_prompt_tokens_total', UPSTREAM)})",
                "{{upstream}}",
            )
        ],
        defaults=SHARE,
    ),
    Panel(
        "Endpoints given up",
        "How often an endpoint's breaker opened, an hour, over all replicas.",
        "short",
        [
            Query(
                f"sum by (upstream, endpoint)"
                f" ({rate('askonce_upstream_endpoint_breaker_openings_total', UPSTREAM)}) * 3600",
                "{{upstream}} {{endpoint}}",
            )
        ],
        defaults=FROM_ZERO,
    ),
]

PROCESS = [
    Panel(
        "Event loop",
        "How busy the event loop of each instance is. Near 100 % every request waits, hits included: add a replica, or "
        "workers.",
        "percentunit",
        [
            Query(
                f"sum by (instance) ({rate('askonce_event_loop_cpu_seconds_total')})"
                f" / sum by (instance) ({series('askonce_event_loops')})",
                "{{instance}}",
            )
        ],
        width=6,
        defaults=SHARE,
    ),
    Panel(
        "Processor",
        "Cores in use. What goes beyond the event loop is embedding, the embedded store and compression.",
        "short",
        [Query(f"sum by (instance) ({rate('process_cpu_seconds_total')})", "{{instance}}")],
        width=6,
        defaults=FROM_ZERO,
    ),
    Panel(
        "Memory",
        "Resident memory. The memory tier, the readings and the model are most of it.",
        "bytes",
        [Query(f"sum by (instance) ({series('process_resident_memory_bytes')})", "{{instance}}")],
        width=6,
        defaults=FROM_ZERO,
    ),
    Panel(
        "File descriptors",
        "Open ones as a share of the limit. Every caller and every upstream call takes one.",
        "percentunit",
        [
            Query(
                f"max by (instance) ({series('process_open_fds')} / {series('process_max_fds')})",
                "{{instance}}",
            )
        ],
        width=6,
        defaults=SHARE,
    ),
    Panel(
        "Running for",
        "How long ago each instance started.",
        "s",
        [Query(f"time() - min by (instance) ({series('process_start_time_seconds')})", "{{instance}}")],
        width=12,
        height=6,
        defaults=FROM_ZERO,
    ),
    Panel(
        "Versions",
        "Replicas by version. More than one for long: an update is stuck.",
        "short",
        [Query(f"count by (version) ({series('askonce_build_info')})", "{{version}}")],
        width=12,
        height=6,
        defaults=FROM_ZERO,
        custom=STEPS | STACKED,
    ),
]

ROWS: dict[str, Sequence[Panel]] = {
    "At a glance": GLANCE,
    "Answers": ANSWERS,
    "Savings": SAVINGS,
    "Latency": LATENCY,
    "What is not cached": NOT_CACHED,
    "Matching by meaning": MEANING,
    "Store and coalescing": STORE,
    "Upstreams": UPSTREAMS,
    "Process": PROCESS,
}


# --- Grafana's JSON

_LEGEND: Json = {"displayMode": "table", "placement": "bottom", "showLegend": True, "calcs": ["mean", "lastNotNull"]}

_OPTIONS: dict[str, Json] = {
    "timeseries": {"legend": _LEGEND, "tooltip": {"mode": "multi", "sort": "desc"}},
    "stat": {
        "colorMode": "value",
        "graphMode": "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "textMode": "value",
    },
    "heatmap": {
        "calculate": False,
        "cellGap": 1,
        "color": {"mode": "scheme", "scheme": "Blues", "steps": 64, "exponent": 0.5, "fill": "blue", "reverse": False},
        "legend": {"show": True},
        "rowsFrame": {"layout": "auto"},
        "tooltip": {"mode": "single", "showColorScale": False, "yHistogram": True},
        "yAxis": {"axisPlacement": "left", "unit": "short"},
    },
    "state-timeline": {
        "alignValue": "left",
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "mergeValues": True,
        "rowHeight": 0.9,
        "showValue": "auto",
        "tooltip": {"mode": "single", "sort": "none"},
    },
}

_CUSTOM: dict[str, Json] = {
    "timeseries": {"drawStyle": "line", "lineWidth": 1, "fillOpacity": 10, "showPoints": "never", "spanNulls": False},
    "state-timeline": {"fillOpacity": 70, "lineWidth": 0},
}


def dashboard() -> Json:
    """The whole page, as Grafana imports it."""
    return {
        "uid": "askonce",
        "title": "AskOnce",
        "description": "What AskOnce answers from its cache, what that saves, how fast it is, and how its parts are.",
        "tags": ["askonce", "llm", "cache"],
        "editable": False,
        "graphTooltip": 1,
        "liveNow": False,
        "refresh": "30s",
        "schemaVersion": 39,
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "links": [
            _link("Runbook", f"{DOCS}/docs/runbook.md", "What each alert means and what to do"),
            _link("Metrics", f"{DOCS}/docs/metrics.md", "Every metric"),
        ],
        "annotations": {"list": []},
        "templating": {"list": _variables()},
        "panels": _placed(),
    }


def text() -> str:
    """The file's contents."""
    return json.dumps(dashboard(), indent=2, ensure_ascii=False) + "\n"


def main() -> int:
    """Write it."""
    DASHBOARD.parent.mkdir(parents=True, exist_ok=True)
    DASHBOARD.write_text(text(), encoding="utf-8")
    return 0


def _link(title: str, url: str, tooltip: str) -> Json:
    return {
        "title": title,
        "url": url,
        "tooltip": tooltip,
        "type": "link",
        "icon": "doc",
        "tags": [],
        "asDropdown": False,
        "targetBlank": True,
        "includeVars": False,
        "keepTime": False,
    }


def _variables() -> list[Json]:
    return [
        {
            "name": "datasource",
            "label": "Data source",
            "type": "datasource",
            "query": "prometheus",
            "regex": "",
            "hide": 0,
            "multi": False,
            "includeAll": False,
            "refresh": 1,
        },
        _variable("job", "Job", "label_values(askonce_build_info, job)"),
        _variable("instance", "Instance", 'label_values(askonce_build_info{job=~"$job"}, instance)'),
        _variable("model", "Model", f"label_values(askonce_requests_total{{{SELECTED}}}, model)"),
        _variable("upstream", "Upstream", f"label_values(askonce_upstream_endpoint_up{{{SELECTED}}}, upstream)"),
    ]


def _variable(name: str, label: str, query: str) -> Json:
    """A label's values, any number of which can be looked at."""
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"qryType": 1, "query": query, "refId": f"{name}-values"},
        "regex": "",
        "hide": 0,
        "multi": True,
        "includeAll": True,
        "allValue": ".+",
        "current": {"selected": True, "text": "All", "value": "$__all"},
        "refresh": 2,  # when the range changes: what is seen there has series
        "sort": 1,
    }


def _placed() -> list[Json]:
    """Rows one below the other, panels from left to right."""
    placed: list[Json] = []
    y = 0
    for title, panels in ROWS.items():
        placed.append(
            {
                "id": len(placed) + 1,
                "type": "row",
                "title": title,
                "collapsed": False,
                "gridPos": {"h": 1, "w": COLUMNS, "x": 0, "y": y},
                "panels": [],
            }
        )
        x, y, tallest = 0, y + 1, 0
        for panel in panels:
            if x + panel.width > COLUMNS:
                x, y, tallest = 0, y + tallest, 0
            place = {"h": panel.height, "w": panel.width, "x": x, "y": y}
            placed.append(_panel(panel, len(placed) + 1, place))
            x, tallest = x + panel.width, max(tallest, panel.height)
        y += tallest
    return placed


def _panel(panel: Panel, number: int, place: Json) -> Json:
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE,
        "gridPos": place,
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "custom": _CUSTOM.get(panel.kind, {}) | panel.custom,
                **panel.defaults,
            },
            "overrides": list(panel.overrides),
        },
        "options": _OPTIONS[panel.kind] | panel.options,
        "targets": [_target(query, "ABCDEFGH"[place_]) for place_, query in enumerate(panel.queries)],
    }


def _target(query: Query, letter: str) -> Json:
    return {
        "refId": letter,
        "datasource": DATASOURCE,
        "editorMode": "code",
        "expr": query.expr,
        "legendFormat": query.legend,
        "format": "heatmap" if query.buckets else "time_series",
        "instant": query.instant,
        "range": not query.instant,
    }


if __name__ == "__main__":
    sys.exit(main())
