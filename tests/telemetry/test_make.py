"""Which tracing there is."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from proxy.errors import SettingsError
from proxy.telemetry.tracing.base import TracingSettings
from proxy.telemetry.tracing.make import make_tracing
from proxy.telemetry.tracing.off import OFF


def wanted(*, enabled: bool = True) -> TracingSettings:
    return TracingSettings(
        enabled=enabled,
        version="1",
        endpoint=None,
        sample=None,
        service_name=None,
        queue=1,
        timeout_s=1,
        flush_s=1,
    )


def test_switched_off_there_is_none_and_nothing_is_counted() -> None:
    shown: list[Any] = []
    assert make_tracing(wanted(enabled=False), shown.append) is OFF
    assert shown == []


def test_switched_on_what_is_dropped_is_counted() -> None:
    shown: list[Any] = []
    assert make_tracing(wanted(), shown.append) is not OFF
    (family,) = shown[0]()
    assert family.name == "askonce_spans_dropped"
    assert {sample.labels["reason"]: sample.value for sample in family.samples} == {
        "queue_full": 0,
        "export_failed": 0,
    }


def test_without_the_extra_it_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.startswith("opentelemetry.exporter")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.delitem(sys.modules, "proxy.telemetry.tracing.otel", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter", None)
    with pytest.raises(SettingsError, match=r"pip install 'askonce\[otel\]'"):
        make_tracing(wanted(), lambda _shown: None)
