"""Lines: nothing their reader does may stop who writes them."""

from __future__ import annotations

import logging
import threading

import pytest

from proxy.telemetry.lines import Lines


def test_a_blocked_reader_stops_nobody_and_what_does_not_fit_is_counted() -> None:
    writing, go_on = threading.Event(), threading.Event()
    out: list[bytes] = []

    def blocked(data: bytes) -> None:
        out.append(data)
        writing.set()
        go_on.wait()

    lines = Lines(blocked, max_waiting=10, gather_s=0)
    lines.open()
    lines.put("first\n")
    writing.wait()
    for number in range(25):
        lines.put(f"{number}\n")
    assert lines.dropped == 15
    go_on.set()
    lines.close()
    assert b"".join(out) == b"first\n" + b"".join(b"%d\n" % number for number in range(10))


def test_closing_gives_up_on_a_reader_that_never_comes_back() -> None:
    never = threading.Event()
    lines = Lines(lambda _: never.wait() and None, close_timeout_s=0.01)  # type: ignore[func-returns-value]
    lines.open()
    lines.put("lost\n")
    lines.close()
    lines.close()
    never.set()


@pytest.mark.parametrize("error", [BrokenPipeError(), ValueError("closed file")])
def test_a_reader_that_has_gone_is_survived(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    tried = threading.Event()

    def broken(_: bytes) -> None:
        tried.set()
        raise error

    lines = Lines(broken, gather_s=0)
    with caplog.at_level(logging.WARNING, "askonce.telemetry"):
        lines.open()
        lines.put("one\n")
        tried.wait()
        lines.close()
    assert lines.dropped == 1
    assert "1 log lines were dropped" in caplog.text


def test_what_is_put_before_opening_is_written_and_it_may_open_again() -> None:
    out: list[bytes] = []
    lines = Lines(out.append)
    lines.put("early\n")
    for _ in range(2):
        lines.open()
        lines.put("late\n")
        lines.close()
    assert b"".join(out) == b"early\nlate\nlate\n"


def test_closing_what_was_never_opened_is_harmless() -> None:
    Lines(lambda _: None).close()
