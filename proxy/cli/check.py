"""`askonce check`: try the configuration before anyone depends on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from proxy.cli.options import ConfigFile, example, fail, load_or_exit

if TYPE_CHECKING:
    from proxy.settings import Settings

EXAMPLE = example("askonce check --config askonce.yaml")


def check(config: ConfigFile = None) -> None:
    """Try the settings and every part.

    The store, matching by meaning, each upstream: one line for each, with what to do where it fails or could be better
    (warn). Exit code 1 if any part fails, 2 if the settings cannot be used.
    """
    import asyncio

    loaded = load_or_exit(config, {})
    _say("ok", "settings", f"from {config}" if config else "valid")
    from proxy.errors import SettingsError

    try:
        well = asyncio.run(_probed(loaded.settings))
    except SettingsError as error:
        fail(error.message, 2)
    if not well:
        raise typer.Exit(1)


async def _probed(settings: Settings) -> bool:
    """Whether every part works."""
    from proxy import app

    well = True
    async for probe in app.probe(settings):
        _say("warn" if probe.warns else "ok" if probe.ok else "FAIL", probe.part, probe.detail)
        well = well and probe.ok
    return well


def _say(word: str, part: str, detail: str) -> None:
    typer.echo(f"{word:<5}{part:<20}{detail}".rstrip())
