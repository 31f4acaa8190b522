"""What is shown of matching by meaning."""

from __future__ import annotations

import pytest

from proxy.telemetry.semantic import MatchingGauges


@pytest.mark.parametrize(("status", "degraded"), [("ok", 0), ("degraded", 1)])
def test_the_budget_and_how_matching_is_are_shown_as_they_are_when_somebody_asks(status: str, degraded: int) -> None:
    report = {"status": "asked too early"}
    points = [0]
    gauges = MatchingGauges(0.05, lambda: report, lambda: points[0])
    report["status"], points[0] = status, 7
    shown = {family.name: [sample.value for sample in family.samples] for family in gauges.exported()}
    assert shown == {
        "askonce_false_hit_budget": [0.05],
        "askonce_semantic_degraded": [degraded],
        "askonce_semantic_points": [7],
    }
