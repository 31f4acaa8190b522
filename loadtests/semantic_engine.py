"""An embedder that embeds short questions whenever it is told to, for as long as it is told.

Reads lines `<questions waiting> <seconds>` and answers each with a line of JSON: texts embedded and processor time.
Runs in the environment that has sentence-transformers, whichever engine it is.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import itertools
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import semantic_questions

from proxy.embedders.base import Embedder
from proxy.embedders.onnx import OnnxEmbedder
from proxy.embedders.sentence_transformers import SentenceTransformersEmbedder

MODEL = "all-MiniLM-L6-v2"
LIBRARIES = {"onnx": ("onnxruntime",), "sentence-transformers": ("sentence-transformers", "torch")}


def made(kind: str, data_dir: Path) -> Embedder:
    """With one thread, and no more texts in a batch than the product puts in one."""
    if kind == "onnx":
        return OnnxEmbedder(model=MODEL, data_dir=data_dir, threads=1)
    return SentenceTransformersEmbedder(model=MODEL, threads=1)


async def serve(embedder: Embedder) -> None:
    texts = itertools.cycle(semantic_questions.paraphrases(semantic_questions.stored()))
    await embedder.open()
    await embedder.ready()
    for told in iter(sys.stdin.readline, ""):
        waiting, seconds = told.split()
        say(await work(embedder, texts, int(waiting), float(seconds)))
    await embedder.close()


async def work(embedder: Embedder, texts: Iterator[str], waiting: int, seconds: float) -> dict[str, float]:
    """So many callers, each with its next text as soon as the last is embedded."""
    began, until, counts = time.process_time(), time.perf_counter() + seconds, itertools.count()

    async def call() -> None:
        while time.perf_counter() < until:
            await embedder.embed(next(texts))
            next(counts)

    await asyncio.gather(*(call() for _ in range(waiting)))
    return {"texts": next(counts), "cpu_s": time.process_time() - began}


def say(told: object) -> None:
    print(json.dumps(told), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=LIBRARIES)
    parser.add_argument("data_dir", type=Path)
    options = parser.parse_args()
    say({"version": ", ".join(f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES[options.kind])})
    asyncio.run(serve(made(options.kind, options.data_dir)))


if __name__ == "__main__":
    main()
