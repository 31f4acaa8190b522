"""The soak as a program, for a moment; what it makes of half an hour is in test_flat.py."""

from __future__ import annotations

import json
import os
import xml.etree.ElementTree as ET

import proc
import pytest
import soak

from tests.loadtests.programs import run


def test_a_short_soak_meets_everything_it_is_about_and_says_that_it_cannot_judge(tmp_path):
    said = run(
        "soak.py",
        "--minutes",
        "0.33",
        "--rate",
        "80",
        "--every",
        "0.5",
        "--rest",
        "2",
        "--no-semantic",
        "--out",
        str(tmp_path),
    )
    found = json.loads(next(tmp_path.glob("soak-sqlite-*.json")).read_text())
    assert {"memory", "descriptors", "threads", "flights", "database", "wal"} == set(found["series"])
    assert all(len(points) >= 20 for points in found["series"].values())
    assert {verdict["word"] for verdict in found["verdicts"]} == {"not judged"}
    assert found["failures"]["left"] > 0
    assert found["failures"]["whole"] > 500
    assert found["outcomes"]["hit"] > 0
    assert "leaked" not in found["answers"]
    assert "wrong" not in found["answers"]
    assert found["evictions"] > 0
    assert found["before"]["flights"] == found["after"]["flights"] == 0
    for picture in tmp_path.glob("*.svg"):
        ET.parse(picture)
    assert "are needed" in said


def test_every_series_has_a_bar_with_its_reason():
    for bar in soak.BARS.values():
        assert bar.slope is not None or bar.rest is not None
        assert len(bar.reason) > 20


@pytest.mark.parametrize(("minutes", "seconds"), [(30, 900), (90, 900), (3, 90)])
def test_half_of_the_time_warms_up_and_a_quarter_of_an_hour_at_most(minutes, seconds):
    assert soak.warm_up(minutes) == seconds


def test_metrics_are_added_up_over_their_labels():
    text = 'askonce_evictions_total{tier="a",cause="x"} 2.0\naskonce_evictions_total{tier="b"} 3.0\naskonce_other 9\n'
    assert soak.total(text, "askonce_evictions_total") == 5
    assert soak.total(text, "askonce_other") == 9
    assert soak.total(text, "askonce_missing") == 0


def test_descriptors_and_threads_are_counted():
    before = proc.descriptors(os.getpid())
    with open(os.devnull), open(os.devnull):  # noqa: PTH123
        assert proc.descriptors(os.getpid()) == before + 2
    assert proc.thread_count(os.getpid()) >= 1
