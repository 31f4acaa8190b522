"""Strict schemas of the kinds that are not Kubernetes' own, as far as the chart writes them. Written by hand from the
projects' references: Prometheus operator v1, KEDA v1alpha1, Gateway API v1."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string", "minLength": 1}
TEXTS: Schema = {"type": "array", "items": TEXT}
WHOLE: Schema = {"type": "integer", "minimum": 0}
DURATION: Schema = {"type": "string", "pattern": "^(0|(([0-9]+)(y|w|d|h|m|s|ms))+)$"}
LABELS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}


def closed(required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    """An object with these members and no others."""
    return {"type": "object", "additionalProperties": False, "required": list(required), "properties": properties}


def listed(items: Schema, fewest: int = 1) -> Schema:
    return {"type": "array", "minItems": fewest, "items": items}


def kind(version: str, name: str, spec: Schema) -> Schema:
    return closed(
        ("apiVersion", "kind", "metadata", "spec"),
        apiVersion={"const": version},
        kind={"const": name},
        metadata=closed(("name", "namespace"), name=TEXT, namespace=TEXT, labels=LABELS, annotations=LABELS),
        spec=spec,
    )


SELECTOR = closed(("matchLabels",), matchLabels={**LABELS, "minProperties": 1})
RELABELING = closed(
    action={"enum": ["replace", "keep", "drop", "hashmod", "labelmap", "labeldrop", "labelkeep"]},
    sourceLabels=TEXTS,
    separator={"type": "string"},
    targetLabel=TEXT,
    regex={"type": "string"},
    replacement={"type": "string"},
    modulus=WHOLE,
)
ENDPOINT = closed(
    ("port", "path", "interval", "scrapeTimeout"),
    port=TEXT,
    path=TEXT,
    interval=DURATION,
    scrapeTimeout=DURATION,
    authorization=closed(("type", "credentials"), type=TEXT, credentials=closed(("name", "key"), name=TEXT, key=TEXT)),
    relabelings=listed(RELABELING),
    metricRelabelings=listed(RELABELING),
)
NAMESPACES = closed(("matchNames",), matchNames=listed(TEXT))
RULE: Schema = {
    **closed(
        ("expr",),
        alert=TEXT,
        record=TEXT,
        expr=TEXT,
        labels=LABELS,
        annotations=LABELS,
        keep_firing_for=DURATION,
        **{"for": DURATION},
    ),
    "oneOf": [{"required": ["alert"]}, {"required": ["record"]}],
}
GROUP = closed(("name", "rules"), name=TEXT, interval=DURATION, limit=WHOLE, labels=LABELS, rules=listed(RULE))

RULES = closed(
    stabilizationWindowSeconds=WHOLE,
    selectPolicy={"enum": ["Max", "Min", "Disabled"]},
    policies=listed(
        closed(
            ("type", "value", "periodSeconds"),
            type={"enum": ["Pods", "Percent"]},
            value={"type": "integer", "minimum": 1},
            periodSeconds={"type": "integer", "minimum": 1},
        )
    ),
)
TRIGGER: Schema = {
    "type": "object",
    "required": ["type", "metadata"],
    "additionalProperties": False,
    "properties": {
        "type": TEXT,
        "name": TEXT,
        "metricType": {"enum": ["AverageValue", "Value", "Utilization"]},
        "useCachedMetrics": {"type": "boolean"},
        "metadata": LABELS,
        "authenticationRef": closed(("name",), name=TEXT, kind=TEXT),
    },
    "if": {"properties": {"type": {"const": "prometheus"}}},
    "then": {
        "properties": {
            "metadata": closed(
                ("serverAddress", "query", "threshold"),
                serverAddress={"type": "string", "pattern": "^https?://"},
                query=TEXT,
                threshold={"type": "string", "pattern": "^[0-9.]+$"},
                ignoreNullValues={"enum": ["true", "false"]},
            )
        }
    },
}

GATEWAY_DURATION: Schema = {"type": "string", "pattern": "^([0-9]{1,5}(h|m|s|ms)){1,4}$"}

SCHEMAS: dict[str, Schema] = {
    "ServiceMonitor": kind(
        "monitoring.coreos.com/v1",
        "ServiceMonitor",
        closed(("selector", "endpoints"), selector=SELECTOR, namespaceSelector=NAMESPACES, endpoints=listed(ENDPOINT)),
    ),
    "PodMonitor": kind(
        "monitoring.coreos.com/v1",
        "PodMonitor",
        closed(
            ("selector", "podMetricsEndpoints"),
            selector=SELECTOR,
            namespaceSelector=NAMESPACES,
            podMetricsEndpoints=listed(ENDPOINT),
        ),
    ),
    "PrometheusRule": kind("monitoring.coreos.com/v1", "PrometheusRule", closed(("groups",), groups=listed(GROUP))),
    "ScaledObject": kind(
        "keda.sh/v1alpha1",
        "ScaledObject",
        closed(
            ("scaleTargetRef", "triggers"),
            scaleTargetRef=closed(("name",), apiVersion=TEXT, kind=TEXT, name=TEXT, envSourceContainerName=TEXT),
            minReplicaCount=WHOLE,
            maxReplicaCount=WHOLE,
            pollingInterval=WHOLE,
            cooldownPeriod=WHOLE,
            fallback=closed(("failureThreshold", "replicas"), failureThreshold=WHOLE, replicas=WHOLE),
            advanced=closed(
                horizontalPodAutoscalerConfig=closed(behavior=closed(scaleUp=RULES, scaleDown=RULES)),
            ),
            triggers=listed(TRIGGER),
        ),
    ),
    "HTTPRoute": kind(
        "gateway.networking.k8s.io/v1",
        "HTTPRoute",
        closed(
            ("parentRefs", "rules"),
            parentRefs=listed(
                closed(("name",), group=TEXT, kind=TEXT, name=TEXT, namespace=TEXT, sectionName=TEXT, port=WHOLE)
            ),
            hostnames=TEXTS,
            rules=listed(
                closed(
                    ("backendRefs",),
                    matches=listed(
                        closed(path=closed(("type", "value"), type={"enum": ["Exact", "PathPrefix"]}, value=TEXT))
                    ),
                    backendRefs=listed(closed(("name", "port"), name=TEXT, port=WHOLE)),
                    timeouts=closed(request=GATEWAY_DURATION, backendRequest=GATEWAY_DURATION),
                )
            ),
        ),
    ),
}
