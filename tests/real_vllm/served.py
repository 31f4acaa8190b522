"""What the tests on a real vLLM share: how it is started, what it is asked, and when it has done something."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import httpx
import openai

from tests.running import ALICE, Running, frames
from tests.vllm_cpu import TINY, VllmServer

Before = Callable[..., AbstractAsyncContextManager[Running]]
"""The `before` fixture."""

SERVED: Final = (
    "--enable-auto-tool-choice",
    "--tool-call-parser=hermes",
    "--enable-lora",
    "--max-lora-rank=8",
    "--max-loras=1",
)

LIVELY: Final[Mapping[str, str]] = {"VLLM_SERVER_DEV_MODE": "1", "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"}
"""`/sleep`, `/reset_prefix_cache` and the like are there, and adapters can be loaded at run time."""

BLOCK = 128
"""Tokens of a block, which is the least that prompts can share: vLLM's own choice for processors."""

HITS = "vllm:prefix_cache_hits_total"
"""Tokens of prompts that were found in the prefix cache."""
GENERATED = "vllm:generation_tokens_total"
RUNNING = "vllm:num_requests_running"

JSON: Final[Mapping[str, str]] = {"content-type": "application/json"}
"""vLLM takes nothing that does not say what it is."""

SOON_S = 120
"""How long a server of its own may take to do what it must. Only a broken one takes that long."""


def asking(words: str, **members: Any) -> dict[str, Any]:
    """A chat of one message, short and with nothing left to chance. None leaves a member out."""
    whole = {
        "model": "tiny",
        "messages": [{"role": "user", "content": words}],
        "temperature": 0,
        "max_tokens": 6,
    } | members
    return {name: value for name, value in whole.items() if value is not None}


def long_text(topic: str, blocks: int = 2) -> str:
    """Words of so many blocks and a bit: the model has a token at most for a word and its space."""
    return f"About {topic}. " + "the license of this software " * (BLOCK * blocks // 4)


def unspaced() -> dict[str, int]:
    """A `logit_bias` against white space: without it the model pads its JSON for ever, for any number of spaces is
    allowed there."""
    vocabulary = json.loads((TINY / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    spaces = frozenset("ĠĊĉč")  # space, line feed, tab and carriage return, as a byte-level vocabulary writes them
    return {str(number): -100 for token, number in vocabulary.items() if not spaces.isdisjoint(token)}


# --- asking


async def ask(
    proxy: Running, members: dict[str, Any], *, stream: bool = False, key: str = ALICE, **headers: str
) -> httpx.Response:
    """The whole answer, in either form; a streamed one with its usage."""
    if stream:
        members = {**members, "stream": True, "stream_options": {"include_usage": True}}
    sent = {**JSON} | {name.replace("_", "-"): value for name, value in headers.items()}
    return await proxy.post("/v1/chat/completions", json.dumps(members), sent, key=key)


def cache(response: httpx.Response) -> str:
    """What the cache did, of an answer that is one."""
    assert response.status_code == 200, response.text
    return str(response.headers["x-cache"])


def cached_tokens(response: httpx.Response) -> int:
    """Of the prompt, those that vLLM had in its prefix cache."""
    return int(told(response)["usage"]["prompt_tokens_details"]["cached_tokens"])


def told(response: httpx.Response) -> dict[str, Any]:
    """All that an answer says but `id` and `created`, members that say nothing left out. Both forms of one answer
    give the same."""
    assert response.status_code == 200, response.text
    if not response.headers["content-type"].startswith("text/event-stream"):
        return plainly(response.json())
    assert response.content.endswith(b"data: [DONE]\n\n")
    return folded(frames(response.content))


def plainly(answer: Mapping[str, Any]) -> dict[str, Any]:
    """`told` of an answer that came whole."""
    return {name: value for name, value in _something(answer).items() if name not in ("id", "created", "object")}


def folded(chunks: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """`told` of an answer that came in these chunks."""
    whole: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        whole |= {name: value for name, value in chunk.items() if value is not None and name != "choices"}
        for piece in chunk["choices"]:
            choice = choices.setdefault(piece["index"], {"message": {}})
            delta = piece["delta"]
            _grow(choice["message"], delta)
            _grow(choice, {name: value for name, value in piece.items() if name != "delta"})
    return plainly(whole | {"choices": [choices[index] for index in sorted(choices)]})


def _grow(whole: dict[str, Any], piece: Mapping[str, Any]) -> None:
    """Texts and lists go on; tool calls go on by their index; everything else is said once."""
    for name, value in piece.items():
        if value is None or (name == "index" and name in whole):
            continue
        if name == "tool_calls":
            calls = whole.setdefault(name, [])
            for part in value:
                if part["index"] == len(calls):
                    calls.append({})
                _grow(calls[part["index"]], {key: each for key, each in part.items() if key != "index"})
        elif isinstance(value, dict):
            _grow(whole.setdefault(name, {}), value)
        elif name in whole and isinstance(value, str | list):
            whole[name] = whole[name] + value
        else:
            whole[name] = value


def _something(value: Any) -> Any:
    """Without members that are null or empty: vLLM's plain form writes them, its stream leaves them out."""
    if isinstance(value, dict):
        kept = {name: _something(each) for name, each in value.items()}
        return {name: each for name, each in kept.items() if each not in (None, [], {}, "")}
    return [_something(each) for each in value] if isinstance(value, list) else value


async def heard(stream: AsyncIterable[Any]) -> list[dict[str, Any]]:
    """The chunks of a stream of openai-python, as JSON."""
    return [chunk.to_dict() async for chunk in stream]


async def plain_of(client: openai.AsyncOpenAI, members: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """What the cache did, and what openai-python makes of the plain answer."""
    raw = await client.chat.completions.with_raw_response.create(**members)
    return raw.headers["x-cache"], plainly((await _parsed(raw)).to_dict())


async def stream_of(client: openai.AsyncOpenAI, members: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The same of the streamed one."""
    raw = await client.chat.completions.with_raw_response.create(
        **members, stream=True, stream_options={"include_usage": True}
    )
    return raw.headers["x-cache"], folded(await heard(await _parsed(raw)))


async def _parsed(raw: Any) -> Any:
    parsed = raw.parse()
    return await parsed if asyncio.iscoroutine(parsed) else parsed


# --- waiting for what another process does


async def until(told: Callable[[], Any], what: str) -> None:
    """Ask again and again: a server of its own can be waited for in no other way."""
    try:
        async with asyncio.timeout(SOON_S):
            while not await asyncio.to_thread(told):
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"in {SOON_S} s it did not come to this: {what}") from None


async def looked_at(server: VllmServer) -> None:
    """Until AskOnce has seen how that server is now: a look that began before may be under way, and the next one begins
    only when that one's findings are noted."""
    before = _looks(server)
    await until(lambda: _looks(server) >= before + 2, "AskOnce looks at it")


def _looks(server: VllmServer) -> float:
    return server.metric("http_requests_total", handler="/v1/models", method="GET")


async def quiet(server: VllmServer) -> None:
    """Until it computes nothing."""
    await until(lambda: server.metric(RUNNING) == 0, "no request is running there")
