"""What is asked: a Zipf mix of questions, the same in other words, near misses and questions that never come back.

    catalogue = made(500)                                   # or read(Path("clinc150.jsonl"), 500)
    for asked in Traffic(Mix(seed=7), catalogue):           # without end; the same for the same seed
        asked.text, asked.meaning, asked.stream, asked.tenant

Two questions may share an answer only where their `meaning` is the same; that is what wrong hits are counted by. How
many requests ask in other words, stream and so on are drawn each from a generator of its own: who changes one share
still asks the same questions in the same order.
"""

from __future__ import annotations

import itertools
import json
import random
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from names import named

KINDS = ("plain", "reworded", "slot", "unique")
"""As the catalogue words it; in other words; near one of it but for a slot; never asked before or again."""
SYSTEM = "Answer in one paragraph."
TENANT = "sk-tenant-{:d}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """What the traffic is made of. Shares are between 0 and 1; `reworded`, `slot` and `unique` are of all requests and
    add up to 1 at most, what is left is asked as the catalogue words it."""

    exponent: float = 1.0
    """Of Zipf's law: the question of rank r is asked in proportion to r ** -exponent. 0 asks all alike; chat traffic is
    near 1."""
    reworded: float = 0.25
    slot: float = 0.1
    unique: float = 0.15
    streamed: float = 0.5
    tenants: int = 1
    """Callers with a credential each, drawn evenly. Nothing may be shared among them."""
    seed: int = 1

    def __post_init__(self) -> None:
        shares = {"reworded": self.reworded, "slot": self.slot, "unique": self.unique, "streamed": self.streamed}
        for name, share in shares.items():
            if not 0 <= share <= 1:
                raise ValueError(f"{name} is {share}: give a share from 0 to 1")
        if self.reworded + self.slot + self.unique > 1:
            raise ValueError("reworded, slot and unique are shares of all requests: together they are over 1")
        if self.tenants < 1 or self.exponent < 0:
            raise ValueError("there is at least one tenant, and the exponent is 0 or more")


class Subject(Protocol):
    """One question of the catalogue."""

    @property
    def meaning(self) -> str:
        """Its label."""

    @property
    def text(self) -> str:
        """As it is usually asked."""

    def reworded(self, rng: random.Random) -> str | None:
        """In other words; None where there are none."""

    def near(self, rng: random.Random) -> tuple[str, str] | None:
        """The label and text of a question that differs from it by a slot; None where there is none."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request of the traffic."""

    number: int
    kind: str
    text: str
    meaning: str
    stream: bool
    tenant: int

    @property
    def name(self) -> str:
        """By which the provider's echo tells it from others."""
        return named(self.text)

    @property
    def credential(self) -> str:
        return f"Bearer {TENANT.format(self.tenant)}"

    def body(self, model: str) -> bytes:
        """As OpenAI's Python SDK writes it, without spaces; temperature 0, which every cache is willing to keep."""
        messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": self.text}]
        members: dict[str, Any] = {"model": model, "messages": messages, "temperature": 0}
        if self.stream:
            members |= {"stream": True, "stream_options": {"include_usage": True}}
        return json.dumps(members, separators=(",", ":")).encode()


class Zipf:
    """Ranks from 0 to count - 1, the first being the most frequent."""

    def __init__(self, count: int, exponent: float) -> None:
        if count < 1:
            raise ValueError(f"a catalogue of {count} questions: there must be one at least")
        self.cumulative = list(itertools.accumulate((rank + 1) ** -exponent for rank in range(count)))

    def draw(self, rng: random.Random) -> int:
        return bisect_left(self.cumulative, rng.random() * self.cumulative[-1])


class Traffic:
    """An endless series of requests, the same each time it is gone through. `where` sets series apart: what is unique
    in one is in none of the others. Iterators of it do not know of one another."""

    def __init__(self, mix: Mix, catalogue: Sequence[Subject], where: str = "") -> None:
        self.mix = mix
        self.catalogue = catalogue
        self.where = where
        self.zipf = Zipf(len(catalogue), mix.exponent)

    def __iter__(self) -> Iterator[Asked]:
        mix = self.mix
        rank, kind, wording, stream, tenant = (
            random.Random(f"{mix.seed}/{part}") for part in ("rank", "kind", "wording", "stream", "tenant")
        )
        for number in itertools.count():
            subject = self.catalogue[self.zipf.draw(rank)]
            found, meaning, text = self.worded(number, subject, kind.random(), wording)
            yield Asked(number, found, text, meaning, stream.random() < mix.streamed, tenant.randrange(mix.tenants))

    def worded(self, number: int, subject: Subject, at: float, rng: random.Random) -> tuple[str, str, str]:
        """Kind, label and text. Where a question has no other words or no neighbour it is asked as it is."""
        # One draw whatever comes of it, or another mix would shift all wordings that follow.
        own = random.Random(rng.random())
        mix = self.mix
        if at < mix.unique:
            return "unique", f"unique:{self.where}{number}", unique(self.where, number, own)
        if at < mix.unique + mix.slot and (near := subject.near(own)):
            return "slot", *near
        if at >= 1 - mix.reworded and (text := subject.reworded(own)):
            return "reworded", subject.meaning, text
        return "plain", subject.meaning, subject.text


# -- made up ---------------------------------------------------------------------------------------------------------

# fmt: off
THINGS = (
    "printer", "router", "kettle", "camera", "dishwasher", "thermostat", "piano", "telescope", "scooter", "drone",
    "toaster", "projector", "freezer", "treadmill",
)
PARTS = (
    "password", "battery", "filter", "display", "antenna", "licence", "firmware", "hinge", "cable", "manual", "lid",
    "lamp",
)
VERBS = (
    "reset", "sell", "find", "check", "replace", "clean", "update", "install", "repair", "register", "remove", "order",
)
PLACES = (
    "Lisbon", "Oslo", "Vienna", "Toronto", "Nairobi", "Kyoto", "Lima", "Dublin", "Prague", "Athens", "Tallinn",
    "Seville",
)
OFFICES = (
    "town hall", "main library", "swimming pool", "harbour office", "science museum", "botanical garden", "post office",
    "flea market", "observatory", "central station",
)
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
GOODS = ("coffee", "olive oil", "copper", "barley", "salmon", "timber", "cotton", "honey", "cocoa", "wool")
YEARS = tuple(str(year) for year in range(1990, 2024, 3))
NOTES = (
    "amber", "bridge", "candle", "delta", "ember", "fjord", "garnet", "harvest", "island", "juniper", "kernel",
    "lantern",
    "meadow", "needle", "orchard", "pebble", "quarry", "ribbon", "saddle", "timber", "umbrella", "violet", "willow",
)
# fmt: on


@dataclass(frozen=True, slots=True)
class Family:
    """Questions of one form: its wordings, of which the first is the usual one, and the values of each slot."""

    name: str
    wordings: tuple[str, ...]
    slots: Mapping[str, tuple[str, ...]]

    def all(self) -> Iterator[Made]:
        for values in itertools.product(*self.slots.values()):
            yield Made(self, values)


@dataclass(frozen=True, slots=True)
class Made:
    """A question of a family."""

    family: Family
    values: tuple[str, ...]

    @property
    def meaning(self) -> str:
        return f"{self.family.name}:{'|'.join(self.values)}"

    @property
    def text(self) -> str:
        return self.worded(self.family.wordings[0])

    def worded(self, wording: str) -> str:
        return wording.format(**dict(zip(self.family.slots, self.values, strict=True)))

    def reworded(self, rng: random.Random) -> str:
        return self.worded(rng.choice(self.family.wordings[1:]))

    def near(self, rng: random.Random) -> tuple[str, str]:
        """With another value in one slot, in any wording. It may be a question of the catalogue itself."""
        at = rng.randrange(len(self.values))
        others = [value for value in list(self.family.slots.values())[at] if value != self.values[at]]
        other = Made(self.family, (*self.values[:at], rng.choice(others), *self.values[at + 1 :]))
        return other.meaning, other.worded(rng.choice(self.family.wordings))


def openings(rest: str, *, endings: Sequence[str] = ("", ", please", " these days", " again")) -> tuple[str, ...]:
    """Wordings of "How ..." questions: the usual one first."""
    begun = (
        "How do I",
        "How can I",
        "How could I",
        "How should I",
        "What is the best way to",
        "I would like to know how to",
    )
    return tuple(f"{begin} {rest}{end}{'' if begin.startswith('I ') else '?'}" for end in endings for begin in begun)


FAMILIES = (
    Family("care", openings("{verb} the {part} of my {thing}"), {"verb": VERBS, "part": PARTS, "thing": THINGS}),
    Family(
        "hours",
        (
            "When does the {office} in {place} open on {day}?",
            "At what time does the {office} in {place} open on {day}?",
            "What are the opening hours of the {office} in {place} on {day}?",
            "On {day}, when can I get into the {office} in {place}?",
            "Can you tell me when the {office} in {place} opens on {day}?",
            "When does {place}'s {office} open on {day}, please?",
        ),
        {"office": OFFICES, "place": PLACES, "day": DAYS},
    ),
    Family(
        "price",
        (
            "How did the price of {good} develop in {year}?",
            "What happened to the price of {good} in {year}?",
            "How much did {good} cost over the course of {year}?",
            "In {year}, how did prices of {good} move?",
            "Tell me how the price of {good} developed in {year}",
        ),
        {"good": GOODS, "year": YEARS},
    ),
)


def made(count: int, seed: int = 1) -> list[Subject]:
    """A catalogue of so many questions, in an order that follows from the seed. Raises ValueError where so many cannot
    be made."""
    everything: list[Subject] = [each for family in FAMILIES for each in family.all()]
    if not 1 <= count <= len(everything):
        raise ValueError(f"a catalogue of {count} questions: between 1 and {len(everything):,} can be made")
    return random.Random(f"{seed}/catalogue").sample(everything, count)


def unique(where: str, number: int, rng: random.Random) -> str:
    """A question that is asked once."""
    words = " ".join(rng.choices(NOTES, k=10))
    return f"Summarise note {where}{number}: {words}."


# -- labelled sets ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Labelled:
    """Texts with one label, and what is known to be near them and another thing."""

    meaning: str
    texts: tuple[str, ...]
    others: tuple[tuple[str, str], ...] = ()

    @property
    def text(self) -> str:
        return self.texts[0]

    def reworded(self, rng: random.Random) -> str | None:
        return rng.choice(self.texts[1:]) if len(self.texts) > 1 else None

    def near(self, rng: random.Random) -> tuple[str, str] | None:
        return rng.choice(self.others) if self.others else None


def read(path: Path, count: int, seed: int = 1) -> list[Subject]:
    """A catalogue from a JSONL file, of at most so many labels, in an order that follows from the seed.

    Lines are clusters `{"text", "intent"}`, with `strict` (intent and slots) as the label where it is there; pairs
    `{"a", "b", "equivalent"}`; or prompts `{"text"}`, each a label of its own. Near a question are others of its intent
    with other slots, and the other half of a pair that is not equivalent. Raises ValueError for a line that is none of
    these.
    """
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    if not lines:
        raise ValueError(f"{path}: there is no question in it")
    try:
        subjects = from_pairs(lines) if "equivalent" in lines[0] else from_clusters(lines)
    except (KeyError, TypeError) as why:
        raise ValueError(f"{path}: a line lacks {why}; see the forms in loadtests/README.md") from why
    return random.Random(f"{seed}/catalogue").sample(subjects, min(count, len(subjects)))


def from_clusters(lines: Sequence[Mapping[str, Any]]) -> list[Subject]:
    """A subject for each label. A text that has two labels in the file would be a wrong hit by itself: it is left
    out."""
    labels: dict[str, set[str]] = defaultdict(set)
    intents: dict[str, str] = {}
    for line in lines:
        label = line.get("strict") or line.get("intent") or line["text"]
        labels[line["text"]].add(label)
        intents[label] = line.get("intent", label)
    texts: dict[str, list[str]] = defaultdict(list)
    for text, found in labels.items():
        if len(found) == 1:
            texts[next(iter(found))].append(text)
    by_intent: dict[str, list[str]] = defaultdict(list)
    for label in texts:
        by_intent[intents[label]].append(label)
    return [
        Labelled(
            label,
            tuple(same),
            tuple((other, texts[other][0]) for other in neighbours(by_intent[intents[label]], label)),
        )
        for label, same in texts.items()
    ]


def neighbours(labels: Sequence[str], label: str, most: int = 8) -> list[str]:
    """Labels beside this one, some of them: an intent may have thousands."""
    at = labels.index(label)
    return [each for each in labels[max(0, at - most // 2) : at + most // 2 + 1] if each != label]


def from_pairs(lines: Sequence[Mapping[str, Any]]) -> list[Subject]:
    """A subject for each first half of a pair. Equivalence is followed through (a = b, b = c), so that a label holds
    all that may share an answer; a pair that says the opposite of that is left out."""
    leader: dict[str, str] = {}

    def led(text: str) -> str:
        while (above := leader.setdefault(text, text)) != text:
            leader[text] = leader[above]
            text = leader[text]
        return text

    for line in lines:
        one, other = led(line["a"]), led(line["b"])
        if line["equivalent"]:
            leader[other] = one
    texts: dict[str, list[str]] = defaultdict(list)
    for text in leader:
        texts[led(text)].append(text)
    near: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for line in lines:
        if not line["equivalent"] and led(line["a"]) != led(line["b"]):
            near[led(line["a"])].append((led(line["b"]), line["b"]))
    return [Labelled(label, tuple(same), tuple(near[label])) for label, same in texts.items()]


# -- when ------------------------------------------------------------------------------------------------------------


def arrivals(rate: float, seed: int) -> Iterator[float]:
    """Seconds from the start at which requests are due: a Poisson process of so many a second. Without end."""
    if rate <= 0:
        raise ValueError(f"a rate of {rate} requests a second: give one above 0")
    rng, at = random.Random(f"{seed}/arrivals"), 0.0
    while True:
        at += rng.expovariate(rate)
        yield at
