"""Questions, keys, the conditions of keeping an answer, and live frames."""

from __future__ import annotations

import json
import tracemalloc
from itertools import pairwise
from typing import Any
from unittest import mock

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy import errors
from proxy.endpoints import chat_completions
from proxy.endpoints.base import Folded
from proxy.endpoints.chat_completions import NOT_IN_KEY, ChatCompletions
from proxy.types import Asking, Form, Frame, Usage
from tests.endpoints.answers import ANSWERS, STAMP, compact, payloads, plain, replayed
from tests.recordings import (
    AZURE_TEXT,
    DEEPSEEK_REASONING,
    DONE,
    OPENAI_TEXT,
    OPENAI_USAGE,
    RECORDINGS,
    VLLM_032_DIED,
    VLLM_032_PRINT,
    VLLM_032_PROMPT_LOGPROBS,
    VLLM_032_TOOLS,
    VLLM_REASONING,
    event,
    full,
    openai_chunk,
    openai_plain,
    part,
    user,
    vllm_chunk,
)

CHAT = ChatCompletions()
ASKED = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hi"}]}
START = openai_chunk([part({"role": "assistant", "content": "", "refusal": None})])
WORD = openai_chunk([part({"content": "Hi"})])
STOP = openai_chunk([part({}, "stop")])
USAGE = openai_chunk([], OPENAI_USAGE)


def key(members: dict, **more: object) -> bytes:
    return CHAT.read(compact({**members, **more})).key


def fold(*events: bytes, choices: int = 1):
    fold = CHAT.fold(choices)
    for piece in events:
        fold.feed(piece)
    fold.flush()
    return fold.finish()


def refused(*events: bytes, choices: int = 1) -> str:
    with pytest.raises(errors.Unstorable) as caught:
        fold(*events, choices=choices)
    return caught.value.reason


# --- read -------------------------------------------------------------------------------------------------------------


def test_a_question_is_read():
    question = CHAT.read(
        compact({**ASKED, "stream": True, "stream_options": {"include_usage": True}, "n": 3, "metadata": {"a": "b"}})
    )
    assert (question.model, question.stream, question.include_usage, question.choices) == ("gpt-4o-mini", True, True, 3)
    assert question.members["messages"] == ASKED["messages"]
    assert question.echoes == {"metadata": b'{"a":"b"}'}
    assert question.endpoint == "/v1/chat/completions"


def test_what_is_null_or_missing_has_no_say():
    for more in ({}, {"stream": None, "stream_options": None, "n": None}):
        question = CHAT.read(compact({**ASKED, **more}))
        assert (question.stream, question.include_usage, question.choices) == (False, False, 1)
        assert question.echoes == {"metadata": b"null"}


HARMLESS = frozenset({"priority", "request_id"})


def test_what_cannot_change_the_answer_of_this_server_is_not_in_the_key():
    odd = compact({**ASKED, "request_id": "mine", "priority": 3})
    assert CHAT.read(odd, HARMLESS).key == CHAT.read(compact(ASKED)).key == CHAT.read(compact(ASKED), HARMLESS).key
    assert CHAT.asking(odd, HARMLESS).shape == CHAT.asking(compact(ASKED)).shape
    assert CHAT.read(odd, HARMLESS).members["request_id"] == "mine"


def test_what_only_another_server_does_not_mind_is_in_the_key():
    odd = compact({**ASKED, "request_id": "mine"})
    assert CHAT.read(odd).key != CHAT.read(compact(ASKED)).key
    assert CHAT.asking(odd).shape != CHAT.asking(compact(ASKED)).shape
    assert key({**ASKED, "priority": 1}) != key({**ASKED, "priority": 2})


def test_harmless_members_have_no_say_in_what_the_others_are():
    for more in ({"temperature": 0}, {"top_k": 5}, {"store": True}, {"requestid": 1}):
        odd = compact({**ASKED, **more, "request_id": "mine"})
        assert CHAT.read(odd, HARMLESS).key == key({**ASKED, **more}) != key(ASKED)


@pytest.mark.parametrize("more", [{"prompt_logprobs": 0}, {"echo": True, "top_logprobs": 1},
                                  {"routed_experts_prompt_start": 0}])  # fmt: skip
def test_what_a_server_says_in_one_form_only_is_not_answered_from_the_other(more):
    assert key({**ASKED, **more, "stream": True}) != key({**ASKED, **more})
    assert key({**ASKED, **more, "stream": False}) == key({**ASKED, **more, "stream": None}) == key({**ASKED, **more})
    streamed, not_streamed = (
        CHAT.asking(compact({**ASKED, **more, "stream": stream})).shape for stream in (True, False)
    )
    assert streamed != not_streamed


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"model": None}, "model"),
        ({"model": ""}, "model"),
        ({"model": 5}, "model"),
        ({"model": "a\nb"}, "model"),
        ({"model": "a\u0085b"}, "model"),
        ({"model": "m" * 257}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "Hi"}, "messages"),
        ({"messages": {"role": "user"}}, "messages"),
        ({"messages": [[]]}, "messages[0]"),
        ({"messages": [*ASKED["messages"], "Hi"]}, "messages[1]"),
        ({"messages": [{"content": "Hi"}]}, "messages[0].role"),
        ({"messages": [{"role": 1}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": {"text": "Hi"}}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{}, 5]}]}, "messages[0].content[1]"),
        ({"stream": 1}, "stream"),
        ({"stream": "true"}, "stream"),
        ({"stream_options": []}, "stream_options"),
        ({"n": 0}, "n"),
        ({"n": True}, "n"),
        ({"n": 1.0}, "n"),
        ({"n": "1"}, "n"),
    ],
)
def test_wrong_types_are_named_with_their_place(more, param):
    with pytest.raises(errors.BadRequest) as caught:
        CHAT.read(compact({**ASKED, **more}))
    assert caught.value.param == param
    assert param in caught.value.message


def test_what_the_upstream_may_know_better_is_let_through():
    odd = [
        {"role": "oracle", "content": None, "x": 1},
        {"role": "user", "content": []},
        {"role": "user", "content": ["a", {"type": "hologram"}]},
        {"role": "assistant", "tool_calls": "?"},
    ]
    assert CHAT.read(compact({"model": "m" * 256, "messages": odd, "temperature": "hot"})).choices == 1


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"model":"m","model":"n","messages":[]}', "duplicate_member"),
        (b"[" * 100_000, "json_too_deep"),
        (b'{"seed":18446744073709551616}', "number_out_of_range"),
        (b"model=m", "invalid_json"),
        (b'["model"]', "not_an_object"),
    ],
)
def test_ambiguous_bodies_are_refused(body, reason):
    with pytest.raises(errors.BadRequest) as caught:
        CHAT.read(body)
    assert caught.value.reason == reason


# --- key --------------------------------------------------------------------------------------------------------------

RICH = {
    **ASKED,
    "temperature": 0,
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"a": 1, "b": 2}}}, {"type": "custom"}],
}


def test_the_order_of_members_and_white_space_make_no_difference():
    assert key(dict(reversed(RICH.items()))) == key(RICH)
    assert CHAT.read(json.dumps(RICH, indent=2).encode()).key == key(RICH)


@pytest.mark.parametrize(("name", "value"), [*[(name, "anything") for name in NOT_IN_KEY], ("store", False)])
def test_what_cannot_change_the_answer_is_not_in_the_key(name, value):
    fitting = {"stream": True, "stream_options": {"include_usage": True}}
    assert key(RICH, **{name: fitting.get(name, value)}) == key(RICH)


@pytest.mark.parametrize(
    "more",
    [
        {"temperature": 0.0},
        {"temperature": None},
        {"top_p": 1},
        {"n": 1},
        {"an_unknown_parameter": 1},
        {"cache": {"no-cache": True}},
        {"store": True},
        {"store": 0},
        {"model": "gpt-4o-mini "},
        {"messages": [{"role": "user", "content": "hi"}]},
        {"messages": [{"role": "user", "content": "Hi "}]},
        {"messages": [{"content": "Hi", "role": "user"}]},
        {"tools": RICH["tools"][::-1]},
        {
            "tools": [
                {"type": "function", "function": {"name": "f", "parameters": {"b": 2, "a": 1}}},
                {"type": "custom"},
            ]
        },
    ],
)
def test_everything_else_is_in_the_key(more):
    assert key(RICH, **more) != key(RICH)


def test_unicode_is_not_normalised():
    composed, decomposed = ({"messages": user(text)} for text in ("\u00e9", "e\u0301"))
    assert key(ASKED, **composed) != key(ASKED, **decomposed)


def test_marks_for_the_prompt_cache_are_not_in_the_key():
    def asked(**mark: object) -> dict:
        part = {"type": "text", "text": "prompt_cache_breakpoint", **mark}
        return {"messages": [{"role": "user", "content": [part, "bare"]}, {"role": "user", "content": "a"}]}

    marked = key(ASKED, **asked(prompt_cache_breakpoint={"mode": "explicit", "ttl": "30m"}))
    assert marked == key(ASKED, **asked())
    assert marked != key(ASKED, **asked(other_mark=1))
    assert key(ASKED, prompt_cache_breakpoint=1) != key(ASKED)


@given(
    st.dictionaries(
        st.text('x:,"0', min_size=1, max_size=3), st.integers(0, 1) | st.text('0,:"', max_size=3), max_size=3
    )
)
def test_two_bodies_share_a_key_only_if_they_ask_the_same(more):
    assert (key(ASKED, **more) == key(ASKED)) == (not more)


# --- asking for usage -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [{}, {"stream_options": None}, {"stream_options": {"a": 1, "include_usage": False}}])
@pytest.mark.parametrize("indent", [None, 2])
def test_usage_is_asked_for_and_nothing_else_changes(more, indent):
    body = json.dumps({**RICH, "stream": True, **more}, indent=indent).encode() + b" \n"
    asked = orjson.loads(CHAT.ask_usage(body))
    assert asked.pop("stream_options") == {**(more.get("stream_options") or {}), "include_usage": True}
    assert asked == {**RICH, "stream": True}
    if not more:
        assert CHAT.ask_usage(body).startswith(body.rstrip()[:-1])


# --- plain answers ----------------------------------------------------------------------------------------------------


def test_a_plain_answer_is_kept_byte_for_byte():
    body = (
        b'\n\n \r\n{"id": "chatcmpl-1", "created" :1, "logprob": -1.50E-07, "metadata": {"a":"b"}, "model": "m-1",\n'
        b' "choices": [ {"index":0, "message":{"content":"\\u00e9 \\/"},"finish_reason":"stop"}]} \n'
    )
    folded = CHAT.whole(body, 1)
    assert folded.body == (
        b'{"logprob":-1.50E-07,"model":"m-1",'
        b'"choices":[ {"index":0, "message":{"content":"\\u00e9 \\/"},"finish_reason":"stop"}]}'
    )
    assert (folded.form, folded.model, folded.id_prefix, folded.echoes) == (
        Form.WHOLE,
        "m-1",
        "chatcmpl-",
        ("metadata",),
    )
    assert STAMP.join(CHAT.plain(folded.body)) == b'{"id":"chatcmpl-fresh","created":1,' + folded.body[1:]


@pytest.mark.parametrize(
    ("answer_id", "prefix"),
    [("gen-17", "gen-"), ("930c60df-bf64", ""), ("resp_1", "resp_"), (None, "chatcmpl-"), ("", "chatcmpl-"), ("x", "")],
)
def test_a_new_id_will_look_like_the_old_one(answer_id, prefix):
    assert CHAT.whole(compact({**openai_plain([full({"content": "a"})]), "id": answer_id}), 1).id_prefix == prefix


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "bad_json"),
        (b"<html>Bad Gateway</html>", "bad_json"),
        (compact(openai_plain([full({"content": "a"})]))[:-9], "bad_json"),
        (b"[]", "bad_json"),
        (b'{"choices":[' + b"[" * 99, "bad_json"),
        (compact(openai_plain([full({"content": "a"})], seed=2**64)), "bad_json"),
        (compact(openai_plain([full({"content": "a"})]))[:-1] + b',"model":"x"}', "duplicate_member"),
        (compact({"error": {"message": "no"}}), "error_event"),
        (compact({"object": "error", "message": "no"}), "error_event"),
        (compact(openai_plain([])), "missing_choice"),
        (compact({"object": "chat.completion"}), "missing_choice"),
        (compact(openai_plain([full({"content": "a"}, index=1)])), "missing_choice"),
        (compact(openai_plain([full({"content": "a"}), full({"content": "b"}, index=1)])), "missing_choice"),
        (compact(openai_plain([{"index": 0, "finish_reason": "stop"}])), "missing_choice"),
        (compact(openai_plain([full({"content": "a"}, None)])), "no_finish_reason"),
        (compact(openai_plain([full({"content": "a"}, "")])), "no_finish_reason"),
    ],
)
def test_what_is_no_whole_plain_answer_is_refused(body, reason):
    with pytest.raises(errors.Unstorable) as caught:
        CHAT.whole(body, 1)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        (full({"content": "a"}, "content_filter"), "content_filter"),
        (full({"content": "a"}, "abort"), "abort"),
        (full({"content": "a"}, "error"), "error"),
        (full({"content": "a"}, "repetition"), "repetition"),
        (full({"content": ""}), "empty"),
        (full({"content": None, "refusal": None, "annotations": [], "tool_calls": []}), "empty"),
        (full({"content": None, "refusal": "No."}), None),
        (full({"content": "", "reasoning": "Hm."}), None),
        (full({"content": "a"}, "length"), None),
        (full({"content": None, "function_call": {"name": "f", "arguments": ""}}), None),
    ],
)
def test_an_answer_that_may_be_served_but_not_kept_says_why(choice, reason):
    assert CHAT.whole(compact(openai_plain([choice])), 1).unstorable == reason


@pytest.mark.parametrize(
    ("recording", "usage"),
    [
        (OPENAI_TEXT, Usage(1419, 12, 1280)),
        (VLLM_REASONING, Usage(40, 12, 32)),
        (DEEPSEEK_REASONING, Usage(18, 30, 16)),
    ],
)
def test_usage_is_read_in_each_provider_s_words(recording, usage):
    assert CHAT.whole(compact(recording.plain), 1).usage == usage
    assert fold(*recording.frames).usage == usage


def test_a_fingerprint_is_read_from_both_forms():
    assert CHAT.whole(compact(VLLM_032_TOOLS.plain), 1).fingerprint == VLLM_032_PRINT
    assert fold(*VLLM_032_TOOLS.frames).fingerprint == VLLM_032_PRINT


@pytest.mark.parametrize("odd", [None, 5, "", "x" * 257, {"a": 1}])
def test_a_fingerprint_that_is_none_is_no_fingerprint(odd):
    answer = {**openai_plain([full({"content": "a"})]), "system_fingerprint": odd}
    assert CHAT.whole(compact(answer), 1).fingerprint == ""
    del answer["system_fingerprint"]
    assert CHAT.whole(compact(answer), 1).fingerprint == ""


def test_an_answer_that_is_kept_as_frames_has_its_fingerprint():
    odd = openai_chunk([part({"audio": {"id": "a"}})])
    folded = fold(START, WORD, odd, STOP, DONE)
    assert (folded.form, folded.fingerprint) == (Form.FRAMES, "fp_8bda4d3a2c")


def test_log_probabilities_of_the_prompt_are_kept_as_they_came():
    folded = CHAT.whole(compact(VLLM_032_PROMPT_LOGPROBS), 1)
    assert folded.unstorable is None
    assert plain(CHAT, folded)["prompt_logprobs"] == VLLM_032_PROMPT_LOGPROBS["prompt_logprobs"]


def test_odd_usage_counts_as_nothing_said():
    odd = {"prompt_tokens": "5", "completion_tokens": -1, "prompt_tokens_details": [], "prompt_cache_hit_tokens": 2}
    answer = openai_plain([full({"content": "a"})])
    assert CHAT.whole(compact({**answer, "usage": odd}), 1).usage == Usage(cached_tokens=2)
    assert CHAT.whole(compact({**answer, "usage": None}), 1).usage == Usage()


# --- when a stream is kept --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ([START, WORD, STOP, USAGE], "no_terminal_marker"),
        ([START, WORD, DONE], "no_finish_reason"),
        ([], "no_terminal_marker"),
        ([DONE], "missing_choice"),
        ([START, WORD, STOP, event({"error": {"message": "out of memory"}}), DONE], "error_event"),
        ([START, WORD, STOP, event({"object": "error", "message": "no"}), DONE], "error_event"),
        ([START, WORD, STOP, b'event: error\ndata: {"message":"no"}\n\n', DONE], "error_event"),
        ([START, b"data: {broken\n\n", WORD, STOP, DONE], "bad_json"),
        ([START, b"data: [1]\n\n", WORD, STOP, DONE], "bad_json"),
        ([START, b"data: <html>\n\n", DONE], "bad_json"),
        ([START, WORD.replace(b'"model"', b'"id"'), STOP, DONE], "duplicate_member"),
        ([START, WORD, STOP, openai_chunk([part({"content": "a"}, "stop", index=1)]), DONE], "missing_choice"),
        ([START, WORD, STOP[:-20]], "no_terminal_marker"),
    ],
)
def test_a_stream_that_is_not_whole_is_never_kept(events, reason):
    assert refused(*events) == reason


def test_a_vllm_that_dies_in_the_middle_says_done_and_is_not_believed():
    assert VLLM_032_DIED[-1] == DONE
    assert refused(*VLLM_032_DIED) == "error_event"


def test_every_choice_must_be_there_and_ended():
    other = [openai_chunk([part({"content": "a"}, index=1)]), openai_chunk([part({}, "stop", index=1)])]
    assert fold(START, WORD, *other, STOP, DONE, choices=2).unstorable is None
    assert refused(START, WORD, STOP, DONE, choices=2) == "missing_choice"
    assert refused(START, WORD, STOP, other[0], DONE, choices=2) == "no_finish_reason"
    assert refused(START, WORD, STOP, DONE, choices=10**9) == "missing_choice"


@pytest.mark.parametrize("finish", ["content_filter", "abort", "error", "repetition"])
def test_a_stream_ended_by_a_policy_or_a_fault_is_served_only(finish):
    assert fold(START, WORD, openai_chunk([part({}, finish)]), DONE).unstorable == finish


def test_an_empty_stream_is_served_only():
    assert fold(START, STOP, DONE).unstorable == "empty"


def test_an_event_over_the_limit_passes_and_is_not_kept():
    fold = ChatCompletions(max_event_bytes=1000).fold(1)
    stream = START + openai_chunk([part({"content": "a" * 2000})]) + STOP + DONE
    assert b"".join(frame.raw for frame in fold.feed(stream) + fold.flush()) == stream
    with pytest.raises(errors.Unstorable, match="too_large"):
        fold.finish()


def test_the_end_marker_counts_without_its_blank_line_and_nothing_after_it_does():
    assert fold(START, WORD, STOP, b"data: [DONE]").unstorable is None
    assert fold(START, WORD, STOP, DONE, b"data: {broken\n\n", WORD).body == fold(START, WORD, STOP, DONE).body


def test_an_abandoned_stream_still_passes():
    fold = CHAT.fold(1)
    fold.feed(START)
    fold.abandon()
    assert [frame.raw for frame in fold.feed(WORD)] == [WORD]
    assert fold.feed(USAGE)[0].quiet == b""
    assert [frame.terminal for frame in fold.feed(DONE)] == [True]
    assert fold.done
    with pytest.raises(errors.Unstorable, match="abandoned"):
        fold.finish()


# --- live frames ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda recording: f"{recording.provider}-{recording.name}")
def test_frames_are_the_stream_at_every_cut(recording):
    stream = b"".join(recording.frames)
    quiet = b"".join(frame.quiet for frame in CHAT.fold(1).feed(stream))
    for cut in range(0, len(stream), 7):
        fold = CHAT.fold(recording.request.get("n", 1))
        frames = fold.feed(stream[:cut]) + fold.feed(stream[cut:]) + fold.flush()
        assert b"".join(frame.raw for frame in frames) == stream
        assert b"".join(frame.quiet for frame in frames) == quiet
        assert b"".join(frame.raw for frame in frames if frame.terminal) == DONE
        assert fold.done
    assert b'"usage"' not in quiet
    assert [{**chunk, "usage": None} for chunk in payloads(_events(quiet))] == [
        {**chunk, "usage": None} for chunk in payloads(_events(stream)) if not chunk.get("usage")
    ]


def _events(stream: bytes) -> bytes:
    return stream.replace(b": keep-alive\n\n", b"")


def quiet(frame: bytes) -> bytes:
    (given,) = CHAT.fold(1).feed(frame)
    assert given.raw == frame
    return given.quiet


def test_only_the_null_is_taken_out_of_the_text():
    assert quiet(WORD) == WORD.replace(b',"usage":null', b"")
    words = openai_chunk([part({"content": 'he said ,"usage":null and "usage'})])
    assert quiet(words) == words[: words.rindex(b',"usage":null')] + words[words.rindex(b',"usage":null') + 13 :]


@pytest.mark.parametrize(
    "frame",
    [
        b'data: {"usage":null,"choices":[{"index":0}]}\n\n',
        b'data: {"choices":[{"index":0,"usage":null}], "usage": null}\n\n',
        b'data: {"choices":[{"a":1,"usage":null}],"\\u0075sage":null}\n\n',
        b': ,"usage":null\ndata: {"choices":[{"index":0}],\ndata: "usage":null}\n\n',
        b'data: {"choices":[{"index":0,"delta":{"content":"\\""}}] ,"usage" :null}\r\n\r\n',
    ],
)
def test_where_the_text_cannot_be_cut_the_frame_is_written_anew(frame):
    event_data = b"".join(line[6:] for line in frame.splitlines() if line.startswith(b"data: "))
    expected = orjson.loads(event_data)
    assert expected.pop("usage") is None
    assert orjson.loads(quiet(frame).removeprefix(b"data: ")) == expected


def test_a_frame_without_usage_and_usage_sent_with_choices_are_left_alone():
    plain_frame = vllm_chunk([part({"content": "a"})])
    continuous = vllm_chunk([part({"content": "a"})], usage={"total_tokens": 5})
    filtered = AZURE_TEXT.frames[0]
    for frame in (plain_frame, continuous, filtered, b": ping\n\n", b"data: {broken\n\n", DONE):
        (given,) = CHAT.fold(1).feed(frame)
        assert given.quiet is given.raw
    assert quiet(USAGE) == b""


# --- events that come again with another text -------------------------------------------------------------------------

INSIDES = st.lists(
    st.sampled_from(
        [
            *(b"a", b"word ", b"", b"usage", b",", b'\\"', b"\\\\", b"\\n", b"\\/", b"\\u00e9", b"\\ud83d", b"\\udc4b"),
            *("é".encode(), "👋".encode(), b"\xf0\x9f", b"\x91\x8b", b'"', b"\\", b"\\x", b"\t", b"\x1f", b"n"),
            *(b',\\"usage\\":null', b',"usage":null', b'"},"x":{"content":"a', b"\\ud83d\\udc4b"),
        ]
    ),
    max_size=3,
).map(b"".join)
"""What may stand between the quotes of a text, whole strings and others."""

OFTEN = st.sampled_from([b"Hello", b" you", b"", b".", b"\\n", "é".encode()])
SHAPES = [
    WORD.replace(b'"Hi"', b'"%b"'),
    WORD.replace(b'"Hi"', b'"%b"').replace(b',"usage":null', b""),
    WORD.replace(b'"Hi"', b'"%b"').replace(b"a8Kq0", b"zz"),
    WORD.replace(b'"usage":null', b'"usage" : null').replace(b'"Hi"', b'"%b"'),
    WORD.replace(b'"usage":null', b'"usage":{"total_tokens":1}').replace(b'"Hi"', b'"%b"'),
    WORD.replace(b'"Hi"', b'"%b","reasoning_content":""'),
    WORD.replace(b'"Hi"', b'null,"reasoning_content":"%b"'),
    WORD.replace(b'"content":"Hi"', b'"role":"assistant","content": "%b"'),
    WORD.replace(b'"content":"Hi"', b'"refusal":"%b","content":[]'),
    WORD.replace(b'"content":"Hi"', b'"tool_calls":[{"index":1,"function":{"arguments":"%b"}}]'),
    WORD.replace(b'"content":"Hi"', b'"tool_calls":[{"index":1,"id":"c","function":{"name":"f","arguments":"%b"}}]'),
    WORD.replace(b'"content":"Hi"', b'"tool_calls":[{"index":1,"x":1,"function":{"arguments":"%b"}}]'),
    WORD.replace(b'"content":"Hi"', b'"tool_calls":[{"index":1,"function":{"x":1,"arguments":"%b"}}]'),
    WORD.replace(b'"index":0', b'"index":1').replace(b'"Hi"', b'"%b"'),
    WORD.replace(b'"logprobs":null', b'"logprobs":{"content":[{"token":"a"}]}').replace(b'"Hi"', b'"%b"'),
    WORD.replace(b'"logprobs":null', b'"token_ids":[1],"seen":"x"').replace(b'"Hi"', b'"%b"'),
    WORD.replace(b'"logprobs":null', b'"seen":"x"').replace(b'"Hi"', b'"%b"'),
    WORD.replace(b'"logprobs":null', b'"content_filter_results":{"hate":{"a":1}}').replace(b'"Hi"', b'"%b"'),
    WORD.replace(b'"choices"', b'"content":"Hi","choices"').replace(b'"Hi"', b'"%b"', 1),
    WORD.replace(b'"choices"', b'"content":"Hi","choices"').replace(b'"Hi"', b'"%b"'),
    WORD.replace(b"}\n\n", b',"id":"twice"}\n\n').replace(b'"Hi"', b'"%b"'),
    WORD.replace(b'"Hi"', b'"%b"').replace(b"\n\n", b"\r\n\r\n"),
    WORD.replace(b'"Hi"', b'"%b"').replace(b"data: ", b"data:"),
]
"""Events with a gap for a text, shapes that repeat as nothing but text and shapes that do not."""
BETWEEN = st.sampled_from(
    [b": ping\n\n", b"\n", b"\n\n", START, STOP, USAGE, b"data: {}\n\n", b"data: {broken\n\n", DONE]
)


@st.composite
def spoken(draw: st.DrawFn) -> bytes:
    """Some events of one shape."""
    shape = draw(st.sampled_from(SHAPES))
    texts = draw(st.lists(st.one_of(OFTEN, OFTEN, OFTEN, INSIDES), min_size=1, max_size=12))
    return b"".join(shape.replace(b"%b", text) for text in texts)


STREAMS = st.tuples(
    st.lists(st.one_of(spoken(), spoken(), BETWEEN), max_size=6),
    st.sampled_from([b"", STOP + DONE, STOP + USAGE + DONE]),
).map(lambda parts: b"".join(parts[0]) + parts[1])


def told(stream: bytes, cuts: list[int], max_event_bytes: int) -> tuple[list[Frame], Folded | str]:
    """What a fold of the stream cut there gives, and what it comes to."""
    fold = ChatCompletions(max_event_bytes=max_event_bytes).fold(1)
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    frames = [frame for start, end in pairwise(edges) for frame in fold.feed(stream[start:end])] + fold.flush()
    try:
        return frames, fold.finish()
    except errors.Unstorable as refusal:
        return frames, refusal.reason


@settings(max_examples=300)
@given(STREAMS, st.lists(st.integers(0, 1 << 20), max_size=8), st.sampled_from([1 << 20, 400]))
def test_what_comes_again_is_what_reading_each_event_comes_to(stream, cuts, max_event_bytes):
    frames, folded = told(stream, cuts, max_event_bytes)
    with mock.patch.object(chat_completions, "_VAIN", 0):
        slow_frames, slowly_folded = told(stream, cuts, max_event_bytes)
    assert folded == slowly_folded
    assert [(frame.raw, frame.terminal) for frame in frames] == [(frame.raw, frame.terminal) for frame in slow_frames]
    assert b"".join(frame.raw for frame in frames) == stream
    for frame, slow_frame in zip(frames, slow_frames, strict=True):
        assert frame.quiet == slow_frame.quiet or read(frame.quiet) == read(slow_frame.quiet)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("cut", [1, 50, 1 << 20])
def test_of_each_shape_the_answer_is_what_reading_each_event_comes_to(shape, cut):
    stream = b"".join(shape.replace(b"%b", text) for text in (b"a", b"b", b"", b"c\\n", b"usage", b"\\", b"d"))
    whole = stream.replace(shape.replace(b"%b", b"\\"), b"") + STOP + DONE
    for said in (stream, whole):
        cuts = [*range(0, len(said), cut)]
        _, folded = told(said, cuts, 1 << 20)
        with mock.patch.object(chat_completions, "_VAIN", 0):
            assert told(said, cuts, 1 << 20)[1] == folded


def test_a_text_that_went_nowhere_goes_nowhere_again():
    def said(arguments: object) -> bytes:
        return openai_chunk([part({"tool_calls": [{"index": 0, "function": {"arguments": arguments}}]})])

    folded = fold(START, said({"a": 1}), said("b"), said("c"), STOP, DONE)
    assert folded.form is Form.FRAMES


def test_two_choices_in_one_event_are_both_folded():
    both = openai_chunk([part({"content": "a"}), part({"content": "b"}, index=1)])
    ends = openai_chunk([part({}, "stop"), part({}, "stop", index=1)])
    choices = orjson.loads(fold(both, both * 3, ends, DONE, choices=2).body)["choices"]
    assert [choice["message"]["content"] for choice in choices] == ["aaaa", "bbbb"]


def test_what_comes_again_behind_another_event_is_read_anew():
    other = WORD.replace(b'"logprobs":null', b'"logprobs":{"content":[]}').replace(b"gpt-4o-mini-2024-07-18", b"other")
    assert fold(START, STOP, WORD, other, WORD, DONE).model == "gpt-4o-mini-2024-07-18"
    assert fold(START, STOP, WORD, other, DONE).model == "other"


def test_what_comes_again_behind_the_end_marker_is_behind_it():
    fold = CHAT.fold(1)
    fold.feed(START + WORD + WORD)
    assert [frame.terminal for frame in fold.feed(WORD + DONE + WORD)] == [False, True]
    assert [frame.terminal for frame in fold.feed(WORD)] == [True]


def read(stream: bytes) -> list[object]:
    """What its events say, however they are spelled."""
    return [said(event.data) for event in CHAT.decoder().decode(stream) if event.data is not None]


def said(data: bytes) -> object:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return data


@pytest.mark.parametrize("shape", SHAPES[:2], ids=["with a null for usage", "without"])
@pytest.mark.parametrize("at_once", [1, 300])
def test_an_event_that_comes_again_is_not_parsed(shape, at_once):
    events = [shape.replace(b"%b", b"%d " % number) for number in range(3000)]
    fold = CHAT.fold(1)
    fold.feed(START + events[0])
    with mock.patch.object(chat_completions.strict_json, "object_of", side_effect=AssertionError):
        frames = [frame for at in range(1, 3000, at_once) for frame in fold.feed(b"".join(events[at : at + at_once]))]
    fold.feed(STOP + DONE)
    assert b"".join(frame.raw for frame in frames) == b"".join(events[1:])
    assert b"".join(frame.quiet for frame in frames) == b"".join(events[1:]).replace(b',"usage":null', b"")
    content = orjson.loads(fold.finish().body)["choices"][0]["message"]["content"]
    assert content == "".join(f"{number} " for number in range(3000))


def test_an_event_that_comes_again_alone_costs_no_more_memory_than_what_is_new_in_it():
    fold = CHAT.fold(1)
    fold.feed(START + WORD)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    frames = [frame for _ in range(1000) for frame in fold.feed(WORD)]
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(frames) == 1000
    assert (after - before) / 1000 < len(WORD) * 0.8


def test_after_many_events_that_are_all_different_elsewhere_no_pattern_is_made():
    fold = CHAT.fold(1)
    for number in range(100):
        fold.feed(WORD.replace(b"1789000000", b"%d" % number))
    with mock.patch.object(chat_completions.Pattern, "of", side_effect=AssertionError):
        fold.feed(WORD)


def test_of_an_abandoned_stream_what_comes_again_still_passes():
    fold = CHAT.fold(1)
    fold.feed(START + WORD)
    fold.abandon()
    (frame,) = fold.feed(WORD * 20)
    assert (frame.raw, frame.quiet) == (WORD * 20, WORD.replace(b',"usage":null', b"") * 20)
    fold.feed(STOP + DONE)
    with pytest.raises(errors.Unstorable, match="abandoned"):
        fold.finish()


# --- kept as frames ---------------------------------------------------------------------------------------------------

DETAILS = [
    openai_chunk([part({"content": "a", "reasoning_details": [{"text": "x"}]})]),
    openai_chunk([part({"content": "b\u2028", "reasoning_details": [{"text": "y"}]})]),
]


def test_what_cannot_be_folded_is_kept_as_frames():
    folded = fold(START, b": ping\n\n", *DETAILS, STOP, USAGE, DONE)
    assert (folded.form, folded.unstorable, folded.usage.prompt_tokens) == (Form.FRAMES, None, 1419)
    assert b"chatcmpl-" not in folded.body
    assert b"obfuscation" not in folded.body
    stream = b"".join([START, *DETAILS, STOP, USAGE, DONE])
    asked = payloads(replayed(CHAT, folded))
    assert asked == [{**chunk, "id": "chatcmpl-fresh", "created": 1} for chunk in _bare(payloads(stream))]
    unasked = payloads(replayed(CHAT, folded, include_usage=False))
    assert unasked == [_without(chunk, "usage") for chunk in asked[:-1]]


def _bare(chunks: list[dict]) -> list[dict]:
    return [_without(chunk, "obfuscation") for chunk in chunks]


def _without(chunk: dict, name: str) -> dict:
    return {other: value for other, value in chunk.items() if other != name}


def test_frames_are_judged_like_any_stream():
    assert refused(START, *DETAILS, DONE) == "no_finish_reason"
    assert refused(START, *DETAILS, STOP) == "no_terminal_marker"


def test_labels_in_a_stream_are_echoed_not_kept():
    def labelled(choice: dict) -> bytes:
        return openai_chunk([choice], metadata={"a": "b"})

    folded = fold(labelled(part({"content": "a"})), labelled(part({}, "stop")), DONE)
    assert folded.echoes == ("metadata",)
    assert b"metadata" not in folded.body


# --- replay -----------------------------------------------------------------------------------------------------------


@given(ANSWERS, st.booleans())
def test_an_answer_comes_back_through_a_replayed_stream(answer, include_usage):
    choices = len(answer["choices"])
    folded = CHAT.whole(compact(answer), choices)
    assert plain(CHAT, folded) == {"id": "chatcmpl-fresh", "created": 1, **answer}
    again = fold(replayed(CHAT, folded, include_usage=include_usage), choices=choices)
    if not include_usage:
        answer.pop("usage", None)
    assert again.form is Form.WHOLE
    assert orjson.loads(again.body) == answer


def test_the_stamp_leads_every_frame():
    folded = CHAT.whole(compact(openai_plain([full({"content": "a" * 600})])), 1)
    stream = replayed(CHAT, folded)
    assert stream.count(STAMP) == len(payloads(stream)) == 6
    assert all(event.startswith(b"data: {" + STAMP + b",") for event in stream.split(b"\n\n")[:-2])
    assert b"\nid:" not in stream


# --- taken apart for matching by meaning


def asking(*messages: dict[str, Any], **members: Any) -> Asking:
    return ChatCompletions().asking(orjson.dumps({"model": "m", "messages": messages} | members))


def test_the_words_are_the_last_user_messages_text_and_the_shape_is_all_the_rest():
    system = {"role": "system", "content": "Be brief."}
    one = asking(system, {"role": "user", "content": "one"})
    other = asking(system, {"role": "user", "content": "another"})
    assert (one.words, other.words) == ("one", "another")
    assert one.shape == other.shape
    assert b"one" not in one.shape


@pytest.mark.parametrize(
    ("messages", "members"),
    [
        ([{"role": "system", "content": "Be long."}, {"role": "user", "content": "one"}], {}),
        (
            [
                {"role": "user", "content": "x"},
                {"role": "assistant", "content": "y"},
                {"role": "user", "content": "one"},
            ],
            {},
        ),
        ([{"role": "user", "content": "one", "name": "n"}], {}),
        ([{"role": "user", "content": [{"type": "text", "text": "one"}]}], {}),
        ([{"role": "user", "content": "one"}], {"top_p": 0.5}),
        ([{"role": "user", "content": "one"}], {"unheard_of": 1}),
    ],
)
def test_a_shape_differs_with_everything_but_the_words(messages: list[dict[str, Any]], members: dict[str, Any]):
    assert asking(*messages, **members).shape != asking({"role": "user", "content": "one"}).shape


def test_what_cannot_change_the_answer_is_in_no_shape():
    plain = asking({"role": "user", "content": "one"})
    assert asking({"role": "user", "content": "one"}, stream=True, user="u", metadata={"a": "b"}).shape == plain.shape


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}],
        [{"role": "user", "content": None}],
        [{"role": "user", "content": ""}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}],
        [{"role": "user", "content": ["bare"]}],
    ],
)
def test_a_question_without_a_users_last_words_has_none(messages: list[dict[str, Any]]):
    assert (asking(*messages).words, asking(*messages).barred) == ("", "no_words")


def test_of_several_parts_the_last_text_is_the_words_and_the_others_stay():
    image = {"type": "image_url", "image_url": {"url": "data:,x"}}
    one = asking({"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}, image]})
    other = asking({"role": "user", "content": [{"type": "text", "text": "c"}, {"type": "text", "text": "b"}, image]})
    assert one.words == other.words == "b"
    assert one.shape != other.shape


def answer_saying(**message: Any) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": "yes"} | message, "finish_reason": "stop"}
    return orjson.dumps({"choices": [choice]})


def test_the_text_of_a_plain_answer_can_be_had():
    assert ChatCompletions().said(Form.WHOLE, answer_saying()) == "yes"


@pytest.mark.parametrize(
    "body",
    [
        answer_saying(tool_calls=[{"id": "1"}]),
        answer_saying(refusal="no"),
        answer_saying(content=None),
        answer_saying(content=""),
        answer_saying().replace(b'"stop"', b'"length"'),
        b'{"choices":[]}',
        b"{}",
    ],
)
def test_an_answer_that_is_more_or_less_than_text_has_none(body: bytes):
    assert ChatCompletions().said(Form.WHOLE, body) is None


def test_an_answer_kept_as_frames_has_none():
    assert ChatCompletions().said(Form.FRAMES, b"data: {}\n\n") is None
