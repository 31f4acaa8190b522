"""The Prometheus that the tests bring along: why none can be had is said, and a broken one is not waited for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import prometheus_server
from tests.prometheus_server import Programs, PrometheusServer, Unavailable, obtain


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing is made yet, and nothing is on PATH but what a test puts there."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    for name in ("HOME", "MADE", "_FAILED"):
        monkeypatch.setattr(prometheus_server, name, tmp_path / "home" / name)
    return programs


def put(folder: Path, name: str, script: str) -> None:
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    program.chmod(0o755)


def test_without_debian_s_tools_it_is_said_what_to_do(elsewhere: Path) -> None:
    with pytest.raises(Unavailable, match=r"there is no apt-get .*put prometheus and promtool on PATH"):
        obtain()


def test_what_stood_in_the_way_is_told_again_without_another_try(elsewhere: Path) -> None:
    prometheus_server.HOME.mkdir(parents=True)
    tried = elsewhere / "tried"
    put(elsewhere, "dpkg", "exit 1")
    put(elsewhere, "apt-get", f"echo try >>{tried}; echo 'E: no network' >&2; exit 100")
    for _ in range(2):
        with pytest.raises(Unavailable, match="no network"):
            obtain()
    first = tried.read_text(encoding="utf-8")
    with pytest.raises(Unavailable, match="no network"):
        obtain(again=True)
    assert tried.read_text(encoding="utf-8") == first * 2


def test_one_on_path_is_taken_unless_it_is_too_old(elsewhere: Path) -> None:
    put(elsewhere, "promtool", "exit 0")
    put(elsewhere, "prometheus", "echo 'prometheus, version 3.1.0 (branch: HEAD)'")
    assert obtain() == Programs(elsewhere / "prometheus", elsewhere / "promtool")
    put(elsewhere, "prometheus", "echo 'prometheus, version 2.24.1+ds (branch: debian/sid)'")
    with pytest.raises(Unavailable, match="apt-get"):
        obtain()


def test_a_server_that_ends_at_once_says_why(programs: Programs, tmp_path: Path) -> None:
    rules = tmp_path / "broken.yaml"
    rules.write_text("groups: [{name: a, rules: [{record: b, expr: 'sum('}]}]", encoding="utf-8")
    with pytest.raises(Unavailable, match="could not parse expression"):
        PrometheusServer(programs, tmp_path, jobs={}, rules=[rules]).__enter__()
