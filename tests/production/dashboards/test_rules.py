"""The rule files: Prometheus' own opinion, each alert fired and not fired, and a section of the runbook for each."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import get_args

import pytest
import typer.main
import yaml
from pydantic import BaseModel

from proxy import cli
from proxy.settings import Settings
from tests.production.dashboards.conftest import Seen
from tests.production.dashboards.promql import (
    ROOT,
    RULES,
    alerts,
    label_names,
    of_panels,
    of_rules,
    recorded,
    rules,
    selectors,
    series_of,
)
from tests.prometheus_server import Programs

SCENARIOS = sorted((Path(__file__).parent / "rules").glob("*.yaml"))

RUNBOOK = ROOT / "docs" / "runbook.md"

OF_PROMETHEUS = {"up"}
OF_TARGETS = {"namespace", "pod", "job", "instance"}
"""Labels that come with a target."""

SEVERITIES = {"critical", "warning", "info"}

COMMANDS = {"check", "config show", "stats", "purge", "calibrate", "prefix"}
"""Of `askonce`, that the runbook may name."""


def test_promtool_finds_nothing_wrong_with_the_rules(programs: Programs) -> None:
    checked = programs.tool("check", "rules", "--lint=all", "--lint-fatal", *RULES)
    assert checked.returncode == 0, checked.stdout.decode() + checked.stderr.decode()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda path: path.stem)
def test_alerts_are_fired_when_they_should_and_silent_when_not(
    programs: Programs, tmp_path: Path, scenario: Path
) -> None:
    for path in (*RULES, scenario):
        shutil.copy(path, tmp_path)
    tested = programs.tool("test", "rules", tmp_path / scenario.name)
    assert tested.returncode == 0, tested.stdout.decode() + tested.stderr.decode()


@pytest.mark.parametrize("alert", [alert["alert"] for alert in alerts()])
def test_every_alert_is_seen_both_ways(alert: str) -> None:
    """Some scenario has it fire and some moment has it silent."""
    expected = [
        bool(moment["exp_alerts"])
        for scenario in SCENARIOS
        for test in yaml.safe_load(scenario.read_text(encoding="utf-8"))["tests"]
        for moment in test.get("alert_rule_test", [])
        if moment["alertname"] == alert
    ]
    assert set(expected) == {True, False}


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: str(alert["alert"]))
def test_an_alert_says_how_bad_it_is_what_it_is_and_what_to_read(alert: dict[str, dict[str, str]]) -> None:
    assert alert["labels"]["severity"] in SEVERITIES
    said = alert["annotations"]
    assert set(said) == {"summary", "description", "runbook_url"}
    assert "{{" not in said["summary"], "a summary is the same for all of them, so that they can be grouped"
    assert "{{ $" in said["description"]
    anchor = f"docs/runbook.md#{str(alert['alert']).lower()}"
    assert said["runbook_url"] == f"https://github.com/askonce/askonce/blob/main/{anchor}"


def test_names_are_unique() -> None:
    for path in RULES:
        names = [rule.get("record") or rule["alert"] for rule in rules(path)]
        assert len(names) == len(set(names))


def test_the_runbook_has_a_section_for_each_alert_and_for_no_other() -> None:
    sections = re.findall(r"^## (AskOnce\w+)$", RUNBOOK.read_text(encoding="utf-8"), re.MULTILINE)
    assert sections == [alert["alert"] for alert in alerts()]


def test_every_section_says_what_it_means_how_to_see_it_and_what_to_do() -> None:
    _, *sections = re.split(r"^## (?=AskOnce)", RUNBOOK.read_text(encoding="utf-8"), flags=re.MULTILINE)
    for section in sections:
        words = [section.find(word) for word in ("**Meaning.**", "**See.**", "**Do.**")]
        assert -1 not in words, section
        assert words == sorted(words), section


def test_the_runbook_names_commands_and_paths_that_exist() -> None:
    text = RUNBOOK.read_text(encoding="utf-8")
    for command in set(re.findall(r"\baskonce ((?:config )?[a-z][a-z-]+)(?=[ `\n])", text)):
        assert command in COMMANDS, f"askonce {command}"
    known = {command.name for command in typer.main.get_group(cli.app).commands.values()}
    assert {command.split()[0] for command in COMMANDS} <= known
    sources = (ROOT / "proxy" / "admin" / "routes.py").read_text(encoding="utf-8")
    paths = set(re.findall(r"[`8]/(?:admin/)?((?:[a-z]+z|metrics|semantic|stats|purge)(?:/[a-z-]+)?)\b", text))
    assert len(paths) > 4
    assert [path for path in paths if f'"/{path}"' not in sources] == []


def test_the_runbook_names_settings_that_exist() -> None:
    names = set(re.findall(r"`((?:[a-z]\w*\.)+\w+)`", RUNBOOK.read_text(encoding="utf-8"))) - {"cache.db"}
    assert len(names) > 20
    assert [name for name in names if not is_setting(Settings, name.split("."))] == []


def is_setting(part: type[BaseModel], path: list[str]) -> bool:
    """Whether there is a setting at this path; of a list it is one of its items'."""
    name, *rest = path
    field = part.model_fields.get(name)
    if field is None or not rest:
        return field is not None
    of = field.annotation
    inner = [each for each in (of, *get_args(of)) if isinstance(each, type) and issubclass(each, BaseModel)]
    return any(is_setting(each, rest) for each in inner)


# --- against what a proxy exports


def test_every_metric_in_an_expression_is_exported(seen: Seen) -> None:
    known = series_of(seen.exposition) | set(recorded()) | OF_PROMETHEUS
    unknown = {
        (asked.where, selector.name)
        for asked in (*of_panels(), *of_rules())
        for selector in selectors(asked.expr)
        if selector.name not in known
    }
    assert unknown == set()


def test_every_label_that_is_matched_is_exported(seen: Seen) -> None:
    """What a misspelt label is asked for is never found, and an alert on it is silent for ever."""
    labels = label_names(seen.exposition)
    unknown = {
        (asked.where, selector.name, matcher.name)
        for asked in (*of_panels(), *of_rules())
        for selector in selectors(asked.expr)
        for matcher in selector.matchers.matchers
        if selector.name in labels and matcher.name not in labels[selector.name] | OF_TARGETS
    }
    assert unknown == set()
