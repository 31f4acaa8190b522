"""The decoder: the SDK's events, the input's bytes."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai._streaming import SSEDecoder as SdkDecoder

from proxy.streaming.sse import Event, SseDecoder
from tests.recordings import RECORDINGS


def decoder(**limits: int) -> SseDecoder:
    return SseDecoder(**{"max_line_bytes": 1 << 20, "max_event_bytes": 1 << 20, **limits})


def decode(*chunks: bytes) -> list[Event]:
    fresh = decoder()
    return [event for chunk in chunks for event in fresh.decode(chunk)] + fresh.flush()


def said(events: list[Event]) -> list[tuple[bytes, bytes]]:
    return [(event.name, event.data) for event in events if event.data is not None]


SAMPLE = (
    '\ufeffdata: {"a":"é👋\u2028"}\r\n\r\n'
    ": keep-alive\n\n"
    "event: note\rdata:no space\rdata:  two\r\r"
    "data: x\n\r\n"
    "\n\n"
    "data\n\n"
    "id: 1\nretry: 5\ndata: last\r\n\n"
    "data: [DONE]\n\n"
).encode()
SAID = [
    (b"", '{"a":"é👋\u2028"}'.encode()),
    (b"note", b"no space\n two"),
    (b"", b"x"),
    (b"", b""),
    (b"", b"last"),
    (b"", b"[DONE]"),
]


def test_a_stream_is_read_alike_however_it_is_cut():
    for first in range(len(SAMPLE) + 1):
        for second in range(first, len(SAMPLE) + 1):
            events = decode(SAMPLE[:first], SAMPLE[first:second], SAMPLE[second:])
            assert said(events) == SAID
            assert b"".join(event.raw for event in events) == SAMPLE


def test_a_stream_is_read_alike_byte_by_byte():
    events = decode(*(SAMPLE[at : at + 1] for at in range(len(SAMPLE))))
    assert said(events) == SAID
    assert b"".join(event.raw for event in events) == SAMPLE


@given(
    st.lists(
        st.sampled_from([b"data: {}", b"data:1", b": c", b"event: e", b"\n", b"\r", b"\r\n", b"\n\n", b"x", b" "])
    ),
    st.data(),
)
def test_any_bytes_are_read_as_the_sdk_reads_them(parts, data):
    stream = b"".join(parts)
    cut = data.draw(st.integers(0, len(stream)))
    events = decode(stream[:cut], stream[cut:])
    assert b"".join(event.raw for event in events) == stream
    sdk = [(event.event or "", event.data) for event in SdkDecoder().iter_bytes(iter([stream, b""]))]
    # The SDK gives an event of its own for a block without data; the standard and we do not.
    ours = [(event.name.decode(), (event.data or b"").decode()) for event in events if not event.torn]
    assert [event for event in ours if event[0] or event[1]] == [event for event in sdk if event[0] or event[1]]


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda recording: f"{recording.provider}-{recording.name}")
def test_each_recorded_frame_is_one_event(recording):
    fresh = decoder()
    for frame in recording.frames:
        assert [event.raw for event in fresh.decode(frame)] == [frame]
    assert [event.raw for event in decoder().decode(b"".join(recording.frames))] == recording.frames


@pytest.mark.parametrize("ending", [b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\r", b"\r\n\r"])
def test_a_comment_is_given_at_its_blank_line(ending):
    (event,) = decoder().decode(b": keep-alive" + ending)
    assert event == Event(b": keep-alive" + ending, None)


def test_the_newline_of_a_cut_blank_line_opens_the_next_block():
    fresh = decoder()
    assert fresh.decode(b"data: a\r\n\r") == [Event(b"data: a\r\n\r", b"a")]
    assert fresh.decode(b"\ndata: b\n\n") == [Event(b"\ndata: b\n\n", b"b")]


def test_what_has_no_closing_blank_line_comes_from_flush_marked_as_torn():
    fresh = decoder()
    assert fresh.decode(b"data: a\n\ndata: [DONE]\n") == [Event(b"data: a\n\n", b"a")]
    assert fresh.flush() == [Event(b"data: [DONE]\n", b"[DONE]", torn=True)]
    assert fresh.flush() == []


def test_a_byte_order_mark_is_one_only_at_the_start():
    (first, second) = decode(b"\xef\xbb\xbfdata: a\n\n\xef\xbb\xbfdata: b\n\n")
    assert (first.data, second.data) == (b"a", None)


def test_a_long_line_in_small_chunks_is_read_whole():
    line = b"data: " + b"a" * (1 << 18) + b"\n\n"
    events = decode(*(line[at : at + 1000] for at in range(0, len(line), 1000)))
    assert [event.raw for event in events] == [line]


@pytest.mark.parametrize("limits", [{"max_line_bytes": 100}, {"max_event_bytes": 100}])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_over_a_limit_bytes_still_pass_and_nothing_more_is_read(limits, size):
    stream = b"data: ok\n\n" + b"data: " + b"a" * 200 + b"\n\ndata: [DONE]\n\n"
    fresh = decoder(**limits)
    events = [event for at in range(0, len(stream), size) for event in fresh.decode(stream[at : at + size])]
    events += fresh.flush()
    assert b"".join(event.raw for event in events) == stream
    assert fresh.lost
    assert said(events) == [(b"", b"ok")]
    assert all(event.torn for event in events[1:])


def test_an_event_at_the_limit_is_read():
    events = decoder(max_event_bytes=20).decode(b"data: 12345678901\n\n: c\ndata: 123456789\n\n"[:19])
    assert [event.data for event in events] == [b"12345678901"]


@given(
    st.lists(
        st.sampled_from(
            [b"data: {}", b"data:1", b": c", b"event: e", b"\n", b"\r", b"\n\n", b"\n\n", b"x", b"\xef\xbb\xbf"]
        )
    ),
    st.lists(st.integers(0, 100)),
)
def test_events_given_as_lines_are_those_that_are_decoded(parts, cuts):
    stream = b"".join(parts)
    edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    by_line, decoding = decoder(), decoder()
    for start, end in pairwise(edges):
        chunk = stream[start:end]
        taken = by_line.lines(chunk)
        given = by_line.decode(chunk) if taken is None else read(by_line, taken)
        assert given == decoding.decode(chunk)
    assert by_line.flush() == decoding.flush()


def read(fresh: SseDecoder, lines: list[bytes]) -> list[Event]:
    found: list[Event] = []
    at = 0
    while at < len(lines):
        event, at = fresh.event(lines, at)
        found.append(event)
    return found


@pytest.mark.parametrize(
    "chunk",
    [b"data: a", b"data: a\r\n\r\n", b"data: a\n\n\n", b"\xef\xbb\xbfdata: a\n\n", b"data: " + b"a" * 200 + b"\n\n"],
)
def test_what_is_not_simple_is_left_for_decode(chunk):
    fresh = decoder(max_line_bytes=100)
    assert fresh.lines(chunk) is None
    assert b"".join(event.raw for event in fresh.decode(chunk) + fresh.flush()) == chunk


def test_a_long_unfinished_event_is_not_copied_with_every_chunk():
    fresh = decoder()
    assert fresh.lines(b"data: a\n\n" + b"data: " + b"a" * 5000) == [b"data: a", b""]
    assert fresh.lines(b"a\n\n") is None
    assert [event.data for event in fresh.decode(b"a\n\n")] == [b"a" * 5001]
