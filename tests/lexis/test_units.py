"""The table of units holds together."""

from __future__ import annotations

from proxy.lexis.units import ONLY_BEHIND_A_NUMBER, UNITS


def test_spellings_of_a_unit_have_one_name():
    assert UNITS["km"] == UNITS["kilometres"] == ("length", "km")
    assert UNITS["$"] == UNITS["dollars"] == ("money", "usd")


def test_what_is_a_unit_behind_a_number_only_is_a_unit():
    assert [word for word in ONLY_BEHIND_A_NUMBER if word not in UNITS] == []
