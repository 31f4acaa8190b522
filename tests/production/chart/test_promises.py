"""What an operator relies on: stops that cut nothing, secrets that stay secret, pods that are shut in, and so on."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest
import yaml

from proxy.settings.names import is_secret, leaves
from proxy.settings.tree import Settings
from proxy.settings.units import seconds
from tests.production.chart.rendering import NAMES, ON_REDIS, containers_of, notes, pod_of, refusal, render

CANARY = "canary-in-a-coal-mine-0123456789"


@pytest.mark.parametrize("file", NAMES)
def test_a_pod_that_stops_has_time_for_the_longest_stream(file):
    made = render(file=file)
    pod = pod_of(made.one("Deployment"))
    if file == "existing-configmap":
        delay, drain = (made.environment[f"ASKONCE_SERVER__{name}"] for name in ("SHUTDOWN_DELAY", "DRAIN_TIMEOUT"))
    else:
        delay, drain = (made.settings["server"][name] for name in ("shutdown_delay", "drain_timeout"))
    assert pod["terminationGracePeriodSeconds"] == seconds(delay) + seconds(drain) + 10


def test_a_longer_stream_gets_a_longer_grace():
    made = render({"drain": {"delay": 20, "longestStream": 3600}})
    assert pod_of(made.one("Deployment"))["terminationGracePeriodSeconds"] == 3630
    assert made.settings["server"]["drain_timeout"] == "3600s"


@pytest.mark.parametrize("given", ["60s", 60, "5m"])
def test_a_drain_time_that_says_otherwise_is_refused(given):
    said = refusal({"config": {"server": {"drain_timeout": given}}})
    assert "set drain.longestStream" in said


def test_a_stop_is_seen_before_the_pod_stops_serving():
    probe = render().proxy["readinessProbe"]
    assert probe["httpGet"]["path"] == "/readyz"
    assert probe["periodSeconds"] <= 5


@pytest.mark.parametrize("file", NAMES)
def test_no_probe_restarts_a_pod_because_redis_is_down(file):
    proxy = render(file=file).proxy
    assert proxy["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "http"}
    assert proxy["startupProbe"]["httpGet"] == {"path": "/livez", "port": "http"}
    assert proxy["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
    assert proxy["ports"][0]["name"] == "http"


def test_a_start_may_take_a_minute_at_least():
    probe = render().proxy["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 60


SECRET_PLACES = [
    {"server": {"secret": CANARY}},
    {"admin": {"token": CANARY}},
    {"upstreams": [{"name": "openai", "api_key": CANARY}]},
    {"upstreams": [{"name": "openai", "base_url": f"https://user:{CANARY}@api.example/v1"}]},
    {"upstreams": [{"name": "openai", "base_url": [f"https://{CANARY}@api.example/v1"]}]},
    {"upstreams": [{"name": "openai", "base_url": f"https://api.example/v1?key={CANARY}"}]},
    {"store": {"url": f"redis://:{CANARY}@redis.example:6379/0"}},
    {"store": {"redis": {"password": CANARY}}},
    {"store": {"redis": {"sentinel_password": CANARY}}},
    {"semantic": {"embedder": {"api_key": CANARY}}},
    {"semantic": {"embedder": {"kind": "openai", "base_url": f"https://a:{CANARY}@api.example/v1"}}},
    {"semantic": {"llm_judge": {"api_key": CANARY}}},
]


@pytest.mark.parametrize("config", SECRET_PLACES, ids=json.dumps)
def test_a_secret_in_the_settings_is_refused_and_not_repeated(config):
    said = refusal({"config": config})
    assert CANARY not in said


def test_every_secret_of_the_proxy_is_among_those_that_were_tried():
    secret = {str(place[-1]) for place, field, _ in leaves(Settings()) if is_secret(field)}
    tried = set(re.findall(r'"(\w+)": "canary', json.dumps(SECRET_PLACES)))
    assert secret <= tried


def test_a_password_in_the_address_of_redis_is_refused():
    for url in (f"redis://:{CANARY}@redis.example:6379/0", f"rediss://user:{CANARY}@redis.example"):
        said = refusal({"redis": {"external": {"url": url}}})
        assert CANARY not in said
        assert "redis.external.url" in said


@pytest.mark.parametrize("file", NAMES)
def test_the_chart_makes_no_secret_and_puts_none_into_a_config_map(file):
    made = render(file=file)
    assert made.of("Secret") == []
    for each in made.of("ConfigMap"):
        text = json.dumps(each["data"])
        assert not re.search(r"(password|api_key|token|secret)\\?\"?: ", text.replace("api_key_file", ""))


def test_names_of_secrets_are_in_no_config_map():
    values = {
        "replicaCount": 2,
        "config": {"upstreams": [{"name": "openai"}]},
        "secrets": {
            "server": {"existingSecret": CANARY},
            "admin": {"existingSecret": CANARY},
            "upstreams": {"openai": {"existingSecret": CANARY}},
            "embedder": {"existingSecret": CANARY},
            "llmJudge": {"existingSecret": CANARY},
        },
        "redis": {
            "external": {"url": "rediss://r.example", "existingSecret": CANARY, "tls": {"existingSecret": CANARY}}
        },
        "vllm": {
            "enabled": True,
            "model": "m",
            "apiKey": {"existingSecret": CANARY},
            "huggingFace": {"existingSecret": CANARY},
            "extraEnv": [{"name": "A", "value": CANARY}],
        },
        "modelCache": {"source": "emptyDir", "fetch": {"baseUrl": "https://h.example", "existingSecret": CANARY}},
        "extraEnv": [{"name": "A", "value": CANARY}],
        "metrics": {"serviceMonitor": {"enabled": True, "bearerTokenSecret": {"name": CANARY, "key": CANARY}}},
        "dashboards": {"enabled": True},
    }
    made = render(values)
    assert made.text.count(CANARY) >= 13
    encoded = base64.b64encode(CANARY.encode()).decode()
    for each in made.of("ConfigMap"):
        assert CANARY not in json.dumps(each)
        assert encoded not in json.dumps(each)


@pytest.mark.parametrize("file", NAMES)
def test_every_pod_is_shut_in(file):
    for pod in render(file=file).pods:
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for each in containers_of(pod):
            context = each["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("file", NAMES)
def test_the_proxy_may_write_to_tmp_and_to_its_data_only(file):
    made = render(file=file)
    volumes = {each["name"]: each for each in pod_of(made.one("Deployment"))["volumes"]}
    writable = {each["mountPath"]: each["name"] for each in made.proxy["volumeMounts"] if not each.get("readOnly")}
    writable.pop("/more", None)
    assert set(writable) == {"/tmp", "/var/lib/askonce"}
    assert volumes["tmp"]["emptyDir"]["sizeLimit"]


@pytest.mark.parametrize("file", NAMES)
def test_every_image_has_a_tag_and_every_container_asks_for_resources(file):
    for pod in render(file=file).pods:
        for each in containers_of(pod):
            assert re.fullmatch(r"[^@:]+/[^@:]+(:[\w.-]+|@sha256:[0-9a-f]{64})", each["image"]), each["image"]
            assert not each["image"].endswith(":latest")
            assert {"cpu", "memory"} <= set(each["resources"]["requests"])


@pytest.mark.parametrize("file", NAMES)
def test_every_empty_directory_has_a_limit(file):
    for pod in render(file=file).pods:
        for volume in pod.get("volumes", ()):
            assert "emptyDir" not in volume or volume["emptyDir"]["sizeLimit"]


@pytest.mark.parametrize("file", NAMES)
def test_selectors_outlive_an_upgrade(file):
    made = render(file=file)
    changing = {"helm.sh/chart", "app.kubernetes.io/version", "app.kubernetes.io/managed-by", "team", "env"}
    for each in made.of("Deployment") + made.of("StatefulSet"):
        selector = each["spec"]["selector"]["matchLabels"]
        assert set(selector) == {f"app.kubernetes.io/{name}" for name in ("name", "instance", "component")}
        assert selector.items() <= each["spec"]["template"]["metadata"]["labels"].items()
    for each in made.of("Service"):
        assert not changing & set(each["spec"]["selector"])


@pytest.mark.parametrize("file", NAMES)
def test_each_service_finds_pods_of_one_workload(file):
    made = render(file=file)
    workloads = [each["spec"]["template"] for each in made.of("Deployment") + made.of("StatefulSet")]
    for service in made.of("Service"):
        selector = service["spec"]["selector"].items()
        found = [each for each in workloads if selector <= each["metadata"]["labels"].items()]
        assert len(found) == 1
        names = {port["name"] for each in containers_of(found[0]["spec"]) for port in each.get("ports", ())}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= names


def checksum(values: dict[str, Any]) -> str:
    return render(values).one("Deployment")["spec"]["template"]["metadata"]["annotations"]["checksum/config"]


def test_pods_roll_when_the_settings_change_and_not_otherwise():
    first = checksum({})
    assert checksum({"config": {"store": {"memory": "1GiB"}}}) != first
    assert checksum({"drain": {"longestStream": 60}}) != first
    assert checksum({"resources": {"limits": {"memory": "2Gi"}}, "service": {"port": 81}}) == first


def test_a_new_endpoint_of_the_vllm_rolls_the_proxy():
    vllm = {"enabled": True, "model": "m"}
    assert checksum({"vllm": vllm | {"replicas": 2}}) != checksum({"vllm": vllm})


def test_a_config_map_of_the_operators_own_is_not_hashed():
    made = render(file="existing-configmap")
    assert made.of("ConfigMap") == []
    assert "checksum/config" not in made.one("Deployment")["spec"]["template"]["metadata"]["annotations"]
    mount = next(each for each in made.proxy["volumeMounts"] if each["name"] == "config")
    assert mount == {
        "name": "config",
        "mountPath": "/etc/askonce/askonce.yaml",
        "subPath": "config.yaml",
        "readOnly": True,
    }


def test_a_rollout_on_redis_starts_a_pod_before_it_stops_one():
    strategy = render(ON_REDIS).one("Deployment")["spec"]["strategy"]
    assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}


def test_the_embedded_store_is_never_open_twice():
    deployment = render().one("Deployment")["spec"]
    assert deployment["strategy"] == {"type": "Recreate"}
    assert deployment["replicas"] == 1


@pytest.mark.parametrize(
    "values",
    [
        {"replicaCount": 2},
        {"autoscaling": {"enabled": True}},
        {"keda": {"enabled": True}},
        {"config": {"server": {"workers": 4}}},
        {"replicaCount": 2, "persistence": {"enabled": True}},
    ],
    ids=json.dumps,
)
def test_more_than_one_process_on_the_embedded_store_is_refused_and_redis_named(values):
    said = refusal(values)
    assert "Redis" in said
    assert "redis.external.url" in said


CONTRADICTIONS = {
    "autoscaling.enabled and keda.enabled": ON_REDIS | {"autoscaling": {"enabled": True}, "keda": {"enabled": True}},
    "every pod would be scraped twice": {
        "metrics": {"serviceMonitor": {"enabled": True}, "podMonitor": {"enabled": True}}
    },
    "there are two Redis": {"redis": {"external": {"url": "redis://r"}, "internal": {"enabled": True}}},
    "the address is given twice": {"redis": {"external": {"url": "redis://r", "existingSecret": "s", "urlKey": "u"}}},
    "name the Secret in redis.external.existingSecret": {"redis": {"external": {"urlKey": "u"}}},
    "kubectl create secret generic": {"redis": {"internal": {"enabled": True}}},
    "persistence.enabled is for the embedded store": ON_REDIS | {"persistence": {"enabled": True}},
    "the store is chosen twice": ON_REDIS | {"config": {"store": {"url": "memory://"}}},
    "nothing outside of the pod could reach it": {"config": {"server": {"host": "127.0.0.1"}}},
    "config.upstreams is empty": {"config": {"upstreams": []}},
    "no upstream of config.upstreams is called that": {"secrets": {"upstreams": {"azuer": {"existingSecret": "a"}}}},
    "give it another name": {"vllm": {"enabled": True, "model": "m"}, "config": {"upstreams": [{"name": "local"}]}},
    "vllm.enabled needs vllm.model": {"vllm": {"enabled": True}},
    "ingress.enabled needs ingress.hosts": {"ingress": {"enabled": True}},
    "httpRoute.enabled needs httpRoute.parentRefs": {"httpRoute": {"enabled": True}},
    "name the claim in modelCache.existingClaim": {"modelCache": {"source": "existingClaim"}},
    "nothing fills it": {"modelCache": {"source": "emptyDir"}},
    "is for the sources pvc and emptyDir": {"modelCache": {"fetch": {"baseUrl": "https://h.example"}}},
    "keyKey belong together": {
        "redis": {"external": {"url": "rediss://r", "tls": {"existingSecret": "t", "certKey": "c"}}}
    },
    "the most cannot be fewer": ON_REDIS | {"autoscaling": {"enabled": True, "minReplicas": 5, "maxReplicas": 2}},
    "autoscaling.enabled needs something": ON_REDIS
    | {"autoscaling": {"enabled": True, "targetCPUUtilizationPercentage": None}},
    "keda.enabled needs something": ON_REDIS | {"keda": {"enabled": True, "prometheus": {"serverAddress": ""}}},
}


@pytest.mark.parametrize("said", CONTRADICTIONS)
def test_what_contradicts_itself_is_refused_with_what_to_do(said):
    assert said in refusal(CONTRADICTIONS[said])


def test_autoscalers_set_the_number_of_pods_alone():
    for file in ("keda", "hpa-cpu", "hpa-custom"):
        assert "replicas" not in render(file=file).one("Deployment")["spec"]


def test_a_disruption_budget_is_made_where_there_may_be_several_pods():
    assert render().of("PodDisruptionBudget") == []
    assert render(file="redis-external").one("PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    assert render(file="hpa-custom").one("PodDisruptionBudget")["spec"]["minAvailable"] == "50%"


def test_the_custom_metrics_are_recorded_by_the_charts_own_rules():
    recorded = {rule.get("record") for group in render(file="keda").one("PrometheusRule")["spec"]["groups"]
                for rule in group["rules"]}  # fmt: skip
    query = render(file="keda").one("ScaledObject")["spec"]["triggers"][0]["metadata"]["query"]
    metrics = render(file="hpa-custom").one("HorizontalPodAutoscaler")["spec"]["metrics"]
    names = {each[each["type"].lower()]["metric"]["name"] for each in metrics}
    assert set(re.findall(r"askonce:[\w:]+", query)) <= recorded
    assert names <= recorded


def test_kedas_query_is_about_this_release():
    query = render(file="keda").one("ScaledObject")["spec"]["triggers"][0]["metadata"]["query"]
    assert query == 'sum(askonce:event_loop_utilization:rate2m{namespace="llm", pod=~"askonce-.*"})'


def test_an_alert_can_be_left_out_and_groups_of_ones_own_are_added():
    rules = {
        "enabled": True,
        "disabledAlerts": ["AskOnceDown"],
        "groups": [{"name": "own", "rules": [{"record": "a", "expr": "1"}]}],
    }
    groups = render({"metrics": {"prometheusRule": rules}}).one("PrometheusRule")["spec"]["groups"]
    alerts = {rule.get("alert") for group in groups for rule in group["rules"]}
    assert "AskOnceDown" not in alerts
    assert len(alerts) > 2
    assert groups[-1]["name"] == "own"


def test_dashboards_are_found_by_grafanas_sidecar():
    boards = render({"dashboards": {"enabled": True}}).of("ConfigMap", "dashboard-askonce")
    assert [each["metadata"]["labels"]["grafana_dashboard"] for each in boards] == ["1"]
    assert boards[0]["metadata"]["annotations"] == {"grafana_folder": "AskOnce"}
    assert json.loads(boards[0]["data"]["askonce.json"])["title"]
    assert len(json.dumps(boards[0])) < 1 << 20  # what a ConfigMap may hold


def test_every_pod_of_the_vllm_is_an_endpoint_the_first_one_first():
    made = render(file="vllm")
    (local,) = made.settings["upstreams"]
    stateful, service = made.one("StatefulSet", "vllm"), made.one("Service", "vllm")
    name, domain = stateful["metadata"]["name"], f"{service['metadata']['name']}.llm.svc.cluster.local"
    assert stateful["spec"]["serviceName"] == service["metadata"]["name"]
    assert service["spec"]["clusterIP"] == "None"
    assert local["base_url"] == [f"http://{name}-{n}.{domain}:8000/v1" for n in range(stateful["spec"]["replicas"])]
    assert local["kind"] == "vllm"


def test_the_vllm_is_asked_before_or_after_the_others():
    values: dict[str, Any] = {"vllm": {"enabled": True, "model": "m", "servedModelName": "llama"}}
    first = render(values).settings["upstreams"]
    assert [each["name"] for each in first] == ["local", "openai"]
    assert first[0]["models"] == ["llama"]
    assert [each["name"] for each in render(file="vllm-last").settings["upstreams"]] == ["openai", "local"]


def test_the_vllm_keeps_prefixes_and_has_its_cards():
    container = pod_of(render(file="vllm").one("StatefulSet", "vllm"))["containers"][0]
    assert {"--enable-prefix-caching", "--enable-prompt-tokens-details", "--tensor-parallel-size=4"} <= set(
        container["args"]
    )
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 4
    assert container["resources"]["requests"]["nvidia.com/gpu"] == 4
    start = container["startupProbe"]
    assert start["httpGet"]["path"] == container["readinessProbe"]["httpGet"]["path"] == "/health"
    assert start["periodSeconds"] * start["failureThreshold"] >= 3600


def test_both_ends_of_the_vllm_get_one_key():
    made = render(file="vllm")
    env = {each["name"]: each for each in pod_of(made.one("StatefulSet", "vllm"))["containers"][0]["env"]}
    assert env["VLLM_API_KEY"]["valueFrom"]["secretKeyRef"] == {"name": "vllm", "key": "api-key"}
    assert made.settings["upstreams"][0]["api_key_file"] == "/etc/askonce/secrets/upstreams/local"


@pytest.mark.parametrize(("file", "component"), [("vllm", "vllm"), ("redis-incluster", "redis")])
def test_only_the_proxy_reaches_what_is_behind_it(file, component):
    made = render(file=file)
    policy = made.one("NetworkPolicy", component)["spec"]
    proxy = made.one("Deployment")["spec"]["template"]["metadata"]["labels"]
    workload = made.one("StatefulSet" if component == "vllm" else "Deployment", component)
    assert policy["podSelector"]["matchLabels"].items() <= workload["spec"]["template"]["metadata"]["labels"].items()
    ((peer,),) = (rule["from"] for rule in policy["ingress"])
    assert peer["podSelector"]["matchLabels"].items() <= proxy.items()


def test_the_proxys_policy_lets_it_reach_what_the_release_has():
    made = render(file="everything")
    policy = made.one("NetworkPolicy")["spec"]
    peers = [peer["podSelector"]["matchLabels"] for rule in policy["egress"] for peer in rule.get("to", ())
             if "podSelector" in peer]  # fmt: skip
    assert {each["app.kubernetes.io/component"] for each in peers} == {"redis", "vllm"}
    ports = {(port["port"], port["protocol"]) for rule in policy["egress"] for port in rule["ports"]}
    assert {(53, "UDP"), (53, "TCP"), (6379, "TCP"), (8000, "TCP"), (443, "TCP")} <= ports


def test_spread_is_over_the_proxys_own_pods():
    pod = pod_of(render(file="redis-external").one("Deployment"))
    labels = render(file="redis-external").one("Deployment")["spec"]["selector"]["matchLabels"]
    assert {each["topologyKey"] for each in pod["topologySpreadConstraints"]} == {
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
    }
    assert all(each["labelSelector"]["matchLabels"] == labels for each in pod["topologySpreadConstraints"])


def test_a_models_directory_is_named_only_where_the_chart_mounts_one():
    name = "ASKONCE_SEMANTIC__EMBEDDER__DIRECTORY"
    assert name not in render().environment
    assert render(file="model-fetched").environment[name] == "/opt/askonce/model"
    assert name not in render(file="model-remote").environment
    own = {"config": {"semantic": {"embedder": {"directory": "/models/mine"}}}}
    assert name not in render(own).environment
    assert render(own).settings["semantic"]["embedder"]["directory"] == "/models/mine"


def test_onnxruntime_does_not_report_home():
    assert render().environment["ORT_DISABLE_TELEMETRY"] == "1"


def test_openshift_may_choose_the_users():
    nothing = {"runAsUser": None, "runAsGroup": None, "fsGroup": None}
    context = pod_of(render({"podSecurityContext": nothing}).one("Deployment"))["securityContext"]
    assert not {"runAsUser", "runAsGroup", "fsGroup"} & set(context)
    assert context["runAsNonRoot"] is True


def test_sections_that_are_switched_off_are_no_settings():
    made = render({"config": {"server": None, "semantic": {"embedder": None}, "store": None}})
    assert made.settings["server"]["port"] == 8080
    assert made.settings["semantic"] == {}


def test_the_notes_say_how_to_see_a_hit_and_what_is_not_safe_yet(tmp_path):
    said = notes({}, tmp_path)
    assert "port-forward service/askonce 8080:80" in said
    assert "`x-cache: hit`" in said
    assert "/metrics" in said
    assert "OPENAI_BASE_URL=http://askonce.llm.svc.cluster.local/v1" in said
    assert "The store is the embedded one" in said
    assert "secrets.admin.existingSecret is not set" in said
    assert "helm test askonce" in said


def test_the_notes_leave_out_what_does_not_concern_one(tmp_path):
    secrets = {"server": {"existingSecret": "s"}, "admin": {"existingSecret": "s"}}
    assert "NOTE" not in notes(ON_REDIS | {"secrets": secrets}, tmp_path)


def test_the_notes_give_the_vllms_upstream_where_the_settings_are_the_operators_own(tmp_path):
    said = notes(
        {"existingConfigMap": "mine", "vllm": {"enabled": True, "model": "m", "servedModelName": "llama"}}, tmp_path
    )
    assert '"model": "llama"' in said
    written = said[said.index("  upstreams:") : said.index("NOTE  The chart does not see")]
    (upstream,) = yaml.safe_load(written)["upstreams"]
    assert upstream["base_url"] == ["http://askonce-vllm-0.askonce-vllm.llm.svc.cluster.local:8000/v1"]
