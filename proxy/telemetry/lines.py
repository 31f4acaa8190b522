"""Lines on their way out. A reader that stops reading (a full pipe, a stuck disk) must never stop the event loop."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

logger = logging.getLogger("askonce.telemetry")


class Lines:
    """`put` leaves a line and returns; a thread writes what has gathered, in order, in one piece.

    `write` takes whole lines in UTF-8 and may block. At most `max_waiting` lines wait for it: what comes on top is
    dropped and counted. A line waits `gather_s` at most when nothing blocks. `close` gives what waits
    `close_timeout_s` to get out.
    """

    def __init__(
        self,
        write: Callable[[bytes], None],
        *,
        max_waiting: int = 65536,
        gather_s: float = 0.05,
        close_timeout_s: float = 2.0,
    ) -> None:
        self._write = write
        self._max_waiting = max_waiting
        self._gather_s = gather_s
        self._close_timeout_s = close_timeout_s
        self._waiting: deque[str] = deque()
        self._rung = False
        self._bell = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._reported = 0
        self.dropped = 0
        """Lines that were not written: no room, or `write` failed."""

    def open(self) -> None:
        """Begin to write. What was put before is kept for it."""
        self._closing.clear()
        # A daemon: a blocked write must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="lines", daemon=True)
        self._thread.start()

    def put(self, line: str) -> None:
        """A line, with its end."""
        if len(self._waiting) >= self._max_waiting:
            self.dropped += 1
            return
        self._waiting.append(line)
        if not self._rung:
            self._rung = True
            self._bell.set()

    def close(self) -> None:
        """Write what waits, and stop. More than one call is harmless."""
        if self._thread is None:
            return
        self._closing.set()
        self._bell.set()
        self._thread.join(self._close_timeout_s)
        self._thread = None

    def _run(self) -> None:
        while not self._closing.is_set():
            self._bell.wait()
            self._bell.clear()
            self._closing.wait(self._gather_s)
            self._write_waiting()
        # What was put while the last write was under way.
        self._write_waiting()

    def _write_waiting(self) -> None:
        # Before taking them: whoever puts one later rings again.
        self._rung = False
        lines = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if not lines:
            return
        try:
            self._write("".join(lines).encode())
        except (OSError, ValueError):
            # The reader has gone (a broken pipe, a closed file). Serving goes on.
            self.dropped += len(lines)
        self._report()

    def _report(self) -> None:
        lost = self.dropped - self._reported
        if lost:
            self._reported += lost
            logger.warning("%d log lines were dropped: their reader is too slow, or gone", lost)
