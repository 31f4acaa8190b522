"""There have to be words, and they have to be all that is asked."""

from __future__ import annotations

from proxy.lexis.reading import Reading
from proxy.settings import Rule
from proxy.types import Asking


def words(asking: Asking, _reading: Reading, _rule: Rule) -> str:
    """`no_words`: neither a letter nor a digit; or why the words could not be taken out of the question at all."""
    return asking.barred or ("" if any(map(str.isalnum, asking.words)) else "no_words")
