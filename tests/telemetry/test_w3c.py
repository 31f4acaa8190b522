"""W3C Trace Context: what is taken for a parent, and what is sent on."""

from __future__ import annotations

import pytest

from proxy.telemetry.tracing.w3c import Parent, coming_from, parent_of, traceparent

TRACE, SPAN = b"4bf92f3577b34da6a3ce929d0e0e4736", b"00f067aa0ba902b7"
VALUE = b"00-%b-%b-01" % (TRACE, SPAN)


def test_a_parent_is_read_and_written_as_it_was() -> None:
    parent = parent_of([(b"host", b"x"), (b"traceparent", VALUE)])
    assert parent == Parent(int(TRACE, 16), int(SPAN, 16), 1)
    assert traceparent(*parent) == VALUE


def test_white_space_round_it_does_not_matter() -> None:
    assert parent_of([(b"traceparent", b" \t" + VALUE + b" ")]) is not None


def test_a_later_version_may_say_more() -> None:
    assert parent_of([(b"traceparent", b"01" + VALUE[2:] + b"-more")]) is not None


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"00",
        VALUE + b"-more",
        VALUE[:-1],
        VALUE.upper(),
        b"ff" + VALUE[2:],
        b"01" + VALUE[2:] + b"more",
        b"00-%b-%b-01" % (b"0" * 32, SPAN),
        b"00-%b-%b-01" % (TRACE, b"0" * 16),
        b"00-%b-%b-01" % (TRACE[:-1], SPAN),
        VALUE + b"\n",
    ],
)
def test_what_is_no_traceparent_is_no_parent(value: bytes) -> None:
    assert parent_of([(b"traceparent", value)]) is None


def test_of_two_none_is_believed() -> None:
    assert parent_of([(b"traceparent", VALUE), (b"traceparent", VALUE)]) is None


def test_without_one_there_is_none() -> None:
    assert parent_of([(b"tracestate", b"a=1")]) is None


FIELDS = ((b"a", b"1"), (b"traceparent", VALUE), (b"tracestate", b"v=1"), (b"b", b"2"))


def test_in_a_trace_that_goes_on_what_others_say_of_it_stays() -> None:
    sent = coming_from(FIELDS, b"new", continued=True)
    assert sent == ((b"a", b"1"), (b"tracestate", b"v=1"), (b"b", b"2"), (b"traceparent", b"new"))


def test_in_a_trace_that_begins_here_it_does_not() -> None:
    assert coming_from(FIELDS, b"new", continued=False) == ((b"a", b"1"), (b"b", b"2"), (b"traceparent", b"new"))
