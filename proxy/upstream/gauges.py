"""What upstreams show when somebody scrapes: each endpoint's health and load. Endpoints are configured, so the labels
are a closed set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, Metric

from proxy.telemetry.metrics import gauge
from proxy.upstream.base import EndpointReport, Upstream

LABELS = ("upstream", "endpoint")


@dataclass(frozen=True, slots=True)
class EndpointGauges:
    """Figures by endpoint."""

    upstreams: Sequence[Upstream]

    def exported(self) -> Iterator[Metric]:
        reports = [upstream.report() for upstream in self.upstreams]
        seen = {(report.name, each.address): each for report in reports for each in report.endpoints}
        yield _gauge("up", "1 for an endpoint that is asked, 0 for one that is left alone.", seen, _is_up)
        yield _gauge("in_flight", "Calls of this process that have not ended.", seen, lambda each: each.in_flight)
        yield _gauge("waiting", "Requests of anybody that wait there, as it says.", seen, lambda each: each.waiting)
        yield _gauge("kv_cache_usage", "Share of its KV cache in use, as it says.", seen, lambda each: each.kv_usage)
        openings = CounterMetricFamily(
            "askonce_upstream_endpoint_breaker_openings", "How often an endpoint's breaker opened.", labels=LABELS
        )
        for labels, each in seen.items():
            openings.add_metric(labels, each.openings)
        yield openings


def _gauge(
    name: str, what: str, seen: Mapping[tuple[str, str], EndpointReport], figure: Callable[[EndpointReport], float]
) -> Metric:
    values: dict[tuple[str, ...], float] = {labels: figure(each) for labels, each in seen.items()}
    return gauge(f"askonce_upstream_endpoint_{name}", what, LABELS, values)


def _is_up(each: EndpointReport) -> int:
    return int(each.state != "failing")
