"""Tables are written as running text: easier to read, and to change, than a list of quoted words."""

from __future__ import annotations


def words(text: str) -> frozenset[str]:
    """The words between white space."""
    return frozenset(text.split())
