"""The rows about choosing an endpoint: what it costs a miss to read a prompt's beginning and rank the endpoints by it.

They run in this process, on the product's own balancer: the work is a function call, and HTTP would only hide it.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import load
import orjson
import servers
from measure import Effort, Row
from report import Result

from proxy.types import Call, Scope
from proxy.upstream.balancing.base import Load
from proxy.upstream.balancing.prefix import PrefixBalancer

ENDPOINTS = 8
PROMPT_BYTES = 32_000
BAR_US = 200
MESSAGES = 60
TOOLS = 30
SCOPE = Scope(bytes(16))
CONVERSATIONS = 65_536
WORDS = (
    *("the", "a", "battery", "of", "my", "kettle", "is", "not", "charging", "since", "last", "week", "please", "tell"),
    *("me", "how", "to", "reset", "it", "and", "what", "else", "could", "be", "wrong\n", '"quoted"', "café", "12.5"),
)

Prompt = Callable[[random.Random], dict[str, Any]]


def routing(_bench: servers.Bench, effort: Effort) -> list[Result]:
    """Choosing among eight endpoints for a prompt of 32 kB, everything on the path of a miss that is its part."""
    return [
        row("routing-message", "a system message and one of the user's", one_message, effort),
        row("routing-messages", f"{MESSAGES} messages, the turn before this one remembered", many_messages, effort),
        row("routing-tools", f"{TOOLS} tools and two messages", with_tools, effort),
    ]


def row(name: str, prompt: str, made: Prompt, effort: Effort) -> Result:
    work = f"prefix hash and choice of {ENDPOINTS} endpoints, prompt of {PROMPT_BYTES / 1000:g} kB: {prompt}"
    taken_us, size = timed(made, effort.requests)
    worst = statistics.quantiles(taken_us, n=100)[98]
    notes = (
        f"99th percentile {worst:,.0f} µs; {len(taken_us):,} prompts, no two alike, bodies of {size:,.0f} bytes",
        f"{CONVERSATIONS:,} conversations remembered",
        "parsing the body, planning and remembering, in this process",
    )
    return Result(name, work, "", BAR_US, False, statistics.median(taken_us), " µs", notes=notes)


def timed(made: Prompt, count: int) -> tuple[list[float], float]:
    """Microseconds for each of so many prompts, and the bytes of a body (median)."""
    chance = random.Random(7)
    balancer = PrefixBalancer(conversations=CONVERSATIONS)
    for _ in range(CONVERSATIONS):
        balancer.remember(chance.randbytes(16), None, address(0))
    taken, sizes = [], []
    for members in (made(chance) for _ in range(count)):
        loads = [Load(address(place), chance.randrange(6), chance.randrange(6)) for place in range(ENDPOINTS)]
        messages = members["messages"]
        for earlier in (messages[:-2], messages[:-4]):
            if earlier:
                balancer.plan(asking(members | {"messages": earlier}), loads).served(chance.randrange(ENDPOINTS))
        call = asking(members)
        began = time.perf_counter_ns()
        plan = balancer.plan(call, loads)
        plan.served(plan.order[0])
        taken.append((time.perf_counter_ns() - began) / 1000)
        sizes.append(len(call.body) if isinstance(call.body, bytes) else 0)
        if sorted(plan.order) != list(range(ENDPOINTS)):
            raise load.RunError(f"{plan.order} is no order of {ENDPOINTS} endpoints")
    return taken, statistics.median(sizes)


def address(place: int) -> str:
    return f"10.0.0.{place}:8000"


def asking(members: dict[str, Any]) -> Call:
    return Call("POST", "/chat/completions", (), orjson.dumps(members), model="m", scope=SCOPE)


# -- prompts ---------------------------------------------------------------------------------------------------------


def one_message(chance: random.Random) -> dict[str, Any]:
    question = message("user", prose(chance, PROMPT_BYTES - 200))
    return {"model": "m", "messages": [message("system", prose(chance, 200)), question], "temperature": 0}


def many_messages(chance: random.Random) -> dict[str, Any]:
    roles = ("user", "assistant")
    messages = [message(roles[at % 2], prose(chance, PROMPT_BYTES // MESSAGES)) for at in range(MESSAGES - 1)]
    return {"model": "m", "messages": [message("system", prose(chance, PROMPT_BYTES // MESSAGES)), *messages]}


def with_tools(chance: random.Random) -> dict[str, Any]:
    tools = [tool(number, chance) for number in range(TOOLS)]
    left = PROMPT_BYTES - len(orjson.dumps(tools))
    messages = [message(role, prose(chance, left // 2)) for role in ("system", "user")]
    return {"model": "m", "messages": messages, "tools": tools}


def message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def tool(number: int, chance: random.Random) -> dict[str, Any]:
    described = {
        name: {"type": "string", "description": prose(chance, 60)} for name in ("name", "place", "when", "why")
    }
    parameters = {"type": "object", "properties": described, "required": ["name", "place"]}
    function = {"name": f"tool_{number}", "description": prose(chance, 200), "parameters": parameters}
    return {"type": "function", "function": function}


def prose(chance: random.Random, size: int) -> str:
    return " ".join(words(chance, size))


def words(chance: random.Random, size: int) -> Iterator[str]:
    """Words of so many characters in all, or a few more."""
    while size > 0:
        word = chance.choice(WORDS)
        yield word
        size -= len(word) + 1


ROWS: dict[str, Row] = {"routing": routing}
