"""The chart as it is shipped: packaged, described, in step with the package it runs."""

from __future__ import annotations

import re
import tarfile
import tomllib
from xml.etree import ElementTree as ET

import yaml

from tests.production.chart.rendering import CHART, ROOT, helm

META = yaml.safe_load((CHART / "Chart.yaml").read_text())


def test_the_chart_can_be_packaged_and_has_what_it_needs(tmp_path):
    made = helm("package", str(CHART), "--destination", str(tmp_path))
    assert made.returncode == 0, made.stderr
    (archive,) = tmp_path.glob("*.tgz")
    with tarfile.open(archive) as packed:
        names = {name.removeprefix("askonce/") for name in packed.getnames()}
        packed.extractall(tmp_path, filter="data")
    assert {"Chart.yaml", "values.yaml", "values.schema.json", "README.md", "templates/NOTES.txt"} <= names
    assert {"rules/alerts.yaml", "rules/recording.yaml", "dashboards/askonce.json", "files/fetch_model.py"} <= names
    assert not [name for name in names if name.startswith("ci/")]
    assert helm("template", "a", str(tmp_path / "askonce")).returncode == 0


def test_the_chart_runs_the_version_of_this_checkout():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert META["appVersion"] == project["version"]
    images = yaml.safe_load(META["annotations"]["artifacthub.io/images"])
    assert images[0]["image"] == f"ghcr.io/askonce/askonce:{project['version']}"


def test_it_says_what_it_is_to_artifact_hub():
    assert META["apiVersion"] == "v2"
    assert META["kubeVersion"] == ">=1.25.0-0"
    assert all(META[name] for name in ("description", "home", "icon", "sources", "maintainers", "keywords"))
    changes = yaml.safe_load(META["annotations"]["artifacthub.io/changes"])
    assert all(each["kind"] in ("added", "changed", "deprecated", "removed", "fixed", "security") for each in changes)
    assert META["annotations"]["artifacthub.io/license"] == "Apache-2.0"
    assert yaml.safe_load((ROOT / "helm" / "artifacthub-repo.yml").read_text())["owners"]


def test_there_are_no_charts_below_it():
    assert "dependencies" not in META
    assert not (CHART / "charts").exists()


def test_the_icon_is_a_picture_of_this_folder():
    assert META["icon"].endswith("/helm/askonce/icon.svg")
    assert ET.fromstring((CHART / "icon.svg").read_text()).tag.endswith("svg")


def test_an_older_cluster_is_refused():
    old = helm("template", "a", str(CHART), "--kube-version", "1.24.0")
    assert old.returncode != 0
    assert re.search(r"kubeVersion: >=1\.25\.0-0", old.stderr)
    assert helm("template", "a", str(CHART), "--kube-version", "1.25.3-gke.100").returncode == 0
