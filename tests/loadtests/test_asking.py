"""Streams are read as they come, cut wherever the network likes."""

from __future__ import annotations

import pytest
from asking import Sample, StreamReading, echo_in
from events_of_streams import Events, delta_of
from traffic import Asked

STREAM = (
    b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\r\n\r\n'
    b": a comment\n\n"
    b'data: {"choices":[{"delta":{"content":"[q=0123456789abcdef k=fedcba9876543210 n=12] caf\xc3\xa9"}}]}\n\n'
    b'data: {"choices":[],"usage":{"total_tokens":3}}\n\ndata: [DONE]\n\n'
)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 10_000])
def test_events_are_the_same_however_they_are_cut(size):
    events = Events()
    found = [data for at in range(0, len(STREAM), size) for data in events.feed(STREAM[at : at + size])]
    assert len(found) == 4
    assert found[-1] == b"[DONE]"
    assert delta_of(found[1]).endswith("café")


def reading():
    return StreamReading(Sample(Asked(0, "plain", "why?", "why", True, 0), 0.0, 0.0))


def test_the_first_token_is_the_first_text_not_the_first_frame():
    stream = reading()
    for at, frame in enumerate(STREAM.replace(b"\r", b"").split(b"\n\n"), start=1):
        stream.take(frame + b"\n\n", float(at))
    sample = stream.sample
    assert (sample.tokens, sample.first) == (1, 3.0)
    assert (sample.echo.question, sample.echo.call) == ("0123456789abcdef", 12)
    assert stream.done


def test_gaps_are_between_tokens():
    stream = reading()
    for at in (1.0, 1.5, 3.0):
        stream.take(b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n', at)
    assert stream.sample.gaps == [0.5, 1.5]
    assert stream.sample.first == 1.0


def test_an_echo_that_comes_in_pieces_is_put_together():
    stream = reading()
    for piece in ("[q=0123456789abcdef k=fedc", "ba9876543210 n=1", "2] text"):
        stream.take(b'data: {"choices":[{"delta":{"content":"%s"}}]}\n\n' % piece.encode(), 1.0)
    assert stream.sample.echo == echo_in("[q=0123456789abcdef k=fedcba9876543210 n=12]")


def test_an_error_within_a_stream_is_a_failure():
    stream = reading()
    stream.take(b'data: {"error":{"message":"broke"}}\n\n', 1.0)
    assert stream.sample.failure == "error"


def test_a_text_without_an_echo_has_none():
    assert echo_in("[q=12 k=34 n=5]") is None
