"""What each threshold would have given."""

from __future__ import annotations

import pytest

from proxy.verifiers.thresholds import THRESHOLDS, thresholds
from tests.verifiers import label, pair


def test_a_threshold_takes_what_lies_at_it_or_above():
    labels = [label(pair(0.80), 0.0), label(pair(0.90), 1.0), label(pair(0.95), 1.0)]
    rows = {row.similarity: row for row in thresholds(labels, 0.03)}
    assert (rows[0.80].hits, rows[0.80].wrong) == (3, 1)
    assert (rows[0.90].hits, rows[0.90].wrong) == (2, 0)
    assert (rows[0.96].hits, rows[0.96].wrong, rows[0.96].upper) == (0, 0, 1)


def test_the_bound_of_misses_is_clopper_and_pearson_s():
    (row,) = thresholds([label(pair(0.9), 1.0) for _ in range(59)], 0.03, (0.9,))
    assert row.upper == pytest.approx(0.05, abs=0.001)


def test_an_audit_stands_for_the_hits_that_were_not_audited():
    labels = [label(pair(0.9), 0.0, "miss"), label(pair(0.9), 1.0, "audit")]
    (row,) = thresholds(labels, 0.1, (0.9,))
    assert (row.hits, row.wrong) == (11, 1)
    assert row.upper > 0.9


def test_a_judge_that_is_unsure_counts_for_a_part():
    (row,) = thresholds([label(pair(0.9), 0.75), label(pair(0.9), 0.75)], 0.03, (0.9,))
    assert row.wrong == pytest.approx(0.5)


def test_feedback_and_labels_that_measure_the_judge_are_left_out():
    labels = [label(pair(0.9), 0.0, source) for source in ("feedback", "same", "other")]
    assert all(row.hits == 0 for row in thresholds(labels, 0.03))


def test_all_the_usual_thresholds_are_there():
    assert [row.similarity for row in thresholds([], 0.03)] == list(THRESHOLDS)
