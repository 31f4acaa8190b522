"""Measure AskOnce against the bars of the project, side by side with what it is compared to (see README.md here)."""

from __future__ import annotations

import argparse
import datetime as dt
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import load
import report
import servers
from measure import FULL, QUICK, Effort
from report import Result
from rows import ROWS

RESULTS = Path(__file__).parent / "results"
CONNECTIONS = 16


def main() -> int:
    options = arguments()
    effort = QUICK if options.quick else FULL
    effort = replace(effort, points=options.points or effort.points)
    facts = report.machine()
    results = [result for name in options.only or ROWS for result in taken_by(name, effort)]
    method = report.METHOD.format(pairs=effort.pairs, seconds=effort.seconds, connections=CONNECTIONS)
    taken = dt.date.today().isoformat()
    if not options.quick:
        results = merged(report.read(RESULTS / f"{taken}.json"), results) if options.only else results
        report.write(RESULTS, taken, results, facts, method)
    print(report.markdown(results, facts, taken, method))
    return int(any("missed" in result.verdict for result in results))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=list(ROWS), metavar="ROW", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--quick", action="store_true", help="short runs, to try the harness; writes no result")
    points = "stored questions among which rows about matching by meaning search, 100,000 unless --quick"
    parser.add_argument("--points", type=int, help=points)
    return parser.parse_args()


def taken_by(name: str, effort: Effort) -> list[Result]:
    """One row. What is missing or goes wrong becomes a line that says so; the other rows go on."""
    print(f"{name} ...", file=sys.stderr, flush=True)
    try:
        with tempfile.TemporaryDirectory(prefix="askonce-bench-") as scratch, servers.Bench(Path(scratch)) as bench:
            results = ROWS[name](bench, effort)
    except (servers.MissingError, load.RunError) as refusal:
        results = [Result(name, (ROWS[name].__doc__ or "").strip().rstrip("."), not_measured=str(refusal))]
    for result in results:
        print(f"  {report.measured(result)} {result.verdict}", file=sys.stderr, flush=True)
    return results


def merged(earlier: list[Result], later: list[Result]) -> list[Result]:
    """Today's report with some rows measured again."""
    again = {result.row: result for result in later}
    kept = [again.pop(result.row, result) for result in earlier]
    return [*kept, *again.values()]


if __name__ == "__main__":
    sys.exit(main())
