"""The dashboard: in step with its generator, laid out, valid PromQL, and after the rules of Grafana's own linter
(grafana/dashboard-linter), which is a Go program and cannot be had everywhere."""

from __future__ import annotations

import importlib.util
import itertools
import re
from typing import Any

import promql_parser
import pytest

from tests.production.dashboards.conftest import Seen
from tests.production.dashboards.promql import (
    ROOT,
    Json,
    dashboard,
    families,
    of_panels,
    of_rules,
    panels,
    selectors,
    whole,
)

COLUMNS = 24

UNITS = {"percentunit", "reqps", "ops", "s", "bytes", "short", "currencyUSD"}
"""Of Grafana's, those that we have a use for."""

NOT_SHOWN: dict[str, str] = {
    "process_virtual_memory_bytes": "says nothing: what is mapped need not be there",
}
"""Families that a proxy exports and the dashboard leaves out, each with its reason."""

GLOBAL = {"__rate_interval", "__range"}


def named(panel: Json) -> str:
    return str(panel["title"])


def variables() -> dict[str, Json]:
    return {variable["name"]: variable for variable in dashboard()["templating"]["list"]}


def test_the_file_is_what_its_generator_writes() -> None:
    source = ROOT / "helm" / "dashboard.py"
    spec = importlib.util.spec_from_file_location("dashboard_generator", source)
    assert spec is not None
    assert spec.loader is not None
    generator = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(__import__("sys").modules, spec.name, generator)
        spec.loader.exec_module(generator)
        assert generator.DASHBOARD.read_text(encoding="utf-8") == generator.text(), "run: make docs"


# --- layout


def test_nothing_overlaps_and_nothing_is_off_the_page() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= COLUMNS, panel["title"]
        assert min(place["w"], place["h"]) > 0
        cells = itertools.product(
            range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        )
        for cell in cells:
            assert cell not in taken, f"{panel['title']} lies over {taken[cell]}"
            taken[cell] = panel["title"]


def test_there_are_no_holes_and_no_gaps() -> None:
    """Every line of the page is full, so nothing moves when Grafana closes gaps."""
    lines: dict[int, int] = {}
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        for line in range(place["y"], place["y"] + place["h"]):
            lines[line] = lines.get(line, 0) + place["w"]
    assert lines == dict.fromkeys(range(max(lines) + 1), COLUMNS)


def test_rows_are_whole_lines_and_every_panel_is_under_one() -> None:
    found = dashboard()["panels"]
    assert found[0]["type"] == "row"
    rows = [panel for panel in found if panel["type"] == "row"]
    assert all(row["gridPos"] | {"y": 0} == {"h": 1, "w": COLUMNS, "x": 0, "y": 0} for row in rows)
    assert [panel["gridPos"]["y"] for panel in found] == sorted(panel["gridPos"]["y"] for panel in found)
    assert len({row["title"] for row in rows}) == len(rows)


def test_ids_and_titles_are_unique_within_their_reach() -> None:
    found = dashboard()["panels"]
    assert len({panel["id"] for panel in found}) == len(found)
    titles: list[tuple[str, str]] = []
    row = ""
    for panel in found:
        row = panel["title"] if panel["type"] == "row" else row
        titles.append((row, panel["title"]))
    assert len(set(titles)) == len(titles)


# --- the linter's rules


def test_it_cannot_be_edited_in_place_and_leads_to_the_runbook() -> None:
    page = dashboard()
    assert page["editable"] is False
    assert page["uid"] == "askonce"
    assert page["schemaVersion"] >= 39
    assert "id" not in page
    assert any(link["url"].endswith("docs/runbook.md") for link in page["links"])
    for link in page["links"]:
        path = link["url"].partition("/blob/main/")[2]
        assert (ROOT / path).is_file(), path


def test_the_data_source_is_chosen_by_the_reader() -> None:
    source = variables()["datasource"]
    assert (source["type"], source["query"], source["label"]) == ("datasource", "prometheus", "Data source")
    holders = [*panels(), *(target for panel in panels() for target in panel["targets"])]
    holders += [variable for variable in variables().values() if variable["type"] == "query"]
    assert all(holder["datasource"] == {"type": "prometheus", "uid": "${datasource}"} for holder in holders)


@pytest.mark.parametrize("name", ["job", "instance", "model", "upstream"])
def test_what_can_be_chosen_can_be_several_and_all(name: str) -> None:
    variable = variables()[name]
    assert (variable["type"], variable["label"]) == ("query", name.capitalize())
    assert variable["multi"] is variable["includeAll"] is True
    assert variable["allValue"] == ".+"
    assert variable["refresh"] == 2, "values are those of the range that is looked at"
    query = re.fullmatch(rf"label_values\((.+), {name}\)", variable["query"]["query"])
    assert query is not None
    promql_parser.parse(whole(query[1]))


def test_every_variable_is_used_and_every_used_one_is_there() -> None:
    used = {name for asked in of_panels() for name in re.findall(r"\$(\w+)", asked.expr)}
    used |= {name for each in variables().values() for name in re.findall(r"\$(\w+)", str(each.get("query")))}
    assert used - GLOBAL == set(variables()) - {"datasource"}


@pytest.mark.parametrize("panel", panels(), ids=named)
def test_a_panel_says_what_it_shows(panel: Json) -> None:
    assert panel["title"]
    assert panel["description"].endswith((".", "?")), "a description is a sentence"
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert panel["targets"]
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    for target in panel["targets"]:
        assert target["legendFormat"]
        assert target["instant"] is (panel["type"] == "stat")


@pytest.mark.parametrize("asked", [*of_panels(), *of_rules()], ids=lambda asked: str(asked.where))
def test_an_expression_is_promql(asked: Any) -> None:
    promql_parser.parse(whole(asked.expr))


@pytest.mark.parametrize("asked", of_panels(), ids=lambda asked: str(asked.where))
def test_an_expression_looks_at_what_was_chosen(asked: Any) -> None:
    """Each metric in it: at the job and the instance, and at the upstream where it is about one."""
    metrics = re.findall(r"\b((?:askonce|process)_\w+)(\{[^}]*\})?", asked.expr)
    assert metrics
    for name, matchers in metrics:
        assert 'job=~"$job"' in matchers, name
        assert 'instance=~"$instance"' in matchers, name
        about_one = name.startswith("askonce_upstream") and not asked.where.startswith("Parts in trouble")
        assert ('upstream=~"$upstream"' in matchers) is about_one, name


@pytest.mark.parametrize("asked", of_panels(), ids=lambda asked: str(asked.where))
def test_a_rate_is_over_an_interval_that_fits(asked: Any) -> None:
    for function, interval in re.findall(r"\b(rate|irate|increase)\([^[]*\[([^]]+)\]", asked.expr):
        # Figures of the first row are over the whole range on purpose.
        assert interval == "$__rate_interval" or (function == "increase" and interval == "$__range")
    assert "irate(" not in asked.expr


@pytest.mark.parametrize("asked", of_panels(), ids=lambda asked: str(asked.where))
def test_counters_are_rates_and_quantiles_are_over_sums_by_le(asked: Any) -> None:
    counters = re.findall(r"\b(\w+_(?:total|bucket|sum|count))\{", asked.expr)
    counted = re.findall(r"\b(?:rate|increase)\((\w+)\{", asked.expr)
    assert counters == counted
    quantiles = re.findall(r"histogram_quantile\([\d.]+, sum by \(le(?:, \w+)*\) \(rate\(", asked.expr)
    assert len(quantiles) == asked.expr.count("histogram_quantile")


@pytest.mark.parametrize("asked", of_panels(), ids=lambda asked: str(asked.where))
def test_a_legend_names_labels_that_the_result_has(asked: Any, seen: Seen) -> None:
    (legend,) = (
        target["legendFormat"]
        for panel in panels()
        for target in panel["targets"]
        if f"{panel['title']} ({target['refId']})" == asked.where and target["expr"] == asked.expr
    )
    named_labels = set(re.findall(r"\{\{(\w+)\}\}", legend))
    results = seen.answers[asked.expr]
    assert all(named_labels == set(each["metric"]) for each in results), "series that would have the same name"


# --- what is shown


def test_every_family_is_on_the_dashboard_or_left_out_for_a_reason(seen: Seen) -> None:
    shown = {selector.name for asked in of_panels() for selector in selectors(asked.expr)}
    bare = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown} | shown
    exported = set(families(seen.exposition))
    assert {name for name in exported if name not in bare} == set(NOT_SHOWN)


def test_nothing_is_left_out_that_is_no_longer_exported(seen: Seen) -> None:
    assert set(NOT_SHOWN) <= set(families(seen.exposition))
