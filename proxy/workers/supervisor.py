"""Several processes on one port: the parent binds it once and keeps uvicorn's supervisor of workers.

They all listen on the one socket they inherit, not each on its own (SO_REUSEPORT): what waits to be accepted belongs to
nobody, and the death of a worker resets none of it. uvicorn restarts who died, and on SIGHUP all, one after another.
What is added here: the parent lets go of the socket when all are to stop (else callers would wait in a queue that
nobody empties), a second signal reaches the workers, and what ended workers have counted is added up.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, cast

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess
from uvicorn.supervisors.multiprocess import SIGNALS

from proxy.drain import STOPS, Signals
from proxy.errors import SettingsError
from proxy.workers.group import Group
from proxy.workers.snapshots import Snapshots

logger = logging.getLogger("askonce.workers")

HEALTH_S: Final = 30
"""A worker that does not say for so long that it lives is killed and replaced. It can only say so once it has imported
the program, which takes seconds where several begin at once on few cores."""

BACKLOG: Final = 2048
"""Connections that may wait to be accepted; uvicorn's own number."""

LONGEST: Final = 80
"""Bytes of the group's directory: a socket's path in it has to stay below the 104 that some systems allow."""

AGAIN: Final[Mapping[int, int]] = {signal.SIGTERM: signal.SIGUSR1, signal.SIGINT: signal.SIGUSR2}
"""How the parent tells a worker that it was asked once more. Under the same signal it could not be told apart from the
first, which who stops a whole group of processes sends to each (systemd, a terminal), and the parent does too."""

JOIN_S: Final = 0.1

Made = tuple[Any, type[Any]]
"""The application, and what uvicorn calls for each connection."""


def signals(group: Group) -> Signals:
    """What they mean in a worker."""
    return Signals(STOPS, {again: first for first, again in AGAIN.items()}, group.alone)


class WorkerConfig(uvicorn.Config):
    """uvicorn's configuration, which makes the application in the worker: only what makes it is sent there.

    prepare: called first of all in a worker. make: raises `errors.SettingsError`.
    """

    def __init__(self, prepare: Callable[[], None], make: Callable[[], Made], **options: Any) -> None:
        self._prepare = prepare
        self._make = make
        super().__init__(cast("Any", None), timeout_worker_healthcheck=HEALTH_S, **options)

    def configure_logging(self) -> None:
        if multiprocessing.parent_process() is not None:
            self._prepare()
            # How each of them begins and ends is the parent's to say.
            logging.getLogger("uvicorn.error").setLevel(logging.WARNING)

    def load(self) -> None:
        try:
            self.app, self.http = self._make()
        except SettingsError as error:
            # uvicorn's word for what would fail the same way again.
            logger.error("%s", error.message)  # noqa: TRY400 - it is a sentence for people
            sys.exit(STARTUP_FAILURE)
        super().load()


class Supervisor(Multiprocess):
    """The parent."""

    def __init__(self, config: WorkerConfig, sockets: list[socket.socket], group: Group) -> None:
        super().__init__(config, sockets)
        self._group = group
        self._snapshots = Snapshots(group.directory)

    def keep_subprocess_alive(self) -> None:
        super().keep_subprocess_alive()
        try:
            self._snapshots.fold({process.pid for process in self.processes if process.pid is not None})
        except OSError as failure:
            logger.warning("what ended workers have counted cannot be added up: %s", failure)

    def handle_hup(self) -> None:
        with self._group.reloading():
            super().handle_hup()

    def handle_ttou(self) -> None:
        with self._group.reloading():
            super().handle_ttou()

    def terminate_all(self) -> None:
        for each in self.sockets:
            each.close()
        super().terminate_all()

    def handle_signals(self) -> None:
        # After one that ends it the rest are left: they may be the second word.
        while self.signal_queue and not self.should_exit.is_set():
            handle = getattr(self, f"handle_{SIGNALS[self.signal_queue.pop(0)].lower()}", None)
            if handle is not None:
                handle()

    def join_all(self) -> None:
        for process in self.processes:
            while process.process.is_alive():
                self._pass_on()
                process.process.join(JOIN_S)

    def _pass_on(self) -> None:
        while self.signal_queue:
            again = AGAIN.get(self.signal_queue.pop(0))
            for process in self.processes:
                if again is not None and process.pid is not None and process.process.is_alive():
                    os.kill(process.pid, again)

    @property
    def failed(self) -> bool:
        """A worker could not begin."""
        return any(process.exitcode == STARTUP_FAILURE for process in self.processes)


def supervise(
    config: Callable[[Group, int], WorkerConfig], *, host: str, port: int, secret: bytes, clock: Callable[[], float]
) -> None:
    """Run workers until stopped. config: for this group, on this port. Raises `errors.SettingsError` where there is no
    place for their sockets, and `SystemExit` where the port cannot be had or a worker cannot begin."""
    group = Group(_directory(), secret, clock(), os.getpid())
    try:
        sockets = _bound_or_exit(host, port)
        supervisor = Supervisor(config(group, sockets[0].getsockname()[1]), sockets, group)
        supervisor.run()
    finally:
        group.clear()
    if supervisor.failed:
        sys.exit(STARTUP_FAILURE)


def _bound_or_exit(host: str, port: int) -> list[socket.socket]:
    try:
        return bound(host, port)
    except OSError as failure:
        logger.error("%s", failure)  # noqa: TRY400 - as uvicorn does with one process
        sys.exit(STARTUP_FAILURE)


def bound(host: str, port: int) -> list[socket.socket]:
    """Listening sockets for all addresses of this host, on one port; 0: one that is free. Raises `OSError`."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            # The protocol is said, or asyncio would not turn Nagle's algorithm off.
            each = socket.socket(family, kind, protocol)
            sockets.append(each)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            each.bind((address[0], port, *address[2:]))
            port = each.getsockname()[1]
            each.listen(BACKLOG)
    except OSError:
        for each in sockets:
            each.close()
        raise
    return sockets


def _directory() -> Path:
    try:
        made = Path(tempfile.mkdtemp(prefix="askonce-"))
    except OSError as failure:
        raise SettingsError(
            f"server.workers needs a directory for temporary files, for sockets between the workers: {failure}"
        ) from failure
    if len(os.fsencode(made)) > LONGEST:
        made.rmdir()
        raise SettingsError(
            f"server.workers: sockets between the workers cannot have paths as long as {made}/...: set TMPDIR to a "
            "shorter one, such as /tmp"
        )
    return made
