"""What an operator can ask of a running proxy, without HTTP."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import orjson

from proxy.drain import Drain
from proxy.errors import CacheFailure, NotFound
from proxy.fingerprint import name_of
from proxy.flights import Flights
from proxy.leases.base import Leases
from proxy.match import matched
from proxy.meaning.base import Meaning
from proxy.stores.base import ExactStore
from proxy.telemetry.figures import Figures
from proxy.telemetry.summary import Summary
from proxy.types import Digest, Entry, Form
from proxy.upstream.base import UpstreamReport, Upstreams


class Operations:
    """Figures, single answers, and their removal."""

    def __init__(
        self,
        *,
        version: str,
        store: ExactStore,
        flights: Flights,
        leases: Leases,
        meaning: Meaning,
        upstreams: Upstreams,
        figures: Figures,
        drain: Drain,
        clock: Callable[[], float],
        began: float,
    ) -> None:
        self._version = version
        self._store = store
        self._flights = flights
        self._leases = leases
        self._meaning = meaning
        self._upstreams = upstreams
        self._figures = figures
        self._drain = drain
        self._clock = clock
        self._began = began

    @property
    def draining(self) -> bool:
        """It has been asked to stop."""
        return self._drain.announced

    def readiness(self) -> dict[str, Any]:
        """Ready to serve, and what does not do all it should. A failed store is degraded, not unready: every request
        is still answered, by the upstream. So is an upstream with an endpoint that fails: another replica of this
        proxy would meet the same one."""
        if self.draining:
            return {"status": "draining"}
        report = self._store.report()
        store: dict[str, Any] = {"kind": report.kind, "status": "degraded" if report.degraded else "ok"}
        if report.degraded:
            store["detail"] = report.degraded
        semantic = self._meaning.report()
        upstreams = [_state(each.report()) for each in self._upstreams.all]
        degraded = any(part["status"] == "degraded" for part in (store, semantic, *upstreams))
        return {
            "status": "degraded" if degraded else "ready",
            "store": store,
            "semantic": semantic,
            "upstreams": upstreams,
        }

    async def stats(self) -> dict[str, Any]:
        """Figures since the start, of all processes that share the port. How the store, the endpoints and matching by
        meaning are is this one's view."""
        report = self._store.report()
        summary = Summary(await self._figures.families())
        return {
            "version": self._version,
            "uptime_s": round(self._clock() - self._began, 1),
            **summary.since_the_start(),
            "store": {
                "kind": report.kind,
                "degraded": report.degraded,
                "bytes": summary.by("askonce_store_bytes", "tier"),
                "entries": summary.by("askonce_store_entries", "tier"),
            },
            "flights": int(summary.total("askonce_flights")),
            "endpoints": [
                {
                    "upstream": upstream.name,
                    **asdict(endpoint),
                    "in_flight": int(
                        summary.total(
                            "askonce_upstream_endpoint_in_flight", upstream=upstream.name, endpoint=endpoint.address
                        )
                    ),
                }
                for upstream in self._upstreams.all
                for endpoint in upstream.report().endpoints
            ],
            "semantic": self._meaning.report(),
        }

    def semantic(self) -> dict[str, Any]:
        """Figures of matching by meaning, by partition."""
        return self._meaning.figures()

    def near_misses(self) -> list[dict[str, Any]]:
        """Questions lately sought by meaning whose nearest stored question was refused, and by what."""
        return self._meaning.near_misses()

    async def entry(self, key: str) -> dict[str, Any]:
        """One answer and all that is known of it. Raises `errors.NotFound`, and `errors.CacheFailure` where the store
        cannot tell."""
        entry = await self._store.get(name_of(key))
        if entry is None:
            self._refuse_to_guess()
            raise _no_entry(key)
        return self._described(entry)

    async def forget(self, key: str) -> int:
        """Remove one answer. Raises `errors.NotFound`."""
        found = await self._delete(name_of(key))
        if not found:
            raise _no_entry(key)
        return 1

    async def purge_key(self, key: str, *, dry_run: bool) -> int:
        """Remove one answer if it is there."""
        name = name_of(key)
        if dry_run:
            return int(await self._store.get(name) is not None)
        return int(await self._delete(name))

    def _refuse_to_guess(self) -> None:
        """That a store in trouble has not found something does not say that it is not there."""
        degraded = self._store.report().degraded
        if degraded is not None:
            raise CacheFailure(degraded)

    async def _delete(self, name: Digest) -> bool:
        """Nobody joins a call that was made before, here or from another replica. An answer that was matched by meaning
        would be matched again: the pair is refused."""
        try:
            entry = await self._store.get(name)
            if entry is not None and entry.form is Form.ALIAS and self._meaning.active:
                # First: who looks for a match between the two finds the pair refused.
                await self._meaning.feedback(matched(entry), good=False)
            await self._meaning.forget(name)
            # What was there a moment ago is gone, whoever came first.
            return await self._store.delete(name) or entry is not None
        finally:
            self._flights.close(name)
            await self._leases.drop(name)

    async def purge_all(self, *, dry_run: bool) -> int:
        """Remove every answer."""
        try:
            purged = await self._store.purge(dry_run=dry_run)
            if not dry_run:
                await self._meaning.purge()
            return purged
        finally:
            if not dry_run:
                self._flights.close()

    def _described(self, entry: Entry) -> dict[str, Any]:
        now = self._clock()
        described = {
            "key": entry.name.hex(),
            "endpoint": entry.endpoint,
            "model": entry.model,
            "form": entry.form.value,
            "age_s": round(entry.age_s(now), 1),
            "ttl_s": round(entry.ttl_s(now), 1),
        }
        if entry.form is Form.ALIAS:
            match = matched(entry)
            return described | {
                "answered_by": match.of.hex(),
                "matched_by": match.kind,
                "similarity": round(match.similarity, 4),
                "partition": match.partition.hex()[:8],
            }
        return described | {
            "bytes": len(entry.body),
            "tags": list(entry.tags),
            "usage": {
                "prompt_tokens": entry.usage.prompt_tokens,
                "completion_tokens": entry.usage.completion_tokens,
                "cached_tokens": entry.usage.cached_tokens,
            },
            "cost_usd": entry.cost_usd,
            "upstream": entry.upstream,
            "upstream_request_id": entry.upstream_request_id,
            "upstream_seconds": round(entry.upstream_s, 3),
            "answer": orjson.loads(entry.body) if entry.form is Form.WHOLE else entry.body.decode("utf-8", "replace"),
        }


def _no_entry(key: str) -> NotFound:
    return NotFound(f"no answer is stored under {key}", code="no_such_entry")


def _state(report: UpstreamReport) -> dict[str, Any]:
    state: dict[str, Any] = {"name": report.name, "kind": report.kind}
    state["status"] = "degraded" if report.degraded else "ok"
    if report.degraded:
        state["detail"] = report.degraded
    return state
