"""The schema of the values: strict at every level, and in step with what it is made from."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import yaml

from proxy.settings.names import settable
from tests.production.chart.rendering import CHART, ROOT, refusal, render

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"replicaCounts": 1}, "replicaCounts"),
    ({"replicaCount": "1"}, "replicaCount"),
    ({"replicaCount": -1}, "replicaCount"),
    ({"image": {"tags": "1"}}, "tags"),
    ({"image": {"tag": 1}}, "tag"),
    ({"image": {"pullPolicy": "Sometimes"}}, "pullPolicy"),
    ({"image": {"digest": "sha256:1"}}, "digest"),
    ({"autoscaling": {"enabled": "notabool"}}, "enabled"),
    ({"autoscaling": {"behavior": {"scaleDwn": {}}}}, "scaleDwn"),
    (
        {"autoscaling": {"behavior": {"scaleDown": {"policies": [{"type": "Pod", "value": 1, "periodSeconds": 1}]}}}},
        "type",
    ),
    ({"autoscaling": {"customMetrics": [{"name": "http_requests", "type": "Pods", "averageValue": "1"}]}}, "name"),
    ({"autoscaling": {"customMetrics": [{"name": "askonce_x", "type": "Pods", "value": "1"}]}}, "averageValue"),
    ({"keda": {"prometheus": {"treshold": "1"}}}, "treshold"),
    ({"keda": {"triggers": [{"type": "cron", "metadata": {"desiredReplicas": 5}}]}}, "desiredReplicas"),
    ({"redis": {"external": {"uri": "redis://r"}}}, "uri"),
    ({"redis": {"external": {"url": "http://r"}}}, "url"),
    ({"redis": {"internal": {"maxmemory": "512Mi"}}}, "maxmemory"),
    ({"redis": {"internal": {"auth": {"password": "x"}}}}, "password"),
    ({"drain": {"longestStream": "5m"}}, "longestStream"),
    ({"resources": {"limit": {"memory": "1Gi"}}}, "limit"),
    ({"resources": {"limits": {"memory": "1 GB"}}}, "memory"),
    ({"probes": {"liveness": {"period": 5}}}, "period"),
    ({"probes": {"liveness": {"periodSeconds": "5"}}}, "periodSeconds"),
    ({"service": {"type": "ClusterIp"}}, "type"),
    ({"service": {"port": 0}}, "port"),
    ({"tolerations": [{"key": "a", "operater": "Exists"}]}, "operater"),
    ({"extraEnv": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "a"}}}]}, "key"),
    ({"extraEnv": [{"name": "A", "value": 1}]}, "value"),
    ({"extraVolumeMounts": [{"name": "a", "mountpath": "/a"}]}, "mountPath"),
    ({"securityContext": {"readOnlyRootFileSystem": True}}, "readOnlyRootFileSystem"),
    ({"podLabels": {"a": True}}, "podLabels"),
    ({"ingress": {"hosts": [{"host": "a", "path": "/"}]}}, "path"),
    ({"httpRoute": {"timeouts": {"request": "1 hour"}}}, "request"),
    ({"metrics": {"serviceMonitor": {"intervall": "30s"}}}, "intervall"),
    ({"metrics": {"serviceMonitor": {"interval": 30}}}, "interval"),
    ({"metrics": {"prometheusRule": {"groups": [{"name": "a", "rules": [{"alert": "A"}]}]}}}, "expr"),
    ({"metrics": {"serviceMonitor": {"bearerTokenSecret": {"name": "a"}}}}, "key"),
    ({"modelCache": {"source": "hub"}}, "source"),
    ({"vllm": {"replicas": 65}}, "replicas"),
    ({"vllm": {"gpus": True}}, "gpus"),
    ({"vllm": {"upstream": {"settings": {"name": "mine"}}}}, "name"),
    ({"secrets": {"upstreams": {"openai": {"key": "k"}}}}, "existingSecret"),
    ({"secrets": {"upstreams": {"Open AI": {"existingSecret": "k"}}}}, "Open AI"),
    ({"config": {"servr": {}}}, "servr"),
    ({"config": {"server": {"drain": "5s"}}}, "drain"),
    ({"config": {"server": {"keep_alive": "75 seconds"}}}, "keep_alive"),
    ({"config": {"server": {"port": 0}}}, "port"),
    ({"config": {"store": {"memory": "256MB/s"}}}, "memory"),
    ({"config": {"store": {"data_dir": "/data"}}}, "data_dir"),
    ({"config": {"store": {"redis": {"comand_timeout": "1s"}}}}, "comand_timeout"),
    ({"config": {"semantic": {"embedder": {"kind": "onxx"}}}}, "kind"),
    ({"config": {"semantic": {"budget": "5%"}}}, "budget"),
    ({"config": {"upstreams": [{"nam": "openai"}]}}, "nam"),
    ({"config": {"upstreams": {"openai": {}}}}, "upstreams"),
    ({"config": {"rules": [{"match": {"modell": "gpt-*"}}]}}, "modell"),
    ({"config": {"telemetry": {"prices": {"gpt-*": {"inputs": 1}}}}}, "inputs"),
]


@pytest.mark.parametrize(("values", "named"), WRONG, ids=[json.dumps(values) for values, _ in WRONG])
def test_a_wrong_value_is_refused_and_named(values, named):
    said = refusal(values)
    assert "values don't meet the specifications of the schema" in said
    assert named in said


RIGHT: list[dict[str, Any]] = [
    {"config": {"semantic": {"mode": False}}},
    {"config": {"semantic": {"mode": "shadow"}}},
    {"config": {"server": {"keep_alive": "1m30s", "max_body": "16 MiB", "body_timeout": 2.5}}},
    {"config": {"server": {"max_body": 1000000}}},
    {"config": {"upstreams": [{"base_url": ["https://a.example/v1", "https://b.example/v1"], "epoch": 3}]}},
    {"config": {"store": {"url": "memory://"}}},
    {"config": {"store": None, "rules": None}},
    {"redis": {"external": {"url": "rediss+sentinel://askonce@a:26379,b:26379/main/0"}}},
    {"redis": {"external": {"url": "redis://[::1]:6379/0"}}},
    {"resources": {"limits": {"cpu": 2, "memory": "1.5Gi", "example.com/dongle": "1"}}},
    {"global": {"anything": {"goes": 1}}},
]


@pytest.mark.parametrize("values", RIGHT, ids=json.dumps)
def test_a_right_value_is_taken(values):
    assert render(values).objects


def test_the_schema_is_one():
    jsonschema.Draft7Validator.check_schema(SCHEMA)


def objects(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema in the schema."""
    if isinstance(node, dict):
        yield path, node
        for name, below in node.items():
            yield from objects(below, f"{path}/{name}")
    elif isinstance(node, list):
        for index, below in enumerate(node):
            yield from objects(below, f"{path}/{index}")


OPEN = {
    "/definitions/Objects/items": "peers of a NetworkPolicy, which the cluster checks",
    "/definitions/Affinity/properties/nodeAffinity": "the cluster checks it",
    "/definitions/Affinity/properties/podAffinity": "the cluster checks it",
    "/definitions/Affinity/properties/podAntiAffinity": "the cluster checks it",
    "/definitions/Named/items": "volumes of any kind",
    "/definitions/Containers/items": "whole containers",
    "/definitions/KubernetesObjects/items": "whole objects",
    "/definitions/KubernetesObjects/items/properties/metadata": "whole objects",
    "/properties/global": "belongs to the charts around this one",
}
"""Places where a name that nobody knows is taken, with the reason."""


def test_unknown_names_are_refused_everywhere_but_where_said():
    taken = {
        path
        for path, node in objects(SCHEMA)
        if node.get("type") == "object" and isinstance(node.get("type"), str) and "additionalProperties" not in node
        if not path.endswith("/properties")
    }
    assert taken == set(OPEN)


def test_every_value_has_a_type_and_a_description():
    def untyped(node: dict[str, Any], name: str) -> Iterator[str]:
        for each, below in node.get("properties", {}).items():
            if "properties" in below:
                yield from untyped(below, f"{name}.{each}")
            elif not ({"type", "allOf"} & set(below)) or not below.get("description"):
                yield f"{name}.{each}"

    assert list(untyped(SCHEMA, "")) == []


def test_references_lead_somewhere_and_nothing_is_defined_in_vain():
    named = {
        node["$ref"].removeprefix("#/definitions/") for _, node in objects(SCHEMA) if isinstance(node.get("$ref"), str)
    }
    assert named == set(SCHEMA["definitions"])


def test_every_setting_of_the_proxy_may_be_given_but_secrets_and_what_the_chart_sets():
    from proxy.settings.names import field_at, is_secret

    validator = jsonschema.Draft7Validator(
        {**SCHEMA["definitions"]["config.Settings"], "definitions": SCHEMA["definitions"]}
    )
    refused = set()
    for place in settable():
        tree: Any = None  # of any type: only the name is asked about
        for step in reversed(place):
            tree = [tree] if step == 0 else {step: tree}
        said = " ".join(_all(validator.iter_errors(tree)))
        if "Additional properties are not allowed" in said:
            refused.add(place)
    secret = {place for place in settable() if is_secret(field_at(place))}
    assert refused == secret | {("store", "data_dir")}


def _all(errors: Any) -> Iterator[str]:
    for each in errors:
        yield each.message
        yield from _all(each.context)


def generate(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "helm/generate.py", *arguments], cwd=ROOT, capture_output=True, text=True)


def test_the_schema_and_the_readme_are_up_to_date():
    checked = generate("--check")
    assert checked.returncode == 0, checked.stderr


def test_a_file_that_is_out_of_date_is_noticed(tmp_path, monkeypatch):
    import importlib.util

    spec = importlib.util.spec_from_file_location("chart_generate", ROOT / "helm" / "generate.py")
    made = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "chart_generate", made)
    spec.loader.exec_module(made)
    readme, schema = tmp_path / "README.md", tmp_path / "values.schema.json"
    readme.write_text(made.README.read_text().replace("`replicaCount`", "`replicas`"))
    monkeypatch.setattr(made, "README", readme)
    monkeypatch.setattr(made, "SCHEMA", schema)
    assert made.main(["--check"]) == 1
    assert not schema.exists()
    assert made.main([]) == 0
    assert made.main(["--check"]) == 0
    assert "`replicaCount`" in readme.read_text()


def test_the_readme_has_a_row_for_every_value():
    readme = (CHART / "README.md").read_text()
    assert all(f"`{name}" in readme for name in VALUES)
