"""What Helm makes of the chart, as Python objects. A render is made once: files of values are asked about often."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
CHART = ROOT / "helm" / "askonce"
HELM = Path(sys.executable).parent / "helm"
CI = sorted((CHART / "ci").glob("*-values.yaml"))
NAMES = [path.name.removesuffix("-values.yaml") for path in CI]
ON_REDIS = {"redis": {"external": {"url": "redis://redis.example:6379/0"}}}

PODS = {"Deployment", "StatefulSet", "Pod"}
CONTAINERS = ("initContainers", "containers")

Object = dict[str, Any]


@dataclass(frozen=True)
class Render:
    """Objects that one render made."""

    text: str
    objects: tuple[Object, ...] = field(repr=False)

    def of(self, kind: str, ending: str = "") -> list[Object]:
        return [each for each in self.objects if each["kind"] == kind and each["metadata"]["name"].endswith(ending)]

    def one(self, kind: str, component: str = "proxy") -> Object:
        """The object of this kind that belongs to a component."""
        found = [each for each in self.of(kind) if component_of(each) == component]
        assert len(found) == 1, f"{len(found)} of kind {kind} for {component}"
        return found[0]

    @property
    def pods(self) -> list[Object]:
        """What is below `spec` of each pod, a Deployment's and a StatefulSet's too."""
        return [pod_of(each) for each in self.objects if each["kind"] in PODS]

    @property
    def settings(self) -> Any:
        """What stands in askonce.yaml, read as YAML."""
        return yaml.safe_load(self.one("ConfigMap")["data"]["askonce.yaml"])

    @property
    def environment(self) -> dict[str, Any]:
        """The proxy's variables by name: the value, or where it comes from."""
        return {each["name"]: each.get("value", each.get("valueFrom")) for each in self.proxy["env"]}

    @property
    def proxy(self) -> Object:
        return pod_of(self.one("Deployment"))["containers"][0]


def component_of(thing: Object) -> str:
    """Empty for an object of the operator's own."""
    return thing["metadata"].get("labels", {}).get("app.kubernetes.io/component", "")


def pod_of(workload: Object) -> Object:
    return workload["spec"] if workload["kind"] == "Pod" else workload["spec"]["template"]["spec"]


def containers_of(pod: Object) -> Iterator[Object]:
    for kind in CONTAINERS:
        yield from pod.get(kind, ())


def helm(*arguments: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(HELM), *arguments], input=given, capture_output=True, text=True, cwd=CHART)


def render(values: Object | None = None, *, name: str = "askonce", namespace: str = "llm", **over: Any) -> Render:
    """The chart with these values, or with those of one file under `ci/` (`file="vllm"`). Fails when Helm refuses."""
    return _rendered(json.dumps(values or {}), name, namespace, over.get("file", ""))


@lru_cache(maxsize=256)
def _rendered(values: str, name: str, namespace: str, file: str) -> Render:
    files = ["-f", f"ci/{file}-values.yaml"] if file else []
    made = helm("template", name, str(CHART), "--namespace", namespace, *files, "-f", "-", given=values)
    assert made.returncode == 0, made.stderr
    return Render(made.stdout, tuple(each for each in yaml.safe_load_all(made.stdout) if each))


def notes(values: Object, folder: Path) -> str:
    """NOTES.txt. `helm template` does not show it, and `helm install` asks a cluster: so it is put into an object."""
    chart = folder / "askonce"
    shutil.copytree(CHART, chart)
    (chart / "templates" / "NOTES.txt").rename(chart / "notes.txt")
    shown = (
        'apiVersion: v1\nkind: Notes\nmetadata: {name: notes}\ntext: {{ tpl (.Files.Get "notes.txt") . | toJson }}\n'
    )
    (chart / "templates" / "notes.yaml").write_text(shown)
    made = helm("template", "askonce", str(chart), "--namespace", "llm", "-s", "templates/notes.yaml", "-f", "-",
                given=json.dumps(values))  # fmt: skip
    assert made.returncode == 0, made.stderr
    return str(yaml.safe_load(made.stdout)["text"])


def refusal(values: Object) -> str:
    """What Helm says of values that it does not take. Fails when it takes them."""
    made = helm("template", "askonce", str(CHART), "--namespace", "llm", "-f", "-", given=json.dumps(values))
    assert made.returncode != 0, "the values were taken"
    return made.stderr
