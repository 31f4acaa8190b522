"""Which tracing there is. OpenTelemetry is loaded only where it is wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import Metric

from proxy.errors import SettingsError
from proxy.telemetry.tracing.base import Tracing, TracingSettings
from proxy.telemetry.tracing.off import OFF


def make_tracing(settings: TracingSettings, show: Callable[[Callable[[], Iterator[Metric]]], None]) -> Tracing:
    """Opens nothing. `show` is told of what is counted, where there is something to count. Raises
    `errors.SettingsError` where it is wanted and cannot be had."""
    if not settings.enabled:
        return OFF
    try:
        from proxy.telemetry.tracing.otel import OtelTracing  # noqa: PLC0415 - as the first line says
    except ImportError as error:
        raise SettingsError(
            f"telemetry.tracing.enabled is true, with {error.name} not installed: pip install 'askonce[otel]', or set "
            "it to false"
        ) from error
    tracing = OtelTracing(settings)
    show(tracing.exported)
    return tracing
