"""Counting audits and a judge's mistakes."""

from __future__ import annotations

import pytest

from proxy.verifiers.tally import KEPT, Share, Tally, without_noise
from tests.verifiers import label, pair


@pytest.mark.parametrize(
    ("labelled", "missed", "through", "wrong"),
    [
        (10, 0.0, 0.0, 10),
        (10, 0.05, 0.0, (10 - 5) / 0.95),
        (3, 0.05, 0.0, 0),
        (100, 0.05, 0.0, 100),
        (10, 0.0, 0.2, 12.5),
        (10, 0.6, 0.4, 100),
    ],
)
def test_what_the_judge_gets_wrong_is_taken_out(labelled, missed, through, wrong):
    assert without_noise(labelled, 100, missed, through) == pytest.approx(wrong)


def test_only_audits_count_as_audited():
    tally = Tally()
    tally.add([label(pair(0.9), 0.0, source) for source in ("audit", "miss", "feedback")])
    standing = tally.standing(missed=0.0, waved_through=0.0, suspended=False)
    assert (standing.labels, standing.audited, standing.wrong) == (3, 1, 1)


def test_a_judge_that_got_better_is_believed_after_a_while():
    share = Share()
    for _ in range(KEPT):
        share.add(1.0)
    for _ in range(4 * KEPT):
        share.add(0.0)
    assert share.mistaken / share.told < 0.2
