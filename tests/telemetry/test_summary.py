"""Figures for people are read from the families that `/metrics` shows."""

from __future__ import annotations

from prometheus_client.core import CounterMetricFamily, Metric

from proxy.telemetry.summary import Summary


def counted(name: str, labels: tuple[str, ...], values: dict[tuple[str, ...], float]) -> Metric:
    family = CounterMetricFamily(name, "What.", labels=labels)
    for each, value in values.items():
        family.add_metric(each, value)
    return family


def test_nothing_counted_is_nothing_known() -> None:
    summary = Summary([]).since_the_start()
    assert set(summary["requests"].values()) == {0}
    assert summary["hit_ratio"] is None
    assert summary["saved"] == {"tokens": 0, "usd": 0}


def test_sums_are_over_all_other_labels() -> None:
    requests = counted(
        "askonce_requests",
        ("model", "outcome"),
        {("a", "hit"): 2, ("b", "hit"): 1, ("a", "miss"): 1, ("a", "bypass"): 5, ("b", "collapsed"): 1},
    )
    tokens = counted("askonce_upstream_prompt_tokens", ("upstream",), {("x",): 7.0, ("y",): 3.0})
    summary = Summary([requests, tokens])
    found = summary.since_the_start()
    assert found["requests"]["hit"] == 3
    assert found["requests"]["bypass"] == 5
    assert found["hit_ratio"] == 4 / 5
    assert found["upstream"]["prompt_tokens"] == {"x": 7, "y": 3}
    assert summary.total("askonce_requests_total", model="a", outcome="hit") == 2
    assert summary.total("askonce_nothing_total") == 0
