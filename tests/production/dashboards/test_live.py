"""What a real Prometheus makes of the dashboard and the rules, with two real proxies under load behind it."""

from __future__ import annotations

import math

import pytest

from tests.production.dashboards.conftest import Seen
from tests.production.dashboards.promql import of_panels, recorded
from tests.prometheus_server import Programs

LEFT_OUT: dict[str, str] = {}
"""Expressions that nothing here can bring about, by panel, each with its reason."""


def numbers(result: list[dict[str, object]]) -> list[float]:
    return [float(each["value"][1]) for each in result]  # type: ignore[index]


def test_no_panel_is_empty(seen: Seen) -> None:
    empty = [asked.where for asked in of_panels() if not seen.answers[asked.expr]]
    assert empty == list(LEFT_OUT)


def test_no_panel_shows_what_is_no_number(seen: Seen) -> None:
    """A quotient of nothing and nothing, or a quantile of an empty histogram; of several series one may be idle."""
    idle = [
        asked.where
        for asked in of_panels()
        if asked.where not in LEFT_OUT and all(math.isnan(each) for each in numbers(seen.answers[asked.expr]))
    ]
    assert idle == []


def test_the_hit_ratio_is_the_one_of_askonce_stats(seen: Seen) -> None:
    by_outcome = {name: sum(each["requests"][name] for each in seen.stats) for name in seen.stats[0]["requests"]}
    hits = sum(by_outcome[name] for name in ("hit", "semantic", "stale", "collapsed"))
    assert all(by_outcome.values()), f"the load lacks an outcome: {by_outcome}"
    requests: dict[str, float] = {}
    for each in seen.shared["askonce_requests_total"]:
        outcome = each["metric"]["outcome"]
        requests[outcome] = requests.get(outcome, 0) + float(each["value"][1])
    assert requests == by_outcome
    ratio = hits / (hits + by_outcome["miss"])
    assert numbers(seen.hit_ratio) == pytest.approx([ratio])


@pytest.mark.parametrize("metric", ["askonce_store_bytes", "askonce_store_entries"])
def test_a_shared_store_is_counted_once_and_each_memory_for_itself(seen: Seen, metric: str) -> None:
    told: dict[str, list[float]] = {}
    for each in seen.shared[metric]:
        told.setdefault(each["metric"]["tier"], []).append(float(each["value"][1]))
    assert [len(told[tier]) for tier in ("memory", "redis")] == [2, 2]
    (expr,) = (asked.expr for asked in of_panels() if asked.expr.startswith(f"sum by (tier) ({metric}{{"))
    shown = {each["metric"]["tier"]: float(each["value"][1]) for each in seen.answers[expr]}
    assert shown == {"memory": sum(told["memory"]), "redis": max(told["redis"])}


def test_every_recording_rule_gives_something(seen: Seen) -> None:
    empty = [name for name in recorded() if not seen.recorded[name]]
    assert empty == []


def test_figures_for_autoscalers_name_the_pod_they_are_of(seen: Seen) -> None:
    for name in ("askonce:event_loop_utilization:rate2m", "askonce:calls_in_flight:avg1m"):
        found = seen.recorded[name]
        assert len({each["metric"]["instance"] for each in found}) == len(found) == 2
        assert {each["metric"]["namespace"] for each in found} == {"llm"}
    assert all(0 < each <= 1.05 for each in numbers(seen.recorded["askonce:event_loop_utilization:rate2m"]))


def test_prometheus_takes_every_rule(seen: Seen) -> None:
    wrong = {
        rule["name"]: rule.get("lastError")
        for group in seen.groups
        for rule in group["rules"]
        if rule["health"] != "ok" or rule.get("lastError")
    }
    assert wrong == {}
    assert sum(len(group["rules"]) for group in seen.groups) > len(recorded())


def test_what_is_wrong_with_these_proxies_is_about_to_be_told(seen: Seen) -> None:
    states = {rule["name"]: rule["state"] for group in seen.groups for rule in group["rules"] if "state" in rule}
    assert states["AskOnceUpstreamDown"] != "inactive"
    assert states["AskOnceEndpointDown"] != "inactive"
    assert states["AskOnceDown"] == states["AskOnceInstanceDown"] == states["AskOnceRestarts"] == "inactive"


def test_a_scrape_keeps_to_prometheus_own_rules(seen: Seen, programs: Programs) -> None:
    checked = programs.tool("check", "metrics", text=seen.exposition.encode())
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")
