"""What workers have in common."""

from __future__ import annotations

import os
from pathlib import Path

from proxy.workers.group import Group


def group(directory: Path, parent: int | None = None) -> Group:
    return Group(directory, b"s" * 32, 1.0, os.getppid() if parent is None else parent)


def test_one_speaks_for_all(directory: Path) -> None:
    assert [group(directory).first() for _ in range(3)] == [True, False, False]


def test_only_during_a_reload_a_worker_ends_alone(directory: Path) -> None:
    one = group(directory)
    assert not one.alone()
    with one.reloading():
        assert one.alone()
        assert not group(directory, parent=1).alone() or os.getppid() == 1  # the parent is another by now: it is gone
    assert not one.alone()


def test_a_worker_whose_parent_is_another_by_now_is_an_orphan(directory: Path) -> None:
    assert not group(directory).orphaned()
    assert group(directory, parent=os.getpid()).orphaned()


def test_nothing_of_it_stays(directory: Path) -> None:
    inner = directory / "group"
    inner.mkdir()
    (inner / "1-a.json").touch()
    one = group(inner)
    one.clear()
    one.clear()
    assert not inner.exists()
