"""`POST /v1/responses` and structured answers, spoken by the fake provider as OpenAI's API speaks them.

What a client is asked for decides what it gets: a chat that must call a tool gets a call of it, with arguments of the
tool's schema; a response is a message, whole or as the events of a stream.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.provider import DONE, Asked, Provider, Script, as_said, completion, delta, dump, plain, stream, usage_frame

CREATED = 1_700_000_000
USAGE = {
    "input_tokens": 10,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens": 5,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 15,
}


def speaks_more(provider: Provider) -> Provider:
    """The same provider, which also speaks responses and calls tools."""

    def answer(asked: Asked) -> Script:
        said = ("Answer ", f"{provider.calls}")
        if asked.method != "POST":
            return provider.as_recorded(asked)
        if asked.path.endswith("/responses"):
            return response(asked, *said)
        if asked.path.endswith("/chat/completions") and _must_call(asked):
            return tool_call(asked, "".join(said))
        return as_said(asked, *said)

    provider.always(answer)
    return provider


# --- a chat that calls a tool


def _must_call(asked: Asked) -> bool:
    choice = asked.json().get("tool_choice")
    return choice == "required" or isinstance(choice, dict)


def tool_call(asked: Asked, word: str) -> Script:
    """A call of the first tool; each of its arguments that is a text is this word."""
    function = asked.json()["tools"][0]["function"]
    arguments = json.dumps(_example(function["parameters"], word))
    call = {"id": "call_1", "type": "function", "function": {"name": function["name"], "arguments": ""}}
    if not asked.streams:
        call["function"] = {"name": function["name"], "arguments": arguments}
        message = {"role": "assistant", "content": None, "refusal": None, "tool_calls": [call]}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "tool_calls"}
        return plain(completion("", choices=[choice]))
    frames = [delta({"role": "assistant", "content": None, "tool_calls": [{"index": 0, **call}]})]
    for begin in range(0, len(arguments), 10):
        piece = {"index": 0, "function": {"arguments": arguments[begin : begin + 10]}}
        frames.append(delta({"tool_calls": [piece]}))
    frames.append(delta({}, finish="tool_calls"))
    return stream([*frames, *([usage_frame()] if asked.wants_usage else []), DONE])


def _example(schema: dict[str, Any], word: str) -> Any:
    """A value of a JSON schema, as far as the pages need."""
    if schema.get("type") == "object":
        return {name: _example(member, word) for name, member in schema["properties"].items()}
    return word


# --- responses


def response(asked: Asked, *words: str) -> Script:
    """A response of one message that says these words, whole or as events."""
    if not asked.streams:
        return plain(_response(asked, "completed", [_message("".join(words))]))
    numbered = (
        {"type": event["type"], "sequence_number": number} | event for number, event in enumerate(_events(asked, words))
    )
    return stream([b"event: %b\ndata: %b\n\n" % (event["type"].encode(), dump(event)) for event in numbered])


def _events(asked: Asked, words: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    text = "".join(words)
    message = _message(text)
    part = message["content"][0]
    place = {"item_id": message["id"], "output_index": 0, "content_index": 0}
    yield {"type": "response.created", "response": _response(asked, "in_progress", [])}
    yield {"type": "response.in_progress", "response": _response(asked, "in_progress", [])}
    item = {**message, "status": "in_progress", "content": []}
    yield {"type": "response.output_item.added", "output_index": 0, "item": item}
    yield {"type": "response.content_part.added", **place, "part": {**part, "text": ""}}
    for word in words:
        yield {"type": "response.output_text.delta", **place, "delta": word, "logprobs": [], "obfuscation": "x"}
    yield {"type": "response.output_text.done", **place, "text": text, "logprobs": []}
    yield {"type": "response.content_part.done", **place, "part": part}
    yield {"type": "response.output_item.done", "output_index": 0, "item": message}
    yield {"type": "response.completed", "response": _response(asked, "completed", [message])}


def _message(text: str) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {"id": "msg_1", "type": "message", "status": "completed", "role": "assistant", "content": [part]}


def _response(asked: Asked, status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": asked.json().get("instructions"),
        "max_output_tokens": None,
        "model": asked.model,
        "output": output,
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "store": bool(asked.json().get("store", True)),
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": USAGE if status == "completed" else None,
        "user": None,
        "metadata": {},
    }
