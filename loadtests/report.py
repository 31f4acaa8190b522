"""Results as a Markdown table and as JSON, with what is needed to judge them: machine, versions, method, every run."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import statistics
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from load import Run, Series

PACKAGES = (
    *("uvicorn", "uvloop", "httptools", "orjson", "httpx", "httpx-aiohttp", "aiohttp", "zstandard", "fastapi"),
    *("redis", "hiredis", "numpy", "onnxruntime", "tokenizers", "usearch", "redisvl"),
)

METHOD = """\
Every figure of a comparison comes from one run on one machine: both sides are started, warmed up, and loaded in turns
(subject, reference, subject, reference, ...) by the same wrk command: {pairs} pairs of {seconds:g} s, one thread,
{connections} connections. The figure is the median of the ratios of neighbouring runs, with their range. A run with a
socket error or a status other than 2xx ends its row. Hits are checked: the fake upstream's count of calls must not move
while they are measured. AskOnce runs as `python -m proxy serve`, one worker, access log on, written to a file. The bare
callable runs on uvicorn with httptools and uvloop, access log off, and does not read the request's body.
Each row about Redis has a Redis of its own, reached by TCP on the loopback, with nothing kept on disk.
Matching by meaning is off but in the rows about it; they begin with `semantic`, `exact-while` or `vectors`, and their
model is converted before.
"CPU µs" is the processor time of one request on either side, the kernel's included: subject / reference.
Requests a second are of this machine on that day; only the ratios mean anything elsewhere."""


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the table.

    `figure` is what is held against the bar: a ratio unless `unit` says otherwise. `at_least` tells which side of the
    bar is good. No bar means: for information.
    """

    row: str
    work: str
    against: str = ""
    bar: float | None = None
    at_least: bool = True
    figure: float | None = None
    unit: str = ""
    series: Series | None = None
    not_measured: str = ""
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        if self.not_measured:
            return f"not measured: {self.not_measured}"
        if self.bar is None or self.figure is None:
            return "for information"
        good = self.figure >= self.bar if self.at_least else self.figure <= self.bar
        return "met" if good else "**missed**"


def compared(row: str, work: str, against: str, bar: float | None, series: Series, *notes: str) -> Result:
    """A line whose figure is the ratio of two series."""
    return Result(row, work, against, bar, figure=series.ratio, series=series, notes=notes)


def machine() -> dict[str, Any]:
    """What the figures depend on; no names or paths of the machine."""
    return {
        "cpu": found_in("/proc/cpuinfo", r"model name\s*:\s*(.+)"),
        "cores": os.cpu_count(),
        "memory_gib": round(int(found_in("/proc/meminfo", r"MemTotal:\s*(\d+)") or 0) / 2**20, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "load_at_start": os.getloadavg()[0],
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES} | programs(),
        "commit": said(["git", "rev-parse", "--short", "HEAD"], r"(\w+)"),
    }


def programs() -> dict[str, str]:
    """The versions of the programs used, where they are installed."""
    asked = {"wrk": (["wrk", "-v"], r"wrk (\S+)"), "nginx": (["/usr/sbin/nginx", "-v"], r"nginx/(\S+)")}
    found = {name: said(command, pattern) for name, (command, pattern) in asked.items()}
    return {name: version for name, version in found.items() if version}


def said(command: list[str], pattern: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent)
    except FileNotFoundError:
        return ""
    found = re.search(pattern, done.stdout + done.stderr) if done.returncode in (0, 1) else None
    return found.group(1) if found else ""


def found_in(path: str, pattern: str) -> str:
    try:
        found = re.search(pattern, Path(path).read_text())
    except OSError:
        return ""
    return found.group(1).strip() if found else ""


def as_json(result: Result) -> dict[str, Any]:
    """Everything of a line, each run included."""
    kept = {**asdict(result), "verdict": result.verdict.strip("*")}
    if result.series is not None:
        kept["series"] = {**asdict(result.series), "ratios": result.series.ratios}
    return kept


def from_json(kept: dict[str, Any]) -> Result:
    """The line that `as_json` wrote."""
    members = {name: value for name, value in kept.items() if name not in ("verdict", "series", "notes")}
    series = kept["series"]
    known = Series(runs(series["subject"]), runs(series["reference"])) if series else None
    return Result(**members, series=known, notes=tuple(kept["notes"]))


def runs(kept: list[dict[str, float]]) -> tuple[Run, ...]:
    return tuple(Run(**one) for one in kept)


def markdown(results: list[Result], facts: dict[str, Any], taken: str, method: str) -> str:
    """The report: table first, then what it rests on."""
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    return "\n".join(
        [
            f"# Load tests, {taken}",
            "",
            *table(results),
            "",
            "## Machine",
            "",
            f"{facts['cpu']}, {facts['cores']} cores, {facts['memory_gib']} GiB, {facts['kernel']}, {facts['python']}.",
            f"Load average at the start: {facts['load_at_start']:.2f}. Commit {facts['commit'] or 'unknown'}.",
            f"{versions}.",
            "",
            "## Method",
            "",
            method,
            "",
        ]
    )


def table(results: list[Result]) -> list[str]:
    head = ("row", "work", "against", "bar", "measured", "verdict", "subject, 1/s", "reference, 1/s", "CPU µs", "notes")
    return [line(head), line(["---"] * len(head)), *(line(cells(result)) for result in results)]


def line(texts: tuple[str, ...] | list[str]) -> str:
    return "| " + " | ".join(texts) + " |"


def cells(result: Result) -> list[str]:
    bar = "" if result.bar is None else f"{'≥' if result.at_least else '≤'} {result.bar:g}{result.unit}"
    return [
        result.row,
        result.work,
        result.against,
        bar,
        measured(result),
        result.verdict,
        rate(result.series.subject) if result.series else "",
        rate(result.series.reference) if result.series else "",
        cpu(result.series) if result.series else "",
        "; ".join(result.notes),
    ]


def measured(result: Result) -> str:
    """The figure, with the spread of the ratios it is the median of."""
    if result.figure is None:
        return ""
    text = f"**{result.figure:,.{0 if result.figure >= 100 else 2}f}{result.unit}**"
    if result.series is None:
        return text
    return f"{text} ({min(result.series.ratios):.2f} to {max(result.series.ratios):.2f})"


def rate(taken: tuple[Run, ...]) -> str:
    """Median and range of requests a second."""
    rates = [run.rate for run in taken]
    return f"{statistics.median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f})"


def cpu(series: Series) -> str:
    """Processor time a request takes on either side, medians. Moves less than speeds do when others use the machine."""
    subject, reference = (statistics.median(run.cpu_us for run in side) for side in (series.subject, series.reference))
    return f"{subject:,.0f} / {reference:,.0f}"


def read(path: Path) -> list[Result]:
    """The lines of an earlier report, none when there is no such file."""
    if not path.exists():
        return []
    return [from_json(kept) for kept in json.loads(path.read_text())["results"]]


def write(folder: Path, taken: str, results: list[Result], facts: dict[str, Any], method: str) -> None:
    """`<date>.md` and `<date>.json`."""
    folder.mkdir(exist_ok=True)
    kept = {"taken": taken, "machine": facts, "method": method, "results": [as_json(result) for result in results]}
    (folder / f"{taken}.json").write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n")
    (folder / f"{taken}.md").write_text(markdown(results, facts, taken, method))
