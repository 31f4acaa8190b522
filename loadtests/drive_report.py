"""The driver's report: Markdown for people, JSON with the same figures, pictures as SVG."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from figures import SAVING, Figures, Spread, as_json, curve, spread
from quality_svg import Chart, Line
from report import line
from traffic import KINDS

if TYPE_CHECKING:
    from drive import Outcome

ORDER = ("hit", "semantic", "stale", "collapsed", "again", "miss", "first", "bypass", "unknown")
METHOD = """\
Both sides are asked the same questions in the same order, in turns, on one machine, by one client process that shares
its cores: absolute times are this machine's, differences of the two sides mean something. Latency ends with an answer's
last byte; time to first token with the frame that brings the first text; both begin when a request was due. Gaps are
between such frames as the client got them: frames that came in one read have none. Percentiles are of whole answers
only, with linear interpolation; failures are counted beside them."""
CLOSED = """\
A closed loop: each connection asks again when it was answered. A server that is slow is asked less, so these
percentiles say what an answer takes at this load, not how long callers would queue at a given rate (use `--rate` for
that)."""
OPEN = """\
An open loop: requests were due at the times of a Poisson process, whatever the server did. One that found no free
connection waited, and that is in its latency (coordinated omission is accounted for)."""


def write(folder: Path, name: str, outcome: Outcome, asked: Mapping[str, str], facts: dict[str, Any]) -> str:
    """Write all of it; gives the Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    charts = pictures(outcome)
    for kind, chart in charts.items():
        (folder / f"{name}-{kind}.svg").write_text(chart.svg(), encoding="utf-8")
    text = markdown(name, outcome, asked, facts, list(charts))
    (folder / f"{name}.md").write_text(text, encoding="utf-8")
    kept = {
        "options": dict(asked),
        "machine": facts,
        "sides": [as_json(figures) for figures in outcome.sides],
        "counted_by_others": outcome.counted,
        "usage": usage_json(outcome),
    }
    (folder / f"{name}.json").write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return text


def usage_json(outcome: Outcome) -> dict[str, float] | None:
    usage = outcome.usage
    if usage is None or not usage.resident:
        return None
    megabytes = [value for _, value in usage.resident]
    return {
        "cpu_us_a_request": usage.cpu_s / max(1, outcome.sides[0].asked) * 1e6,
        "resident_mb_first": megabytes[0],
        "resident_mb_last": megabytes[-1],
        "resident_mb_highest": max(megabytes),
        "descriptors_highest": usage.descriptors,
        "threads_highest": usage.threads,
    }


# -- pictures --------------------------------------------------------------------------------------------------------


def pictures(outcome: Outcome) -> dict[str, Chart]:
    proxy = outcome.sides[0]
    charts = {"waiting": waiting(outcome.sides)}
    if proxy.saved:
        course = Line("hit ratio", proxy.course())
        charts["hits"] = Chart(
            "Share of answers without an upstream call", "answers so far", "share", [course], len(proxy.saved), 1
        )
    if outcome.usage and outcome.usage.resident:
        resident = outcome.usage.resident
        most = max(value for _, value in resident) * 1.15
        line_ = Line("resident", resident)
        charts["memory"] = Chart("Memory of the proxy", "seconds under load", "MB", [line_], resident[-1][0] or 1, most)
    return charts


def waiting(sides: Sequence[Figures]) -> Chart:
    """Cumulative latency of each way of being answered, both forms together, on a logarithmic axis."""
    lines = []
    for figures in sides:
        for name in ORDER:
            kept = sorted(value for (found, _), some in figures.latency.items() if found == name for value in some)
            if kept:
                label = "direct" if figures.side == "direct" else name
                lines.append(Line(f"{label} ({len(kept):,})", curve(kept)))
    values = [x for one in lines for x, _ in one.points] or [1.0]
    first, last = max(min(values), 0.01), max(*values, 1.0)
    low, high = next(p for p in powers(-3) if p * 10 > first), next(p for p in powers(-2) if p >= last)
    return Chart("How long a whole answer took", "ms", "share of answers", lines, high, 1, log_from=low)


def powers(first: int) -> list[float]:
    return [10.0**power for power in range(first, 8)]


# -- text ------------------------------------------------------------------------------------------------------------


def markdown(
    name: str, outcome: Outcome, asked: Mapping[str, str], facts: dict[str, Any], charts: Sequence[str]
) -> str:
    proxy = outcome.sides[0]
    parts = [
        f"# {name}",
        "",
        *summary(outcome.sides),
        "",
        *ceiling(proxy),
        "",
        *(part for kind in charts for part in (f"![{kind}]({name}-{kind}.svg)", "")),
        "## Waiting, in ms",
        "",
        *waits(outcome.sides),
        "",
        "## Who was answered how",
        "",
        *kinds(proxy),
        "",
        *others(outcome),
        "## How it was measured",
        "",
        METHOD,
        OPEN if float(asked.get("rate", 0)) else CLOSED,
        "",
        "`" + " ".join(f"--{key.replace('_', '-')} {value}" for key, value in asked.items()) + "`",
        "",
        f"{facts['cpu']}, {facts['cores']} cores, {facts['memory_gib']} GiB, {facts['python']}.",
        f"Load average at the start {facts['load_at_start']:.2f}. Commit {facts['commit'] or 'unknown'}.",
        "",
    ]
    return "\n".join(parts)


def summary(sides: Sequence[Figures]) -> list[str]:
    head = ("side", "requests", "1/s", "hit ratio", "wrong", "leaked", "not judged", "failed", "tokens", "MB received")
    rows = [
        [
            figures.side,
            f"{figures.asked:,}" + (f" and {figures.unsent:,} never sent" if figures.unsent else ""),
            f"{figures.asked / figures.seconds:,.1f}" if figures.seconds else "",
            f"{figures.hit_ratio:.1%}",
            wrong(figures),
            f"{figures.answers['leaked']:,}",
            f"{figures.answers['unknown']:,}",
            counted(figures.failures) or "0",
            f"{figures.tokens:,}",
            f"{figures.received / 1e6:,.2f}",
        ]
        for figures in sides
    ]
    return [line(head), line(["---"] * len(head)), *map(line, rows)]


def wrong(figures: Figures) -> str:
    """Wrong answers, and as a share of hits."""
    hits = sum(figures.tiers[name] for name in SAVING)
    number = figures.answers["wrong"]
    if not number:
        return "0"
    listed = ", ".join(f"{count} {kind} by {tier}" for (kind, tier), count in figures.wrong_by.most_common())
    return f"**{number:,}** ({number / hits:.2%} of hits: {listed})" if hits else f"**{number:,}**"


def ceiling(proxy: Figures) -> list[str]:
    """What a cache could have had at most."""
    asked = max(1, proxy.asked)
    return [
        f"Of the questions {proxy.repeats['text'] / asked:.1%} had been asked before by the same tenant in the same",
        f"words (what an exact cache can answer at most) and {proxy.repeats['meaning'] / asked:.1%} in whatever words.",
    ]


def waits(sides: Sequence[Figures]) -> list[str]:
    head = ("", "count", "mean", "p50", "p90", "p99", "p99.9", "longest")
    rows: list[list[str]] = []
    for figures in sides:
        for answered, form in sorted(figures.latency, key=lambda key: (ORDER.index(key[0]), key[1])):
            label = "direct" if figures.side == "direct" else f"through us, {answered}"
            rows += row(f"{label}: whole answer, {form}", spread(figures.latency[answered, form]))
        for answered in sorted(figures.first_token, key=ORDER.index):
            label = "direct" if figures.side == "direct" else f"through us, {answered}"
            rows += row(f"{label}: first token", spread(figures.first_token[answered]))
            rows += row(f"{label}: gap between tokens", spread(figures.gaps[answered]))
        rows += row(f"{figures.side}: from due to sent", spread(figures.lateness))
    return [line(head), line(["---"] * len(head)), *map(line, rows)]


def row(label: str, found: Spread | None) -> list[list[str]]:
    if found is None:
        return []
    values = (found.mean, found.p50, found.p90, found.p99, found.p999, found.highest)
    return [[label, f"{found.count:,}", *(f"{value:,.2f}" for value in values)]]


def kinds(proxy: Figures) -> list[str]:
    """A line for each kind of question."""
    answered = [name for name in ORDER if proxy.tiers[name]]
    rows = [[kind, *(f"{proxy.kinds[kind][name]:,}" for name in answered)] for kind in KINDS if kind in proxy.kinds]
    totals = ["all", *(f"{proxy.tiers[name]:,}" for name in answered)]
    return [line(["", *answered]), line(["---"] * (len(answered) + 1)), *map(line, rows), line(totals)]


def others(outcome: Outcome) -> list[str]:
    """What the process used, and whether others counted the same."""
    parts: list[str] = []
    usage = usage_json(outcome)
    if usage:
        parts += [
            "## The proxy's process",
            "",
            f"Resident memory {usage['resident_mb_first']:.1f} MB at first,",
            f"{usage['resident_mb_last']:.1f} MB at the end,",
            f"{usage['resident_mb_highest']:.1f} MB at most; {usage['descriptors_highest']:,.0f} descriptors and",
            f"{usage['threads_highest']:,.0f} threads at most; {usage['cpu_us_a_request']:,.0f} µs of processor time a",
            "request.",
            "",
        ]
    if outcome.counted:
        parts += ["## Counted by others", "", *reconciled(outcome), ""]
    return parts


def reconciled(outcome: Outcome) -> list[str]:
    proxy = outcome.sides[0]
    lines = [f"By the answers' X-Cache: {counted(proxy.headers)}."]
    if "metrics" in outcome.counted:
        lines.append(f"By /metrics: {counted(Counter({k: int(v) for k, v in outcome.counted['metrics'].items()}))}.")
    if "provider" in outcome.counted:
        lines.append(
            f"By the provider: {counted(Counter({k: int(v) for k, v in outcome.counted['provider'].items()}))}."
        )
    return lines


def counted(some: Counter[str]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in some.most_common() if count)
