"""`askonce serve` hands the right settings on, or says what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from proxy.cli import app
from tests.cli.standin import put_app


@pytest.fixture
def served(monkeypatch):
    """Settings that `app.run` was called with."""
    calls = []
    put_app(monkeypatch, run=calls.append)
    return calls


def test_without_options_it_serves_openai_on_this_machine(served):
    assert CliRunner().invoke(app, ["serve"]).exit_code == 0
    [settings] = served
    assert settings.upstreams[0].base_url == ("https://api.openai.com/v1",)
    assert (settings.server.host, settings.server.port) == ("127.0.0.1", 8080)


def test_every_flag_reaches_its_setting(served, tmp_path):
    flags = {
        "--host": "::1",
        "--port": "81",
        "--upstream": "http://models/v1",
        "--store": "memory://",
        "--data-dir": str(tmp_path),
        "--semantic": "off",
        "--workers": "1",
        "--log-level": "debug",
        "--log-format": "json",
    }
    assert CliRunner().invoke(app, ["serve", *(word for pair in flags.items() for word in pair)]).exit_code == 0
    [settings] = served
    assert (settings.server.host, settings.server.port, settings.server.workers) == ("::1", 81, 1)
    assert settings.upstreams[0].base_url == ("http://models/v1",)
    assert (settings.store.kind, settings.store.data_dir) == ("memory", Path(tmp_path))
    assert (settings.telemetry.log_level, settings.telemetry.log_format) == ("debug", "json")


def test_a_flag_wins_over_the_file(served, tmp_path):
    (tmp_path / "askonce.yaml").write_text("server: {port: 1, keep_alive: 5s}")
    CliRunner().invoke(app, ["serve", "--config", str(tmp_path / "askonce.yaml"), "--port", "2"])
    assert (served[0].server.port, served[0].server.keep_alive) == (2, 5)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--semantic", "loud"], "should be 'auto', 'off', 'shadow' or 'on'"),
        (["--workers", "2"], "need Redis"),
        (["--store", "redis://redis:6379/zero"], "number of a database"),
        (["--upstream", "models:8000"], "should be an http or https address"),
        (["--config", "none.yaml"], "cannot read none.yaml"),
        (["--log-level", "loud"], "telemetry.log_level = 'loud' (flag)"),
    ],
)
def test_settings_that_cannot_be_used_end_with_a_sentence_and_code_2(served, options, said):
    ended = CliRunner().invoke(app, ["serve", *options])
    assert (ended.exit_code, served, ended.stdout) == (2, [], "")
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_misspelt_variable_stops_it(served, monkeypatch):
    monkeypatch.setenv("ASKONCE_SERVER__PROT", "1")
    ended = CliRunner().invoke(app, ["serve"])
    assert (ended.exit_code, served) == (2, [])
    assert "did you mean ASKONCE_SERVER__PORT?" in ended.stderr
