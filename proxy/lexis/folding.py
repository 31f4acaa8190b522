"""The form in which two texts are the same words: for questions that differ in Unicode form, case, white space and
closing punctuation only.

What could change the meaning is not folded: superscripts and fractions, quoted text, code, `ß`, words that are another
word in capitals (`US`), capitals inside a word or beside digits (`mW`, `SGVsbG8`), `5!`, the end of a text that is
given to work on (`Translate: You are here?`).
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from proxy.lexis.tables import words

_SAFE_FORMS: Final = ("<wide>", "<narrow>", "<noBreak>", "<compat>", "<initial>", "<medial>", "<final>", "<isolated>")
"""Compatibility forms of a character that mean nothing by themselves. Not in it: `<super>`, `<sub>`, `<fraction>`,
`<circle>`, `<square>`, `<font>`."""

_LOOKS: Final = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u02bc\u0060\u00b4", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u201f\u00ab\u00bb\u2033", '"'),
        **dict.fromkeys("\u2010\u2011", "-"),
        **dict.fromkeys("\u200b\u2060\ufeff\u00ad", None),
    }
)
"""Quotation marks and hyphens of many shapes; what is not seen at all. A back-tick is code only in pairs, and text
with those never comes here (`_CODE`)."""

_CODE: Final = re.compile(r"`|\n[ \t]|[{};]\s*\n|[!=]=|->|=>")
"""White space, case and punctuation may all mean something."""

_CLOSING: Final = ".!?\u2026\u3002\uff01\uff1f\uff61\u061f\u0964 "
_QUOTED: Final = re.compile(r'("[^"]*")')
_INNER_CAPITAL: Final = re.compile(r"[^\W_A-Z][A-Z]")
"""As in `mW`, `10MB`, `SGVsbG8`."""

_OTHER_WORDS: Final = frozenset(["US", "IT", "WHO", "AIDS"])
_OTHER_NAMES: Final = words(
    """
    Polish March May August Turkey China Apple Windows Java Swift Rust Go Python Word Excel Reading Job Bill
    """
)
"""Another word without the capital, unless the capital only begins a sentence."""

_OPEN: Final = words("of a an the is symbol operator sign character mark means command")
"""After one of these a mark is the thing that is asked about: `What is the meaning of ?`."""

_FACTORIAL: Final = re.compile(r"(?:[0-9)]|\b[a-z])!$")
_STATEMENT: Final = words("you he she it they we this that there")
"""A text that begins so is a statement, unless a question mark closes it."""


def folded(text: str) -> str:
    """Equal for texts that are the same words. Folding what is folded changes nothing."""
    plain = unified(text).strip()
    if _CODE.search(plain):
        return text.strip()
    text = " ".join(plain.split())
    return _without_closing(unicodedata.normalize("NFC", _lowered(text)))


def unified(text: str) -> str:
    """One code point for what looks and means the same; case, white space and punctuation stay."""
    if text.isascii():
        return text
    text = unicodedata.normalize("NFC", text.translate(_LOOKS))
    plain = "".join(unicodedata.normalize("NFKC", each) if _is_a_form(each) else each for each in text)
    return unicodedata.normalize("NFC", plain.translate(_LOOKS))


_LONGEST_FORM: Final = 4
"""Letters."""


def _is_a_form(character: str) -> bool:
    if character.isascii():
        return False
    form = unicodedata.decomposition(character)
    # A few characters are forms of whole sentences: so much would come of so little that it takes milliseconds.
    return form.startswith(_SAFE_FORMS) and form.count(" ") <= _LONGEST_FORM


def _lowered(text: str) -> str:
    if text.islower() or text.isupper():
        return text.lower()
    pieces = _QUOTED.split(text)
    # Every second one is a quotation.
    pieces[::2] = [_lowered_words(piece, first=index == 0) for index, piece in enumerate(pieces[::2])]
    return "".join(pieces)


def _lowered_words(text: str, *, first: bool) -> str:
    words = text.split(" ")
    for index, word in enumerate(words):
        begins = (first and index == 0) or (index > 0 and words[index - 1].endswith((".", "?", "!", ":")))
        if not _keeps_case(word.strip(".,;:?!()'"), begins=begins):
            words[index] = word.lower()
    return " ".join(words)


def _keeps_case(word: str, *, begins: bool) -> bool:
    if word.islower():
        return False
    return word in _OTHER_WORDS or (word in _OTHER_NAMES and not begins) or _INNER_CAPITAL.search(word) is not None


def _without_closing(text: str) -> str:
    bare = text.rstrip(_CLOSING)
    if not bare or ":" in bare or _FACTORIAL.search(text):
        return text
    if bare.rpartition(" ")[2] in _OPEN or (text[-1] == "?" and bare.partition(" ")[0] in _STATEMENT):
        return text
    return bare
