"""Other people, places and things, as far as capitals show them."""

from __future__ import annotations

import pytest

from proxy.guards.names import ANY_NAME, NAMES
from tests.guards import refuses

CONFLICTS = [
    ("What is the capital of Norway?", "What is the capital of Sweden?"),
    ("Who is the CEO of Acme Corp?", "Who is the CEO of Initech?"),
    ("Is the ATM broken?", "Is the POS broken?"),
    ("Tell me about Marie Curie", "Tell me about Pierre Curie"),
]
ONE_SIDED = [
    ("How do I vote in Norway?", "How do I vote?"),
    ("Where is the nearest Acme branch?", "where is the nearest branch?"),
]
TOGETHER = [
    ("What is the capital of Norway?", "what is the capital of norway"),
    ("Can I work in the United States?", "Can I work in the US?"),
    ("Is Indian food spicy?", "Is food from India spicy?"),
    ("Where Can I Buy Fresh Bread", "Where can I buy fresh bread?"),
    ("WHERE CAN I BUY BREAD", "Where can I buy bread?"),
    ("Norway has what capital?", "What capital does Norway have?"),
]


@pytest.mark.parametrize(("one", "other"), CONFLICTS)
def test_another_name_is_refused(one, other):
    assert refuses(NAMES, one, other)
    assert refuses(ANY_NAME, one, other)


@pytest.mark.parametrize(("one", "other"), ONE_SIDED)
def test_a_name_on_one_side_is_refused_by_the_stricter_guard_only(one, other):
    assert not refuses(NAMES, one, other)
    assert refuses(ANY_NAME, one, other)


@pytest.mark.parametrize(("one", "other"), TOGETHER)
def test_the_same_name_passes(one, other):
    assert not refuses(NAMES, one, other)
    assert not refuses(ANY_NAME, one, other)
