"""What workers leave behind: nothing is lost and nothing counts twice, whenever somebody reads."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from proxy.telemetry.merging import Family, merged
from proxy.workers.snapshots import REMEMBERED, Snapshots


def served(number: float) -> list[Family]:
    return [Family("askonce_requests", "Served.", "counter", {("askonce_requests_total", ()): number})]


def total(snapshots: Snapshots) -> float:
    """As somebody sums it up who reaches no worker."""
    kept = snapshots.read()
    families = merged([], [kept.ended, *kept.alone.values()])
    return sum(value for family in families for value in family.samples.values())


def test_what_is_written_last_counts(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path)
    snapshots.write("1-a", served(1), 0)
    snapshots.write("1-a", served(5), 2)
    snapshots.write("1-a", served(3), 1)  # a thread that was late
    assert total(snapshots) == 5


def test_ended_workers_are_added_up_and_their_files_are_gone(tmp_path: Path) -> None:
    parent = Snapshots(tmp_path)
    for number, name in enumerate(("1-a", "2-b", "3-c")):
        Snapshots(tmp_path).write(name, served(10**number), 0)
        (tmp_path / f"{name}.sock").touch()
    (tmp_path / "1-a.draft").write_text("half of it")
    parent.fold({2})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2-b.json", "2-b.sock", "ended.json"]
    kept = parent.read()
    assert set(kept.alone) == {"2-b"}
    assert kept.added == ("1-a", "3-c")
    assert total(parent) == 111
    parent.fold(set())
    assert total(parent) == 111


def test_a_file_that_is_added_and_not_removed_yet_counts_once(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path)
    snapshots.write("1-a", served(7), 0)
    left = (tmp_path / "1-a.json").read_bytes()
    snapshots.fold(set())
    (tmp_path / "1-a.json").write_bytes(left)
    assert total(snapshots) == 7
    snapshots.fold(set())
    assert total(snapshots) == 7


def test_whoever_reads_between_the_two_steps_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshots, seen = Snapshots(tmp_path), []
    snapshots.write("1-a", served(7), 0)
    unlink, replace = Path.unlink, Path.replace

    def looking(step):
        def act(path, *arguments, **options):
            seen.append(total(Snapshots(tmp_path)))
            step(path, *arguments, **options)
            seen.append(total(Snapshots(tmp_path)))

        return act

    monkeypatch.setattr(Path, "unlink", looking(unlink))
    monkeypatch.setattr(Path, "replace", looking(replace))
    snapshots.fold(set())
    assert seen == [7, 7, 7, 7]


def test_a_file_that_is_damaged_is_left_out(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path)
    snapshots.write("1-a", served(7), 0)
    (tmp_path / "2-b.json").write_text("{")
    assert total(snapshots) == 7


def test_names_of_the_ended_have_an_end(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path)
    for number in range(REMEMBERED + 5):
        (tmp_path / f"{number}-a.json").write_text("[]")
    snapshots.fold(set())
    assert len(snapshots.read().added) == REMEMBERED


def test_nothing_ended_writes_nothing(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path)
    snapshots.write("1-a", served(7), 0)
    snapshots.fold({1})
    assert [path.name for path in tmp_path.iterdir()] == ["1-a.json"]
    assert stat.S_ISREG((tmp_path / "1-a.json").stat().st_mode)
