"""`askonce stats`: live figures of a running proxy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proxy.cli.options import example
from proxy.cli.remote import TokenFile, Url, ask

if TYPE_CHECKING:
    from rich.table import Table

EXAMPLE = example("askonce stats --watch", "askonce stats --json --url http://cache.internal:8080")


def stats(
    watch: Annotated[bool, typer.Option("--watch", help="Keep showing, until Ctrl-C.")] = False,
    interval: Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="How often, with --watch.")] = 2.0,
    url: Url = "http://127.0.0.1:8080",
    token_file: TokenFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON, one object a line.")] = False,
) -> None:
    """Show live figures of a running proxy.

    What it answered from its cache, what that saved, and how its store is.
    """
    import time
    from itertools import count

    def reports() -> Iterator[Any]:
        for turn in count():
            if turn:
                time.sleep(interval)
            yield ask(url, token_file, "GET", "/admin/stats")
            if not watch:
                return

    try:
        _show(reports(), as_json)
    except KeyboardInterrupt:
        return


def _show(reports: Iterator[Any], as_json: bool) -> None:
    import json

    if as_json:
        for report in reports:
            typer.echo(json.dumps(report))
        return
    from rich.live import Live

    with Live(auto_refresh=False) as live:
        for report in reports:
            live.update(_table(report), refresh=True)


def _table(report: dict[str, Any]) -> Table:
    from rich.table import Table

    table = Table(title=f"AskOnce {report['version']}, up {_duration(report['uptime_s'])}", show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    for section in _sections(report):
        for name, value in section:
            table.add_row(name, value)
        table.add_section()
    return table


def _sections(report: dict[str, Any]) -> Iterator[list[tuple[str, str]]]:
    store, ratio = report["store"], report["hit_ratio"]
    yield [(f"requests: {outcome}", f"{number:,}") for outcome, number in report["requests"].items()] + [
        ("hit ratio", "none yet" if ratio is None else f"{ratio:.1%}")
    ]
    yield [("tokens saved", f"{report['saved']['tokens']:,}"), ("USD saved", f"{report['saved']['usd']:,.2f}")]
    upstream = report["upstream"]
    yield [
        ("calls in flight", f"{report['flights']:,}"),
        ("upstream errors", f"{upstream['errors']:,}"),
        ("calls sent to another endpoint", f"{upstream['retries']:,}"),
        ("calls sent to a fallback", f"{upstream['fallbacks']:,}"),
    ]
    yield [
        (f"{name}: prompt tokens in its prefix cache", _share(upstream["cached_tokens"].get(name, 0), sent))
        for name, sent in upstream["prompt_tokens"].items()
    ]
    yield [(f"{each['upstream']} {each['address']}", _endpoint(each)) for each in report["endpoints"]]
    yield [
        ("store", store["kind"] if not store["degraded"] else f"{store['kind']}, degraded: {store['degraded']}"),
        *((f"{tier}: answers", f"{number:,}") for tier, number in store["entries"].items()),
        *((f"{tier}: size", _bytes(number)) for tier, number in store["bytes"].items()),
    ]


def _share(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,} ({part / whole:.1%})" if whole else f"{part:,}"


def _endpoint(each: dict[str, Any]) -> str:
    if each["state"] == "failing":
        return f"failing: {each['detail']}"
    load = f"{each['in_flight']} in flight"
    # A hosted API tells nothing of this, and zeros would look as if it did.
    told = each["waiting"] or each["kv_usage"]
    return f"{load}, {each['waiting']} waiting, KV cache {each['kv_usage']:.0%}" if told else load


def _duration(total_s: float) -> str:
    minutes, seconds = divmod(int(total_s), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days}d {hours:02}:{minutes:02}:{seconds:02}" if days else f"{hours:02}:{minutes:02}:{seconds:02}"


def _bytes(number: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if number < 1024:
            return f"{number:,.0f} {unit}" if unit == "B" else f"{number:,.1f} {unit}"
        number /= 1024
    return f"{number:,.1f} GiB"
