"""Spans on their way out: in batches, never waited for, and those that are lost are counted."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from proxy.telemetry.tracing.batches import Batches

LONG_S = 3600


class Exporter(SpanExporter):
    """Takes batches; says what it is told to say."""

    def __init__(self, *results: SpanExportResult) -> None:
        self.batches: list[list[Any]] = []
        self.results = list(results)
        self.began = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()
        self.shut = False

    def export(self, spans: Sequence[Any]) -> SpanExportResult:
        self.began.set()
        self.go_on.wait()
        self.batches.append(list(spans))
        return self.results.pop(0) if self.results else SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self.shut = True


@contextmanager
def sending(exporter: Exporter, **options: Any) -> Iterator[Batches]:
    batches = Batches(exporter, **{"most": 100, "gather_s": LONG_S} | options)
    batches.start()
    try:
        yield batches
    finally:
        exporter.go_on.set()
        batches.stop(60)


def ended(batches: Batches, *spans: Any) -> None:
    for span in spans:
        batches.on_end(span)


def test_a_full_batch_goes_at_once() -> None:
    exporter = Exporter()
    with sending(exporter, batch=2) as batches:
        ended(batches, 1, 2)
        assert exporter.began.wait(60)
    assert exporter.batches == [[1, 2]]


def test_what_is_no_full_batch_goes_after_a_while() -> None:
    exporter = Exporter()
    with sending(exporter, gather_s=0.001) as batches:
        ended(batches, 1)
        assert exporter.began.wait(60)
    assert exporter.batches == [[1]]


def test_a_stop_sends_all_that_waits_in_order_and_lets_go_of_the_exporter() -> None:
    exporter = Exporter()
    with sending(exporter, batch=2) as batches:
        exporter.go_on.clear()
        ended(batches, *range(5))
        assert exporter.began.wait(60)
        exporter.go_on.set()
    assert [span for batch in exporter.batches for span in batch] == [0, 1, 2, 3, 4]
    assert max(map(len, exporter.batches)) == 2
    assert exporter.shut
    assert (batches.full, batches.failed, batches.left) == (0, 0, 0)


def test_what_comes_while_too_many_wait_is_dropped_and_counted() -> None:
    exporter = Exporter()
    with sending(exporter, batch=2, most=3) as batches:
        exporter.go_on.clear()
        ended(batches, 1, 2)
        assert exporter.began.wait(60)
        ended(batches, 3, 4, 5, 6, 7)
    assert batches.full == 2
    assert exporter.batches == [[1, 2], [3, 4], [5]]


def test_a_batch_that_is_not_taken_is_counted_and_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    lost = SpanExportResult.FAILURE
    exporter = Exporter(lost, lost, SpanExportResult.SUCCESS, SpanExportResult.SUCCESS)
    with sending(exporter, batch=2) as batches:
        ended(batches, *range(8))
    assert batches.failed == 4
    said = [record.getMessage() for record in caplog.records if record.name == "askonce.tracing"]
    assert said == [
        "spans are lost, requests go on: the collector does not take them",
        "spans are sent again; 4 were lost",
    ]


def test_the_exporters_own_lines_are_kept_back_and_the_last_is_told(caplog: pytest.LogCaptureFixture) -> None:
    its_log = logging.getLogger("opentelemetry.exporter.otlp.proto.http.trace_exporter")

    class Talking(Exporter):
        def export(self, spans: Sequence[Any]) -> SpanExportResult:
            its_log.error("refused (url: /v1/traces?key=secret)")
            return super().export(spans)

    with sending(Talking(SpanExportResult.FAILURE)) as batches:
        ended(batches, 1)
    its_log.warning("after the end")
    said = [record.getMessage() for record in caplog.records]
    assert said == ["spans are lost, requests go on: refused (url: /v1/traces?...)", "after the end"]


def test_a_stop_leaves_a_collector_that_hangs_behind(caplog: pytest.LogCaptureFixture) -> None:
    exporter = Exporter()
    with sending(exporter, batch=1) as batches:
        exporter.go_on.clear()
        ended(batches, 1, 2, 3)
        assert exporter.began.wait(60)
        batches.stop(0.01)
        assert exporter.shut
        assert batches.left == 2
        assert "2 spans were not sent" in caplog.text


def test_a_stop_before_the_start_and_a_second_one_are_harmless() -> None:
    exporter = Exporter()
    batches = Batches(exporter, most=1)
    batches.stop(60)
    assert not exporter.shut
    with sending(exporter) as batches:
        batches.stop(60)
