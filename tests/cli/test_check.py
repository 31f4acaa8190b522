"""`askonce check`: one line for each part, and an exit code."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from typer.testing import CliRunner

from proxy.cli import app
from tests.cli.standin import put_app


@dataclass
class Probe:
    part: str
    ok: bool
    detail: str
    warns: bool = False


@pytest.mark.parametrize(("well", "code"), [(True, 0), (False, 1)])
def test_each_part_has_a_line_and_one_failure_is_a_failure(monkeypatch, well, code):
    async def probe(settings):
        yield Probe("store", well, "the directory cannot be written")
        yield Probe("upstream openai", True, "answers")

    put_app(monkeypatch, probe=probe)
    ended = CliRunner().invoke(app, ["check"])
    lines = ended.stdout.splitlines()
    assert ended.exit_code == code
    assert [line.split()[0] for line in lines] == ["ok", "ok" if well else "FAIL", "ok"]
    assert lines[1].endswith("the directory cannot be written")


def test_what_works_and_should_be_changed_is_a_warning_and_no_failure(monkeypatch):
    async def probe(settings):
        yield Probe("redis", True, "maxmemory is not set", warns=True)

    put_app(monkeypatch, probe=probe)
    ended = CliRunner().invoke(app, ["check"])
    assert ended.exit_code == 0
    assert ended.stdout.splitlines()[1].split()[0] == "warn"


def test_a_redis_is_tried_and_described(monkeypatch, redis_url):
    monkeypatch.setenv("ASKONCE_STORE", redis_url)
    monkeypatch.setenv("ASKONCE_UPSTREAM", "http://127.0.0.1:9/v1")
    lines = CliRunner().invoke(app, ["check"]).stdout.splitlines()
    assert any(line.startswith("ok") and "ms a command" in line for line in lines)
    assert any(line.startswith("warn") and "noeviction" in line for line in lines)


def test_a_redis_that_is_not_there_fails_without_showing_its_password(monkeypatch):
    monkeypatch.setenv("ASKONCE_STORE", "redis://:hunter2@127.0.0.1:9/0")
    ended = CliRunner().invoke(app, ["check"])
    assert ended.exit_code == 1
    assert "FAIL store" in ended.stdout
    assert "hunter2" not in ended.stdout + ended.stderr


def test_settings_that_cannot_be_used_are_said_before_anything_is_tried(monkeypatch, tmp_path):
    (tmp_path / "askonce.yaml").write_text("stor: {}")
    put_app(monkeypatch)
    ended = CliRunner().invoke(app, ["check", "--config", str(tmp_path / "askonce.yaml")])
    assert ended.exit_code == 2
    assert "unknown setting stor" in ended.stderr or "did you mean store?" in ended.stderr
