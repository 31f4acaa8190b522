"""How a process ends without dropping a request: first it says so, then it closes.

Asked to stop, it goes on serving for a while (`server.shutdown_delay`). `/readyz` says `draining`, and every answer
closes its connection, so that whoever balances the load takes the next request elsewhere by itself. Only then is the
server told to stop: nothing listens any more, and what is in the air has `server.drain_timeout`.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import Final, Protocol

STOPS: Final = (signal.SIGTERM, signal.SIGINT)

LAST_WORD_S: Final = 0.1
"""When the server has stopped listening, an idle connection stays for so long: a request may be on its way. uvicorn
rests for as long."""


@dataclass(frozen=True, slots=True)
class Signals:
    """What the signals of a process mean while it serves."""

    begin: Collection[int] = STOPS
    """To stop."""
    hurry: Mapping[int, int] = field(default_factory=lambda: {each: each for each in STOPS})
    """Once asked to stop: not to wait any longer. To the server each counts as the one it names."""
    alone: Callable[[], bool] = lambda: False
    """Only this process ends, and others go on with the same listening socket."""


class Connection(Protocol):
    """A client's connection."""

    def close_after_answer(self) -> None:
        """What is being answered is the last; where nothing is, what is asked next."""


class Drain:
    """The end of one process. To be called from the event loop's thread only."""

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._stop: Callable[[int], None] = _nobody
        self._connections: Collection[Connection] = ()
        self._waiting: asyncio.TimerHandle | None = None
        self.closing = False
        """Each connection's next answer is its last."""
        self.announced = False
        """Nobody should send anything here any more."""
        self.linger_s = LAST_WORD_S
        """How long idle connections stay when nothing listens any more."""

    def watch(self, connections: Collection[Connection]) -> None:
        """These are all there are, at any time."""
        self._connections = connections

    def on_signals(self, signals: Signals) -> None:
        """Take the signals over from the server that runs in this loop, which handles them by now."""
        handlers = {int(each): signal.getsignal(each) for each in STOPS}
        loop = asyncio.get_running_loop()

        def stop(number: int) -> None:
            handler = handlers[number]
            if callable(handler):
                handler(number, None)

        def handle(number: int, _frame: FrameType | None) -> None:
            loop.call_soon_threadsafe(self._signalled, number, signals)

        self._stop = stop
        for each in {*signals.begin, *signals.hurry}:
            signal.signal(each, handle)

    def _signalled(self, number: int, signals: Signals) -> None:
        if number in signals.begin and not self.closing:
            self.begin(number, alone=signals.alone())
        elif number in signals.hurry:
            self._end(signals.hurry[number])

    def begin(self, number: int = signal.SIGTERM, *, alone: bool = False) -> None:
        """It is to stop, as if by this signal; said again it is nothing new. alone: it is not announced, because others
        listen here; who has a connection to this process is given the same time to leave it."""
        if self.closing:
            return
        self.closing = True
        self.announced = not alone
        for connection in list(self._connections):
            connection.close_after_answer()
        if alone:
            self.linger_s = max(LAST_WORD_S, self._delay_s)
        if self.announced and self._delay_s:
            self._waiting = asyncio.get_running_loop().call_later(self._delay_s, self._end, number)
        else:
            self._end(number)

    def _end(self, number: int) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
        self._stop(number)


def _nobody(_number: int) -> None:
    """Whoever runs the loop ends it."""
