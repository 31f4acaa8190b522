"""The table of opposites holds together."""

from __future__ import annotations

from proxy.lexis.antonyms import OPPOSITES


def test_opposites_go_both_ways():
    assert all(word in OPPOSITES[other] for word, others in OPPOSITES.items() for other in others)


def test_no_word_is_its_own_opposite():
    assert not [word for word, others in OPPOSITES.items() if word in others]


def test_there_are_enough_of_them():
    assert sum(map(len, OPPOSITES.values())) / 2 >= 110
