"""`askonce serve`: run the proxy."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Annotated

import typer

from proxy.cli.options import ConfigFile, example, fail, load_or_exit

EXAMPLE = example("askonce serve --upstream http://127.0.0.1:8000/v1 --port 8080")


def serve(
    config: ConfigFile = None,
    host: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Listen here.  [127.0.0.1]")] = None,
    port: Annotated[
        int | None, typer.Option(metavar="PORT", help="Listen on this port; 0: a free one.  [8080]")
    ] = None,
    upstream: Annotated[
        str | None, typer.Option(metavar="URL", help="Send questions there.  [https://api.openai.com/v1]")
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="sqlite:///PATH, redis://HOST:6379/0, memory:// or off://.  [embedded SQLite]"
        ),
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(metavar="DIR", help="Keep the embedded store here.")] = None,
    semantic: Annotated[
        str | None, typer.Option(metavar="MODE", help="Match by meaning: off, shadow or on.  [on where installed]")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(metavar="N", help="Processes that share the port; several need Redis.  [1]")
    ] = None,
    log_level: Annotated[
        str | None, typer.Option(metavar="LEVEL", help="debug, info, warning or error.  [info]")
    ] = None,
    log_format: Annotated[str | None, typer.Option(metavar="FORMAT", help="text or json.  [text]")] = None,
) -> None:
    """Run the proxy.

    Without any option it serves https://api.openai.com/v1 at http://127.0.0.1:8080/v1 on the embedded store.
    """
    loaded = load_or_exit(
        config,
        {
            "server.host": host,
            "server.port": port,
            "server.workers": workers,
            "upstreams.0.base_url": upstream,
            "store.url": store,
            "store.data_dir": data_dir,
            "semantic.mode": semantic,
            "telemetry.log_level": log_level,
            "telemetry.log_format": log_format,
        },
    )
    # All that is imported now stays: looking through it for garbage while it grows is a tenth of the start.
    gc.disable()
    from proxy import app
    from proxy.errors import SettingsError

    try:
        app.run(loaded.settings)
    except SettingsError as error:  # what only shows when it is put together: a library that is not installed
        fail(error.message, 2)
