"""Filled by a stream or plainly, read as a stream or plainly: the same answer, through the real SDK."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.path.readers import HELPER, PLAIN, STREAM, Read, Reader
from tests.provider import DONE, Provider, completion, dump, plain, without_usage
from tests.recordings import RECORDINGS, Recording, said
from tests.running import Running, frames

EVERY = pytest.mark.parametrize("recording", RECORDINGS, ids=lambda recording: recording.name)
FILLS = {"filled by a stream": STREAM["async"], "filled plainly": PLAIN["async"]}


@pytest.fixture(params=FILLS)
def fill(request: pytest.FixtureRequest) -> Reader:
    return FILLS[request.param]


@pytest.fixture
def base(proxy: Running) -> str:
    return f"{proxy.url}/v1"


def timeless(read: Read) -> dict[str, Any]:
    """All but what each delivery has of its own."""
    return {name: value for name, value in read.answer.items() if name not in ("id", "created")}


@EVERY
async def test_an_answer_filled_in_either_form_is_read_plainly_as_the_upstream_gave_it(
    base: str, provider: Provider, recording: Recording, fill: Reader
) -> None:
    provider.recording = recording
    await fill(base, recording.request)
    for read in PLAIN.values():
        got, truth = await read(base, recording.request), await read(provider.url, recording.request)
        assert got.cache == "hit"
        assert said(got.answer) == said(truth.answer)
        assert timeless(got) == timeless(truth) or not recording.exact


@EVERY
async def test_an_answer_filled_in_either_form_is_read_as_a_stream_as_the_upstream_gave_it(
    base: str, provider: Provider, recording: Recording, fill: Reader
) -> None:
    provider.recording = recording
    await fill(base, recording.request)
    helpers = HELPER.values() if recording.stream_helper else ()
    for read in (*STREAM.values(), *helpers):
        got, truth = await read(base, recording.request), await read(provider.url, recording.request)
        assert got.cache == "hit"
        assert said(got.answer) == said(truth.answer)
    whole = await STREAM["async"](base, recording.request)
    assert said(whole.answer | {"object": "chat.completion"}) == said(recording.plain)
    assert provider.calls == 1 + len(STREAM) + len(helpers)


@EVERY
async def test_a_miss_is_byte_for_byte_what_the_upstream_sends_whoever_asks_for_usage(
    default_proxy: Running, provider: Provider, recording: Recording
) -> None:
    provider.recording = recording
    asked = await default_proxy.chat(**recording.request, stream=True, stream_options={"include_usage": True})
    not_asked = await default_proxy.chat({"cache-control": "no-cache"}, **recording.request, stream=True)
    plain = await default_proxy.chat({"cache-control": "no-cache"}, **recording.request)
    assert asked.content == b"".join(recording.frames)
    assert not_asked.content == b"".join(without_usage(recording))
    assert plain.content == dump(recording.plain)
    assert {answer.headers["x-cache"] for answer in (asked, not_asked, plain)} == {"miss"}


@EVERY
async def test_a_stream_that_did_not_ask_for_usage_leaves_an_answer_that_has_it(
    default_proxy: Running, provider: Provider, recording: Recording
) -> None:
    provider.recording = recording
    await default_proxy.chat(**recording.request, stream=True)
    answer = await default_proxy.chat(**recording.request)
    # Without nulls, which vLLM leaves out of its streams.
    assert (answer.headers["x-cache"], said(answer.json())["usage"]) == ("hit", said(recording.plain)["usage"])


@EVERY
async def test_a_replayed_stream_is_well_formed(
    proxy: Running, provider: Provider, recording: Recording, fill: Reader
) -> None:
    """Protocol 8, test 4: usage last and only when asked for, roles once, choices in order, one end marker, no ids."""
    provider.recording = recording
    await fill(f"{proxy.url}/v1", recording.request)
    loud = await proxy.chat(**recording.request, stream=True, stream_options={"include_usage": True})
    quiet = await proxy.chat(**recording.request, stream=True)
    assert {answer.headers["x-cache"] for answer in (loud, quiet)} == {"hit"}
    assert [bool(frame.get("usage")) for frame in frames(loud.content)].index(True) == len(frames(loud.content)) - 1
    assert b'"usage"' not in quiet.content
    for body in (loud.content, quiet.content):
        assert body.endswith(b"\n\n" + DONE)
        assert body.count(DONE) == 1
        assert not [line for line in body.split(b"\n") if line.startswith((b"id:", b"retry:", b"event:"))]
        assert one_opening_each(frames(body), recording)


def one_opening_each(chunks: list[dict[str, Any]], recording: Recording) -> bool:
    """Each choice's role and each tool call's name come once, indices ascending at first sight."""
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    roles = [choice["index"] for choice in choices if choice["delta"].get("role")]
    heads = [(choice["index"], call) for choice in choices for call in choice["delta"].get("tool_calls") or []]
    named = [(index, call["index"]) for index, call in heads if call.get("id")]
    return len(set(named)) == len(named) and roles == list(range(recording.request.get("n", 1)))


@EVERY
async def test_each_delivery_has_its_own_id_and_time(proxy: Running, provider: Provider, recording: Recording) -> None:
    provider.recording = recording
    deliveries = [await proxy.chat(**recording.request) for _ in range(3)]
    answers = [json.loads(delivery.content) for delivery in deliveries]
    streamed = frames((await proxy.chat(**recording.request, stream=True)).content)
    ids = [answer["id"] for answer in answers] + [streamed[0]["id"]]
    assert len(set(ids)) == 4
    assert len({frame["id"] for frame in streamed}) == 1
    assert ids[0] == recording.plain["id"]
    assert {id_.startswith("chatcmpl-") for id_ in ids} == {recording.plain["id"].startswith("chatcmpl-")}
    assert all(answer["created"] > recording.plain["created"] for answer in answers[1:])


async def test_tool_call_ids_stay_as_they_are_because_the_next_turn_repeats_them(
    default_proxy: Running, provider: Provider
) -> None:
    provider.recording = next(recording for recording in RECORDINGS if recording.name == "parallel_tool_calls")
    calls = [
        (await default_proxy.chat(**provider.recording.request)).json()["choices"][0]["message"]["tool_calls"]
        for _ in range(2)
    ]
    assert calls[0] == calls[1]


async def test_metadata_on_a_hit_is_the_callers_own(proxy: Running, provider: Provider) -> None:
    provider.always(lambda asked: plain(completion("Yes.", metadata=asked.json().get("metadata"))))
    for metadata in ({"run": "1"}, {"run": "2"}, None):
        answer = await proxy.chat(metadata=metadata)
        assert answer.json()["metadata"] == metadata
    assert provider.calls == 1
