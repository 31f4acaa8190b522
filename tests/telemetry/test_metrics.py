"""Metrics: what a scrape says after what happened."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from time import thread_time
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from proxy.telemetry.metrics import MAX_COMBINATIONS, MAX_ENDPOINTS, MAX_SEEN_MODELS, SECONDS, Metrics
from proxy.telemetry.records import Served
from proxy.types import Outcome, StoreReport, Usage

HIT = Served(
    endpoint="/v1/chat/completions", model="gpt-4.1", outcome=Outcome.HIT, status=200, seconds=0.0002,
    first_byte_s=0.0001, tier="memory", age_s=90.0, usage=Usage(10, 20), saved_usd=0.5,
)  # fmt: skip
MISS = replace(HIT, outcome=Outcome.MISS, seconds=3.0, first_byte_s=0.4, tier="", age_s=0.0)


def make(**options: Any) -> Metrics:
    parts: dict[str, Any] = {
        "version": "1.2.3",
        "models": frozenset({"gpt-4.1"}),
        "flights": lambda: 2,
        "store_report": lambda: StoreReport("sqlite", None, {"memory": 100, "sqlite": 900}, {"memory": 1, "sqlite": 9}),
    }
    return Metrics(**parts | options)


def scraped(metrics: Metrics, name: str, **labels: str) -> float:
    """The sum of a metric's samples that carry these labels."""
    families = text_string_to_metric_families(metrics.text().decode())
    samples = [sample for family in families for sample in family.samples if sample.name == name]
    return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())


def series(metrics: Metrics) -> int:
    return sum(len(family.samples) for family in text_string_to_metric_families(metrics.text().decode()))


def test_requests_are_counted_by_what_answered_them() -> None:
    metrics = make()
    for record in (HIT, HIT, MISS):
        metrics.served(record)
    assert scraped(metrics, "askonce_requests_total") == 3
    labels = {"endpoint": "/v1/chat/completions", "model": "gpt-4.1", "outcome": "hit"}
    assert scraped(metrics, "askonce_requests_total", **labels) == 2
    assert scraped(metrics, "askonce_requests_total", outcome="miss") == 1


def test_times_fall_into_buckets_that_hold_all_below_them() -> None:
    metrics = make()
    for seconds in (0.0005, 0.0006, 0.3, 10_000.0):
        metrics.served(replace(MISS, seconds=seconds))
    name = "askonce_request_seconds"
    counts = [scraped(metrics, f"{name}_bucket", le=str(le)) for le in (0.0005, 0.001, 0.25, 0.5, 600.0, "+Inf")]
    assert counts == [1, 2, 2, 3, 3, 4]
    assert scraped(metrics, f"{name}_count") == 4
    assert scraped(metrics, f"{name}_sum", outcome="miss") == pytest.approx(10_000.3011)
    assert scraped(metrics, "askonce_time_to_first_byte_seconds_sum") == pytest.approx(1.6)
    assert list(SECONDS) == sorted(SECONDS)


@pytest.mark.parametrize("outcome", [Outcome.HIT, Outcome.SEMANTIC, Outcome.STALE, Outcome.COLLAPSED])
def test_what_needed_no_call_of_its_own_was_saved(outcome: Outcome) -> None:
    metrics = make()
    metrics.served(replace(HIT, outcome=outcome))
    metrics.served(replace(HIT, outcome=outcome, saved_usd=None))
    assert scraped(metrics, "askonce_saved_tokens_total", model="gpt-4.1", kind="prompt") == 20
    assert scraped(metrics, "askonce_saved_tokens_total", kind="completion") == 40
    assert scraped(metrics, "askonce_saved_usd_total", model="gpt-4.1") == 0.5


@pytest.mark.parametrize("outcome", [Outcome.MISS, Outcome.BYPASS, Outcome.ERROR])
def test_what_was_asked_for_was_not_saved(outcome: Outcome) -> None:
    metrics = make()
    metrics.served(replace(MISS, outcome=outcome))
    assert scraped(metrics, "askonce_saved_tokens_total") == 0
    assert scraped(metrics, "askonce_hit_age_seconds_count") == 0


def test_errors_are_told_apart_by_their_reason() -> None:
    metrics = make()
    for reason in ("client_left", "client_left", "internal_error"):
        metrics.served(replace(MISS, outcome=Outcome.ERROR, reason=reason))
    metrics.served(replace(MISS, outcome=Outcome.BYPASS, reason="opt_out"))
    assert scraped(metrics, "askonce_errors_total") == 3
    assert scraped(metrics, "askonce_errors_total", reason="client_left") == 2


def test_the_age_of_hits_is_counted_by_tier() -> None:
    metrics = make()
    metrics.served(HIT)
    metrics.served(replace(HIT, tier="sqlite", age_s=4000.0))
    assert scraped(metrics, "askonce_hit_age_seconds_bucket", tier="memory", le="300.0") == 1
    assert scraped(metrics, "askonce_hit_age_seconds_sum", tier="sqlite") == 4000


def test_a_model_is_named_once_an_upstream_answered_for_it() -> None:
    metrics = make()
    metrics.served(replace(MISS, model="new"))
    metrics.saw_model("new")
    metrics.served(replace(MISS, model="new"))
    assert scraped(metrics, "askonce_requests_total", model="other") == 1
    assert scraped(metrics, "askonce_requests_total", model="new") == 1


def test_ten_thousand_names_add_nothing() -> None:
    metrics = make()
    metrics.served(replace(HIT, model="unknown"))
    before = series(metrics)
    for number in range(10_000):
        metrics.served(replace(HIT, model=f"model-{number}"))
    assert series(metrics) == before
    assert scraped(metrics, "askonce_requests_total", model="other") == 10_001
    assert len(metrics._rows) == 1


def test_even_names_an_upstream_confirms_have_an_end() -> None:
    metrics = make()
    for number in range(10 * MAX_SEEN_MODELS):
        metrics.saw_model(f"model-{number}")
        metrics.served(replace(HIT, model=f"model-{number}"))
        metrics.spent(f"model-{number}", 0.001)
    families = text_string_to_metric_families(metrics.text().decode())
    labels = {sample.labels["model"] for family in families for sample in family.samples if "model" in sample.labels}
    assert len(labels) == MAX_SEEN_MODELS + 1
    metrics.served(HIT)
    assert scraped(metrics, "askonce_requests_total", model="gpt-4.1") == 1


def test_labels_that_should_be_few_stay_few() -> None:
    metrics = make()
    for number in range(10 * MAX_COMBINATIONS):
        metrics.served(replace(MISS, endpoint=f"/v1/files/{number}"))
        metrics.bypassed(f"reason-{number}")
    families = text_string_to_metric_families(metrics.text().decode())
    samples = [sample for family in families for sample in family.samples]
    assert len({sample.labels["endpoint"] for sample in samples if "endpoint" in sample.labels}) == MAX_ENDPOINTS + 1
    assert len({sample.labels["reason"] for sample in samples if "reason" in sample.labels}) == MAX_COMBINATIONS + 1


ACTS: dict[str, tuple[Callable[[Metrics], None], dict[str, str], float]] = {
    "askonce_bypass_total": (lambda m: m.bypassed("audio"), {"reason": "audio"}, 1),
    "askonce_store_skipped_total": (lambda m: m.store_skipped("empty"), {"reason": "empty"}, 1),
    "askonce_upstream_errors_total": (lambda m: m.upstream_error("u", "k"), {"upstream": "u", "kind": "k"}, 1),
    "askonce_upstream_cached_tokens_total": (lambda m: m.prompt_tokens("u", 9, 7), {"upstream": "u"}, 7),
    "askonce_upstream_prompt_tokens_total": (lambda m: m.prompt_tokens("u", 9, 7), {"upstream": "u"}, 9),
    "askonce_upstream_retries_total": (lambda m: m.upstream_retried("u", "w"), {"upstream": "u", "why": "w"}, 1),
    "askonce_upstream_fallbacks_total": (lambda m: m.fell_back("u"), {"upstream": "u"}, 1),
    "askonce_spent_usd_total": (lambda m: m.spent("gpt-4.1", 0.25), {"model": "gpt-4.1"}, 0.25),
    "askonce_flight_followers_total": (lambda m: m.followers(3), {}, 3),
    "askonce_lookup_seconds_sum": (lambda m: m.lookup("memory", 0.5), {"tier": "memory"}, 0.5),
    "askonce_upstream_seconds_count": (lambda m: m.upstream_seconds("u", 2.0), {"upstream": "u"}, 1),
}


@pytest.mark.parametrize("name", ACTS)
def test_each_event_has_its_metric(name: str) -> None:
    act, labels, value = ACTS[name]
    metrics = make()
    assert scraped(metrics, name) == 0
    act(metrics)
    assert scraped(metrics, name, **labels) == value


def test_an_unknown_price_is_not_a_price_of_nothing() -> None:
    metrics = make()
    metrics.spent("gpt-4.1", None)
    assert "askonce_spent_usd_total{" not in metrics.text().decode()


def test_the_state_of_others_is_asked_for_at_each_scrape() -> None:
    report = StoreReport(
        "sqlite",
        None,
        {"memory": 100, "sqlite": 900},
        {"memory": 1, "sqlite": 9},
        evictions={("memory", "size"): 4},
        errors={("sqlite", "put"): 3},
    )
    metrics = make(store_report=lambda: report)
    assert scraped(metrics, "askonce_flights") == 2
    assert scraped(metrics, "askonce_store_bytes", tier="sqlite") == 900
    assert scraped(metrics, "askonce_store_entries", tier="memory") == 1
    assert scraped(metrics, "askonce_evictions_total", tier="memory", cause="size") == 4
    assert scraped(metrics, "askonce_store_errors_total", store="sqlite", operation="put") == 3
    assert scraped(metrics, "askonce_build_info", version="1.2.3") == 1
    assert scraped(metrics, "process_cpu_seconds_total") > 0


@pytest.mark.parametrize(("detail", "shown"), [(None, 0), ("the disk is full", 1)])
def test_a_store_that_does_not_do_all_it_should_is_seen(detail: str | None, shown: int) -> None:
    metrics = make(store_report=lambda: StoreReport("sqlite", detail))
    assert 'askonce_store_degraded{store="sqlite"}' in metrics.text().decode()
    assert scraped(metrics, "askonce_store_degraded", store="sqlite") == shown


def test_how_busy_the_event_loop_is_is_told_by_its_own_thread() -> None:
    own = make(loop_cpu=lambda: 1.5)
    assert scraped(own, "askonce_event_loop_cpu_seconds_total") == 1.5
    assert scraped(own, "askonce_event_loops") == 1
    metrics = make()
    before = scraped(metrics, "askonce_event_loop_cpu_seconds_total")
    for _ in range(2):  # what another thread does is none of it, what this one does is
        with ThreadPoolExecutor(1) as other:
            elsewhere = other.submit(_work).result()
        after = scraped(metrics, "askonce_event_loop_cpu_seconds_total")
        assert after - before < elsewhere
        before = after
    here = _work()
    assert scraped(metrics, "askonce_event_loop_cpu_seconds_total") - before >= here


def _work() -> float:
    """A tenth of a second of the processor; gives how much it was."""
    began = thread_time()
    while thread_time() - began < 0.1:
        pass
    return thread_time() - began


def test_making_metrics_asks_nobody() -> None:
    def not_yet() -> StoreReport:
        raise AssertionError("asked before anybody scraped")

    make(store_report=not_yet)


def test_a_name_cannot_break_the_format() -> None:
    name = 'a"b\\c\nd'
    metrics = make(models=frozenset({name}))
    metrics.served(replace(HIT, model=name))
    assert scraped(metrics, "askonce_requests_total", model=name) == 1


def test_counters_end_in_total_and_everything_has_a_help_text() -> None:
    metrics = make()
    for act, _, _ in ACTS.values():
        act(metrics)
    metrics.served(HIT)
    for family in text_string_to_metric_families(metrics.text().decode()):
        assert family.documentation
        if family.type == "counter":
            assert all(sample.name.endswith("_total") for sample in family.samples)
    assert metrics.content_type.startswith("text/plain")


def test_the_summary_adds_up() -> None:
    metrics = make()
    assert metrics.summary()["hit_ratio"] is None
    for record in (HIT, HIT, HIT, MISS, replace(MISS, outcome=Outcome.BYPASS)):
        metrics.served(record)
    metrics.upstream_error("u", "upstream_timeout")
    metrics.upstream_retried("u", "connect")
    metrics.fell_back("u")
    metrics.prompt_tokens("u", 100, 60)
    metrics.spent("gpt-4.1", 2.0)
    summary = metrics.summary()
    assert summary["requests"] == {
        "hit": 3, "semantic": 0, "stale": 0, "collapsed": 0, "miss": 1, "bypass": 1, "error": 0,
    }  # fmt: skip
    assert summary["hit_ratio"] == 0.75
    assert summary["saved"] == {"tokens": 90, "usd": 1.5}
    assert summary["spent"] == {"usd": 2.0}
    assert summary["upstream"] == {
        "errors": 1, "retries": 1, "fallbacks": 1, "prompt_tokens": {"u": 100}, "cached_tokens": {"u": 60},
    }  # fmt: skip
    assert metrics.summary() == summary
