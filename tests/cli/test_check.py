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


def test_settings_that_cannot_be_used_are_said_before_anything_is_tried(monkeypatch, tmp_path):
    (tmp_path / "askonce.yaml").write_text("stor: {}")
    put_app(monkeypatch)
    ended = CliRunner().invoke(app, ["check", "--config", str(tmp_path / "askonce.yaml")])
    assert ended.exit_code == 2
    assert "unknown setting stor" in ended.stderr or "did you mean store?" in ended.stderr
