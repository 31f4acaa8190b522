"""The figures of `/admin/stats`, read from the families of `/metrics`: one truth, whoever's figures they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from prometheus_client.core import Metric
from prometheus_client.samples import Sample

from proxy.types import Outcome

SAVING = frozenset({Outcome.HIT, Outcome.SEMANTIC, Outcome.STALE, Outcome.COLLAPSED})
"""Answered without an upstream call of their own."""


class Summary:
    """Sums over samples. Counters are named as they are exported, with `_total`."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._samples: dict[str, list[Sample]] = {}
        for family in families:
            for sample in family.samples:
                self._samples.setdefault(sample.name, []).append(sample)

    def total(self, name: str, **labels: str) -> float:
        """Of the samples that carry these labels; 0 where there are none."""
        return sum(sample.value for sample in self._of(name) if labels.items() <= sample.labels.items())

    def by(self, name: str, label: str) -> dict[str, int]:
        """Whole numbers by a label's value."""
        values: dict[str, int] = {}
        for sample in self._of(name):
            values[sample.labels[label]] = values.get(sample.labels[label], 0) + int(sample.value)
        return values

    def since_the_start(self) -> dict[str, Any]:
        """For people. `hit_ratio` is None until something was asked that could be a hit."""
        requests = dict.fromkeys((outcome.value for outcome in Outcome), 0)
        requests |= self.by("askonce_requests_total", "outcome")
        hits = sum(requests[outcome.value] for outcome in SAVING)
        asked = hits + requests[Outcome.MISS.value]
        return {
            "requests": requests,
            "hit_ratio": hits / asked if asked else None,
            "saved": {
                "tokens": int(self.total("askonce_saved_tokens_total")),
                "usd": self.total("askonce_saved_usd_total"),
            },
            "spent": {"usd": self.total("askonce_spent_usd_total")},
            "upstream": {
                "errors": int(self.total("askonce_upstream_errors_total")),
                "retries": int(self.total("askonce_upstream_retries_total")),
                "fallbacks": int(self.total("askonce_upstream_fallbacks_total")),
                "prompt_tokens": self.by("askonce_upstream_prompt_tokens_total", "upstream"),
                "cached_tokens": self.by("askonce_upstream_cached_tokens_total", "upstream"),
            },
        }

    def _of(self, name: str) -> Iterator[Sample]:
        return iter(self._samples.get(name, ()))
