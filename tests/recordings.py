"""Answers as OpenAI, vLLM, DeepSeek and Azure give them: the plain form and the stream of the same answer, as data.

The streams are those of `stream_options.include_usage: true`, end marker included. Text is made up; shapes, member
order and the members that come with null are the providers' own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

DONE = b"data: [DONE]\n\n"
CREATED = 1789000000


@dataclass(frozen=True)
class Recording:
    """One answer in both forms."""

    name: str
    provider: str
    request: dict[str, Any]
    """Body members to send besides `stream`."""
    plain: dict[str, Any]
    frames: list[bytes]
    """Complete server-sent events, `data: [DONE]` last."""
    exact: bool = True
    """False: one form carries nulls that the other leaves out; compare with `said`."""
    stream_helper: bool = True
    """False: openai's `.stream()` helper loses members of it even from the provider itself (what a choice carries
    beside `delta` after its first frame), or refuses it for its length."""


def said(value: Any) -> Any:
    """An answer without what belongs to one delivery (`id`, `created`) and without nulls and empty lists."""
    if not isinstance(value, Mapping):
        return value
    answer = _without_nothing(value)
    return {name: member for name, member in answer.items() if name not in ("id", "created")}


def _without_nothing(value: Any) -> Any:
    if isinstance(value, Mapping):
        members = {name: _without_nothing(member) for name, member in value.items()}
        return {name: member for name, member in members.items() if member is not None and member != []}
    if isinstance(value, list):
        return [_without_nothing(item) for item in value]
    return value


def event(payload: Mapping[str, Any]) -> bytes:
    """One frame, in the compact JSON that all these providers send."""
    return b"data: " + json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"


def user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


# --- OpenAI -----------------------------------------------------------------------------------------------------------

OPENAI_HEAD = {"model": "gpt-4o-mini-2024-07-18", "service_tier": "default", "system_fingerprint": "fp_8bda4d3a2c"}
OPENAI_USAGE = {
    "prompt_tokens": 1419,
    "completion_tokens": 12,
    "total_tokens": 1431,
    "prompt_tokens_details": {"cached_tokens": 1280, "audio_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 0,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}


def openai_plain(choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-CqX3kWb7pVtDnR2sLm",
        "object": "chat.completion",
        "created": CREATED,
        "model": OPENAI_HEAD["model"],
        "choices": choices,
        "usage": OPENAI_USAGE,
        "service_tier": "default",
        "system_fingerprint": OPENAI_HEAD["system_fingerprint"],
        **more,
    }


def openai_chunk(choices: list[dict[str, Any]], usage: Any = None, **more: Any) -> bytes:
    return event(
        {
            "id": "chatcmpl-CqX3kWb7pVtDnR2sLm",
            "object": "chat.completion.chunk",
            "created": CREATED,
            **OPENAI_HEAD,
            "choices": choices,
            "usage": usage,
            **more,
            "obfuscation": "a8Kq0",
        }
    )


def openai_stream(*choices: dict[str, Any], **more: Any) -> list[bytes]:
    """Each argument is the only choice of its frame."""
    frames = [openai_chunk([choice], **more) for choice in choices]
    return [*frames, openai_chunk([], OPENAI_USAGE, **more), DONE]


def part(
    delta: dict[str, Any], finish_reason: str | None = None, index: int = 0, logprobs: Any = None
) -> dict[str, Any]:
    """A choice of a chunk."""
    return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}


def full(message: dict[str, Any], finish_reason: str = "stop", index: int = 0, logprobs: Any = None) -> dict[str, Any]:
    """A choice of a plain answer."""
    message = {"role": "assistant", **message}
    return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": finish_reason}


OPENING = {"role": "assistant", "content": "", "refusal": None}
SILENT_OPENING = {"role": "assistant", "content": None, "refusal": None}

OPENAI_TEXT = Recording(
    name="text",
    provider="openai",
    request={"model": "gpt-4o-mini", "messages": user("Say hello in two languages.")},
    plain=openai_plain([full({"content": 'Hello! Grüß Gott 👋\u2028"quoted"\n\ttabbed.', "refusal": None})]),
    frames=openai_stream(
        part(OPENING),
        part({"content": "Hello"}),
        part({"content": "! Grüß"}),
        part({"content": " Gott 👋\u2028"}),
        part({"content": '"quoted"\n\ttabbed.'}),
        part({}, "stop"),
    ),
)

TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}
    for name in ("get_weather", "get_time")
]


def tool_piece(index: int, arguments: str) -> dict[str, Any]:
    return part({"tool_calls": [{"index": index, "function": {"arguments": arguments}}]})


def tool_head(index: int, call_id: str, name: str) -> dict[str, Any]:
    return {"index": index, "id": call_id, "type": "function", "function": {"name": name, "arguments": ""}}


def tool_call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


OPENAI_TOOLS = Recording(
    name="parallel_tool_calls",
    provider="openai",
    request={"model": "gpt-4o-mini", "messages": user("Weather and time in Graz?"), "tools": TOOLS},
    plain=openai_plain(
        [
            full(
                {
                    "content": None,
                    "tool_calls": [
                        tool_call("call_9bFqWc", "get_weather", '{"city": "Graz",  "unit":"c"}'),
                        tool_call("call_1zTnYd", "get_time", '{"zone":"Europe/Vienna"'),
                    ],
                    "refusal": None,
                },
                "tool_calls",
            )
        ]
    ),
    frames=openai_stream(
        part({**SILENT_OPENING, "tool_calls": [tool_head(0, "call_9bFqWc", "get_weather")]}),
        tool_piece(0, '{"ci'),
        tool_piece(0, 'ty": "Graz",  '),
        tool_piece(0, '"unit":"c"}'),
        part({"tool_calls": [tool_head(1, "call_1zTnYd", "get_time")]}),
        tool_piece(1, '{"zone":'),
        tool_piece(1, '"Europe/Vienna"'),  # cut short by the model: arguments need not be JSON
        part({}, "tool_calls"),
    ),
)

OPENAI_CUSTOM_TOOL = Recording(
    name="custom_tool_call",
    provider="openai",
    request={
        "model": "gpt-4o-mini",
        "messages": user("Run it."),
        "tools": [{"type": "custom", "custom": {"name": "shell"}}],
    },
    plain=openai_plain(
        [
            full(
                {
                    "content": None,
                    "tool_calls": [{"id": "call_c1", "type": "custom", "custom": {"name": "shell", "input": "ls -l"}}],
                    "refusal": None,
                },
                "tool_calls",
            )
        ]
    ),
    frames=openai_stream(
        part(
            {
                **SILENT_OPENING,
                "tool_calls": [
                    {"index": 0, "id": "call_c1", "type": "custom", "custom": {"name": "shell", "input": ""}}
                ],
            }
        ),
        part({"tool_calls": [{"index": 0, "custom": {"input": "ls "}}]}),
        part({"tool_calls": [{"index": 0, "custom": {"input": "-l"}}]}),
        part({}, "tool_calls"),
    ),
    stream_helper=False,
)

OPENAI_FUNCTION_CALL = Recording(
    name="function_call",
    provider="openai",
    request={
        "model": "gpt-4o-mini",
        "messages": user("Weather in Graz?"),
        "functions": [{"name": "get_weather", "parameters": {"type": "object", "properties": {}}}],
    },
    plain=openai_plain(
        [
            full(
                {
                    "content": None,
                    "function_call": {"name": "get_weather", "arguments": '{"city":"Graz"}'},
                    "refusal": None,
                },
                "function_call",
            )
        ]
    ),
    frames=openai_stream(
        part({**SILENT_OPENING, "function_call": {"name": "get_weather", "arguments": ""}}),
        part({"function_call": {"arguments": '{"city":'}}),
        part({"function_call": {"arguments": '"Graz"}'}}),
        part({}, "function_call"),
    ),
)

OPENAI_THREE = Recording(
    name="three_choices_interleaved",
    provider="openai",
    request={"model": "gpt-4o-mini", "messages": user("Name a colour."), "n": 3},
    plain=openai_plain(
        [
            full({"content": "Dark red.", "refusal": None}),
            full({"content": "Green", "refusal": None}, index=1),
            full({"content": "Sky blue.", "refusal": None}, index=2),
        ]
    ),
    frames=openai_stream(
        part(OPENING),
        part({"content": "Dark"}),
        part(OPENING, index=1),
        part({"content": "Green"}, index=1),
        part({"content": " red"}),
        part(OPENING, index=2),
        part({"content": "Sky"}, index=2),
        part({}, "stop", index=1),
        part({"content": " blue"}, index=2),
        part({"content": "."}),
        part({"content": "."}, index=2),
        part({}, "stop", index=2),
        part({}, "stop"),
    ),
)

OPENAI_REFUSAL = Recording(
    name="refusal",
    provider="openai",
    request={
        "model": "gpt-4o-mini",
        "messages": user("Something it will not do."),
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "steps", "strict": True, "schema": {"type": "object", "properties": {}}},
        },
    },
    plain=openai_plain([full({"content": None, "refusal": "I'm sorry, I can't help with that."})]),
    frames=openai_stream(
        part({"role": "assistant", "content": None, "refusal": ""}),
        part({"refusal": "I'm"}),
        part({"refusal": " sorry, I can't"}),
        part({"refusal": " help with that."}),
        part({}, "stop"),
    ),
)


def token(text: str, logprob: float) -> dict[str, Any]:
    other = {"token": text.upper(), "logprob": logprob - 7.25, "bytes": list(text.upper().encode())}
    same = {"token": text, "logprob": logprob, "bytes": list(text.encode())}
    return {**same, "top_logprobs": [same, other]}


TOKENS = [token("Good", -0.0030291856), token(" day", -1.9361265e-07), token(" ", -2.5), token("\N{OX}", -0.25)]

OPENAI_LOGPROBS = Recording(
    name="logprobs",
    provider="openai",
    request={"model": "gpt-4o-mini", "messages": user("Greet."), "logprobs": True, "top_logprobs": 2},
    plain=openai_plain(
        [full({"content": "Good day \N{OX}", "refusal": None}, logprobs={"content": TOKENS, "refusal": None})]
    ),
    frames=openai_stream(
        part(OPENING, logprobs={"content": [], "refusal": None}),
        part({"content": "Good"}, logprobs={"content": TOKENS[:1], "refusal": None}),
        part({"content": " day"}, logprobs={"content": TOKENS[1:2], "refusal": None}),
        part({"content": " \N{OX}"}, logprobs={"content": TOKENS[2:], "refusal": None}),
        part({}, "stop"),
    ),
)

OPENAI_REFUSAL_LOGPROBS = Recording(
    name="refusal_logprobs",
    provider="openai",
    request={"model": "gpt-4o-mini", "messages": user("Something it will not do."), "logprobs": True},
    plain=openai_plain(
        [full({"content": None, "refusal": "Good day"}, logprobs={"content": None, "refusal": TOKENS[:2]})]
    ),
    frames=openai_stream(
        part({"role": "assistant", "content": None, "refusal": ""}, logprobs={"content": None, "refusal": []}),
        part({"refusal": "Good"}, logprobs={"content": None, "refusal": TOKENS[:1]}),
        part({"refusal": " day"}, logprobs={"content": None, "refusal": TOKENS[1:2]}),
        part({}, "stop"),
    ),
)

UNKNOWN = {"citations": [{"url": "https://example.org/1", "title": "One"}], "confidence": 0.5}

UNKNOWN_MEMBERS = Recording(
    name="unknown_members",
    provider="openai",
    request={"model": "gpt-4o-mini", "messages": user("What is new?"), "an_unknown_parameter": {"a": 1}},
    plain=openai_plain([full({"content": "Nothing.", "refusal": None, **UNKNOWN})], provider="elsewhere", lanes=[1, 2]),
    frames=openai_stream(
        part(OPENING),
        part({"content": "Noth"}),
        part({"content": "ing.", **UNKNOWN}),
        part({}, "stop"),
        provider="elsewhere",
        lanes=[1, 2],
    ),
)

# --- vLLM -------------------------------------------------------------------------------------------------------------

VLLM_HEAD = {"id": "chatcmpl-4f0c9ab2d5e14b7f", "created": CREATED, "model": "Qwen/Qwen3-8B"}
VLLM_PRINT = "vllm-0.33.0-tp1-1f2e3d4c"
VLLM_USAGE = {
    "prompt_tokens": 40,
    "total_tokens": 52,
    "completion_tokens": 12,
    "prompt_tokens_details": {"cached_tokens": 32},
}


def vllm_chunk(choices: list[dict[str, Any]], **more: Any) -> bytes:
    return event({**VLLM_HEAD, "object": "chat.completion.chunk", "choices": choices, **more})


def vllm_plain(choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {
        **VLLM_HEAD,
        "object": "chat.completion",
        "choices": choices,
        "service_tier": None,
        "system_fingerprint": VLLM_PRINT,
        "usage": VLLM_USAGE,
        **more,
    }


def vllm_end() -> list[bytes]:
    return [vllm_chunk([], usage=VLLM_USAGE, system_fingerprint=VLLM_PRINT), DONE]


VLLM_REASONING = Recording(
    name="reasoning",
    provider="vllm",
    request={"model": "Qwen/Qwen3-8B", "messages": user("2 + 2?")},
    plain=vllm_plain([full({"content": "\n\nFour.", "reasoning": "Two and two\nmake four."})]),
    frames=[
        vllm_chunk([part({"role": "assistant", "content": ""})]),
        b": keep-alive\n\n",
        vllm_chunk([part({"reasoning": "Two and two\n"})]),
        vllm_chunk([part({"reasoning": "make four."})]),
        vllm_chunk([part({"content": "\n\n"})]),
        vllm_chunk([part({"content": "Four."})]),
        vllm_chunk([part({"content": ""}, "stop")]),
        *vllm_end(),
    ],
)

VLLM_TOOLS = Recording(
    name="tool_calls_after_text",
    provider="vllm",
    request={"model": "Qwen/Qwen3-8B", "messages": user("Weather in Graz?"), "tools": TOOLS, "n": 2},
    plain=vllm_plain(
        [
            full(
                {"content": "I look.", "tool_calls": [tool_call("call_v1", "get_weather", '{"city": "Graz"}')]},
                "tool_calls",
            ),
            full({"content": None, "tool_calls": [tool_call("call_v2", "get_time", "{}")]}, "tool_calls", index=1),
        ]
    ),
    frames=[
        vllm_chunk([part({"role": "assistant", "content": ""})]),  # all roles first
        vllm_chunk([part({"role": "assistant", "content": ""}, index=1)]),
        vllm_chunk([part({"content": "I look."})]),
        vllm_chunk([part({"tool_calls": [tool_head(0, "call_v2", "get_time")]}, index=1)]),
        vllm_chunk([part({"tool_calls": [tool_head(0, "call_v1", "get_weather")]})]),
        vllm_chunk([part({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}, index=1)]),
        vllm_chunk([part({"tool_calls": [{"index": 0, "function": {"arguments": '{"city": '}}]})]),
        vllm_chunk([part({"tool_calls": [{"index": 0, "function": {"arguments": '"Graz"}'}}]})]),
        vllm_chunk([part({"content": ""}, "tool_calls", index=1)]),
        vllm_chunk([part({"content": ""}, "tool_calls")]),
        *vllm_end(),
    ],
)

VLLM_EXTRAS = Recording(
    name="unknown_members_of_a_choice",
    provider="vllm",
    request={"model": "Qwen/Qwen3-8B", "messages": user("Hi"), "return_token_ids": True, "stop": ["!"]},
    plain=vllm_plain(
        [{**full({"content": "Hello"}), "stop_reason": "!", "token_ids": [9707, 11, 12]}],
        prompt_token_ids=[151644, 872],
    ),
    frames=[
        vllm_chunk([part({"role": "assistant", "content": ""})], prompt_token_ids=[151644, 872]),
        vllm_chunk([{**part({"content": "Hel"}), "token_ids": [9707]}]),
        vllm_chunk([{**part({"content": "lo"}), "token_ids": [11, 12]}]),
        vllm_chunk([{**part({"content": ""}, "stop"), "stop_reason": "!", "token_ids": []}]),
        *vllm_end(),
    ],
    stream_helper=False,
)

VLLM_NOTHING = {"refusal": None, "annotations": None, "audio": None, "function_call": None, "tool_calls": []}

VLLM_NULLS = Recording(
    name="text_with_nulls",
    provider="vllm",
    request={"model": "Qwen/Qwen3-8B", "messages": user("Hi")},
    plain=vllm_plain(
        [{**full({"content": "Hello!", **VLLM_NOTHING, "reasoning": None}), "stop_reason": None, "token_ids": None}],
        prompt_logprobs=None,
        prompt_token_ids=None,
        kv_transfer_params=None,
    ),
    frames=[
        vllm_chunk([part({"role": "assistant", "content": ""})], prompt_token_ids=None),
        vllm_chunk([{**part({"content": "Hello"}), "token_ids": None}]),
        vllm_chunk([{**part({"content": "!"}), "token_ids": None}]),
        vllm_chunk([{**part({"content": ""}, "stop"), "stop_reason": None, "token_ids": None}]),
        *vllm_end(),
    ],
    exact=False,
)

# As vLLM 0.32.0 sent them (CPU build, a tiny model of random weights, its words steered by `structured_outputs` and
# `logit_bias`), trimmed: pieces that only repeat a shape are joined, the ids of both forms are one.

VLLM_032 = {"model": "tiny", "temperature": 0}
VLLM_032_HEAD = {"id": "chatcmpl-b8c01dd88269fb7f", "created": 1795568140, "model": "tiny"}
VLLM_032_PRINT = "vllm-0.32.0-ab12922e"
VLLM_032_MESSAGE = {"role": "assistant", "content": None, "refusal": None, "annotations": None, "audio": None,
                    "function_call": None}  # fmt: skip


def vllm_032_usage(prompt: int, completion: int) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt,
        "total_tokens": prompt + completion,
        "completion_tokens": completion,
        "prompt_tokens_details": {"cached_tokens": 0, "created_cache_tokens": 0},
    }


def vllm_032_chunk(choice: dict[str, Any], **more: Any) -> bytes:
    return event({**VLLM_032_HEAD, "object": "chat.completion.chunk", "choices": [choice], **more})


def vllm_032_opening(index: int = 0, prompt_token_ids: Any = None) -> bytes:
    opening = part({"role": "assistant", "content": ""}, index=index)
    return vllm_032_chunk(opening, prompt_token_ids=prompt_token_ids, prompt_text=None)


def vllm_032_part(
    delta: dict[str, Any], index: int = 0, logprobs: Any = None, token_ids: Any = None, **ending: Any
) -> bytes:
    """`ending`: `finish_reason` and `stop_reason`, on the last of a choice only."""
    choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": None, **ending}
    return vllm_032_chunk({**choice, "token_ids": token_ids})


def vllm_032_end(prompt: int, completion: int, **details: Any) -> list[bytes]:
    usage = {**vllm_032_usage(prompt, completion), **details}
    head = {**VLLM_032_HEAD, "object": "chat.completion.chunk", "choices": []}
    return [event({**head, "usage": usage, "system_fingerprint": VLLM_032_PRINT}), DONE]


def vllm_032_full(
    message: dict[str, Any], finish_reason: str, index: int = 0, logprobs: Any = None, **more: Any
) -> dict[str, Any]:
    return {
        "index": index,
        "message": {**VLLM_032_MESSAGE, "reasoning": None, **message},
        "logprobs": logprobs,
        "finish_reason": finish_reason,
        "stop_reason": None,
        "token_ids": None,
        "routed_experts": None,
        **more,
    }


def vllm_032_plain(choices: list[dict[str, Any]], usage: dict[str, Any], **more: Any) -> dict[str, Any]:
    details = {**usage["prompt_tokens_details"], "multimodal_tokens": None}
    return {
        **VLLM_032_HEAD,
        "object": "chat.completion",
        "choices": choices,
        "service_tier": None,
        "system_fingerprint": VLLM_032_PRINT,
        "usage": {"completion_tokens_details": None, **usage, "prompt_tokens_details": details},
        "prompt_logprobs": None,
        "prompt_token_ids": None,
        "prompt_text": None,
        "kv_transfer_params": None,
        "ec_transfer_params": None,
        "metrics": None,
        **more,
    }


VLLM_032_TOOLS = Recording(
    name="two_calls_after_text_with_null_content",
    provider="vllm",
    request={**VLLM_032, "messages": user("Weather?"), "tools": TOOLS},
    plain=vllm_032_plain(
        [
            vllm_032_full(
                {
                    "content": "I look.\n",
                    "tool_calls": [
                        tool_call("chatcmpl-tool-bf0462114c8cd16d", "get_weather", '{"city": "Graz"}'),
                        tool_call("chatcmpl-tool-983c550913c0f3b9", "get_weather", '{"city": "Linz"}'),
                    ],
                },
                "tool_calls",
            )
        ],
        vllm_032_usage(16, 135),
    ),
    frames=[
        vllm_032_opening(),
        vllm_032_part({"content": "I look."}),
        vllm_032_part({"content": "\n"}),
        *(
            vllm_032_part({"content": None, "tool_calls": [call]})
            for call in (
                {"id": "chatcmpl-tool-bf0462114c8cd16d", "type": "function", "index": 0,
                 "function": {"name": "get_weather"}},
                {"index": 0, "function": {"arguments": "{"}},
                {"index": 0, "function": {"arguments": '"city": "Graz"}'}},
                {"id": "chatcmpl-tool-983c550913c0f3b9", "type": "function", "index": 1,
                 "function": {"name": "get_weather"}},
                {"index": 1, "function": {"arguments": "{"}},
                {"index": 1, "function": {"arguments": '"city": "Linz"}'}},
            )
        ),
        vllm_032_part({}, finish_reason="tool_calls", stop_reason=None),
        *vllm_032_end(16, 135),
    ],
    exact=False,
)  # fmt: skip


def vllm_032_token(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": [*token.encode()], "top_logprobs": []}


VLLM_032_TOKENS = [
    [vllm_032_token(" publish", -7.626567363739014), vllm_032_token("imit", -7.626570224761963)],
    [vllm_032_token(" Work", -7.626570701599121), vllm_032_token(" above", -7.626575469970703)],
]

VLLM_032_TWO = Recording(
    name="two_choices_with_logprobs",
    provider="vllm",
    request={**VLLM_032, "messages": user("Hi"), "n": 2, "seed": 3, "logprobs": True, "top_logprobs": 0},
    plain=vllm_032_plain(
        [
            vllm_032_full({"content": " publishimit"}, "length", 0, {"content": VLLM_032_TOKENS[0]}),
            vllm_032_full({"content": " Work above"}, "length", 1, {"content": VLLM_032_TOKENS[1]}),
        ],
        vllm_032_usage(12, 4),
    ),
    frames=[
        vllm_032_opening(0),
        vllm_032_opening(1),
        *(
            vllm_032_part({"content": token["token"]}, index, {"content": [token]}, **ending)
            for index, tokens in enumerate(VLLM_032_TOKENS)
            for token, ending in zip(tokens, ({}, {"finish_reason": "length", "stop_reason": None}), strict=True)
        ),
        *vllm_032_end(12, 4),
    ],
    exact=False,
    stream_helper=False,
)

VLLM_032_PROMPT = [0, 87, 756, 201, 42, 75, 1, 201, 0, 930, 353, 471]
VLLM_032_STOP = [vllm_032_token("ab", -0.6931446194648743), vllm_032_token("c", 0.0)]

VLLM_032_STOPPED = Recording(
    name="stopped_by_a_word_that_is_not_said",
    provider="vllm",
    request={**VLLM_032, "messages": user("Hi"), "stop": ["c"], "return_token_ids": True, "logprobs": True},
    plain=vllm_032_plain(
        [vllm_032_full({"content": "ab"}, "stop", 0, {"content": VLLM_032_STOP}, stop_reason="c", token_ids=[387, 69])],
        vllm_032_usage(12, 2),
        prompt_token_ids=VLLM_032_PROMPT,
    ),
    frames=[
        vllm_032_opening(prompt_token_ids=VLLM_032_PROMPT),
        vllm_032_part({"content": "ab"}, 0, {"content": VLLM_032_STOP[:1]}, [387]),
        vllm_032_part({}, 0, {"content": VLLM_032_STOP[1:]}, [69], finish_reason="stop", stop_reason="c"),
        *vllm_032_end(12, 2),
    ],
    exact=False,
    stream_helper=False,
)

VLLM_032_REASONING = Recording(
    name="reasoning_then_text",
    provider="vllm",
    request={**VLLM_032, "messages": user("Hi"), "logit_bias": {"2049": 4.5}, "seed": 1},
    plain=vllm_032_plain(
        [vllm_032_full({"content": "</think>ditionsAS terminate", "reasoning": " should can P"}, "length")],
        {**vllm_032_usage(12, 10), "completion_tokens_details": {"reasoning_tokens": 0}},
    ),
    frames=[
        vllm_032_opening(),
        vllm_032_part({"reasoning": " should"}),
        vllm_032_part({"reasoning": " can P"}),
        vllm_032_part({"content": "</think>"}),
        vllm_032_part({"content": "ditionsAS"}),
        vllm_032_part({"content": " terminate"}, finish_reason="length", stop_reason=None),
        *vllm_032_end(12, 10, completion_tokens_details={"reasoning_tokens": 0}),
    ],
    exact=False,
    stream_helper=False,
)

VLLM_032_PROMPT_LOGPROBS = vllm_032_plain(
    [vllm_032_full({"content": "ab"}, "stop")],
    vllm_032_usage(12, 2),
    prompt_logprobs=[
        None,
        {"87": {"logprob": -7.6265692710876465, "rank": 826, "decoded_token": "u"}},
        {"756": {"logprob": -7.626565933227539, "rank": 158, "decoded_token": "ser"}},
    ],
)
"""With `prompt_logprobs`: 0. The stream of the same request has none of them, and is no error; with 1 it is one."""

VLLM_032_DIED = [
    vllm_032_opening(),
    vllm_032_part({"content": "ab"}),
    b"data: "
    + json.dumps(
        {
            "error": {
                "message": "EngineCore encountered an issue. See stack trace (above) for the root cause.",
                "type": "InternalServerError",
                "param": None,
                "code": 500,
            }
        }
    ).encode()
    + b"\n\n",
    DONE,
]
"""The engine was killed in the middle of it."""


# --- DeepSeek ---------------------------------------------------------------------------------------------------------

DEEPSEEK_HEAD = {"id": "930c60df-bf64-41c9-a88e-3ec75f81e00e", "created": CREATED, "model": "deepseek-reasoner"}
DEEPSEEK_PRINT = {"system_fingerprint": "fp_ffc7281d48_prod0820_fp8_kvcache"}
DEEPSEEK_USAGE = {
    "prompt_tokens": 18,
    "completion_tokens": 30,
    "total_tokens": 48,
    "prompt_tokens_details": {"cached_tokens": 16},
    "completion_tokens_details": {"reasoning_tokens": 21},
    "prompt_cache_hit_tokens": 16,
    "prompt_cache_miss_tokens": 2,
}


def deepseek_chunk(choices: list[dict[str, Any]], usage: Any = None) -> bytes:
    head = {**DEEPSEEK_HEAD, "object": "chat.completion.chunk", **DEEPSEEK_PRINT}
    return event({**head, "choices": choices, "usage": usage})


DEEPSEEK_REASONING = Recording(
    name="reasoning_content",
    provider="deepseek",
    request={"model": "deepseek-reasoner", "messages": user("9.11 or 9.8?")},
    plain={
        **DEEPSEEK_HEAD,
        "object": "chat.completion",
        "choices": [full({"content": "9.8 is larger.", "reasoning_content": "Compare tenths: 1 < 8."})],
        "usage": DEEPSEEK_USAGE,
        **DEEPSEEK_PRINT,
    },
    frames=[
        b": keep-alive\n\n",
        deepseek_chunk([part({"role": "assistant", "content": None, "reasoning_content": ""})]),
        deepseek_chunk([part({"content": None, "reasoning_content": "Compare tenths"})]),
        b": keep-alive\n\n",
        deepseek_chunk([part({"content": None, "reasoning_content": ": 1 < 8."})]),
        deepseek_chunk([part({"content": "9.8", "reasoning_content": None})]),
        deepseek_chunk([part({"content": " is larger.", "reasoning_content": None})]),
        deepseek_chunk([part({"content": "", "reasoning_content": None}, "stop")]),
        deepseek_chunk([], DEEPSEEK_USAGE),
        DONE,
    ],
)

# --- Azure ------------------------------------------------------------------------------------------------------------

AZURE_SAFE = {
    "hate": {"filtered": False, "severity": "safe"},
    "protected_material_text": {"detected": False, "filtered": False},
    "violence": {"filtered": False, "severity": "safe"},
}
AZURE_PROMPT = {
    "prompt_filter_results": [
        {"prompt_index": 0, "content_filter_results": {"hate": {"filtered": False, "severity": "safe"}}}
    ]
}


def azure_chunk(choices: list[dict[str, Any]], usage: Any = None) -> bytes:
    head = {"id": "chatcmpl-AzP2", "object": "chat.completion.chunk", "created": CREATED, "model": "gpt-4o-2024-11-20"}
    return event({"choices": choices, **head, "system_fingerprint": "fp_ee1d74bde0", "usage": usage})


def azure_part(delta: dict[str, Any], results: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    return {**part(delta, finish_reason), "content_filter_results": results}


AZURE_TEXT = Recording(
    name="content_filter_results",
    provider="azure",
    request={"model": "gpt-4o", "messages": user("Hi")},
    plain={
        "choices": [{**full({"content": "Hello there.", "refusal": None}), "content_filter_results": AZURE_SAFE}],
        "created": CREATED,
        "id": "chatcmpl-AzP2",
        "model": "gpt-4o-2024-11-20",
        "object": "chat.completion",
        **AZURE_PROMPT,
        "system_fingerprint": "fp_ee1d74bde0",
        "usage": OPENAI_USAGE,
    },
    frames=[
        event({"choices": [], "created": 0, "id": "", "model": "", "object": "", **AZURE_PROMPT}),
        azure_chunk([azure_part(OPENING, {})]),
        azure_chunk([azure_part({"content": "Hello"}, AZURE_SAFE)]),
        azure_chunk([azure_part({"content": " there."}, AZURE_SAFE)]),
        azure_chunk([azure_part({}, {}, "stop")]),
        azure_chunk([], OPENAI_USAGE),
        DONE,
    ],
    stream_helper=False,
)

RECORDINGS: list[Recording] = [
    OPENAI_TEXT,
    OPENAI_TOOLS,
    OPENAI_CUSTOM_TOOL,
    OPENAI_FUNCTION_CALL,
    OPENAI_THREE,
    OPENAI_REFUSAL,
    OPENAI_LOGPROBS,
    OPENAI_REFUSAL_LOGPROBS,
    UNKNOWN_MEMBERS,
    VLLM_REASONING,
    VLLM_TOOLS,
    VLLM_EXTRAS,
    VLLM_NULLS,
    VLLM_032_TOOLS,
    VLLM_032_TWO,
    VLLM_032_STOPPED,
    VLLM_032_REASONING,
    DEEPSEEK_REASONING,
    AZURE_TEXT,
]
