"""A plain chat answer, said again as the chunks of a stream.

Role once for each choice, choice 0 first; text in runs of code points; a call's id and name once and calls in ascending
order; the finishing chunk of a choice with whatever else the choice carries; usage last. The SDKs join what is repeated
and fail on what comes out of order. `streaming.chat_fold` turns the result into the same answer again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from proxy.streaming.chat_fold import TEXTS, Members

# In every chunk, as OpenAI has them: its SDK takes the last chunk's fingerprint for the answer's.
_IN_EVERY_CHUNK: Final = ("model", "system_fingerprint", "service_tier")
_APART: Final = frozenset({"object", "choices", "usage", *_IN_EVERY_CHUNK})
_OF_CHOICE: Final = frozenset({"index", "message", "logprobs", "finish_reason"})
# Reasoning comes before what it led to.
_TEXT_ORDER: Final = ("reasoning", "reasoning_content", "refusal", "content")


def chunks(answer: Members, *, include_usage: bool, text_run: int) -> Iterator[Members]:
    """The chunks of `answer` (parsed, without `id` and `created`), in order.

    `text_run` is how many code points of text a chunk holds. `include_usage` is the caller's wish
    (`stream_options.include_usage`): a usage chunk at the end and `"usage":null` before.
    """
    head: Members = {
        "object": "chat.completion.chunk",
        **{name: answer[name] for name in _IN_EVERY_CHUNK if name in answer},
    }
    tail = {"usage": None} if include_usage else {}
    # The SDK's stream helper takes what it does not know from the first chunk only.
    once = {name: value for name, value in answer.items() if name not in _APART}
    moderation = once.pop("moderation", None)
    for part in _parts(sorted(answer["choices"], key=lambda choice: int(choice["index"])), text_run):
        yield {**head, **once, "choices": [part], **tail}
        once = {}
    if moderation is not None:
        yield {**head, "choices": [], "moderation": moderation, **tail}
    if include_usage and answer.get("usage") is not None:
        yield {**head, "choices": [], "usage": answer["usage"]}


def _parts(choices: list[Members], text_run: int) -> Iterator[Members]:
    """The choices of the chunks, one for each chunk."""
    for choice in choices:
        yield _part(choice, _opening(choice["message"]))
    for choice in choices:
        yield from _text_parts(choice, text_run)
        yield from _call_parts(choice, text_run)
        others = {name: value for name, value in choice.items() if name not in _OF_CHOICE}
        yield {**_part(choice, {}), "finish_reason": choice["finish_reason"], **others}


def _part(choice: Members, delta: Members, logprobs: Any = None) -> Members:
    with_logprobs = {"logprobs": logprobs} if "logprobs" in choice else {}
    return {"index": choice["index"], "delta": delta, **with_logprobs, "finish_reason": None}


def _opening(message: Members) -> Members:
    """The first delta: role, and all that is not told in pieces. Texts that follow are announced by what is empty."""
    opening: Members = {}
    for name, value in message.items():
        if name == "content" and type(value) is str:
            opening[name] = ""
        elif not _told_in_pieces(name, value):
            opening[name] = value
    return opening


def _told_in_pieces(name: str, value: object) -> bool:
    if name in TEXTS:
        return type(value) is str and value != ""
    if name == "tool_calls":
        return type(value) is list and bool(value)
    return name == "function_call" and type(value) is dict and bool(value)


def _text_parts(choice: Members, text_run: int) -> Iterator[Members]:
    message = choice["message"]
    logprobs = _split_logprobs(choice.get("logprobs"))
    for name in _TEXT_ORDER:
        text = message.get(name)
        if type(text) is not str:
            text = ""
        if name in logprobs:
            # In one chunk: tokens need not end where code points or runs do.
            yield _part(choice, {name: text} if text else {}, logprobs[name])
            continue
        for start in range(0, len(text), text_run):
            yield _part(choice, {name: text[start : start + text_run]})


def _split_logprobs(logprobs: Members | None) -> dict[str, Members]:
    """By the text they go with: a refusal's with the refusal, all else with the content."""
    if logprobs is None:
        return {}
    if logprobs.get("refusal") is None:
        return {"content": logprobs}
    others = {**logprobs, "refusal": None}
    if all(value is None for value in others.values()):
        return {"refusal": logprobs}
    return {"refusal": {"refusal": logprobs["refusal"]}, "content": others}


def _call_parts(choice: Members, text_run: int) -> Iterator[Members]:
    message = choice["message"]
    if _told_in_pieces("tool_calls", message.get("tool_calls")):
        for index, call in enumerate(message["tool_calls"]):
            for piece in _call_pieces(call, text_run):
                yield _part(choice, {"tool_calls": [{**piece, "index": index}]})
    if _told_in_pieces("function_call", message.get("function_call")):
        yield _part(choice, {"function_call": message["function_call"]})


def _call_pieces(call: Members, text_run: int) -> Iterator[Members]:
    for kind, text_name in (("function", "arguments"), ("custom", "input")):
        part = call.get(kind)
        if type(part) is dict and type(part.get(text_name)) is str:
            text = part[text_name]
            yield {"index": 0, **call, kind: {**part, text_name: ""}}
            for start in range(0, len(text), text_run):
                yield {"index": 0, kind: {text_name: text[start : start + text_run]}}
            return
    yield {"index": 0, **call}
