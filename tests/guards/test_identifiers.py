"""URLs, addresses, paths, versions and codes are taken literally."""

from __future__ import annotations

import pytest

from proxy.guards.identifiers import IDENTIFIERS
from tests.guards import refuses

APART = [
    ("open https://a.example/x", "open https://a.example/y"),
    ("mail ann@example.org", "mail bob@example.org"),
    ("edit /etc/hosts", "edit /etc/fstab"),
    ("install 3.11.2", "install 3.11.3"),
    ("what is user_id", "what is user_name"),
    ("loops in c++", "loops in c#"),
    ("fix app.py", "fix main.py"),
    ("is flight kl1023 late", "is flight kl1024 late"),
]
TOGETHER = [
    ("open https://a.example/x", "please open https://a.example/x."),
    ("Loops in C++", "loops in c++"),
    ("edit it", "please edit it"),
    ("and/or", "or"),
]


@pytest.mark.parametrize(("one", "other"), APART)
def test_what_differs_is_refused(one, other):
    assert refuses(IDENTIFIERS, one, other)


@pytest.mark.parametrize(("one", "other"), TOGETHER)
def test_what_says_the_same_passes(one, other):
    assert not refuses(IDENTIFIERS, one, other)
