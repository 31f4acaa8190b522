"""PromQL of the dashboard and the rules: taken out of their files, made whole, and read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).parents[3]
CHART = ROOT / "helm" / "askonce"
RULES = [CHART / "rules" / "recording.yaml", CHART / "rules" / "alerts.yaml"]

Json = dict[str, Any]

SUFFIXES = ("_bucket", "_sum", "_count")
"""Of a histogram's series."""


class Asked(NamedTuple):
    """An expression, and where it stands."""

    where: str
    expr: str
    buckets: bool = False


def dashboard() -> Json:
    found: Json = json.loads((CHART / "dashboards" / "askonce.json").read_text(encoding="utf-8"))
    return found


def panels() -> list[Json]:
    """Those that show something."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def of_panels() -> list[Asked]:
    return [
        Asked(f"{panel['title']} ({target['refId']})", target["expr"], target["format"] == "heatmap")
        for panel in panels()
        for target in panel["targets"]
    ]


def rules(path: Path) -> list[Json]:
    groups = yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def of_rules() -> list[Asked]:
    return [Asked(rule.get("record") or rule["alert"], rule["expr"]) for path in RULES for rule in rules(path)]


def alerts() -> list[Json]:
    return rules(RULES[1])


def recorded() -> list[str]:
    """Names that recording rules make."""
    return [rule["record"] for rule in rules(RULES[0])]


def whole(expr: str, *, interval: str = "1m", span: str = "5m") -> str:
    """As Grafana sends it with everything selected."""
    for name, value in (("$__rate_interval", interval), ("$__interval", interval), ("$__range", span)):
        expr = expr.replace(name, value)
    return re.sub(r"\$\w+", ".+", expr)


def selectors(expr: str) -> Iterator[Any]:
    """The vector selectors of an expression, as promql-parser has them."""
    import promql_parser as promql  # of tests/production/requirements.txt

    yield from _selectors(promql.parse(whole(expr)), promql)


def _selectors(node: Any, promql: Any) -> Iterator[Any]:
    match node:
        case promql.VectorSelector():
            yield node
        case promql.MatrixSelector():
            yield node.vector_selector
        case promql.BinaryExpr():
            yield from _selectors(node.lhs, promql)
            yield from _selectors(node.rhs, promql)
        case promql.Call():
            for argument in node.args:
                yield from _selectors(argument, promql)
        case promql.AggregateExpr():
            yield from _selectors(node.expr, promql)
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            yield from _selectors(node.expr, promql)


def families(exposition: str) -> dict[str, str]:
    """The kind of each family of a scrape, whether it has samples or not."""
    return dict(re.findall(r"^# TYPE (\S+) (\S+)$", exposition, re.MULTILINE))


def series_of(exposition: str) -> set[str]:
    """The names that its samples can have."""
    names = set()
    for name, kind in families(exposition).items():
        names |= {name + suffix for suffix in SUFFIXES} if kind == "histogram" else {name}
    return names


def label_names(exposition: str) -> dict[str, set[str]]:
    """The labels that each series of a scrape has."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found
