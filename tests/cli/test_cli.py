"""The command as a whole: help, version, and what it costs to show them."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import pytest
from typer.testing import CliRunner

from proxy.cli import app

COMMANDS = [
    *("serve", "check", "config", "config init", "config show", "config schema", "stats", "purge"),
    *("calibrate", "kv-size", "prefix"),
]
# Where these are not loaded, neither is anything slow: settings, HTTP client, server, tables.
SLOW = ["pydantic", "yaml", "httpx", "aiohttp", "fastapi", "uvicorn", "rich", "asyncio", "proxy.settings"]


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_every_help_shows_an_example(command):
    shown = CliRunner().invoke(app, [*command.split(), "--help"])
    assert shown.exit_code == 0
    assert "Example:\n    " in shown.output
    assert f"askonce {command}".strip() in shown.output.split("Example:")[1]


def test_the_help_lists_every_command_on_a_line_of_its_own():
    shown = CliRunner().invoke(app, ["--help"]).output
    lines = [line.split() for line in shown.splitlines()]
    for command in ("serve", "check", "config", "stats", "purge", "calibrate", "kv-size", "prefix"):
        assert [line for line in lines if line[:1] == [command] and len(line) > 2 and not line[-1].endswith("...")]


def test_the_help_loads_nothing_slow():
    program = (
        "import sys\nfrom proxy.cli import main\nsys.argv = ['askonce', '--help']\n"
        f"try: main()\nfinally: print(sorted(set({SLOW}) & set(sys.modules)), file=sys.stderr)"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stderr.strip() == "[]"
    assert "Commands:" in shown.stdout


def test_the_version_is_that_of_the_distribution(monkeypatch):
    monkeypatch.setattr(metadata, "version", {"askonce": "1.2.3"}.__getitem__)
    shown = CliRunner().invoke(app, ["--version"])
    assert (shown.exit_code, shown.output) == (0, "askonce 1.2.3\n")


def test_a_folder_that_is_not_installed_has_no_version(monkeypatch):
    def version(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    shown = CliRunner().invoke(app, ["--version"])
    assert (shown.exit_code, "not installed" in shown.output) == (0, True)


def test_the_package_runs_as_the_command():
    shown = subprocess.run([sys.executable, "-m", "proxy", "--help"], capture_output=True, text=True, check=True)
    assert "Usage: askonce" in shown.stdout
