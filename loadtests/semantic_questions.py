"""Questions, and the same in other words: as many as the longest run asks, no two alike.

A paraphrase differs from its question as policy `faq` allows. How many of them were really answered by meaning is
counted by the rows, not assumed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

THINGS = (
    *("printer", "router", "kettle", "camera", "dishwasher", "thermostat", "piano", "telescope", "scooter", "drone"),
)
PARTS = ("password", "battery", "filter", "display", "antenna", "licence", "firmware", "hinge", "cable", "manual")
VERBS = ("reset", "change", "find", "check", "replace", "clean", "update", "install", "repair", "register")
OPENINGS = ("How can I", "How could I", "How would I", "How should I", "How might I", "How am I to", "How shall I")
ENDINGS = ("", ", please", " myself", " then", " at home", " by hand", " properly", " again")

STORY = (
    "I bought it in a small shop near the station some years ago, together with a table, two chairs and a lamp that "
    "never worked as it should. The seller was friendly, wrapped everything up in old newspapers, and told me a long "
    "story about the person who had owned these things before. At home everything stood in the hall for a week, "
    "since nobody had the time to carry it upstairs. Since then we have used it nearly every morning, and it has "
    "served us well apart from small troubles which a neighbour of ours could always mend. That neighbour has moved "
    "to the coast. "
)
"""To stand before a question: embedding it takes some seven times as long then."""


def stored() -> list[str]:
    """1,000 questions of 30 to 50 characters, to be kept."""
    asked = product(THINGS, PARTS, VERBS)
    return [f"How do I {verb} the {part} of my {thing}?" for thing, part, verb in asked]


def paraphrases(questions: Sequence[str]) -> Iterator[str]:
    """56 of each: first one of every question, then another of every question, ..."""
    for ending, opening in product(ENDINGS, OPENINGS):
        for question in questions:
            yield question.replace("How do I", opening).replace("?", f"{ending}?")
