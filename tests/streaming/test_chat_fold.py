"""What may be joined, what may come once, and what can only be kept as frames."""

from __future__ import annotations

import copy

import orjson
import pytest

from proxy.streaming.chat_fold import ChatFolder
from tests.recordings import DONE, RECORDINGS, part, said, tool_call, tool_head


def fold(*chunks: dict) -> ChatFolder:
    folder = ChatFolder()
    for chunk in chunks:
        folder.add(copy.deepcopy(chunk))
    return folder


def chunk(*choices: dict, **more: object) -> dict:
    return {
        "id": "c-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": list(choices),
        **more,
    }


def message(*deltas: dict) -> dict:
    folder = fold(*[chunk(part(delta)) for delta in deltas])
    assert folder.lossless
    return folder.answer()["choices"][0]["message"]


def lossless(*deltas: dict) -> bool:
    return fold(*[chunk(part(delta)) for delta in deltas]).lossless


@pytest.mark.parametrize("name", ["content", "refusal", "reasoning", "reasoning_content"])
def test_text_is_joined_and_nulls_between_say_nothing(name):
    assert message({name: ""}, {name: "a"}, {name: None}, {name: "b"})[name] == "ab"


def test_a_role_is_set_once_however_often_it_comes():
    assert message({"role": "assistant"}, {"role": "assistant", "content": "a"})["role"] == "assistant"
    assert not lossless({"role": "assistant"}, {"role": "tool"})


def test_only_null_stays_null_and_what_never_came_is_absent():
    assert message({"role": "assistant", "content": "a", "refusal": None}) == {
        "role": "assistant",
        "content": "a",
        "refusal": None,
    }


def test_tool_calls_come_out_in_order_with_arguments_untouched():
    calls = [
        {"tool_calls": [tool_head(1, "call_b", "g")]},
        {"tool_calls": [tool_head(0, "call_a", "f"), {"index": 1, "function": {"arguments": '{"x": '}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "not json"}}]},
        {
            "tool_calls": [
                {"index": 1, "id": "call_b", "type": "function", "function": {"name": "g", "arguments": "1}"}}
            ]
        },
    ]
    folded = message({"role": "assistant", "content": ""}, *calls)
    assert folded["tool_calls"] == [tool_call("call_a", "f", "not json"), tool_call("call_b", "g", '{"x": 1}')]
    assert folded["content"] is None


def test_text_before_a_call_is_kept():
    assert message({"content": "I look."}, {"tool_calls": [tool_head(0, "a", "f")]})["content"] == "I look."


def test_a_call_without_a_type_gets_that_of_what_it_carries():
    call = {"index": 0, "id": "a", "custom": {"name": "sh", "input": "l"}}
    more = {"index": 0, "custom": {"input": "s"}}
    assert message({"tool_calls": [call]}, {"tool_calls": [more]})["tool_calls"] == [
        {"id": "a", "type": "custom", "custom": {"name": "sh", "input": "ls"}}
    ]


def test_what_is_unknown_may_come_once():
    folded = message({"content": "a", "x": [{"y": 1}]}, {"content": "b", "x": None}, {"x": []})
    assert folded == {"role": "assistant", "content": "ab", "x": [{"y": 1}]}


@pytest.mark.parametrize(
    "deltas",
    [
        [{"reasoning_details": [{"a": 1}]}, {"reasoning_details": [{"a": 2}]}],
        [{"x": "a"}, {"x": "a"}],
        [{"x": False}, {"x": False}],
        [{"audio": {"id": "audio_1"}}],
        [{"content": [{"type": "text"}]}, {"content": "a"}],
        [{"content": "a"}, {"content": [{"type": "text"}]}],
        [{"tool_calls": [{"id": "a", "function": {"name": "f"}}]}],
        [{"tool_calls": {"index": 0}}],
        [{"tool_calls": [tool_head(0, "a", "f")]}, {"tool_calls": [tool_head(0, "b", "f")]}],
        [{"tool_calls": [tool_head(0, "a", "f")]}, {"tool_calls": [tool_head(0, "a", "g")]}],
        [{"tool_calls": [{"index": 0, "x": 1}]}, {"tool_calls": [{"index": 0, "x": 1}]}],
        [{"tool_calls": [{"index": 0, "function": {"arguments": {"a": 1}}}]}, {"tool_calls": [tool_head(0, "a", "f")]}],
        [{"tool_calls": [{"index": 0, "function": "f"}]}, {"tool_calls": [tool_head(0, "a", "f")]}],
        [{"function_call": "f"}],
    ],
)
def test_what_nobody_can_join_is_not_called_lossless(deltas):
    assert not lossless(*deltas)


@pytest.mark.parametrize(
    "choice",
    [
        {"index": "0"},
        {},
        5,
        None,
        {"index": True},
        {"index": 0, "delta": []},
        {"index": 0, "message": {"content": "a"}},
    ],
)
def test_a_choice_of_another_shape_is_not_folded(choice):
    assert not fold(chunk(choice)).lossless


def test_choices_that_are_no_list_are_not_folded():
    assert not fold({"choices": {"index": 0}}).lossless
    assert fold({"choices": None}, {}).lossless


def test_members_of_the_chunk_hold_for_the_answer():
    folder = fold(
        chunk(part({"content": "a"}), provider="p", system_fingerprint=None, usage=None, seen=1),
        {**chunk(part({}, "stop"), provider="p", usage={"total_tokens": 1}), "id": "c-2", "created": 2},
        chunk(system_fingerprint="fp", usage={"total_tokens": 2}, model="m-2026"),
    )
    assert folder.lossless
    answer = folder.answer()
    del answer["choices"]
    assert answer == {
        "object": "chat.completion",
        "model": "m-2026",
        "provider": "p",
        "system_fingerprint": "fp",
        "usage": {"total_tokens": 2},
        "seen": 1,
    }
    assert folder.id == "c-1"


@pytest.mark.parametrize(("first", "second"), [(1, 2), (["a"], ["a", "b"]), ("a", "b"), ({"a": 1}, {"a": 1.5})])
def test_an_unknown_member_that_changes_is_not_folded(first, second):
    assert not fold(chunk(x=first), chunk(x=second)).lossless
    assert not fold(chunk({**part({}), "x": first}), chunk({**part({}), "x": second})).lossless


def test_usage_that_never_came_is_absent():
    assert "usage" not in fold(chunk(part({"content": "a"}), usage=None)).answer()


def test_lists_of_a_choice_are_joined_only_where_the_plain_form_does():
    def choice(**members: object) -> dict:
        return {**part({}), **members}

    folder = fold(chunk(choice(token_ids=[1])), chunk(choice(token_ids=None)), chunk(choice(token_ids=[2, 3])))
    assert folder.lossless
    assert folder.answer()["choices"][0]["token_ids"] == [1, 2, 3]
    assert not fold(chunk(choice(spans=[1])), chunk(choice(spans=[1]))).lossless


def test_filter_results_are_gathered_by_category():
    def choice(results: dict) -> dict:
        return {**part({}), "content_filter_results": results}

    folder = fold(chunk(choice({})), chunk(choice({"hate": {"severity": "safe"}})), chunk(choice({"self_harm": {}})))
    assert folder.lossless
    results = folder.answer()["choices"][0]["content_filter_results"]
    assert results == {"hate": {"severity": "safe"}, "self_harm": {}}
    changed = chunk(choice({"hate": {"severity": "low"}}))
    assert not fold(chunk(choice({"hate": {"severity": "safe"}})), changed).lossless


def test_logprobs_are_joined_by_list():
    def choice(**logprobs: object) -> dict:
        return part({}, logprobs=logprobs)

    folder = fold(
        chunk(part({})),
        chunk(choice(content=[], refusal=None)),
        chunk(choice(content=[{"token": "a"}], refusal=None)),
        chunk(choice(content=[{"token": "b"}], refusal=[{"token": "c"}])),
    )
    assert folder.lossless
    logprobs = folder.answer()["choices"][0]["logprobs"]
    assert logprobs == {"content": [{"token": "a"}, {"token": "b"}], "refusal": [{"token": "c"}]}
    assert not fold(chunk(choice(x=[1])), chunk(choice(x=[1]))).lossless
    assert not fold(chunk(part({}, logprobs="none"))).lossless


def test_two_different_endings_are_not_folded():
    assert fold(chunk(part({}, "stop")), chunk(part({}, "stop"))).lossless
    assert not fold(chunk(part({}, "stop")), chunk(part({}, "length"))).lossless


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda recording: f"{recording.provider}-{recording.name}")
def test_a_recorded_stream_folds_to_the_plain_answer(recording):
    events = [frame for frame in recording.frames if frame.startswith(b"data: ") and frame != DONE]
    folder = fold(*[orjson.loads(event[6:]) for event in events])
    assert folder.lossless
    assert said(folder.answer()) == said(recording.plain)
    if recording.exact:
        plain = {name: value for name, value in recording.plain.items() if name not in ("id", "created")}
        exact = folder.answer()
        if recording.provider == "vllm":
            # vLLM's plain form has nulls for what its stream leaves out.
            plain, exact = said(plain), said(exact)
        assert exact == plain
