"""`askonce prefix`: how much of a log's prompts could a prefix cache have had, and what keeps it from more?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, Final

import typer

from proxy.cli.options import ConfigFile, example, fail, load_or_exit

if TYPE_CHECKING:
    from rich.table import Table

    from proxy.prefixes.study import Cause, Family, PrefixStudy, Report
    from proxy.telemetry.prices import Prices

EXAMPLE = example(
    "askonce prefix requests.jsonl --plot prefixes.svg",
    'askonce prefix requests.jsonl --model "gpt-4o*" --json',
)

MOST_LINE_BYTES: Final = 64 << 20
"""A longer line is not read: no API takes such a request, and a file without line ends would fill the memory."""

LINES_NAMED: Final = 5
"""Numbers of unreadable lines that are said, for each reason."""

CAUSES_SHOWN: Final = 6
"""Of each family; --json has all."""

BARS: Final = 12
"""Families in the picture."""


def prefix(
    log: Annotated[Path, typer.Argument(metavar="LOG", help="JSON lines: one request each.")],
    plot: Annotated[Path | None, typer.Option(metavar="FILE.svg", help="Also draw the biggest families.")] = None,
    block: Annotated[int, typer.Option(min=1, metavar="TOKENS", help="In a block of the cache.")] = 16,
    minimum: Annotated[
        int, typer.Option(min=0, metavar="TOKENS", help="To be shared before the provider's cache counts any.")
    ] = 1024,
    model: Annotated[str, typer.Option(metavar="GLOB", help="Only requests to such models.")] = "*",
    families: Annotated[int, typer.Option(min=0, metavar="N", help="How many to show.")] = 5,
    across_tenants: Annotated[bool, typer.Option("--across-tenants", help="Let tenants share prefixes.")] = False,
    show: Annotated[
        bool, typer.Option("--show", help="Show what differs, up to 40 characters: words of users.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON: one object.")] = False,
    config: ConfigFile = None,
) -> None:
    """Shared prefixes of a request log.

    How many prompt tokens begin as an earlier prompt did, where requests that look alike stop being equal, what kind of
    thing differs there, and what moving it to the end of the prompt would gain. Tokens are estimated. Prices come from
    --config, else from a built-in list. Exit code 2 if the log cannot be read.
    """
    if plot is not None and plot.suffix.lower() != ".svg":
        fail(f"{plot}: only .svg can be drawn, which needs no library; browsers and editors turn it into .png", 2)
    from proxy.prefixes.study import PrefixStudy

    study = PrefixStudy(_prices(config), block=block, minimum=minimum, across_tenants=across_tenants, samples=show)
    reading = _read(log, model, study)
    report = study.report()
    if not report.requests:
        fail(f"{log} holds no request that could be used: {_unread(reading) or f'none is to a model like {model}'}", 2)
    if as_json:
        _print_json(report, reading)
    else:
        _print(report, reading, families)
    if plot is not None:
        _draw(plot, report)


@dataclass(slots=True)
class _Reading:
    """Lines that were not used."""

    other_models: int = 0
    unread: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """How many, by reason."""
    numbers: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    """The first of them."""

    def miss(self, reason: str, number: int) -> None:
        self.unread[reason] += 1
        if len(self.numbers[reason]) < LINES_NAMED:
            self.numbers[reason].append(number)


def _prices(config: Path | None) -> Prices:
    from proxy.telemetry.prices import Price, Prices

    if config is None:
        return Prices({})
    table = load_or_exit(config, {}).settings.telemetry.prices
    return Prices({glob: Price(each.input, each.output, each.cached_input) for glob, each in table.items()})


def _read(log: Path, model: str, study: PrefixStudy) -> _Reading:
    """Give every request of the log to the study; says what was not one."""
    from fnmatch import fnmatchcase

    from proxy.prefixes.entry import Unreadable, read

    reading = _Reading()
    try:
        with log.open("rb") as file:
            for number, raw in _lines(file):
                if raw is None:
                    reading.miss(f"longer than {MOST_LINE_BYTES >> 20} MiB", number)
                    continue
                try:
                    entry = read(raw, number)
                except Unreadable as error:
                    reading.miss(str(error), number)
                    continue
                if fnmatchcase(entry.model, model):
                    study.add(entry)
                else:
                    reading.other_models += 1
    except OSError as error:
        fail(f"{log} cannot be read: {error.strerror}", 2)
    return reading


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """Lines that are not blank, with their numbers; None for one that is too long."""
    number = 0
    while raw := file.readline(MOST_LINE_BYTES):
        number += 1
        if len(raw) == MOST_LINE_BYTES and not raw.endswith(b"\n"):
            while (rest := file.readline(MOST_LINE_BYTES)) and not rest.endswith(b"\n"):
                pass
            yield number, None
        elif raw.strip():
            yield number, raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw


def _print_json(report: Report, reading: _Reading) -> None:
    import json
    from dataclasses import asdict

    told = asdict(report)
    told["unread"] = [
        {"reason": reason, "lines": lines, "first": reading.numbers[reason]} for reason, lines in reading.unread.items()
    ]
    told["other_models"] = reading.other_models
    told["tokens_are"] = "estimated: UTF-8 bytes / 4, or the provider's count where the log has it"
    typer.echo(json.dumps(told))


def _print(report: Report, reading: _Reading, most: int) -> None:
    from rich.console import Console

    for line in _summary(report, reading):
        typer.echo(line)
    shown = report.families[:most]
    if shown:
        Console(highlight=False, markup=False).print(_table(shown, report))
    for family in shown:
        typer.echo("")
        for line in _explained(family):
            typer.echo(line)
    if len(report.families) > most:
        typer.echo(f"\n{len(report.families) - most:,} smaller families are not shown (--families, --json)")


def _summary(report: Report, reading: _Reading) -> Iterator[str]:
    counted = f"; for {_times(report.counted_requests)} the provider's own count" if report.counted_requests else ""
    yield f"{_times(report.requests)}, {report.prompt_tokens:,} prompt tokens (estimate: UTF-8 bytes / 4{counted})"
    yield f"Shared with an earlier prompt, in blocks of {report.block} tokens:"
    yield f"  {_share(report.shared.tokens, report)} by a cache without a minimum (vLLM)"
    yield f"  {_share(report.shared.from_minimum, report)} where {report.minimum:,} tokens or more are shared (OpenAI)"
    if report.cached_requests:
        share = report.cached_tokens / report.cached_prompt_tokens
        yield f"  {share:.1%} is what the provider did have, in the {_times(report.cached_requests)} that tell"
    yield "If what differs stood at the end of the prompts:"
    yield f"  {_share(report.would_share.tokens, report)} without a minimum"
    yield f"  {_share(report.would_share.from_minimum, report)} with it"
    if report.usd is not None:
        yield f"  {_usd(report.usd)} less than today's share, at the price of cached input"
    if report.alone:
        yield f"Like no other: {_times(report.alone)}"
    if reading.other_models:
        yield f"Left out, to other models: {_times(reading.other_models)}"
    if report.forgotten_blocks:
        yield f"No room to remember {report.forgotten_blocks:,} blocks: more is shared than is said here"
    if unread := _unread(reading):
        yield f"Not read: {unread}"


def _unread(reading: _Reading) -> str:
    reasons = []
    for reason, lines in reading.unread.items():
        named = ", ".join(map(str, reading.numbers[reason]))
        more = ", …" if lines > LINES_NAMED else ""
        reasons.append(f"{lines:,} {'line' if lines == 1 else 'lines'} ({named}{more}): {reason}")
    return "; ".join(reasons)


def _table(families: tuple[Family, ...], report: Report) -> Table:
    from rich.table import Table

    table = Table(title="\nFamilies of requests that look alike", box=None, padding=(0, 2, 0, 0), title_justify="left")
    for name in ("family", "requests", "tokens", "shared", f"≥ {report.minimum:,}", "if moved", "USD"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("model", overflow="fold")
    for family in families:
        table.add_row(
            str(family.number),
            f"{family.requests:,}",
            f"{family.prompt_tokens:,}",
            f"{family.shared.tokens / family.prompt_tokens:.1%}",
            f"{family.shared.from_minimum / family.prompt_tokens:.1%}",
            f"{family.would_share.tokens / family.prompt_tokens:.1%}",
            "-" if family.usd is None else _usd(family.usd, ""),
            _plain(family.model),
        )
    return table


def _explained(family: Family) -> Iterator[str]:
    yield f"Family {family.number} ({_plain(family.model)}, {_times(family.requests)})"
    if not family.causes:
        yield "  equal as far as they were compared"
    for cause in family.causes[:CAUSES_SHOWN]:
        shape = f" {cause.shape}" if cause.shape else ""
        lines = f"lines {cause.lines[0]}, {cause.lines[1]}"
        yield f"  {_place(cause)}: {cause.kind}{shape}, in {_times(cause.requests)} ({lines})"
        yield f"    {_advice(cause, family)}"
        if any(cause.samples):
            yield f"    {cause.samples[0]!r} / {cause.samples[1]!r}"
    more = len(family.causes) - CAUSES_SHOWN + (1 if family.uncounted_causes else 0)
    if more > 0:
        yield f"  and at {more:,} {'place' if more == 1 else 'places'} more (--json)"


def _place(cause: Cause) -> str:
    from proxy.prefixes.differing import Kind

    role = "" if cause.place.startswith((cause.role, "tools", "functions")) else f" ({_plain(cause.role)})"
    if cause.kind is Kind.TOOL_ORDER:
        return cause.place
    return f"{cause.place}{role}, {'character' if cause.movable else 'from character'} {cause.offset:,}"


def _advice(cause: Cause, family: Family) -> str:
    from proxy.prefixes.differing import Kind

    if not cause.movable:
        return "what comes behind is not shared"
    if not cause.gain.tokens:
        return "moved to the end it gains nothing by itself: what is behind it differs soon, or is shared already"
    worth = "" if cause.usd is None else f", {_usd(cause.usd)}"
    gain = (
        f"{cause.gain.tokens:,} tokens ({cause.gain.tokens / family.prompt_tokens:.1%}) more are shared; "
        f"with the minimum {cause.gain.from_minimum:,}{worth}"
    )
    return f"always in one order: {gain}" if cause.kind is Kind.TOOL_ORDER else f"moved to the end: {gain}"


def _times(requests: int) -> str:
    return f"{requests:,} request{'' if requests == 1 else 's'}"


def _share(tokens: int, report: Report) -> str:
    return f"{tokens / report.prompt_tokens:.1%} ({tokens:,} tokens)"


def _usd(amount: float, unit: str = "USD ") -> str:
    return f"{unit}{amount:,.2f}" if amount >= 1 or not amount else f"{unit}{amount:.2g}"


def _plain(word: str) -> str:
    """A client's word for a terminal: no control characters, no novel."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in word)
    return shown if len(shown) <= _LONGEST_NAME else shown[: _LONGEST_NAME - 1] + "…"


_LONGEST_NAME: Final = 60


def _draw(plot: Path, report: Report) -> None:
    from proxy.cli.prefix_bars import drawn

    title = f"Shared prefixes: {_share(report.shared.tokens, report)} of {report.requests:,} requests"
    try:
        plot.write_text(drawn(report.families[:BARS], title), encoding="utf-8")
    except OSError as error:
        fail(f"{plot} cannot be written: {error.strerror}", 2)
