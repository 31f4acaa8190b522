"""The installation's secret: made once, kept, and never a reason not to serve."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from proxy.errors import SettingsError
from proxy.secret import FILE, SIZE, installation_secret

ROOT = Path(__file__).parent.parent


def test_a_configured_secret_is_taken_as_it_is(tmp_path):
    assert installation_secret("0123456789abcdef", tmp_path) == b"0123456789abcdef"
    assert list(tmp_path.iterdir()) == []


def test_without_a_place_to_keep_it_every_process_has_its_own():
    assert len(installation_secret(None, None)) == SIZE
    assert installation_secret(None, None) != installation_secret(None, None)


def test_it_is_made_once_and_found_again(tmp_path):
    made = installation_secret(None, tmp_path / "new" / "data")
    assert installation_secret(None, tmp_path / "new" / "data") == made
    assert len(made) == SIZE
    assert made != installation_secret(None, tmp_path / "other")


def test_only_its_owner_may_read_it(tmp_path):
    installation_secret(None, tmp_path / "data")
    assert (tmp_path / "data").stat().st_mode & 0o077 == 0
    assert (tmp_path / "data" / FILE).stat().st_mode & 0o077 == 0


def test_threads_that_start_at_once_agree(tmp_path):
    starting = threading.Barrier(8)
    found = []

    def start() -> None:
        starting.wait()
        found.append(installation_secret(None, tmp_path))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_processes_that_start_at_once_agree(tmp_path):
    program = (
        "import sys, pathlib; from proxy.secret import installation_secret as secret; print('ready', flush=True);"
        "sys.stdin.readline(); print(secret(None, pathlib.Path(sys.argv[1])).hex())"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    found = [process.communicate("\n")[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 3
    assert len(set(found)) == 1
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


@pytest.mark.parametrize("content", [b"", b"short", b"x" * (SIZE + 1)], ids=["empty", "torn", "too long"])
def test_a_damaged_file_is_said_with_what_to_do(tmp_path, content):
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(SettingsError, match=f"has {len(content)} bytes instead of {SIZE}: restore it, or remove it"):
        installation_secret(None, tmp_path)
    assert (tmp_path / FILE).read_bytes() == content


@pytest.mark.parametrize(
    "obstacle",
    [lambda place: place.write_text("a file"), lambda place: (place / FILE).mkdir(parents=True)],
    ids=["the directory is a file", "the file is a directory"],
)
def test_where_nothing_can_be_kept_it_serves_with_a_secret_of_its_own_and_says_so(tmp_path, caplog, obstacle):
    place = tmp_path / "data"
    obstacle(place)
    with caplog.at_level(logging.WARNING, "askonce"):
        assert len(installation_secret(None, place)) == SIZE
    assert "secret" in caplog.text


def test_below_a_file_it_serves_with_a_secret_of_its_own(tmp_path, caplog):
    (tmp_path / "file").write_text("a file")
    assert len(installation_secret(None, tmp_path / "file" / "data")) == SIZE
    assert len(caplog.records) == 1


def test_a_full_disk_leaves_no_draft_behind(tmp_path, monkeypatch, caplog):
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    secret = installation_secret(None, tmp_path)
    assert len(secret) == SIZE
    assert list(tmp_path.iterdir()) == []
    assert "No space left" in caplog.text
    assert secret.hex() not in caplog.text


def test_a_file_system_without_links_is_no_obstacle_to_serving(tmp_path, monkeypatch, caplog):
    def refuse(_source: Path, _target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    assert len(installation_secret(None, tmp_path)) == SIZE
    assert list(tmp_path.iterdir()) == []
    assert len(caplog.records) == 1
