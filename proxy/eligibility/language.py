"""An encoder maps a language that it does not know to much the same place, whatever is said in it."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Final

from proxy.eligibility.base import Bar
from proxy.eligibility.scripts_and_words import SCRIPTS, SMALL_WORDS
from proxy.lexis.reading import Reading
from proxy.settings import Rule
from proxy.types import Asking

_LOOKED_AT: Final = 2000
"""Characters; enough to know a language."""

_ENOUGH: Final = 2
"""Small words of a language that make a text one in it."""


def language(languages: tuple[str, ...]) -> Bar:
    """`language`: words in another language than these (ISO 639-1 codes). None given: all are welcome."""
    if not languages:
        return _no_bar
    scripts = frozenset(script for script, codes in SCRIPTS.items() if not set(codes.split()).isdisjoint(languages))
    known = frozenset(languages)

    def unknown(asking: Asking, _reading: Reading, _rule: Rule) -> str:
        text = asking.words[:_LOOKED_AT]
        return "language" if _is_foreign(text, known, scripts) else ""

    return unknown


def _no_bar(_asking: Asking, _reading: Reading, _rule: Rule) -> str:
    return ""


def _is_foreign(text: str, known: frozenset[str], scripts: frozenset[str]) -> bool:
    """A single word in a foreign script is enough: many encoders take every such word for the same unknown one."""
    if not text.isascii() and any(script not in scripts for script in _foreign_scripts(text)):
        return True
    return _is_written_in_another(_words(text), known)


def _foreign_scripts(text: str) -> set[str]:
    """Of the letters in it that are not Latin. A lone letter between Latin ones is a symbol (`π`, `µ`)."""
    found = set()
    for word in text.split():
        if not word.isascii():
            scripts = [_script(each) for each in word if each.isalpha() and not each.isascii()]
            others = [script for script in scripts if script]
            if len(others) > 1 or (others and others[0] != "GREEK"):
                found.update(others)
    return found


@lru_cache(maxsize=4096)
def _script(letter: str) -> str:
    """ "" for Latin and for letters that belong to no language (mathematical ones)."""
    name = unicodedata.name(letter, "").partition(" ")[0]
    return name if name in SCRIPTS else ""


def _words(text: str) -> list[str]:
    return [
        word.strip(".,;:?!()[]\"'\u2026\u00bf\u00a1\u00ab\u00bb\u201c\u201d")
        for word in text.lower().replace("\u2019", "'").split()
    ]


def _is_written_in_another(words: list[str], known: frozenset[str]) -> bool:
    counts = dict.fromkeys(SMALL_WORDS, 0)
    for word in words:
        for code in _CODES.get(word, ()):
            counts[code] += 1
    code = max(counts.keys() - known, key=counts.__getitem__)
    # `a` and `do` are English, and Portuguese too: between the two they say nothing.
    at_home = max([sum([word in _WORDS.get(one, ()) and word not in _WORDS[code] for word in words]) for one in known])
    if counts[code] > at_home and counts[code] >= _ENOUGH:
        return True
    # Few words, or a language that is not in the table.
    marked = sum([not word.isascii() and word.isalpha() for word in words])
    return at_home == 0 and known <= _WORDS.keys() and marked > 0 and marked + counts[code] >= _ENOUGH


_WORDS: Final = {code: frozenset(words.split()) for code, words in SMALL_WORDS.items()}


def _codes_by_word() -> dict[str, tuple[str, ...]]:
    """What is English too counts for English only."""
    codes: dict[str, list[str]] = {}
    for code, words in _WORDS.items():
        for word in words if code == "en" else words - _WORDS["en"]:
            codes.setdefault(word, []).append(code)
    return {word: tuple(those) for word, those in codes.items()}


_CODES: Final = _codes_by_word()
