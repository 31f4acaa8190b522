"""Conversations over two real vLLMs: how much of their prompts they find in their own prefix caches, by prefix routing
and in turns.

    make vllm
    .venv/bin/python -m loadtests.vllm_conversations      prints one JSON line

Each conversation has a system prompt of its own (an application's rules with a customer's record in them) and some
turns; a turn's prompt is all that was said before and one question more. All go on at once, in an order that is
shuffled anew in each round: who answers a customer is no clock. What the model said stands in the next prompt in words
of our own, the same in every run: so both ways of routing get the same prompts, token for token, and what is counted is
that of prompts alone. What differs besides, from one run to the next, is what depends on addresses and keys: which
conversation has its home where. So it is done several times, with other words, and summed up.

Figures are vLLM's own (`vllm:prefix_cache_hits_total`, tokens of prompts). Every run begins with empty prefix caches.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx

from proxy import settings
from tests import vllm_cpu
from tests.path.several import flags_for
from tests.running import running
from tests.vllm_cpu import VllmServer, vllm

WAYS = ("round_robin", "prefix")

BLOCK = 32
"""Tokens of a block: the smallest that vLLM takes on processors without complaint; on GPUs it is 16."""

BLOCKS = 416
"""What each endpoint's cache holds. All conversations of a run come to some 810 blocks in the end. So it is half of
them: an endpoint can hold those that are its own, and not everybody's, as it is where a cache is worth anything: memory
that holds all that anybody said lately is memory that more conversations could have used. Where every endpoint does
hold everything, routing saves less: what is computed by both."""

COMMON = (
    *(
        "the",
        "of",
        "and",
        "to",
        "or",
        "any",
        "you",
        "that",
        "work",
        "this",
        "license",
        "is",
        "in",
        "for",
        "a",
        "software",
    ),
    *(
        "copyright",
        "version",
        "with",
        "form",
        "terms",
        "by",
        "as",
        "source",
        "code",
        "not",
        "such",
        "may",
        "are",
        "be",
    ),
    *("under", "must", "distribute", "copies", "notice", "from", "other", "if", "modified", "conditions", "document"),
)
"""Words that the tiny model has as one token, mostly: it was made from licenses."""


@dataclass(frozen=True, slots=True)
class Workload:
    """What is asked. Times are not part of it: who asks waits for the answer and asks on."""

    conversations: int = 24
    turns: int = 6
    system_words: int = 400
    turn_words: int = 50
    """Of a question, and of an answer as it stands in the next prompt."""
    at_once: int = 3
    repeats: int = 3
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of one run. Tokens."""

    requests: int
    prompt_tokens: int
    last_prompts_tokens: int
    """Of each conversation's last prompt: what there would be to hold."""
    looked_up: int
    """`vllm:prefix_cache_queries_total`."""
    found: int
    """`vllm:prefix_cache_hits_total`."""
    by_endpoint: tuple[int, ...]
    """How many requests each had."""


# --- the workload


def conversation(work: Workload, run: int, number: int) -> list[dict[str, str]]:
    """All its messages: the system's, then questions and answers by turns."""
    chance = random.Random(f"{work.seed} {run} {number}")

    def words(count: int) -> str:
        return " ".join(chance.choices(COMMON, k=count))

    told = [{"role": "system", "content": f"customer {number}: {words(work.system_words)}"}]
    for _ in range(work.turns):
        told.append({"role": "user", "content": words(work.turn_words)})
        told.append({"role": "assistant", "content": words(work.turn_words)})
    return told


def rounds(work: Workload, run: int) -> Iterator[tuple[int, int]]:
    """Whose turn it is: conversation and turn. Each has one in each round."""
    chance = random.Random(f"{work.seed} {run}")
    for turn in range(work.turns):
        numbers = list(range(work.conversations))
        chance.shuffle(numbers)
        yield from ((number, turn) for number in numbers)


async def converse(url: str, key: str, work: Workload, run: int) -> list[int]:
    """Ask it all of what is at this address (up to and with /v1). Gives the tokens of each prompt, by turn and
    conversation: [turn * conversations + conversation]."""
    told = [conversation(work, run, number) for number in range(work.conversations)]
    answered = [[asyncio.Event() for _ in range(work.turns)] for _ in told]
    tokens = [0] * (work.conversations * work.turns)
    order = rounds(work, run)

    async def caller(http: httpx.AsyncClient) -> None:
        for number, turn in order:
            if turn:
                await answered[number][turn - 1].wait()
            members = {"model": "tiny", "messages": told[number][: 2 * turn + 2], "max_tokens": 4, "temperature": 0}
            answer = await http.post(f"{url}/chat/completions", json=members)
            if answer.status_code != 200 or answer.headers.get("x-cache") == "hit":
                raise RuntimeError(f"not a new answer: {answer.status_code} {answer.text[:200]}")
            tokens[turn * work.conversations + number] = answer.json()["usage"]["prompt_tokens"]
            answered[number][turn].set()

    headers = {"authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(headers=headers, timeout=300) as http, asyncio.TaskGroup() as callers:
        for _ in range(work.at_once):
            callers.create_task(caller(http))
    return tokens


# --- what the servers say of it


async def measured(url: str, key: str, servers: Sequence[VllmServer], work: Workload, run: int) -> Asked:
    """One run on empty prefix caches."""
    for server in servers:
        if not json.loads(server.post("/reset_prefix_cache"))["success"]:
            raise RuntimeError(f"the vLLM at {server.url} did not empty its prefix cache")
    before = [_Counts.of(server) for server in servers]
    tokens = await converse(url, key, work, run)
    after = [await asyncio.to_thread(_settled, server) for server in servers]
    each = [now.less(then) for now, then in zip(after, before, strict=True)]
    return Asked(
        requests=len(tokens),
        prompt_tokens=sum(tokens),
        last_prompts_tokens=sum(tokens[-work.conversations :]),
        looked_up=sum(counts.looked_up for counts in each),
        found=sum(counts.found for counts in each),
        by_endpoint=tuple(counts.requests for counts in each),
    )


@dataclass(frozen=True, slots=True)
class _Counts:
    requests: int
    looked_up: int
    found: int

    @classmethod
    def of(cls, server: VllmServer) -> _Counts:
        names = ("vllm:request_success_total", "vllm:prefix_cache_queries_total", "vllm:prefix_cache_hits_total")
        return cls(*(int(server.metric(name)) for name in names))

    def less(self, then: _Counts) -> _Counts:
        return _Counts(self.requests - then.requests, self.looked_up - then.looked_up, self.found - then.found)


def _settled(server: VllmServer) -> _Counts:
    """Once two readings are the same: it counts a little after it has answered."""
    last, now = None, _Counts.of(server)
    while last != now:
        last, now = now, _Counts.of(server)
    return now


# --- the comparison


async def compared(servers: Sequence[VllmServer], folder: Path, work: Workload) -> dict[str, Any]:
    """All runs by each way of routing, through AskOnce in this process, and how many times the tokens of round robin
    prefix routing found."""
    runs = {way: [await _routed(way, servers, folder, work, run) for run in range(work.repeats)] for way in WAYS}
    found = {way: sum(run.found for run in runs[way]) for way in WAYS}
    looked_up = {way: sum(run.looked_up for run in runs[way]) for way in WAYS}
    held = sum(int(server.label("vllm:cache_config_info", "num_gpu_blocks")) for server in servers) * BLOCK
    last = sum(run.last_prompts_tokens for run in runs["prefix"]) / work.repeats
    return {
        "workload": asdict(work),
        "found_tokens": found,
        "found_share": {way: round(found[way] / looked_up[way], 3) for way in WAYS},
        "ratio": round(found["prefix"] / found["round_robin"], 2),
        "ratio_by_run": [
            round(by_prefix.found / in_turns.found, 2)
            for in_turns, by_prefix in zip(runs["round_robin"], runs["prefix"], strict=True)
        ],
        "each_endpoint_holds": round(held / len(servers) / last, 2),
        "runs": {way: [asdict(run) for run in runs[way]] for way in WAYS},
    }


async def _routed(way: str, servers: Sequence[VllmServer], folder: Path, work: Workload, run: int) -> Asked:
    upstream = {
        "name": "local",
        "kind": "vllm",
        "base_url": [server.url for server in servers],
        "balance": way,
        "health_timeout": 60,  # a busy core is no dead server
    }
    flags, _ = flags_for([upstream])
    environ = {"ASKONCE_DATA_DIR": str(folder / f"{way}-{run}")}
    loaded = settings.load(None, flags | {"semantic.mode": "off", "telemetry.access_log": False}, environ)
    async with running(loaded.settings) as proxy:
        return await measured(f"{proxy.url}/v1", "sk-customers", servers, work, run)


@contextlib.contextmanager
def two_vllms(folder: Path, blocks: int = BLOCKS) -> Iterator[list[VllmServer]]:
    """Each on a core of its own, its cache of so many blocks."""
    size = (f"--block-size={BLOCK}", f"--num-gpu-blocks-override={blocks}")
    environ = {"VLLM_SERVER_DEV_MODE": "1"}  # for /reset_prefix_cache
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(vllm(folder, *size, environ=environ, threads=core)) for core in ("0", "1")]
        for server in servers:
            server.wait()
        yield servers


def main() -> int:
    """Print the comparison as a JSON line; with a number, for caches of that many blocks."""
    blocks = int(sys.argv[1]) if len(sys.argv) > 1 else BLOCKS
    vllm_cpu.make()
    with tempfile.TemporaryDirectory() as made, two_vllms(Path(made), blocks) as servers:
        print(json.dumps(asyncio.run(compared(servers, Path(made), Workload()))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
