"""The picture."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from proxy.calibration import Row
from proxy.cli.curve import drawn

ROWS = [Row(0.7 + step / 10, served=10 - 5 * step, right=9 - 4 * step, wanted=12) for step in range(3)]


def points(svg: str, kind: str) -> list[list[tuple[float, float]]]:
    found = ET.fromstring(svg).iter(f"{{http://www.w3.org/2000/svg}}{kind}")
    return [[tuple(map(float, point.split(","))) for point in each.attrib["points"].split()] for each in found]


def test_it_is_a_picture_whose_curves_follow_the_figures():
    svg = drawn(ROWS, ROWS, 0.8, "a <model> & more")
    precision, recall = points(svg, "polyline")[:2]
    # A row that serves nothing has no precision.
    assert (len(precision), len(recall)) == (2, 3)
    assert precision[0][1] > precision[1][1]  # higher up is a smaller y: 0.9 lies below 1.0
    assert recall[0][1] < recall[1][1] < recall[2][1]
    assert [x for x, _ in recall] == sorted(x for x, _ in recall)
    assert "a &lt;model&gt; &amp; more" in svg


def test_without_a_recommendation_nothing_is_marked():
    assert drawn(ROWS, ROWS, None, "m").count("<line") == drawn(ROWS, ROWS, 0.8, "m").count("<line") - 1
