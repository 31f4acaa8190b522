"""What workers leave of their figures for those who come after, as files in the group's directory.

A worker writes its own file, before anybody is told what is in it: what was ever shown outlives it. The parent adds the
files of workers that are gone to `ended.json`, so that they do not pile up. Whoever reads may come at any moment of
that, hence the order: an addition is written before the file is removed, and read after the files.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

from proxy.telemetry.merging import Family, merged, plain, unplain

logger = logging.getLogger("askonce.workers")

ENDED: Final = "ended"

REMEMBERED: Final = 1000
"""Names of workers that were added; one that is forgotten has been gone for as many restarts."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What was read. alone: by worker, of those that were not added; they may live. ended: the sums of all others."""

    alone: dict[str, list[Family]] = field(default_factory=dict)
    ended: list[Family] = field(default_factory=list)
    added: tuple[str, ...] = ()
    """Workers in `ended`, the latest last."""


class Snapshots:
    """The files. All of it waits for the disk."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._latest = -1

    def write(self, name: str, families: list[Family], number: int) -> None:
        """This worker's. One with a lower number than before comes too late and is dropped. Raises `OSError`."""
        data = orjson.dumps(plain(families))
        with self._lock:
            if number > self._latest:
                self._latest = number
                _replace(self._directory / f"{name}.json", data)

    def read(self) -> Kept:
        """All. What cannot be read is left out."""
        alone = {path.stem: said for path in self._files() if (said := _read(path)) is not None}
        ended = _read(self._directory / f"{ENDED}.json") or {"added": [], "families": []}
        added = tuple(ended["added"])
        return Kept(
            {name: unplain(said) for name, said in alone.items() if name not in added},
            unplain(ended["families"]),
            added,
        )

    def fold(self, living: Collection[int]) -> None:
        """Add those of workers whose process is not among these. By the parent only. Raises `OSError`."""
        gone = [path for path in self._directory.glob("*-*.*") if int(path.stem.partition("-")[0]) not in living]
        if not gone:
            return
        kept = self.read()
        names = [name for name in dict.fromkeys(path.stem for path in gone) if name in kept.alone]
        ended = merged([], [kept.ended, *(kept.alone[name] for name in names)])
        data = orjson.dumps({"added": [*kept.added, *names][-REMEMBERED:], "families": plain(ended)})
        _replace(self._directory / f"{ENDED}.json", data)
        for path in gone:
            path.unlink(missing_ok=True)

    def _files(self) -> Iterator[Path]:
        return self._directory.glob("*-*.json")


def _replace(path: Path, data: bytes) -> None:
    """Whole or not at all."""
    draft = path.with_suffix(".draft")
    draft.write_bytes(data)
    draft.replace(path)


def _read(path: Path) -> Any:
    with contextlib.suppress(FileNotFoundError):
        try:
            return orjson.loads(path.read_bytes())
        except (OSError, orjson.JSONDecodeError) as failure:
            if not isinstance(failure, FileNotFoundError):
                logger.warning("figures of a worker cannot be read and are left out: %s", failure)
    return None
