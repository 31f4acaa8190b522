"""The matrix of forms through the real openai SDK: filled by a stream or plain, read as a stream or plain."""

from __future__ import annotations

from typing import Any

import httpx2
import openai
import pytest

from proxy.endpoints.base import Folded
from proxy.endpoints.chat_completions import ChatCompletions
from tests.endpoints.answers import STAMP, compact
from tests.recordings import RECORDINGS, Recording, said

CHAT = ChatCompletions()


def client(body: bytes, content_type: str) -> openai.OpenAI:
    def answer(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": content_type}, content=body)

    transport = httpx2.MockTransport(answer)
    return openai.OpenAI(api_key="k", base_url="http://test/v1", http_client=httpx2.Client(transport=transport))


def read_plain(body: bytes, asked: dict[str, Any]) -> dict[str, Any]:
    with client(body, "application/json") as sdk:
        return sdk.chat.completions.create(**asked).model_dump()


def read_chunks(body: bytes, asked: dict[str, Any]) -> list[dict[str, Any]]:
    with client(body, "text/event-stream") as sdk, sdk.chat.completions.create(**asked, stream=True) as stream:
        return [chunk.model_dump(exclude_unset=True) for chunk in stream]


def read_helper(body: bytes, asked: dict[str, Any]) -> dict[str, Any]:
    with client(body, "text/event-stream") as sdk, sdk.chat.completions.stream(**asked) as stream:
        return stream.get_final_completion().model_dump()


def asked_with(recording: Recording) -> dict[str, Any]:
    known = {"model", "messages", "tools", "n", "logprobs", "functions", "stop"}
    return {name: value for name, value in recording.request.items() if name in known}


def compared(answer: Any) -> Any:
    """What is left of an answer without what the helper adds: `parsed`, and the index of a call in the stream."""
    answer = said(answer)
    for choice in answer["choices"]:
        choice["message"].pop("parsed", None)
        for call in choice["message"].get("tool_calls", ()):
            call.pop("index", None)
            call.get("function", {}).pop("parsed_arguments", None)
    return answer


def filled(recording: Recording, how: str) -> Folded:
    choices = recording.request.get("n", 1)
    if how == "plain":
        return CHAT.whole(compact(recording.plain), choices)
    fold = CHAT.fold(choices)
    for frame in recording.frames:
        fold.feed(frame)
    return fold.finish()


each_recording = pytest.mark.parametrize(
    "recording", RECORDINGS, ids=lambda recording: f"{recording.provider}-{recording.name}"
)
each_filling = pytest.mark.parametrize("how", ["plain", "stream"])


@each_recording
@each_filling
def test_read_plain_it_is_the_upstream_s_plain_answer(recording, how):
    upstream = read_plain(compact(recording.plain), asked_with(recording))
    ours = read_plain(STAMP.join(CHAT.plain(filled(recording, how).body)), asked_with(recording))
    assert ours["id"] == "chatcmpl-fresh"
    if recording.exact:
        for answer in (ours, upstream):
            del answer["id"], answer["created"]
        assert ours == upstream
    assert said(ours) == said(upstream)


@pytest.mark.parametrize(
    "recording",
    # The helper knows no custom tools, and raises for an answer that was too long.
    [
        recording
        for recording in RECORDINGS
        if recording.name != "custom_tool_call"
        and all(choice["finish_reason"] != "length" for choice in recording.plain["choices"])
    ],
    ids=lambda recording: f"{recording.provider}-{recording.name}",
)
@each_filling
def test_read_by_the_stream_helper_it_is_the_upstream_s_answer(recording, how):
    folded = filled(recording, how)
    ours = compared(
        read_helper(STAMP.join(CHAT.replay(folded.form, folded.body, include_usage=True)), asked_with(recording))
    )
    if recording.stream_helper:
        assert ours == compared(read_plain(compact(recording.plain), asked_with(recording)))
    live = compared(read_helper(b"".join(recording.frames), asked_with(recording)))
    for choice, live_choice in zip(ours["choices"], live["choices"], strict=True):
        # vLLM opens with empty text where its plain form has null.
        assert choice["message"] == {name: value for name, value in live_choice["message"].items() if value != ""}
        assert choice["finish_reason"] == live_choice["finish_reason"]
    assert ours["usage"] == live["usage"]


@each_recording
@each_filling
@pytest.mark.parametrize("include_usage", [True, False])
def test_read_chunk_by_chunk_it_folds_to_the_upstream_s_answer(recording, how, include_usage):
    folded = filled(recording, how)
    stream = STAMP.join(CHAT.replay(folded.form, folded.body, include_usage=include_usage))
    chunks = read_chunks(stream, asked_with(recording))
    assert {(chunk["id"], chunk["created"]) for chunk in chunks} == {("chatcmpl-fresh", 1)}
    assert ["usage" in chunk for chunk in chunks] == [include_usage] * len(chunks)
    assert [bool(chunk.get("usage")) for chunk in chunks][:-1] == [False] * (len(chunks) - 1)
    assert bool(chunks[-1].get("usage")) is include_usage
    again = CHAT.fold(recording.request.get("n", 1))
    for chunk in chunks:
        again.feed(b"data: " + compact(chunk) + b"\n\n")
    again.feed(b"data: [DONE]\n\n")
    expected = said(recording.plain) if include_usage else {**said(recording.plain), "usage": None}
    assert said(read_plain(b"{" + again.finish().body[1:], asked_with(recording))) == said(
        read_plain(compact(expected), asked_with(recording))
    )
