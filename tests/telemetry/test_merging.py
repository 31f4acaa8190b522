"""Several processes' figures as one: every family that is exported has a rule, and what has ended still counts."""

from __future__ import annotations

import json

import orjson
import pytest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from proxy import app
from proxy.settings import load
from proxy.telemetry.merging import (
    ADDED,
    RULES,
    Family,
    How,
    families_of,
    how,
    merged,
    metrics_of,
    plain,
    unplain,
)


def exported() -> list[Metric]:
    """Everything there is: with Redis, matching by meaning and tracing."""
    settings = load(
        None,
        {
            "store.url": "redis://127.0.0.1:1/0",
            "semantic.mode": "on",
            "telemetry.tracing.enabled": True,
            "telemetry.tracing.endpoint": "http://127.0.0.1:1",
        },
        {},
    ).settings
    return app.build(settings).metrics.families()


def test_every_family_that_is_exported_has_a_rule() -> None:
    found = exported()
    assert len(found) > 50
    assert [each.name for each in found if each.type not in ADDED and each.name not in RULES] == []


def test_every_rule_is_about_a_family_that_is_exported() -> None:
    assert set(RULES) - {each.name for each in exported()} == set()


def test_what_differs_by_tier_has_the_label() -> None:
    by_tier = {name for name, rule in RULES.items() if rule is How.BY_TIER}
    samples = [sample for each in exported() if each.name in by_tier for sample in each.samples]
    assert samples
    assert all("tier" in sample.labels for sample in samples)


def figures(*, served: int = 0, flights: int = 0, up: int = 1, began: float = 5, redis: int = 0) -> list[Family]:
    counter = CounterMetricFamily("askonce_requests", "Served.", labels=("outcome",))
    counter.add_metric(("hit",), served)
    histogram = HistogramMetricFamily("askonce_request_seconds", "How long.", labels=("outcome",))
    histogram.add_metric(("hit",), [("0.1", served), ("+Inf", served + 1)], 0.5)
    gauges = {
        "askonce_flights": ((), {(): flights}),
        "askonce_upstream_endpoint_up": (("endpoint",), {("a",): up}),
        "process_start_time_seconds": ((), {(): began}),
        "askonce_store_bytes": (("tier",), {("memory",): 10, ("redis",): redis}),
    }
    families: list[Metric] = [counter, histogram]
    for name, (labels, values) in gauges.items():
        family = GaugeMetricFamily(name, "What.", labels=labels)
        for label_values, value in values.items():
            family.add_metric(label_values, value)
        families.append(family)
    evictions = CounterMetricFamily("askonce_evictions", "Gone.", labels=("tier",))
    for tier, gone in (("memory", 2), ("redis", redis)):
        evictions.add_metric((tier,), gone)
    return families_of([*families, evictions])


def values(families: list[Family]) -> dict[str, float]:
    """`name{label values}` -> value."""
    return {
        name + "".join(f"/{value}" for _, value in labels): value
        for family in families
        for (name, labels), value in family.samples.items()
    }


def test_the_living_come_together_by_their_rules() -> None:
    one, other = figures(served=3, flights=1, began=5, redis=70), figures(served=4, flights=2, up=0, began=9, redis=90)
    assert values(merged([one, other], [])) == {
        "askonce_requests_total/hit": 7,
        "askonce_request_seconds_bucket/hit/0.1": 7,
        "askonce_request_seconds_bucket/hit/+Inf": 9,
        "askonce_request_seconds_count/hit": 9,
        "askonce_request_seconds_sum/hit": 1.0,
        "askonce_flights": 3,
        "askonce_upstream_endpoint_up/a": 0,
        "process_start_time_seconds": 5,
        "askonce_store_bytes/memory": 20,
        "askonce_store_bytes/redis": 90,
        "askonce_evictions_total/memory": 4,
        "askonce_evictions_total/redis": 90,
    }


def test_of_those_that_have_ended_what_was_counted_stays_and_what_they_held_is_gone() -> None:
    both = values(merged([figures(served=3, flights=1, began=9)], [figures(served=4, flights=2, up=0, began=5)]))
    assert both["askonce_requests_total/hit"] == 7
    assert both["askonce_request_seconds_count/hit"] == 9
    assert both["process_start_time_seconds"] == 5
    assert (both["askonce_flights"], both["askonce_upstream_endpoint_up/a"], both["askonce_store_bytes/memory"]) == (
        1,
        1,
        10,
    )


def test_a_sample_that_only_one_of_them_has_is_kept() -> None:
    more = CounterMetricFamily("askonce_requests", "Served.", labels=("outcome",))
    more.add_metric(("miss",), 5)
    both = values(merged([figures(served=1), families_of([more])], []))
    assert (both["askonce_requests_total/hit"], both["askonce_requests_total/miss"]) == (1, 5)


def test_putting_together_leaves_the_parts_as_they_are() -> None:
    one = figures(served=1)
    merged([one, figures(served=1)], [one])
    assert values(one) == values(figures(served=1))


def test_it_is_the_same_after_json_and_after_prometheus_client() -> None:
    found = families_of(exported())
    assert unplain(json.loads(orjson.dumps(plain(found)))) == found
    assert families_of(metrics_of(found)) == found


@pytest.mark.parametrize(("labels", "rule"), [((("tier", "memory"),), How.SUM), ((("tier", "redis"),), How.MAX)])
def test_only_the_memory_tier_is_each_processes_own(labels: tuple[tuple[str, str], ...], rule: How) -> None:
    assert how("askonce_store_entries", labels) is rule
