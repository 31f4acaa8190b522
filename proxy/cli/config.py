"""`askonce config init|show|schema`: write, explain and describe the configuration file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proxy.cli.options import ConfigFile, example, fail, load_or_exit

if TYPE_CHECKING:
    from proxy.settings import Loaded

commands = typer.Typer(
    help="Write, explain and describe the configuration file.",
    no_args_is_help=True,
    rich_markup_mode=None,
    epilog=example("askonce config init askonce.yaml", "askonce config show --config askonce.yaml"),
)


@commands.command(epilog=example("askonce config init askonce.yaml", "askonce serve --config askonce.yaml"))
def init(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="Where to; - for standard output.")] = Path(
        "askonce.yaml"
    ),
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that is there.")] = False,
) -> None:
    """Write a commented file with every setting."""
    from proxy.settings.describe import starter

    if str(path) == "-":
        typer.echo(starter(), nl=False)
        return
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(starter())
    except FileExistsError:
        fail(f"{path} is there already: name another file, or overwrite it with --force")
    except OSError as error:
        fail(f"cannot write {path}: {error.strerror}")
    typer.echo(f"wrote {path}: try `askonce serve --config {path}`")


@commands.command(epilog=example("ASKONCE_STORE__MEMORY=1GiB askonce config show --config askonce.yaml"))
def show(
    config: ConfigFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object: name to value and origin.")] = False,
) -> None:
    """Print the settings in force and their origin.

    The origin is default, file, env or flag. Secrets are masked.
    """
    loaded = load_or_exit(config, {})
    typer.echo(_as_json(loaded) if as_json else _as_text(loaded))


def _as_json(loaded: Loaded) -> str:
    import json

    from proxy import settings

    rows = (
        (settings.dotted(place), settings.plain(field, value))
        for place, field, value in settings.leaves(loaded.settings)
    )
    return json.dumps({name: {"value": value, "origin": loaded.origins[name]} for name, value in rows}, indent=2)


def _as_text(loaded: Loaded) -> str:
    import json

    from proxy import settings

    lines = []
    for place, field, value in settings.leaves(loaded.settings):
        name, shown = settings.dotted(place), settings.plain(field, value)
        text = shown if isinstance(shown, str) and shown else json.dumps(shown)
        lines.append(f"{name:<36}{loaded.origins[name]:<9}{text}")
    return "\n".join(lines)


@commands.command(epilog=example("askonce config schema > askonce.schema.json"))
def schema() -> None:
    """Print the JSON Schema of the configuration file."""
    import json

    from proxy.settings.describe import schema as made

    typer.echo(json.dumps(made(), indent=2))
