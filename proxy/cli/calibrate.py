"""`askonce calibrate`: from which similarity on does one answer do for two questions, on your own pairs?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from proxy.cli.options import ConfigFile, example, fail, load_or_exit

if TYPE_CHECKING:
    from proxy.calibration import Pair, Row, Scored
    from proxy.embedders.base import Embedder
    from proxy.settings import Settings
    from proxy.types import Vector

EXAMPLE = example(
    "askonce calibrate pairs.jsonl",
    "askonce calibrate pairs.csv --target-precision 0.98 --plot thresholds.svg",
)

AT_ONCE: Final = 32
"""Texts that are given to the embedder together, where so many may wait in it."""

FEWEST_PAIRS: Final = 20
"""Below it no half of them says anything."""


def calibrate(
    pairs: Annotated[Path, typer.Argument(metavar="PAIRS", help="JSON lines or CSV: a, b, equivalent.")],
    target_precision: Annotated[
        float, typer.Option(min=0.5, max=0.999, metavar="SHARE", help="Share of right answers among hits by meaning.")
    ] = 0.99,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.svg", help="Also draw the table.")] = None,
    show_errors: Annotated[
        int, typer.Option(min=0, metavar="N", help="Show the words of the N nearest wrong pairs.")
    ] = 0,
    seed: Annotated[int, typer.Option(help="Of the draw of the two halves.")] = 0,
    config: ConfigFile = None,
) -> None:
    """Find a threshold on labelled pairs of questions.

    For `semantic.policy: static`. Embeds the pairs with the configured embedder, asks the guards, chooses on one half
    of the pairs the lowest threshold whose precision reaches the target even at the lower end of its 95 % interval, and
    reports on the other half. Exit code 1 if there is none, 2 if the pairs or the settings cannot be used.
    """
    if plot is not None and plot.suffix.lower() != ".svg":
        fail(f"{plot}: only .svg can be drawn, which needs no library; browsers and editors turn it into .png", 2)
    settings = load_or_exit(config, {}).settings
    scored, identity = _scored(settings, _read(pairs))
    found = _report(scored, identity, target_precision, seed, plot)
    _show_errors(scored, found, show_errors)
    if found is None:
        raise typer.Exit(1)


def _read(path: Path) -> list[Pair]:
    from proxy.cli.pairs import EXPECTED, BadPairs, read_pairs

    try:
        found = read_pairs(path)
    except BadPairs as error:
        fail(str(error), 2)
    if len(found) < FEWEST_PAIRS:
        fail(f"{path} holds {len(found)} pairs: at least {FEWEST_PAIRS} are needed; {EXPECTED}", 2)
    if len({pair.equivalent for pair in found}) < 2:
        fail(f"{path}: every pair has the same label, so no threshold can tell them apart", 2)
    return found


def _scored(settings: Settings, pairs: Sequence[Pair]) -> tuple[list[Scored], str]:
    """What matching by meaning makes of each pair that it can embed, and the embedder's identity."""
    import asyncio

    from proxy.calibration import Scored
    from proxy.errors import CacheFailure
    from proxy.guards.lex import LEX
    from proxy.lexis.reading import read

    texts = sorted({text for pair in pairs for text in (pair.a, pair.b)})
    try:
        embedder = _embedder(settings)
        vectors = asyncio.run(_embedded(embedder, texts, min(AT_ONCE, settings.semantic.embedder.queue)))
    except (CacheFailure, ImportError) as error:
        fail(f"the embedder cannot be used: {error}", 2)
    scored = []
    for pair in pairs:
        a, b = vectors.get(pair.a), vectors.get(pair.b)
        if a is not None and b is not None:
            readings = read(pair.a), read(pair.b)
            refused = any(guard.refuses(*readings) for guard in LEX)
            scored.append(Scored(pair, float(a @ b), refused))
    typer.echo(f"{len(pairs):,} pairs, {sum(pair.equivalent for pair in pairs):,} of them equivalent")
    if len(scored) < len(pairs):
        typer.echo(f"{len(pairs) - len(scored):,} left out: longer than the embedder reads, never matched by meaning")
    return scored, embedder.identity


def _embedder(settings: Settings) -> Embedder:
    from proxy.semantic import make_embedder

    return make_embedder(settings)


async def _embedded(embedder: Embedder, texts: Sequence[str], at_once: int) -> Mapping[str, Vector]:
    """By text, without those that are too long. Raises CacheFailure."""
    import asyncio

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    vectors: dict[str, Vector] = {}
    try:
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            waiting = progress.add_task("load the model", total=None)
            await embedder.open()
            await embedder.ready()
            progress.update(waiting, description="embed", total=len(texts))
            for start in range(0, len(texts), at_once):
                part = texts[start : start + at_once]
                made = await asyncio.gather(*(embedder.embed(text, patient=True) for text in part))
                vectors.update({text: each.vector for text, each in zip(part, made, strict=True) if each.whole})
                progress.advance(waiting, len(part))
    finally:
        await embedder.close()
    return vectors


def _report(scored: Sequence[Scored], identity: str, target: float, seed: int, plot: Path | None) -> Row | None:
    """Say what was found, and give the recommended row of the half that was chosen on."""
    from proxy import calibration

    choose, check = calibration.halves(scored, seed)
    guarded, bare = calibration.table(choose, guarded=True), calibration.table(choose, guarded=False)
    found = calibration.lowest(guarded, target)
    for line in _table(guarded, bare, found):
        typer.echo(line)
    kept = calibration.row(check, found.threshold, guarded=True) if found else None
    if kept is not None and kept.high < target:
        found = None
    for line in _advice(found, kept, target, identity):
        typer.echo(line)
    if plot is not None:
        _draw(plot, guarded, bare, found, identity)
    return found


def _table(guarded: Sequence[Row], bare: Sequence[Row], found: Row | None) -> Iterator[str]:
    yield f"Thresholds, on the half they are chosen on ({guarded[0].wanted:,} equivalent pairs in it):"
    yield ""
    yield "           with guards                               without guards"
    yield "threshold   pairs  precision  95 % interval  recall    pairs  precision  95 % interval  recall"
    for here, there in zip(guarded, bare, strict=True):
        mark = "  <" if found and here.threshold == found.threshold else ""
        if mark or round(here.threshold * 100) % 2 == 0 or here is guarded[-1]:
            yield f"     {here.threshold:.2f}  {_cells(here)}  {_cells(there)}{mark}"
    yield ""


def _cells(row: Row) -> str:
    if not row.served:
        return f"{0:>6}  {'-':>9}  {'-':>13}  {row.recall:>6.3f}"
    return f"{row.served:>6,}  {row.precision:>9.3f}  {row.low:>5.3f} - {row.high:<5.3f}  {row.recall:>6.3f}"


def _advice(found: Row | None, kept: Row | None, target: float, identity: str) -> Iterator[str]:
    from proxy.calibration import fewest

    if kept is not None:
        yield (
            f"On the other half {kept.threshold:.2f} serves {kept.served:,} pairs: precision {kept.precision:.3f} "
            f"({kept.low:.3f} - {kept.high:.3f}), recall {kept.recall:.3f}."
        )
    if found is not None:
        yield "To use it:\n"
        yield f"semantic:\n  policy: static\n  threshold: {found.threshold:.2f}  # {identity}"
        return
    if kept is not None:
        yield f"That is below {target:g}: the threshold does not hold on pairs it was not chosen on."
    else:
        yield f"No threshold is shown to reach a precision of {target:g}."
    yield (
        f"What to do: give more pairs (a half has to hold at least {fewest(target):,} right ones above it, and "
        "no wrong one), or a lower --target-precision, or leave semantic.policy at learned, which needs no threshold."
    )


def _draw(plot: Path, guarded: Sequence[Row], bare: Sequence[Row], found: Row | None, identity: str) -> None:
    from proxy.cli.curve import drawn

    try:
        plot.write_text(drawn(guarded, bare, found.threshold if found else None, identity), encoding="utf-8")
    except OSError as error:
        fail(f"{plot} cannot be written: {error.strerror}", 2)


def _show_errors(scored: Sequence[Scored], found: Row | None, most: int) -> None:
    least = found.threshold if found else 0.0
    wrong = [each for each in scored if not each.pair.equivalent and not each.refused and each.similarity >= least]
    for each in sorted(wrong, key=lambda each: -each.similarity)[:most]:
        typer.echo(f"\n{each.similarity:.3f}  {each.pair.a!r}\n       {each.pair.b!r}")
