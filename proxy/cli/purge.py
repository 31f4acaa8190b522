"""`askonce purge`: remove answers from a running proxy."""

from __future__ import annotations

from typing import Annotated

import typer

from proxy.cli.options import example, fail
from proxy.cli.remote import TokenFile, Url, ask

EXAMPLE = example("askonce purge --key 5f0c9a3d7e21b846f0c9a3d7e21b8465", "askonce purge --all --dry-run")


def purge(
    key: Annotated[str | None, typer.Option(metavar="KEY", help="The answer with this X-Cache-Key.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every answer.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many it would be.")] = False,
    url: Url = "http://127.0.0.1:8080",
    token_file: TokenFile = None,
) -> None:
    """Remove answers from a running proxy and say how many."""
    if (key is not None) == everything:
        fail("say which answers: either --key KEY or --all", 2)
    which: dict[str, object] = {"all": True} if everything else {"key": key}
    purged = ask(url, token_file, "POST", "/admin/purge", {**which, "dry_run": dry_run})["purged"]
    answers = "1 answer" if purged == 1 else f"{purged} answers"
    typer.echo(f"would remove {answers}" if dry_run else f"removed {answers}")
