"""Percentiles, hit ratios and who is blamed for what."""

from __future__ import annotations

import random
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from asking import Echo, Sample
from figures import Figures, curve, percentile, spread, tier
from names import named
from quality_svg import Chart, Line
from traffic import Asked

KEY = "Bearer sk-tenant-{}"


def asked(text="why?", meaning="why", *, kind="plain", stream=False, tenant=0, number=0):
    return Asked(number, kind, text, meaning, stream, tenant)


def answered(one, *, by=None, call=1, outcome="none", failure="", due=10.0, began=10.0, ended=10.5):
    """A sample whose answer was made for the question `by`."""
    source = by or one
    echo = Echo(named(source.text), named(source.credential), call)
    return Sample(one, due, began, first=ended, ended=ended, status=200, outcome=outcome, failure=failure, echo=echo)


@pytest.mark.parametrize("count", [1, 2, 3, 10, 1001])
@pytest.mark.parametrize("share", [0, 0.001, 0.5, 0.9, 0.99, 0.999, 1])
def test_a_percentile_is_numpys(count, share):
    values = sorted(random.Random(count).expovariate(1) for _ in range(count))
    assert percentile(values, share) == pytest.approx(float(np.percentile(values, share * 100)))


def test_there_is_no_percentile_of_nothing():
    with pytest.raises(ValueError, match="nothing"):
        percentile([], 0.5)
    assert spread([]) is None


def test_spreads_are_in_milliseconds():
    found = spread([0.001, 0.003, 0.002])
    assert (found.count, found.mean, found.p50, found.highest) == (
        3,
        pytest.approx(2),
        pytest.approx(2),
        pytest.approx(3),
    )


def test_a_wrong_answer_that_was_planted_is_counted_and_told_by_kind():
    figures = Figures("proxy")
    question, near = asked(), asked("why not?", "why-not", kind="slot")
    for each in (question, near):
        figures.sent(each)
    figures.add(answered(question, outcome="miss"))
    figures.add(answered(near, by=question, outcome="semantic"))
    assert figures.answers == {"right": 1, "wrong": 1}
    assert figures.wrong_by == {("slot", "semantic"): 1}


def test_the_same_in_other_words_is_right():
    figures = Figures("proxy")
    one, other = asked(), asked("for what reason?", "why", kind="reworded")
    for each in (one, other):
        figures.sent(each)
    figures.add(answered(other, by=one, outcome="semantic"))
    assert figures.answers == {"right": 1}


def test_an_answer_made_for_another_tenant_is_a_leak_even_where_it_is_right():
    figures = Figures("proxy")
    mine, theirs = asked(tenant=0), asked(tenant=1)
    for each in (mine, theirs):
        figures.sent(each)
    figures.add(answered(mine, by=theirs, outcome="hit"))
    assert figures.answers == {"leaked": 1}


def test_an_answer_without_an_echo_is_not_judged():
    figures = Figures("proxy")
    figures.sent(asked())
    sample = answered(asked(), outcome="hit")
    sample.echo = None
    figures.add(sample)
    assert figures.answers == {"unknown": 1}


def test_failures_are_beside_the_percentiles_not_in_them():
    figures = Figures("proxy")
    figures.sent(asked())
    figures.sent(asked())
    figures.add(answered(asked(), outcome="miss"))
    figures.add(answered(asked(), outcome="miss", failure="cut", ended=99.0))
    assert figures.failures == {"cut": 1}
    assert figures.whole == 1
    assert spread(figures.pooled(False)).highest == pytest.approx(500)


def test_latency_runs_from_when_a_request_was_due():
    figures = Figures("proxy")
    figures.sent(asked())
    figures.add(answered(asked(), outcome="miss", due=10.0, began=12.0, ended=12.5))
    assert spread(figures.pooled(False)).p50 == pytest.approx(2500)
    assert spread(figures.lateness).p50 == pytest.approx(2000)


@pytest.mark.parametrize(
    ("outcome", "again", "by_echo", "expected"),
    [
        ("hit", False, False, "hit"),
        ("MISS", None, False, "miss"),
        ("none", True, False, "again"),
        ("none", False, False, "first"),
        ("none", None, False, "unknown"),
        ("hit", False, True, "first"),  # a proxy's own word does not make a hit of it
        ("miss", True, True, "again"),
    ],
)
def test_how_it_was_answered(outcome, again, by_echo, expected):
    assert tier(answered(asked(), outcome=outcome), again, by_echo=by_echo) == expected


def test_the_first_serving_of_a_call_is_no_hit_and_later_ones_are():
    figures = Figures("proxy", by_echo=True)
    for call in (1, 1, 2, 1):
        figures.sent(asked())
        figures.add(answered(asked(), call=call))
    assert figures.tiers == {"first": 2, "again": 2}
    assert figures.hit_ratio == 0.5


def test_what_a_cache_could_have_had_is_counted_for_each_tenant():
    figures = Figures("proxy")
    for one in (asked(), asked(), asked("for what reason?"), asked(tenant=1)):
        figures.sent(one)
    assert figures.repeats == {"text": 1, "meaning": 2}


def test_a_curve_rises_from_the_first_value_to_the_last():
    points = curve([0.001, 0.002, 0.004])
    assert points[0] == (1, 0)
    assert points[-1] == (4, 1)
    assert points == sorted(points)


@pytest.mark.parametrize("log_from", [None, 0.1])
def test_a_picture_is_valid_xml_that_stays_within_its_frame(log_from):
    chart = Chart(
        "a < b & c", "ms", "share", [Line("<hits>", [(0.01, 0), (5, 0.5), (5000, 1)])], 1000, 1, log_from=log_from
    )
    root = ET.fromstring(chart.svg())
    line = root.find("{http://www.w3.org/2000/svg}polyline")
    across = [float(point.split(",")[0]) for point in line.get("points").split()]
    assert across == sorted(across)
    assert across[0] >= 64
    assert across[-1] <= 860 - 250
    assert "<hits>" in "".join(root.itertext())
    assert "a < b & c" in "".join(root.itertext())


def test_an_axis_of_powers_gives_each_decade_the_same_room():
    chart = Chart("t", "ms", "share", [Line("l", [(1, 0), (10, 0.5), (100, 1)])], 100, 1, log_from=1)
    line = ET.fromstring(chart.svg()).find("{http://www.w3.org/2000/svg}polyline")
    one, ten, hundred = (float(point.split(",")[0]) for point in line.get("points").split())
    assert ten - one == pytest.approx(hundred - ten, abs=0.2)
