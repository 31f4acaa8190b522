"""The `askonce` command: one file for each sub-command.

Nothing heavy is imported here or at the top of those files, only inside the chosen command: `askonce --help` has to be
there at once, and importing settings, FastAPI or httpx takes several times as long as all of it.
"""

from __future__ import annotations

from typing import Annotated

import typer

from proxy.cli import calibrate, check, config, kv_size, prefix, purge, serve, stats
from proxy.cli.options import example


def _say_version(wanted: bool) -> None:
    if not wanted:
        return
    from importlib import metadata

    try:
        typer.echo(f"askonce {metadata.version('askonce')}")
    except metadata.PackageNotFoundError:
        typer.echo("askonce, from a folder where it is not installed")
    raise typer.Exit


def _askonce(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """A caching proxy in front of OpenAI-compatible APIs: ask a question once, pay for it once."""


# Plain help: rich would double the time it takes to appear.
app = typer.Typer(
    name="askonce",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    callback=_askonce,
    epilog=example("askonce serve", "askonce serve --upstream http://127.0.0.1:8000/v1"),
)
app.command(epilog=serve.EXAMPLE)(serve.serve)
app.command(epilog=check.EXAMPLE)(check.check)
app.add_typer(config.commands, name="config")
app.command(epilog=stats.EXAMPLE)(stats.stats)
app.command(epilog=purge.EXAMPLE)(purge.purge)
app.command(epilog=calibrate.EXAMPLE)(calibrate.calibrate)
app.command(epilog=kv_size.EXAMPLE)(kv_size.kv_size)
app.command(epilog=prefix.EXAMPLE)(prefix.prefix)


def main() -> None:
    """The console script."""
    app(prog_name="askonce")
