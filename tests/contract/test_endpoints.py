"""What every endpoint promises (`endpoints.base`)."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from proxy import errors
from proxy.endpoints.base import Endpoint
from proxy.endpoints.chat_completions import ChatCompletions
from proxy.types import Form
from tests.endpoints.answers import compact, payloads
from tests.recordings import OPENAI_TEXT


@dataclass(frozen=True)
class Case:
    """An endpoint with one question and its answer in both forms."""

    endpoint: Endpoint
    asked: dict
    plain: bytes
    frames: list[bytes]


CASES = [
    Case(ChatCompletions(), OPENAI_TEXT.request, compact(OPENAI_TEXT.plain), OPENAI_TEXT.frames),
]
STAMP = b'"id":"new","created":7'


@pytest.fixture(params=CASES, ids=lambda case: case.endpoint.path)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


def test_reading_is_repeatable_and_touches_no_words(case):
    first, second = case.endpoint.read(compact(case.asked)), case.endpoint.read(compact(case.asked))
    assert first == second
    assert first.endpoint == case.endpoint.path
    assert dict(first.members) == case.asked


def test_both_forms_of_a_question_have_one_key(case):
    plain, stream = (case.endpoint.read(compact({**case.asked, "stream": stream})) for stream in (False, True))
    assert (plain.key, plain.stream, stream.stream) == (stream.key, False, True)


def test_an_unknown_member_is_in_the_key(case):
    assert case.endpoint.read(compact({**case.asked, "zz": 1})).key != case.endpoint.read(compact(case.asked)).key


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"model":"a","model":"a"}', b"\xff"])
def test_a_body_that_asks_nothing_is_a_bad_request(case, body):
    with pytest.raises(errors.BadRequest):
        case.endpoint.read(body)


def test_asking_for_usage_keeps_the_question(case):
    asked = case.endpoint.read(case.endpoint.ask_usage(compact({**case.asked, "stream": True})))
    assert asked.include_usage
    assert asked.key == case.endpoint.read(compact(case.asked)).key


def test_no_chunk_makes_a_fold_raise(case):
    fold = case.endpoint.fold(1)
    stream = [b"data: {", b"\xff\xfe\n\n", b"data: null\n\n", b"\r\r", b'data: {"choices":[5]}\n\n', b"", b"data: 1"]
    given = [frame for chunk in stream for frame in fold.feed(chunk)] + fold.flush()
    assert b"".join(frame.raw for frame in given) == b"".join(stream)
    assert not fold.done
    with pytest.raises(errors.Unstorable):
        fold.finish()


def test_both_forms_of_an_answer_are_kept_alike(case):
    fold = case.endpoint.fold(1)
    for frame in case.frames:
        fold.feed(frame)
    streamed, plain = fold.finish(), case.endpoint.whole(case.plain, 1)
    assert fold.done
    assert streamed.form is plain.form is Form.WHOLE
    assert (streamed.model, streamed.usage, streamed.id_prefix) == (plain.model, plain.usage, plain.id_prefix)
    assert streamed.unstorable is plain.unstorable is None


def test_every_delivery_is_stamped(case):
    body = case.endpoint.whole(case.plain, 1).body
    assert STAMP.join(case.endpoint.plain(body)).startswith(b"{" + STAMP + b",")
    stream = STAMP.join(case.endpoint.replay(Form.WHOLE, body, include_usage=True))
    assert all((chunk["id"], chunk["created"]) == ("new", 7) for chunk in payloads(stream))
