"""Plain answers as hypothesis strategies, and small helpers around one endpoint."""

from __future__ import annotations

import json
from typing import Any

import orjson
from hypothesis import strategies as st

from proxy.endpoints.chat_completions import ChatCompletions

STAMP = b'"id":"chatcmpl-fresh","created":1'

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SOME_TEXT = TEXT.filter(bool)
TOKENS = st.lists(st.fixed_dictionaries({"token": TEXT, "logprob": st.floats(-9, 0), "bytes": st.none()}), max_size=3)
UNKNOWN = st.none() | st.booleans() | st.integers(-5, 5) | TEXT | st.lists(st.integers(0, 9)) | st.just({"a": [1.5]})
UNKNOWN_MEMBERS = st.dictionaries(st.sampled_from(["citations", "annotations", "confidence", "x"]), UNKNOWN, max_size=2)

FUNCTION = st.fixed_dictionaries({"name": SOME_TEXT, "arguments": TEXT})
CALLS = st.lists(
    st.fixed_dictionaries({"id": SOME_TEXT, "type": st.just("function"), "function": FUNCTION})
    | st.fixed_dictionaries(
        {
            "id": SOME_TEXT,
            "type": st.just("custom"),
            "custom": st.fixed_dictionaries({"name": SOME_TEXT, "input": TEXT}),
        }
    ),
    max_size=3,
)


def _message(parts: dict[str, Any], unknown: dict[str, Any]) -> dict[str, Any]:
    message = {"role": "assistant", "content": None, **parts, **unknown}
    # A stream cannot tell "no text" from "empty text" beside a call or a refusal.
    if message["content"] == "" and (message.get("tool_calls") or message.get("function_call") or message["refusal"]):
        message["content"] = None
    return message


MESSAGES = st.builds(
    _message,
    st.fixed_dictionaries(
        {"content": st.none() | TEXT, "refusal": st.none() | TEXT},
        optional={
            "reasoning": st.none() | TEXT,
            "reasoning_content": st.none() | TEXT,
            "tool_calls": CALLS,
            "function_call": FUNCTION,
        },
    ),
    UNKNOWN_MEMBERS,
)
LOGPROBS = st.none() | st.fixed_dictionaries({"content": st.none() | TOKENS, "refusal": st.none() | TOKENS})


def _answer(choices: list[dict[str, Any]], top: dict[str, Any], unknown: dict[str, Any]) -> dict[str, Any]:
    numbered = [{"index": index, **choice} for index, choice in enumerate(choices)]
    return {"object": "chat.completion", "model": "m", "choices": numbered, **top, **unknown}


CHOICES = st.builds(
    lambda choice, unknown: {**choice, **unknown},
    st.fixed_dictionaries({"message": MESSAGES, "logprobs": LOGPROBS, "finish_reason": st.sampled_from(["stop", "x"])}),
    st.dictionaries(st.sampled_from(["stop_reason", "token_ids", "x"]), UNKNOWN, max_size=2),
)
ANSWERS = st.builds(
    _answer,
    st.lists(CHOICES, min_size=1, max_size=3),
    st.fixed_dictionaries(
        {},
        optional={
            "usage": st.just({"prompt_tokens": 3, "completion_tokens": 4, "x": {"y": 1}}),
            "system_fingerprint": st.none() | SOME_TEXT,
            "service_tier": st.none() | SOME_TEXT,
            "moderation": st.just({"input": {"type": "moderation_results", "results": []}}),
        },
    ),
    UNKNOWN_MEMBERS,
)


def payloads(stream: bytes) -> list[dict[str, Any]]:
    """The parsed frames of a stream that must end in exactly one end marker."""
    *events, done, rest = stream.split(b"\n\n")
    assert (done, rest) == (b"data: [DONE]", b"")
    return [orjson.loads(event.removeprefix(b"data: ")) for event in events]


def replayed(endpoint: ChatCompletions, folded: Any, *, include_usage: bool = True) -> bytes:
    return STAMP.join(endpoint.replay(folded.form, folded.body, include_usage=include_usage))


def plain(endpoint: ChatCompletions, folded: Any) -> dict[str, Any]:
    return json.loads(STAMP.join(endpoint.plain(folded.body)))


def compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
