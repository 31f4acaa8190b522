"""What several commands share: options, examples in help, and reading the settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from proxy.settings import Loaded

ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Settings (YAML). Also ASKONCE_CONFIG.")
]


def example(*commands: str) -> str:
    """Command lines for the end of a help text, kept as they are."""
    return "\n".join(["\b", "Example:", *(f"  {command}" for command in commands)])


def load_or_exit(config: Path | None, flags: Mapping[str, object]) -> Loaded:
    """The settings, or a message on standard error and exit code 2."""
    import os

    from proxy import settings
    from proxy.errors import SettingsError

    try:
        return settings.load(config, flags, os.environ)
    except SettingsError as error:
        fail(error.message, 2)


def fail(message: str, code: int = 1) -> NoReturn:
    """Say what is wrong, without a traceback, and leave."""
    typer.echo(f"askonce: {message}", err=True)
    raise typer.Exit(code)
