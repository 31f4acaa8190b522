"""What each threshold on the cosine would have given, by the labels of a partition: for `/admin/semantic`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from proxy.evidence import Label
from proxy.verifiers.base import Threshold
from proxy.verifiers.intervals import upper

THRESHOLDS: Final = (0.80, 0.82, 0.84, 0.86, 0.88, 0.90, 0.92, 0.94, 0.95, 0.96, 0.97, 0.98, 0.99)


def thresholds(labels: Iterable[Label], audit_rate: float = 1.0, at: tuple[float, ...] = THRESHOLDS) -> list[Threshold]:
    """One for each of `at`, in its order.

    `audit_rate`: share of hits that are audited. What guards refused is not in the labels, and so is not in here;
    feedback comes from those who were wronged and says nothing of how many were not.
    """
    audited = 1 / audit_rate if audit_rate > 0 else 1.0
    stands_for = {"miss": 1.0, "audit": audited}
    known = [
        (label.comparison.similarity, stands_for[label.source], 1 - label.right)
        for label in labels
        if label.source in stands_for
    ]
    return [_threshold(similarity, [each[1:] for each in known if each[0] >= similarity]) for similarity in at]


def _threshold(similarity: float, known: list[tuple[float, float]]) -> Threshold:
    hits = sum([share for share, _ in known])
    if not hits:
        return Threshold(similarity, 0.0, 0.0, 1.0)
    wrong = sum([share * each for share, each in known])
    # Kish: so many equal labels would tell as much as these unequal ones.
    worth = hits**2 / sum([share**2 for share, _ in known])
    return Threshold(similarity, hits, wrong, upper(worth * wrong / hits, worth))
