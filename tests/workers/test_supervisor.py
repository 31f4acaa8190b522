"""The parent: one socket for all addresses, and what cannot begin ends with a sentence."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from proxy.errors import SettingsError
from proxy.workers import supervisor
from proxy.workers.supervisor import WorkerConfig, bound, supervise

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_all_addresses_of_a_host_listen_on_one_port(host: str) -> None:
    sockets = bound(host, 0)
    try:
        assert len({each.getsockname()[1] for each in sockets}) == 1
        for each in sockets:
            with socket.create_connection(each.getsockname()[:2]):
                pass
            assert each.proto == socket.IPPROTO_TCP
    finally:
        for each in sockets:
            each.close()


def test_a_port_that_is_taken_is_let_go_of(capsys: pytest.CaptureFixture[str]) -> None:
    [taken] = bound("127.0.0.1", 0)
    with taken, pytest.raises(OSError, match="in use"):
        bound("127.0.0.1", taken.getsockname()[1])


def test_a_directory_too_deep_for_sockets_is_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 80)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with pytest.raises(SettingsError, match="set TMPDIR to a shorter one"):
        supervise(None, host="127.0.0.1", port=0, secret=b"", clock=lambda: 0.0)  # type: ignore[arg-type]
    assert list(deep.iterdir()) == []


def test_without_a_place_for_temporary_files_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere/at/all")
    with pytest.raises(SettingsError, match="needs a directory for temporary files"):
        supervisor._directory()


def refuses() -> supervisor.Made:
    raise SettingsError("semantic.mode is on, with a library not installed")


def nothing() -> None:
    """In a worker, before anything."""


def group_that_cannot_begin() -> None:
    supervise(
        lambda _group, port: WorkerConfig(nothing, refuses, workers=2, port=port, log_config=None),
        host="127.0.0.1",
        port=0,
        secret=b"",
        clock=lambda: 0.0,
    )


def test_workers_that_cannot_begin_end_the_group_with_their_sentence_and_no_traceback() -> None:
    program = "from tests.workers.test_supervisor import *\nif __name__ == '__main__': group_that_cannot_begin()"
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 3, ended.stderr
    assert "semantic.mode is on, with a library not installed" in ended.stderr
    assert "Traceback" not in ended.stderr
