"""A light stemmer for English: enough that forms of a word meet, little enough that different words do not."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

_VOWEL: Final = re.compile(r"[aeiouy]")
_DOUBLED: Final = re.compile(r"([bdfgmnprt])\1$")

IRREGULAR: Final = {
    "went": "go", "gone": "go", "goes": "go", "paid": "pay", "sent": "send", "bought": "buy", "sold": "sell",
    "lost": "lose", "losing": "lose", "made": "make", "took": "take", "taken": "take", "gave": "give", "given": "give",
    "found": "find", "stolen": "steal", "stole": "steal", "broken": "break", "broke": "break", "spent": "spend",
    "wrote": "write", "written": "write", "said": "say", "told": "tell", "came": "come", "left": "left",
    "chose": "choose", "chosen": "choose", "froze": "freeze", "frozen": "freeze", "withdrew": "withdraw",
    "withdrawn": "withdraw", "withdrawal": "withdraw", "withdrawals": "withdraw", "forgot": "forget",
    "forgotten": "forget", "kept": "keep", "meant": "mean", "began": "begin", "begun": "begin", "saw": "see",
    "seen": "see", "knew": "know", "known": "know", "thought": "think", "felt": "feel", "became": "become",
    "children": "child", "men": "man", "women": "woman", "people": "people", "feet": "foot", "teeth": "tooth",
    "mice": "mouse", "lives": "life", "wives": "wife", "knives": "knife", "using": "use", "used": "use", "uses": "use",
    "dying": "die", "died": "die", "lying": "lie", "tying": "tie", "news": "news", "series": "series",
    "colour": "color", "favourite": "favorite", "cheque": "check", "programme": "program", "centre": "center",
    "payment": "pay", "payments": "pay", "cancellation": "cancel", "verification": "verify",
    "identification": "identify", "cancelled": "cancel", "cancelling": "cancel", "travelled": "travel",
    "travelling": "travel", "activation": "activate", "better": "better", "best": "best",
    "worse": "worse", "worst": "worst",
    "bus": "bus", "buses": "bus", "gas": "gas", "this": "this", "his": "his", "yes": "yes", "thing": "thing",
    "something": "something", "nothing": "nothing", "anything": "anything", "everything": "everything",
    "during": "during", "evening": "evening", "morning": "morning", "need": "need", "speed": "speed", "feed": "feed",
    "fees": "fee", "fee": "fee", "free": "free", "only": "only", "early": "early", "family": "family",
    "families": "family", "july": "july", "supply": "supply", "apply": "apply", "applied": "apply", "applying": "apply",
    "reply": "reply", "italy": "italy",
}  # fmt: skip


@lru_cache(maxsize=8192)
def stem(word: str) -> str:
    """Of a word in lower case."""
    regular = IRREGULAR.get(word)
    if regular == word or len(word) <= 3 or not word.isascii():
        return regular or word
    word = regular or word
    word = _singular(word)
    return _bare(_uninflected(word))


def _singular(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes", "zes")):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is", "ous")):
        return word[:-1]
    return word


def _uninflected(word: str) -> str:
    for ending in ("ing", "ed"):
        if word.endswith(ending):
            root = word[: -len(ending)]
            if len(root) >= 3 and _VOWEL.search(root):
                return _DOUBLED.sub(r"\1", root)
    if word.endswith("ly") and len(word) > 5:
        return word[:-2]
    return word


def _bare(word: str) -> str:
    if len(word) > 3 and word.endswith("e"):
        word = word[:-1]
    # `city` meets `cities`; `play` has no such form.
    return word[:-1] + "i" if len(word) > 3 and word.endswith("y") and word[-2] not in "aeiou" else word
