"""What the product's own search costs among many questions: without an embedder, as vectors are made up here.

    semantic_lookup.py seek COUNT '{"count": 2000, "flags": {"store.url": "redis://..."}}'
    semantic_lookup.py bytes COUNT '{}'

`seek` builds the product with an embedder that has each vector ready, has it remember COUNT questions of one shape, and
times `Matching.seek` for paraphrases of some of them: normalised words, search, guards, verifier, and reading the
answer from the store, whose memory tier is off. `bytes` fills an embedded index and looks at the process' memory.

Vectors lie in clusters of ten: the cosine of two in one is about 0.82, of a paraphrase and its question 0.95. Words
have some 60 characters. Results go to standard output as JSON, progress to standard error.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import load
import numpy as np
import proc
import semantic_questions
import uvloop

from proxy import app, semantic
from proxy.case import Case, Request
from proxy.embedders.base import EmbedderReport, Embedding
from proxy.endpoints.chat_completions import ChatCompletions
from proxy.meaning.matching import Matching
from proxy.settings import Settings
from proxy.settings import load as load_settings
from proxy.types import Digest, Directives, Entry, Form, Scope, Usage, Vector
from proxy.vectors.base import Point
from proxy.vectors.embedded import EmbeddedIndex

DIMENSIONS = 384
CLUSTER = 10
IN_CLUSTER = 0.9
"""Cosine of a question and the middle of its cluster."""
NEAR = 0.95
"""Cosine of a paraphrase and its question."""
AT_ONCE = 100
KEPT_S = 86_400.0
SHAPE = Digest(bytes(range(16)))
PAUSE_S = 0.002
"""After each search: that a question was matched is stored after it was answered."""
SETTINGS: dict[str, Any] = {
    "semantic.mode": "on",
    "semantic.policy": "faq",
    "semantic.audit_rate": 0,
    "semantic.deadline": "10s",
    "store.memory": 0,
    # Where words are embedded, what is stored by how they are typed is looked for meanwhile.
    "rules": [{"match_normalized": False}],
    # Filling is not measured: nothing must be lost of it.
    "store.redis.command_timeout": "10s",
    "store.write_timeout": 60,
}
FIELDS = tuple((name.encode(), value.encode()) for name, value in load.HEADERS.items())
ANSWER = "Open the settings, choose the device from the list, and follow what the screen says. " * 9
SYLLABLES = [first + second for first in "bdfgklmnprstvz" for second in "aeiou"]


# -- made-up questions -----------------------------------------------------------------------------------------------


def words(number: int) -> str:
    """Question of that number: those of a cluster differ in a made-up name."""
    cluster, inside = divmod(number, CLUSTER)
    made_up, left = "", number + 70**2
    while left:
        left, syllable = divmod(left, len(SYLLABLES))
        made_up += SYLLABLES[syllable]
    verb = semantic_questions.VERBS[inside % len(semantic_questions.VERBS)]
    part = semantic_questions.PARTS[cluster % len(semantic_questions.PARTS)]
    thing = semantic_questions.THINGS[cluster // 10 % len(semantic_questions.THINGS)]
    return f"How do I {verb} the {part} of my old {made_up} {thing} at home?"


def paraphrased(text: str) -> str:
    return text.replace("How do I", "How can I")


def vector(number: int) -> Vector:
    """Of that question; the same each time."""
    middle = unit(np.random.default_rng(number // CLUSTER))
    return beside(middle, IN_CLUSTER, np.random.default_rng((number, 1)))


def beside(middle: Vector, cosine: float, chance: np.random.Generator) -> Vector:
    """A vector at about that cosine to another."""
    made = cosine * middle + (1 - cosine**2) ** 0.5 * unit(chance)
    return cast("Vector", (made / np.linalg.norm(made)).astype(np.float32))


def unit(chance: np.random.Generator) -> Vector:
    made = chance.standard_normal(DIMENSIONS, np.float32)
    return cast("Vector", made / np.linalg.norm(made))


def blocks(count: int, what: str) -> Iterator[range]:
    """Numbers up to `count`, some at once, telling how far it is."""
    began, told = time.monotonic(), time.monotonic()
    for start in range(0, count, AT_ONCE):
        yield range(start, min(start + AT_ONCE, count))
        if time.monotonic() - told > 5:
            told = time.monotonic()
            print(f"  {what}: {start:,} of {count:,} after {told - began:.0f} s", file=sys.stderr, flush=True)


# -- seek ------------------------------------------------------------------------------------------------------------


class Ready:
    """An embedder that has the vector which it was given last."""

    identity, dimensions = "made-up/lookup", DIMENSIONS

    def __init__(self) -> None:
        self.vector = np.zeros(DIMENSIONS, np.float32)

    async def open(self) -> None: ...
    async def ready(self) -> None: ...
    async def close(self) -> None: ...

    async def embed(self, text: str, *, patient: bool = False) -> Embedding:
        return Embedding(self.vector, whole=True)

    def report(self) -> EmbedderReport:
        return EmbedderReport("made-up", self.identity)


class Lookup:
    """The product, with that embedder."""

    def __init__(self, settings: Settings) -> None:
        self.embedder = Ready()
        semantic.make_embedder = lambda *_: self.embedder  # as the composition root would, had it one of that kind
        self.application = app.build(settings)
        self.store = self.application.store
        self.pipeline = self.application.pipeline
        self.matching = cast("Matching", self.pipeline._meaning)
        self.endpoint = ChatCompletions()

    async def run(self, points: int, count: int) -> dict[str, float]:
        """Fill and search."""
        began = time.monotonic()
        await self.store.open()
        await self.matching.open()
        await self.until(lambda: self.matching.report()["status"] == "ok")
        await self.fill(points)
        filled_s = time.monotonic() - began
        chosen = random.Random(1).sample(range(points), min(points, count + 50))
        for number in chosen[count:]:
            await self.seek(number)
        taken = [await self.seek(number) for number in chosen[:count]]
        alone = [await self.search(number) for number in chosen[:count]]
        await self.matching.close()
        await self.store.close()
        milliseconds = [seconds * 1000 for seconds, _ in taken]
        return {
            "median_ms": statistics.median(milliseconds),
            "worst_ms": statistics.quantiles(milliseconds, n=100)[98],
            "search_ms": statistics.median(alone) * 1000,
            "matched": sum(matched for _, matched in taken),
            "fill_s": filled_s,
        }

    async def fill(self, points: int) -> None:
        """As the path does it: the answer is stored, then its question is remembered."""
        for block in blocks(points, "filling"):
            cases = [self.case(words(number)) for number in block]
            await asyncio.gather(*(self.store.put(self.entry(case)) for case in cases))
            for number, case in zip(block, cases, strict=True):
                asking = self.endpoint.asking(load.question(words(number)))
                sought = await self.matching.seek(case, asking, SHAPE, None)
                sought.vector = vector(number)
                self.matching.remember(sought, self.entry(case))
            await self.until(partial(self.has, block.stop))
        index = self.matching._rooms.index
        if isinstance(index, EmbeddedIndex):
            await index.settled()

    def has(self, points: int) -> bool:
        """So many questions are candidates."""
        return int(self.matching.figures()["index"]["points"]) >= points

    async def seek(self, number: int) -> tuple[float, bool]:
        """Seconds that the product takes for a paraphrase of that question, and whether it matched."""
        text = paraphrased(words(number))
        case, asking = self.case(text), self.endpoint.asking(load.question(text))
        self.embedder.vector = self.asked(number)
        fits = partial(self.pipeline._fits, case, time.time())
        began = time.perf_counter()
        sought = await self.matching.seek(case, asking, SHAPE, fits)
        seconds = time.perf_counter() - began
        await asyncio.sleep(PAUSE_S)
        return seconds, sought.match is not None and sought.entry is not None

    async def search(self, number: int) -> float:
        """Seconds of the index alone."""
        wanted = self.asked(number)
        began = time.perf_counter()
        await self.matching._rooms.index.nearest(SHAPE, wanted, most=3, floor=0.7)
        return time.perf_counter() - began

    def asked(self, number: int) -> Vector:
        return beside(vector(number), NEAR, np.random.default_rng((number, 2)))

    def case(self, text: str) -> Case:
        request = Request(self.endpoint, "/chat/completions", FIELDS, (), load.question(text), Directives())
        return self.pipeline.consider(request)

    def entry(self, case: Case) -> Entry:
        """An answer of 800 characters."""
        message = {"role": "assistant", "content": ANSWER}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        usage = {"prompt_tokens": 20, "completion_tokens": 200, "total_tokens": 220}
        body = {"object": "chat.completion", "model": case.model, "choices": choices, "usage": usage}
        return Entry(
            name=case.name,
            endpoint=self.endpoint.path,
            model=case.model,
            form=Form.WHOLE,
            body=json.dumps(body).encode(),
            finished_at=time.time(),
            fresh_s=KEPT_S,
            kept_s=KEPT_S,
            generation=self.store.generation,
            usage=Usage(20, 200),
        )

    async def until(self, done: Callable[[], bool], patience_s: float = 120) -> None:
        until = time.monotonic() + patience_s
        while not done():
            if time.monotonic() > until:
                raise SystemExit(f"waited {patience_s:g} s: {self.matching.figures()}")
            await asyncio.sleep(0.001)


# -- bytes -----------------------------------------------------------------------------------------------------------


async def index_bytes(points: int) -> dict[str, float]:
    """Resident memory that an embedded index with its file grows by, for each point."""
    index = EmbeddedIndex(Path("cache.vectors.db"), identity="made-up/lookup", dimensions=DIMENSIONS)
    await index.open()
    await index.add(point(points))
    await index.settled()
    characters = statistics.mean(len(words(number)) for number in range(0, points, 97))
    before = resident()
    for block in blocks(points, "filling"):
        for number in block:
            await index.add(point(number))
            if number % 256 == 0:  # so many kept answers may wait to become candidates in the proxy
                await index.settled()
    await index.settled()
    grown, report = resident() - before, index.report()
    await index.close()
    return {"bytes": grown / points, "reported": report.bytes / report.points, "characters": characters}


def point(number: int) -> Point:
    name = Digest(number.to_bytes(16, "big"))
    kept_until = time.time() + KEPT_S
    return Point(name, SHAPE, Scope(bytes(16)), "gpt-4o-mini", words(number), vector(number), kept_until=kept_until)


def resident() -> int:
    gc.collect()
    return proc.resident_bytes(os.getpid())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("seek", "bytes"))
    parser.add_argument("points", type=int)
    parser.add_argument("options", type=json.loads)
    options = parser.parse_args()
    if options.what == "bytes":
        print(json.dumps(uvloop.run(index_bytes(options.points))))
        return
    places = {"ASKONCE_UPSTREAM": "http://127.0.0.1:9/v1", "ASKONCE_DATA_DIR": str(Path.cwd() / "data")}
    settings = load_settings(None, SETTINGS | options.options["flags"], places).settings
    print(json.dumps(uvloop.run(Lookup(settings).run(options.points, options.options["count"]))))


if __name__ == "__main__":
    main()
