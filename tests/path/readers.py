"""The ways a program gets an answer through the `openai` SDK, each to one final object."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import openai
from openai.resources.chat.completions import Completions

from tests.running import ALICE

KNOWN = set(inspect.signature(Completions.create).parameters)
GROWING = {"content", "refusal", "reasoning", "reasoning_content", "arguments", "input"}
"""Members of a delta whose pieces are joined."""


@dataclass(frozen=True)
class Read:
    """What a reader got: the final object, and the response's header fields."""

    answer: dict[str, Any]
    headers: dict[str, str]

    @property
    def cache(self) -> str:
        return self.headers["x-cache"]


Reader = Callable[[str, dict[str, Any]], Awaitable[Read]]
"""A base address and a request's members in, what came out."""


def arguments(request: dict[str, Any]) -> dict[str, Any]:
    """A request's members as arguments of the SDK: what it has no name for goes into `extra_body`."""
    known = {name: value for name, value in request.items() if name in KNOWN}
    return known | {"extra_body": {name: value for name, value in request.items() if name not in KNOWN}}


def sync_sdk(url: str) -> openai.OpenAI:
    # Loading the system's certificates takes longer than all else here, and there is no TLS.
    http = openai.DefaultHttpxClient(verify=False)
    return openai.OpenAI(base_url=url, api_key=ALICE, max_retries=0, http_client=http)


def async_sdk(url: str) -> openai.AsyncOpenAI:
    http = openai.DefaultAsyncHttpxClient(verify=False)
    return openai.AsyncOpenAI(base_url=url, api_key=ALICE, max_retries=0, http_client=http)


def blocking(read: Callable[[str, dict[str, Any]], Read]) -> Reader:
    """The synchronous SDK, in a thread: the server runs in this one."""

    async def reader(url: str, request: dict[str, Any]) -> Read:
        return await asyncio.to_thread(read, url, arguments(request))

    return reader


def _plain(url: str, request: dict[str, Any]) -> Read:
    with sync_sdk(url) as sdk:
        raw = sdk.chat.completions.with_raw_response.create(**request)
        return Read(raw.parse().model_dump(), dict(raw.headers))


def _stream(url: str, request: dict[str, Any]) -> Read:
    with sync_sdk(url) as sdk:
        raw = sdk.chat.completions.with_raw_response.create(**request, **STREAMED)
        return Read(joined([chunk.model_dump() for chunk in raw.parse()]), dict(raw.headers))


def _helper(url: str, request: dict[str, Any]) -> Read:
    with sync_sdk(url) as sdk, sdk.chat.completions.stream(**request, stream_options=USAGE) as stream:
        # Not `get_final_completion`: it raises on `finish_reason: length`.
        return Read(whole(stream.until_done().current_completion_snapshot), dict(stream._response.headers))


async def async_plain(url: str, request: dict[str, Any]) -> Read:
    async with async_sdk(url) as sdk:
        raw = await sdk.chat.completions.with_raw_response.create(**arguments(request))
        return Read(raw.parse().model_dump(), dict(raw.headers))


async def async_stream(url: str, request: dict[str, Any]) -> Read:
    async with async_sdk(url) as sdk:
        raw = await sdk.chat.completions.with_raw_response.create(**arguments(request), **STREAMED)
        return Read(joined([chunk.model_dump() async for chunk in raw.parse()]), dict(raw.headers))


async def async_helper(url: str, request: dict[str, Any]) -> Read:
    asking = {**arguments(request), "stream_options": USAGE}
    async with async_sdk(url) as sdk, sdk.chat.completions.stream(**asking) as stream:
        await stream.until_done()
        return Read(whole(stream.current_completion_snapshot), dict(stream._response.headers))


USAGE: Any = {"include_usage": True}
STREAMED: dict[str, Any] = {"stream": True, "stream_options": USAGE}

PLAIN: dict[str, Reader] = {"sync": blocking(_plain), "async": async_plain}
STREAM: dict[str, Reader] = {"sync": blocking(_stream), "async": async_stream}
HELPER: dict[str, Reader] = {"sync": blocking(_helper), "async": async_helper}


def whole(snapshot: Any) -> dict[str, Any]:
    """What the SDK's own helper put together."""
    answer: dict[str, Any] = snapshot.model_dump()
    for choice in answer["choices"]:
        choice["message"] = _empty_is_null(choice["message"])
    return answer


def joined(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """The chunks of a stream put together, in the shape of a plain answer; no code of the product's."""
    whole: dict[str, Any] = {"choices": []}
    for chunk in chunks:
        _merge_list(whole["choices"], chunk["choices"])
        own = ("choices", "object", "obfuscation")
        whole |= {name: value for name, value in chunk.items() if name not in own and value is not None}
    whole["choices"] = [_as_message(choice) for choice in sorted(whole["choices"], key=lambda choice: choice["index"])]
    return whole


def _as_message(choice: dict[str, Any]) -> dict[str, Any]:
    message = choice.pop("delta")
    for call in message.get("tool_calls") or []:
        del call["index"]
    return choice | {"message": _empty_is_null(message)}


def _empty_is_null(message: dict[str, Any]) -> dict[str, Any]:
    """A stream opens a text with "" where a plain answer without one has null."""
    return message | {name: message.get(name) or None for name in ("content", "refusal")}


def _merge(into: Any, piece: dict[str, Any]) -> None:
    for name, value in piece.items():
        if value is None or name not in into or into[name] is None:
            into.setdefault(name, None)
            into[name] = into[name] if value is None else _copy(value)
        elif isinstance(value, dict):
            _merge(into[name], value)
        elif isinstance(value, list):
            _merge_list(into[name], value)
        else:
            into[name] = into[name] + value if name in GROWING else value


def _merge_list(into: list[Any], pieces: list[Any]) -> None:
    for piece in pieces:
        index = piece.get("index") if isinstance(piece, dict) else None
        same = [item for item in into if index is not None and item["index"] == index]
        _merge(same[0], piece) if same else into.append(_copy(piece))


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        copy: dict[str, Any] = {}
        _merge(copy, value)
        return copy
    return [_copy(item) for item in value] if isinstance(value, list) else value
