"""Tables of words."""

from __future__ import annotations

from proxy.lexis.tables import words


def test_words_are_what_stands_between_white_space():
    assert words("  not no\n  never no ") == {"not", "no", "never"}
    assert words("") == set()
