"""An answer's words without its markup: what judges look at.

Models put the same thing in a list today and in a paragraph tomorrow, say "Sure!" before it and "Let me know" after it.
None of that says anything about whether two answers say the same.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from proxy.lexis.function_words import STOP_WORDS
from proxy.lexis.stemming import stem

LONGEST: Final = 8000
"""Characters of an answer that are looked at: some 1,500 words. It bounds the time a judge takes."""

_FENCE: Final = re.compile(r"```[\w+-]*\n(.*?)(?:```|\Z)", re.DOTALL)
_INLINE: Final = re.compile(r"`([^`\n]+)`")
_LINK: Final = re.compile(r"!?\[([^\]\n]{0,200})\]\([^)\n]{0,500}\)")
_LINE_MARK: Final = re.compile(r"^[ \t]*(?:#{1,6} |>|[-*+•] |\(?\d{1,2}[.)] |\|)[ \t]*", re.MULTILINE)
_RULE: Final = re.compile(r"^[ \t|:=_*-]{3,}$", re.MULTILINE)
_EMPHASIS: Final = re.compile(r"\*{1,3}|~~|(?<!\w)_{1,2}(?=\S)|(?<=\S)_{1,2}(?!\w)|`+")
_END: Final = re.compile(r"(?<=[.!?…。！？])[\"')\]]*\s+|\n+")  # noqa: RUF001 - full stops of other scripts
_WORD: Final = re.compile(r"[^\W_]+(?:['’.][^\W_]+)*")  # noqa: RUF001 - an apostrophe as models write it

_COURTESY: Final = re.compile(
    r"""(?:(?:sure|of\ course|certainly|absolutely|gladly|great\ question|good\ question|no\ problem|no\ worries
      |congratulations|good\ luck|enjoy|thanks?(?:\ you)?|you(?:'re|\ are)\ welcome
      |good\ news)\b(?:[^.!?:\n]{0,40})[.!:,]*
    |(?:i(?:'m|\ am)\ )?(?:so\ |very\ )?sorry\ (?:to\ hear|about|for|you|that)\b.*
    |i\ understand\b.*
    |don(?:'t|ot)\ worry\b[.!]*
    |(?:please\ )?(?:let\ me\ know|feel\ free)\b.*
    |i?\ ?hope\ (?:this|that)\ helps.*
    |is\ there\ anything\ else\b.*
    |happy\ to\ help.*)$""",
    re.IGNORECASE | re.VERBOSE,
)

_NO_ANSWER: Final = re.compile(
    r"""(?:unfortunately,?\ |(?:i(?:'m|\ am)\ )?(?:so\ |very\ |really\ )?sorry[,.!]?\ (?:but\ )?
      |i\ apologi[sz]e[^.]{0,60}[.,]?\ (?:but\ )?)?
    (?:i(?:'m|\ am)?\ (?:can't|cannot|can\ not|won't|will\ not|unable|not\ able|don't|do\ not|not\ sure|not\ allowed
        |not\ comfortable|didn't|couldn't|could\ not)\b
    |(?:as\ )?(?:i(?:'m|\ am)\ )?an?\ (?:ai|artificial\ intelligence|large\ language|language)\b
    |(?:could|can|would)\ you\ (?:please\ )?(?:provide|clarify|share|give|specify|tell|explain|rephrase
        |elaborate|be\ more)
    |please\ (?:provide|clarify|specify|share|paste|give\ me|tell\ me)
    |it\ (?:looks|seems|appears)\ (?:like|that)\ (?:you|your|there|the\ message)
    |(?:hello|hi|hey)\b.{0,40}?(?:how\ can\ i|what\ can\ i|how\ may\ i)
    |(?:how|what)\ (?:can|may)\ i\ (?:help|assist|do\ for)
    |(?:an?\ |internal\ |server\ |unexpected\ )*error\b
    |something\ went\ wrong
    |(?:this|that|your)\ (?:request|question|content|prompt)\ (?:is|was|violates|has|cannot|can't|could\ not)\b
    |\{\s*"error")""",
    re.IGNORECASE | re.VERBOSE,
)
_NO_ANSWER_CHARS: Final = 400
"""What is longer than this begins with an excuse and goes on with an answer."""


def says_nothing(text: str) -> bool:
    """Empty, a refusal, an error, or a question back: nothing to compare by. Two of them may be equal and yet tell
    nothing about whether one answer does for both questions."""
    text = text.strip()
    if not any(map(str.isalnum, text[:LONGEST])):
        return True
    return len(text) <= _NO_ANSWER_CHARS and _NO_ANSWER.match(text.replace("’", "'")) is not None  # noqa: RUF001


def plain(text: str) -> str:
    """Without markdown, in one Unicode form; lines are kept, code is kept as text."""
    text = unicodedata.normalize("NFKC", text[:LONGEST])
    text = _INLINE.sub(r"\1", _FENCE.sub(r"\1\n", text))
    text = _RULE.sub("", _LINK.sub(r"\1", text))
    text = _LINE_MARK.sub("", text).replace("|", " ")
    return _EMPHASIS.sub("", text)


def code(text: str) -> list[str]:
    """What stands in back-ticks, blocks and words."""
    text = text[:LONGEST]
    return [*_FENCE.findall(text), *_INLINE.findall(_FENCE.sub("", text))]


def sentences(text: str) -> list[str]:
    """Of plain text, in order, without those that are only polite."""
    cut = (sentence.strip() for sentence in _END.split(text))
    return [sentence for sentence in cut if any(map(str.isalnum, sentence)) and not _COURTESY.match(sentence)]


def words(text: str) -> list[str]:
    """In lower case, with one kind of apostrophe."""
    return [word.casefold().replace("’", "'") for word in _WORD.findall(text)]  # noqa: RUF001


def stems(text: str) -> list[str]:
    """Of the words that carry content, in order."""
    bare = (word.removesuffix("'s") for word in words(text))
    return [stem(word) for word in bare if word.replace("'", "") not in STOP_WORDS]
