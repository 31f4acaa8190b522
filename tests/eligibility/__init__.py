"""Helpers for the tests of what can be matched by meaning."""

from __future__ import annotations

from proxy.eligibility.base import Bar
from proxy.lexis.reading import read
from proxy.settings import Rule
from proxy.types import Asking


def barred(
    bar: Bar, words: str = "How do I pay?", *, rule: Rule | None = None, why: str = "", **members: object
) -> str:
    """What a reason says of a question with these words and members."""
    asking = Asking(words, b"", {"messages": [{"role": "user", "content": words}], **members}, why)
    return bar(asking, read(words), rule or Rule())
