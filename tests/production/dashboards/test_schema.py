"""The dashboard against Grafana's own TypeScript types: the page, and the options of each kind of panel."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.production.dashboards.promql import ROOT, dashboard, panels

HOME = ROOT / ".cache" / "grafana-schema"

PACKAGES = ("@grafana/schema@13.2.3", "typescript@5.9.3")

INSTALL_S = 60
"""It takes two seconds; a registry that cannot be reached would be tried for minutes."""

TYPES = "./node_modules/@grafana/schema/dist/types/raw"

PANEL_TYPES = {
    "timeseries": ("timeseries", "Timeseries"),
    "stat": ("stat", "Stat"),
    "heatmap": ("heatmap", "Heatmap"),
    "state-timeline": ("statetimeline", "StateTimeline"),
}
"""The folder of a kind's types, and a name for them here."""

HAS_FIELDS = {"timeseries", "state-timeline"}
"""Kinds whose `custom` has a type of its own."""

# A JSON file has plain strings where the types have enumerations, and numbers where those are numbered.
PLAIN = "type Plain<T> = T extends string ? `${T}` : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;"


@pytest.fixture(scope="module")
def grafana() -> Path:
    """A folder with the types and a compiler."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("there is no npm on PATH to fetch Grafana's types with")
    HOME.mkdir(parents=True, exist_ok=True)
    with (HOME / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = " ".join(PACKAGES)
        made = HOME / "made"
        if not made.exists() or made.read_text(encoding="utf-8") != wanted:
            _install(npm)
            made.write_text(wanted, encoding="utf-8")
    return HOME


def _install(npm: str) -> None:
    (HOME / "package.json").write_text('{"private": true}\n', encoding="utf-8")
    command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--no-save", *PACKAGES]
    environ = {"npm_config_cache": str(HOME / "npm")} | os.environ
    try:
        ran = subprocess.run(command, cwd=HOME, env=environ, capture_output=True, text=True, timeout=INSTALL_S)
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm could not fetch {PACKAGES[0]} within {INSTALL_S} s")
    if ran.returncode:
        said = ran.stderr.strip().splitlines() or [f"it ended with {ran.returncode}"]
        pytest.skip(f"npm could not fetch {PACKAGES[0]}: {said[0]}")


def program(page: dict[str, object]) -> str:
    """TypeScript that holds the page and the parts of its panels to their types."""
    lines = [f"import type {{ Dashboard }} from '{TYPES}/dashboard/x/types.gen';"]
    for folder, name in PANEL_TYPES.values():
        place = f"{TYPES}/composable/{folder}/panelcfg/x/types.gen"
        lines.append(f"import type * as {name} from '{place}';")
    lines += [PLAIN, f"export const page: Plain<Partial<Dashboard>> = {json.dumps(page, indent=1)};"]
    for panel in page["panels"]:  # type: ignore[attr-defined]
        if panel["type"] == "row":
            continue
        name = PANEL_TYPES[panel["type"]][1]
        options, custom = json.dumps(panel["options"]), json.dumps(panel["fieldConfig"]["defaults"]["custom"])
        lines.append(f"export const options{panel['id']}: Plain<Partial<{name}.Options>> = {options};")
        if panel["type"] in HAS_FIELDS:
            lines.append(f"export const custom{panel['id']}: Plain<Partial<{name}.FieldConfig>> = {custom};")
    return "\n".join(lines) + "\n"


def compiled(grafana: Path, name: str, page: dict[str, object]) -> str:
    """What the compiler finds wrong; empty when nothing is."""
    source = grafana / f"{name}.ts"
    source.write_text(program(page), encoding="utf-8")
    compiler = grafana / "node_modules" / "typescript" / "bin" / "tsc"
    options = ["--noEmit", "--strict", "--skipLibCheck", "--module", "esnext", "--moduleResolution", "bundler"]
    node = shutil.which("node") or "node"
    ran = subprocess.run([node, compiler, *options, source], cwd=grafana, capture_output=True, text=True)
    source.unlink()
    return ran.stdout + ran.stderr


def test_grafana_s_types_take_the_dashboard(grafana: Path) -> None:
    assert compiled(grafana, "dashboard", dashboard()) == ""


def test_the_types_would_say_what_is_wrong(grafana: Path) -> None:
    """Or the test above would prove nothing."""
    page = dashboard()
    page["editabel"] = False
    shown = [panel for panel in page["panels"] if panel["type"] == "timeseries"]
    shown[0]["options"]["legend"]["placement"] = "underneath"
    shown[1]["fieldConfig"]["defaults"]["custom"]["lineWidth"] = "thick"
    said = compiled(grafana, "wrong", page)
    for wrong in ("'\"editabel\"' does not exist", "'\"underneath\"' is not assignable", "'string' is not assignable"):
        assert wrong in said


def test_every_kind_of_panel_has_types() -> None:
    assert {panel["type"] for panel in panels()} == set(PANEL_TYPES)
