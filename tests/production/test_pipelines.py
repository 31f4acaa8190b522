"""The pipelines: well formed, with no more rights than they need, and running what is run by hand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
GITHUB = ROOT / ".github"
FILES = sorted((GITHUB / "workflows").glob("*.yml"))
WORKFLOWS: dict[str, dict[Any, Any]] = {file.stem: yaml.safe_load(file.read_text()) for file in FILES}
JOBS = {f"{workflow}/{name}": job for workflow, content in WORKFLOWS.items() for name, job in content["jobs"].items()}
STEPS = [(f"{place}#{number}", step) for place, job in JOBS.items() for number, step in enumerate(job["steps"])]

MAY_WRITE = {
    "release/image": {"packages", "id-token"},
    "release/chart": {"packages", "id-token"},
    "release/pypi": {"id-token"},
    "release/release": {"contents"},
}
"""Jobs that publish, and what each needs for it. No other may write anything."""

FULL_VERSION = re.compile(r"[\w./-]+@(v\d+\.\d+\.\d+|[0-9a-f]{40})")


def check(schema: str, *files: Path) -> None:
    tool = Path(sys.executable).with_name("check-jsonschema")
    done = subprocess.run([tool, "--builtin-schema", schema, *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def targets() -> set[str]:
    """What the Makefile can make."""
    return set(re.findall(r"^([\w./-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def made(step: dict[str, Any]) -> set[str]:
    return {word for line in re.findall(r"\bmake (.+)", step.get("run", "")) for word in line.split() if plain(word)}


def plain(word: str) -> bool:
    return re.fullmatch(r"[.\w/-]+", word) is not None


def test_there_are_pipelines_for_changes_nights_and_releases():
    assert set(WORKFLOWS) == {"ci", "nightly", "release"}


def test_workflows_are_well_formed():
    check("vendor.github-workflows", *FILES)
    check("vendor.dependabot", GITHUB / "dependabot.yml")


def test_every_change_runs_what_is_run_by_hand():
    run = set().union(*(made(step) for place, step in STEPS if place.startswith("ci/")))
    assert run >= {"lint", "test", "test-production", "test-image", "test-clients"}
    versions = WORKFLOWS["ci"]["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert versions == ["3.11", "3.12", "3.13", "3.14"]


@pytest.mark.parametrize(("place", "step"), [each for each in STEPS if made(each[1])], ids=lambda each: str(each)[:40])
def test_a_target_that_is_called_is_in_the_makefile(place: str, step: dict[str, Any]):
    assert not made(step) - targets()


@pytest.mark.parametrize("place", JOBS)
def test_a_job_ends_by_itself(place: str):
    assert 0 < JOBS[place]["timeout-minutes"] <= 90


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_may_only_read_and_does_not_run_beside_itself(name: str):
    assert WORKFLOWS[name]["permissions"] == {"contents": "read"}
    assert "group" in WORKFLOWS[name]["concurrency"]


@pytest.mark.parametrize("place", JOBS)
def test_a_job_writes_only_what_it_publishes(place: str):
    permissions = JOBS[place].get("permissions", {})
    assert {what for what, right in permissions.items() if right != "read"} == MAY_WRITE.get(place, set())
    assert set(permissions.values()) <= {"read", "write"}


def test_nothing_with_the_right_to_write_runs_on_what_a_stranger_sends():
    for name, workflow in WORKFLOWS.items():
        events = set(workflow[True])  # YAML 1.1 reads `on` as true
        assert "pull_request_target" not in events
        assert "workflow_run" not in events
        if any(place.startswith(f"{name}/") for place in MAY_WRITE):
            assert events == {"push"}
            assert set(workflow[True]["push"]) == {"tags"}


@pytest.mark.parametrize(("place", "step"), STEPS, ids=[place for place, _ in STEPS])
def test_no_expression_is_written_into_a_script(place: str, step: dict[str, Any]):
    # What somebody calls a branch or an issue would be run. Values come in through `env`.
    assert "${{" not in step.get("run", "")
    assert not any("github.event" in str(value) for value in step.get("env", {}).values())


@pytest.mark.parametrize(("place", "step"), STEPS, ids=[place for place, _ in STEPS])
def test_an_action_is_named_by_its_full_version_and_a_checkout_leaves_no_token(place: str, step: dict[str, Any]):
    if "uses" not in step:
        return
    assert FULL_VERSION.fullmatch(step["uses"])
    if step["uses"].startswith("actions/checkout@"):
        assert step["with"]["persist-credentials"] is False


def test_nothing_is_published_that_was_not_tested_and_scanned():
    needs = {name: set(job.get("needs") or ()) for name, job in WORKFLOWS["release"]["jobs"].items()}
    for name, job in WORKFLOWS["release"]["jobs"].items():
        if isinstance(job.get("needs"), str):
            needs[name] = {job["needs"]}

    def before(name: str) -> set[str]:
        return needs[name].union(*(before(other) for other in needs[name]))

    for place in MAY_WRITE:
        assert before(place.partition("/")[2]) >= {"package", "scan"}
