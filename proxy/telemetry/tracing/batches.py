"""Spans on their way out. A collector that is slow, gone or hangs must not stop the event loop, nor the end of the
process.

In place of the SDK's `BatchSpanProcessor`, which does not tell what it drops, writes a line for each span it drops,
and waits for half a minute at a stop.
"""

from __future__ import annotations

import logging
import re
import threading
from collections import deque

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

logger = logging.getLogger("askonce.tracing")

BATCH = 512
"""Spans sent together: some 300 kB, and as many as the SDK's own."""

GATHER_S = 1.0
"""How long a span waits at most for others to go with it, when nothing blocks."""

EXPORTERS = "opentelemetry.exporter"
"""Whose own lines would repeat with each batch for as long as a collector is gone."""


class Batches(SpanProcessor):
    """Leaves a span and returns; a thread sends what has gathered.

    At most `most` spans wait: what comes on top is dropped and counted. `stop` gives what waits some time to get out.
    """

    def __init__(self, exporter: SpanExporter, *, most: int, batch: int = BATCH, gather_s: float = GATHER_S) -> None:
        self._exporter = exporter
        self._most = most
        self._batch = batch
        self._gather_s = gather_s
        self._waiting: deque[ReadableSpan] = deque()
        self._bell = threading.Event()
        self._stopping = threading.Event()
        self._given_up = False
        self._losing = False
        self._heard = _LastSaid()
        self._thread: threading.Thread | None = None
        self.full = 0
        """Spans dropped because too many waited."""
        self.failed = 0
        """Spans in batches that the collector did not take."""
        self.left = 0
        """Spans that still waited when the stop's time was up."""

    def start(self) -> None:
        """Begin to send."""
        self._heard.begin()
        # A daemon: a collector that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="spans", daemon=True)
        self._thread.start()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Nothing to send yet."""

    def on_end(self, span: ReadableSpan) -> None:
        if len(self._waiting) >= self._most:
            self.full += 1
            return
        self._waiting.append(span)
        if len(self._waiting) >= self._batch and not self._bell.is_set():
            self._bell.set()

    def stop(self, timeout_s: float) -> None:
        """Send what waits, for so long at most. Blocks. More than once is harmless."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._stopping.set()
        self._bell.set()
        thread.join(timeout_s)
        self._given_up = True
        self.left = len(self._waiting)
        # Ends its waits between tries. What it is sending at this moment may hang: its thread is left behind.
        self._exporter.shutdown()
        self._heard.end()
        if self.left:
            logger.warning("%d spans were not sent: the collector is too slow, or gone", self.left)

    def shutdown(self) -> None:
        """`stop` does it, with a bound."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nobody here asks for it."""
        del timeout_millis
        return not self._waiting

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._bell.wait(self._gather_s)
            self._bell.clear()
            self._send_waiting()
        # What came while the last batch was under way.
        self._send_waiting()

    def _send_waiting(self) -> None:
        while self._waiting and not self._given_up:
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._batch))]
            result = self._exporter.export(batch)
            if not self._given_up:
                self._report(len(batch), lost=result is not SpanExportResult.SUCCESS)

    def _report(self, spans: int, *, lost: bool) -> None:
        """One line when it begins to fail, one when that is over."""
        if lost:
            self.failed += spans
        if lost and not self._losing:
            logger.warning("spans are lost, requests go on: %s", self._heard.said or "the collector does not take them")
        elif self._losing and not lost:
            logger.info("spans are sent again; %d were lost", self.failed)
        self._losing = lost


class _LastSaid(logging.Filter):
    """Keeps the last line of the exporter, and lets none through."""

    def __init__(self) -> None:
        super().__init__()
        self.said = ""
        self._hushed = [logging.getLogger(f"{EXPORTERS}.otlp.proto.http.trace_exporter")]

    def filter(self, record: logging.LogRecord) -> bool:
        # An address may have a query, and a query a key.
        self.said = re.sub(r"\?[^\s)]*", "?...", record.getMessage())
        return False

    def begin(self) -> None:
        for each in self._hushed:
            each.addFilter(self)

    def end(self) -> None:
        for each in self._hushed:
            each.removeFilter(self)
