"""What a verifier looks at."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.verifiers.features import NAMES, RISING, canonical, features
from tests.verifiers import MORE_WORDS, OTHER_WORDS, SAME_WORDS, pair


def test_every_feature_has_its_name():
    assert len(features(pair(0.9))) == len(NAMES)
    assert [NAMES[index] for index in RISING] == ["similarity"]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("question_word", {"question_word": True}),
        ("order", {"order": 1.0}),
        ("length", {"length": 0.1}),
        ("jaccard", {"jaccard": 0.1}),
        ("names", {"names": True}),
        ("polarity", {"polarity": True}),
    ],
)
def test_a_difference_shows_in_its_own_feature_only(name, change):
    before, after = features(pair(0.9)), features(pair(0.9, replace(OTHER_WORDS, **change)))
    assert [NAMES[index] for index in range(len(NAMES)) if before[index] != after[index]] == [name]


def test_canonical_is_no_word_left_over_and_the_same_question_word():
    assert canonical(pair(0.8, SAME_WORDS))
    assert not canonical(pair(1.0, replace(SAME_WORDS, question_word=True)))
    assert not canonical(pair(1.0, MORE_WORDS))
    assert not canonical(pair(1.0, OTHER_WORDS))
