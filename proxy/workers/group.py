"""What the workers of one port have in common. The parent makes it before the first of them; each gets a copy."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

RELOADING: Final = "reloading"
ANNOUNCED: Final = "announced"


@dataclass(frozen=True, slots=True)
class Group:
    """directory: for sockets and snapshots, readable by this user only. secret: the installation's, which one process
    would make for itself. began: when the first of them did, in seconds."""

    directory: Path
    secret: bytes
    began: float
    parent: int
    """The parent's process id."""

    def first(self) -> bool:
        """Whether this is the one that speaks for all at the start; True once."""
        try:
            (self.directory / ANNOUNCED).touch(exist_ok=False)
        except OSError:
            return False
        return True

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """Said by the parent: who is asked to stop meanwhile is being replaced."""
        marked = self.directory / RELOADING
        marked.touch()
        try:
            yield
        finally:
            marked.unlink(missing_ok=True)

    def alone(self) -> bool:
        """A worker that is asked to stop now is being replaced, and the others go on."""
        return (self.directory / RELOADING).exists() and not self.orphaned()

    def orphaned(self) -> bool:
        """The parent is gone, and nobody else will clear up."""
        return os.getppid() != self.parent

    def when_orphaned(self, end: Callable[[], None]) -> None:
        """For a worker: call this when the parent is gone, however it went. Nobody would restart the worker, or stop
        it."""
        parent = multiprocessing.parent_process()
        if parent is not None:
            asyncio.get_running_loop().add_reader(parent.sentinel, self._orphaned, parent.sentinel, end)

    def _orphaned(self, sentinel: int, end: Callable[[], None]) -> None:
        asyncio.get_running_loop().remove_reader(sentinel)
        end()

    def clear(self) -> None:
        """Nothing of it stays."""
        shutil.rmtree(self.directory, ignore_errors=True)
