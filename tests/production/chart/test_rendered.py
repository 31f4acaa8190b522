"""Every file of values under `ci/`: Helm takes it, Kubernetes would, and so does the proxy."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from kubernetes_validate import utils as kubernetes
from referencing import Registry, Resource

from proxy import settings
from tests.production.chart.crds import SCHEMAS
from tests.production.chart.rendering import CHART, NAMES, Object, Render, containers_of, helm, render

MINORS = [f"1.{minor}" for minor in range(25, 38)]
PATCHES = {kubernetes.major_minor(version): version for version in kubernetes.all_versions()}

SECRET_TEXT = "a-secret-of-more-than-16-characters"
"""What every Secret of an operator holds, where the proxy is asked whether it takes its settings."""


@cache
def folder(minor: str) -> str:
    """Of the package's strict schemas for a version."""
    return f"kubernetes-json-schema/v{PATCHES[minor]}-local-strict"


@cache
def definitions(minor: str) -> Registry[Any]:
    found = kubernetes.schema_contents(f"{folder(minor)}/_definitions.json", minor)
    return Registry().with_resource(found.get("$id", ""), Resource.from_contents(found))


@cache
def validator(minor: str, kind: str, version: str) -> jsonschema.Draft202012Validator:
    """The package's own schema of a kind, read once: its `validate` reads 2 MB of definitions for every object."""
    name = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", version)
    found = kubernetes.schema_contents(f"{folder(minor)}/{kind.lower()}-{name}.json", minor)
    return jsonschema.Draft202012Validator(found, registry=Resource.from_contents(found) @ definitions(minor))


@cache
def faults(thing: str, minor: str) -> tuple[str, ...]:
    """What a cluster of this version would say. By its text: most objects are the same in most renders."""
    what = json.loads(thing)
    found = validator(minor, what["kind"], what["apiVersion"]).iter_errors(what)
    return tuple(f"{'.'.join(map(str, each.path))}: {each.message}" for each in found)


def test_the_package_knows_every_version_that_is_asked_about():
    assert set(MINORS) <= set(PATCHES)


def test_a_wrong_type_and_an_unknown_name_are_found():
    deployment = render().one("Deployment")
    wrong = json.loads(json.dumps(deployment))
    wrong["spec"]["replicas"] = "3"
    unknown = json.loads(json.dumps(deployment))
    unknown["spec"]["template"]["spec"]["containers"][0]["ports"][0]["prot"] = "TCP"
    assert faults(json.dumps(deployment), "1.32") == ()
    assert faults(json.dumps(wrong), "1.32")
    assert faults(json.dumps(unknown), "1.32")


@pytest.mark.parametrize("file", NAMES)
def test_helm_lints_it_strictly(file):
    linted = helm("lint", "--strict", str(CHART), "-f", f"ci/{file}-values.yaml")
    assert linted.returncode == 0, linted.stdout + linted.stderr
    assert "[WARNING]" not in linted.stdout
    assert "[INFO]" not in linted.stdout


NEWER = {("hpa-cpu", "1.25"): "unhealthyPodEvictionPolicy came with 1.26"}
"""Files that ask for what an older cluster does not have."""


@pytest.mark.parametrize(
    ("minor", "file"), [(minor, file) for minor in MINORS for file in NAMES if (file, minor) not in NEWER]
)
def test_kubernetes_takes_every_object(minor, file):
    own = [each for each in render(file=file).objects if each["kind"] not in SCHEMAS]
    assert own
    found = {
        f"{each['kind']} {each['metadata']['name']}": faults(json.dumps(each, sort_keys=True), minor) for each in own
    }
    assert {name: said for name, said in found.items() if said} == {}
    assert len(found) == len(own)


@pytest.mark.parametrize("file", NAMES)
def test_operators_of_other_kinds_take_theirs(file):
    for each in render(file=file).objects:
        if each["kind"] in SCHEMAS:
            jsonschema.Draft7Validator(SCHEMAS[each["kind"]]).validate(each)


def test_every_kind_the_chart_can_write_is_in_some_file():
    kinds = {each["kind"] for file in NAMES for each in render(file=file).objects}
    templates = "\n".join(path.read_text() for path in (CHART / "templates").rglob("*.yaml"))
    written = set(re.findall(r"^kind: (\w+)$", templates, re.MULTILINE)) | {"ServiceMonitor", "PodMonitor"}
    assert set(SCHEMAS) <= kinds
    assert written <= kinds


@pytest.mark.parametrize("kind", SCHEMAS)
def test_a_misspelt_name_in_one_of_the_other_kinds_is_found(kind):
    files = {"ServiceMonitor": "monitoring", "PodMonitor": "everything", "PrometheusRule": "monitoring",
             "ScaledObject": "keda", "HTTPRoute": "gateway"}  # fmt: skip
    thing = json.loads(json.dumps(render(file=files[kind]).one(kind)))
    thing["spec"]["selectr"] = {}
    with pytest.raises(jsonschema.ValidationError, match="selectr"):
        jsonschema.Draft7Validator(SCHEMAS[kind]).validate(thing)


@pytest.mark.parametrize("file", NAMES)
def test_the_same_values_render_the_same(file):
    again = helm("template", "askonce", str(CHART), "--namespace", "llm", "-f", f"ci/{file}-values.yaml", "-f", "-",
                 given="{}")  # fmt: skip
    assert again.stdout == render(file=file).text


def secret_files(made: Render) -> dict[str, str]:
    """Paths of the projected secrets below their mount."""
    pod = made.one("Deployment")["spec"]["template"]["spec"]
    projected = [each["projected"] for each in pod["volumes"] if each["name"] == "secrets"]
    items = [item for each in projected for source in each["sources"] for item in source["secret"]["items"]]
    return {item["path"]: item["key"] for item in items}


def environ_in_pod(made: Render) -> dict[str, str]:
    """The proxy's environment, each Secret holding what it should."""
    address = "redis+sentinel://a.example:26379/main"
    known = {"ASKONCE_STORE__URL": address}
    found = {name: each if isinstance(each, str) else known.get(name, SECRET_TEXT)
             for name, each in made.environment.items()}  # fmt: skip
    return {name: each for name, each in found.items() if name.startswith("ASKONCE_") and name != "ASKONCE_CONFIG"}


def in_folder(text: str, folder: Path) -> str:
    return text.replace("/etc/askonce/secrets", str(folder / "secrets"))


def loaded(made: Render, folder: Path, config: str | None = None) -> settings.Loaded:
    """The settings as the proxy reads them in a pod: the file, the environment, the secrets."""
    for path in secret_files(made):
        (folder / "secrets" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "secrets" / path).write_text(SECRET_TEXT)
    file = folder / "askonce.yaml"
    file.write_text(in_folder(config or made.one("ConfigMap")["data"]["askonce.yaml"], folder))
    environ = {name: in_folder(each, folder) for name, each in environ_in_pod(made).items()}
    return settings.load(file, {}, environ)


OWN_CONFIG = """
upstreams:
  - {name: openai, models: ["gpt-*"]}
  - {name: azure, base_url: "https://a.openai.azure.com/openai/v1", api_key_file: /etc/askonce/secrets/upstreams/azure}
"""


@pytest.mark.parametrize("file", NAMES)
def test_the_proxy_takes_its_settings(file, tmp_path):
    made = render(file=file)
    took = loaded(made, tmp_path, OWN_CONFIG if file == "existing-configmap" else None)
    port = made.proxy["ports"][0]["containerPort"]
    assert took.settings.server.host == "0.0.0.0"
    assert took.settings.server.port == port
    assert str(took.settings.store.data_dir) == "/var/lib/askonce"
    rolling = made.one("Deployment")["spec"]["strategy"]["type"] == "RollingUpdate"
    assert took.settings.store.kind == ("redis" if rolling else "sqlite")


@pytest.mark.parametrize("file", NAMES)
def test_every_secrets_file_that_is_named_is_mounted(file):
    made = render(file=file)
    text = made.text if file == "existing-configmap" else made.one("ConfigMap")["data"]["askonce.yaml"]
    named = set(re.findall(r"/etc/askonce/secrets/(\S+)", text))
    mounted = set(secret_files(made))
    assert mounted == (named or mounted)
    assert named <= mounted


def references(thing: Any) -> list[tuple[str, str]]:
    """Objects that a render names: kind and name."""
    found = []
    if isinstance(thing, list):
        return [each for item in thing for each in references(item)]
    if not isinstance(thing, dict):
        return []
    for name, below in thing.items():
        match name, below:
            case "serviceAccountName", str():
                found.append(("ServiceAccount", below))
            case "configMap" | "configMapRef" | "configMapKeyRef", {"name": str()}:
                found.append(("ConfigMap", below["name"]))
            case "persistentVolumeClaim", {"claimName": str()}:
                found.append(("PersistentVolumeClaim", below["claimName"]))
            case "secretKeyRef" | "secretRef" | "credentials" | "secret", {"name": str()}:
                found.append(("Secret", below["name"]))
            case "scaleTargetRef", {"name": str()}:
                found.append((below["kind"], below["name"]))
            case "service" | "backendRefs", _:
                services = below if isinstance(below, list) else [below]
                found += [("Service", each["name"]) for each in services if "name" in each]
            case "serviceName", str():
                found.append(("Service", below))
        found += references(below)
    return found


def strings(thing: Any) -> set[str]:
    if isinstance(thing, dict):
        return set().union(*(strings(each) for each in thing.values()), set())
    if isinstance(thing, list):
        return set().union(*(strings(each) for each in thing), set())
    return {thing} if isinstance(thing, str) else set()


@pytest.mark.parametrize("file", NAMES)
def test_what_is_named_is_there_or_the_operators_own(file):
    made = render(file=file)
    there = {(each["kind"], each["metadata"]["name"]) for each in made.objects}
    own = strings(yaml.safe_load((CHART / "ci" / f"{file}-values.yaml").read_text()))
    named = [each for thing in made.objects for each in references(thing)]
    assert named
    assert [(kind, name) for kind, name in named if (kind, name) not in there and name not in own] == []


@pytest.mark.parametrize("file", NAMES)
def test_every_volume_that_is_mounted_is_there_and_used(file):
    made = render(file=file)
    for workload in (each for each in made.objects if each["kind"] in ("Deployment", "StatefulSet", "Pod")):
        pod = workload["spec"] if workload["kind"] == "Pod" else workload["spec"]["template"]["spec"]
        there = [each["name"] for each in pod.get("volumes", ())]
        there += [each["metadata"]["name"] for each in workload["spec"].get("volumeClaimTemplates", ())]
        mounted = {mount["name"] for each in containers_of(pod) for mount in each.get("volumeMounts", ())}
        assert set(there) == mounted
        assert len(there) == len(set(there))


def labels(thing: Object) -> list[str]:
    """Values of labels that Kubernetes gives pods after a name, too."""
    name = thing["metadata"]["name"]
    hashes = {"StatefulSet": [f"{name}-0123456789"]}
    return [*thing["metadata"].get("labels", {}).values(), *hashes.get(thing["kind"], [])]


@pytest.mark.parametrize("file", NAMES)
@pytest.mark.parametrize("name", ["a", "r" * 53, "x" * 40 + "-askonce-prod"])
def test_names_are_short_enough_whatever_the_release_is_called(file, name):
    made = render(file=file, name=name)
    names = [each["metadata"]["name"] for each in made.objects]
    assert max(map(len, names)) <= 63
    assert all(re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", each) for each in names)
    assert max(len(label) for each in made.objects for label in labels(each)) <= 63
    assert len({(each["kind"], each["metadata"]["name"]) for each in made.objects}) == len(made.objects)


@pytest.mark.parametrize("file", NAMES)
def test_the_namespace_is_the_releases(file):
    elsewhere = {"monitoring"} if file == "monitoring" else set()
    made = render(file=file, namespace="elsewhere")
    spaces = {each["metadata"].get("namespace", "elsewhere") for each in made.objects}
    assert spaces == {"elsewhere"} | elsewhere
    assert ".llm." not in made.text
    assert "default.svc" not in made.text
