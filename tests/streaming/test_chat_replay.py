"""The order and the shape of replayed chunks."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.streaming.chat_fold import ChatFolder
from proxy.streaming.chat_replay import chunks
from tests.endpoints.answers import ANSWERS
from tests.recordings import OPENAI_LOGPROBS, OPENAI_THREE, OPENAI_TOOLS, full, openai_plain


def replay(answer: dict, *, include_usage: bool = False, text_run: int = 256) -> list[dict]:
    answer = {name: value for name, value in answer.items() if name not in ("id", "created")}
    return list(chunks(answer, include_usage=include_usage, text_run=text_run))


def deltas(found: list[dict]) -> list[dict]:
    return [choice["delta"] for chunk in found for choice in chunk["choices"]]


@given(ANSWERS, st.booleans(), st.integers(1, 9))
def test_a_replayed_answer_folds_to_itself(answer, include_usage, text_run):
    folder = ChatFolder()
    for chunk in chunks(answer, include_usage=include_usage, text_run=text_run):
        folder.add(orjson.loads(orjson.dumps(chunk)))
    if not include_usage:
        answer.pop("usage", None)
    assert folder.lossless
    assert folder.answer() == answer


def test_roles_come_first_once_for_each_choice_and_choice_zero_leads():
    found = replay(OPENAI_THREE.plain)
    assert [chunk["choices"][0]["index"] for chunk in found[:3]] == [0, 1, 2]
    assert ["role" in delta for delta in deltas(found)] == [True] * 3 + [False] * (len(found) - 3)
    shuffled = {**OPENAI_THREE.plain, "choices": OPENAI_THREE.plain["choices"][::-1]}
    assert replay(shuffled) == found


def test_text_is_cut_in_runs_of_code_points():
    found = replay(openai_plain([full({"content": "👋é" * 300})]))
    runs = [delta["content"] for delta in deltas(found) if delta.get("content")]
    assert [len(run) for run in runs] == [256, 256, 88]


def test_a_call_gives_its_id_and_name_once_and_calls_ascend():
    found = [delta["tool_calls"] for delta in deltas(replay(OPENAI_TOOLS.plain, text_run=10)) if "tool_calls" in delta]
    assert all(len(calls) == 1 for calls in found)
    indexes = [call["index"] for (call,) in found]
    assert indexes == sorted(indexes)
    assert ["id" in call for (call,) in found].count(True) == 2
    assert all(set(call) == {"index", "function"} for (call,) in found if "id" not in call)


def test_logprobs_stand_with_their_text_in_one_chunk():
    found = replay(OPENAI_LOGPROBS.plain, text_run=1)
    (choice,) = [chunk["choices"][0] for chunk in found if chunk["choices"][0]["logprobs"]]
    assert choice["delta"] == {"content": "Good day \N{OX}"}
    assert choice["logprobs"] == OPENAI_LOGPROBS.plain["choices"][0]["logprobs"]


def test_usage_comes_last_and_only_if_asked_for():
    *others, last = replay(OPENAI_THREE.plain, include_usage=True)
    assert last["usage"] == OPENAI_THREE.plain["usage"]
    assert last["choices"] == []
    assert all(chunk["usage"] is None for chunk in others)
    assert not any("usage" in chunk for chunk in replay(OPENAI_THREE.plain))


@pytest.mark.parametrize("include_usage", [True, False])
def test_every_chunk_names_the_model_and_the_fingerprint(include_usage):
    # The SDK takes those of the last chunk.
    for chunk in replay(OPENAI_TOOLS.plain, include_usage=include_usage):
        assert chunk["object"] == "chat.completion.chunk"
        assert chunk["model"] == OPENAI_TOOLS.plain["model"]
        assert chunk["system_fingerprint"] == OPENAI_TOOLS.plain["system_fingerprint"]


def test_what_is_unknown_comes_once_and_moderation_in_a_chunk_of_its_own():
    answer = openai_plain([{**full({"content": "a", "x": [1]}), "y": 2}], z=3, moderation={"input": {}})
    found = replay(answer)
    assert [delta.get("x") for delta in deltas(found)] == [[1], None, None]
    assert [chunk["choices"][0].get("y") for chunk in found if chunk["choices"]] == [None, None, 2]
    assert [chunk.get("z") for chunk in found] == [3, None, None, None]
    assert found[-1]["moderation"] == {"input": {}}
    assert found[-1]["choices"] == []
