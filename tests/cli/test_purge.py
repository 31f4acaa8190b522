"""`askonce purge`: what it asks for and what it says."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from proxy.cli import app
from tests.cli.operator import listening


def purge(*arguments: str):
    return CliRunner().invoke(app, ["purge", *arguments])


@pytest.mark.parametrize(
    ("options", "asked", "purged", "said"),
    [
        (["--key", "5f0c"], {"key": "5f0c", "dry_run": False}, 1, "removed 1 answer\n"),
        (["--all"], {"all": True, "dry_run": False}, 12, "removed 12 answers\n"),
        (["--all", "--dry-run"], {"all": True, "dry_run": True}, 0, "would remove 0 answers\n"),
    ],
)
def test_it_says_how_many(options, asked, purged, said):
    with listening({"purged": purged}) as operator:
        ended = purge(*options, "--url", operator.url)
    assert (ended.exit_code, ended.stdout) == (0, said)
    assert operator.asked == [("POST", "/admin/purge", None, asked)]


@pytest.mark.parametrize("options", [[], ["--key", "5f0c", "--all"], ["--dry-run"]])
def test_exactly_one_choice_has_to_be_made(options):
    ended = purge(*options, "--url", "http://127.0.0.1:1")
    assert ended.exit_code == 2
    assert "--key KEY or --all" in ended.stderr
