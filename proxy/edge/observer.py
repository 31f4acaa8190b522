"""What is seen of each request: one record to the metrics and the access log, bypasses to the audit log too."""

from __future__ import annotations

from proxy.case import Answer, Case, header
from proxy.errors import AskOnceError
from proxy.feedback import Recent
from proxy.telemetry.audit import Audit
from proxy.telemetry.logs import AccessLog
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.records import Served
from proxy.telemetry.tracing.base import RequestSpan
from proxy.telemetry.tracing.off import NO_SPAN
from proxy.types import Entry


class Observer:
    """Fills a record on the path and hands it on at the end. Never holds a user's words or a credential."""

    def __init__(self, metrics: Metrics, access_log: AccessLog | None, audit: Audit, recent: Recent) -> None:
        self._metrics = metrics
        self._access_log = access_log
        self._audit = audit
        self._recent = recent

    def refused(self, error: AskOnceError) -> None:
        """A request that never became one: its head could not be read."""
        self.served(Served(endpoint="other", status=error.status, reason=error.reason))

    def considered(self, record: Served, case: Case, client: str) -> None:
        """Who asks for what is known."""
        record.model = case.model
        record.stream = case.stream
        record.scope = case.scope[:4].hex()
        if case.directives.audited:
            self._audit.bypassed(
                request_id=record.request_id,
                scope=record.scope,
                client=client,
                model=case.model,
                endpoint=record.endpoint,
            )

    def answered(self, record: Served, answer: Answer, now: float) -> None:
        """Where the answer comes from is known."""
        record.reason = answer.reason
        record.key = answer.key
        record.tier = answer.tier
        entry = answer.entry
        if answer.match is not None:
            self._recent.delivered(record.request_id, answer.case.name, answer.match)
            record.similarity = answer.match.similarity
        if entry is None:
            record.upstream = header(answer.headers, b"x-upstream")
        else:
            record.age_s = entry.age_s(now)
            record.usage = entry.usage
            record.saved_usd = entry.saved_usd(now)

    def hit(
        self, answer: Answer, entry: Entry, request_id: bytes, sent: int, seconds: float, now: float, span: RequestSpan
    ) -> None:
        """All of that at once, for a hit of the fast lane (an audited bypass is none). Bytes, seconds, Unix seconds."""
        case = answer.case
        if answer.match is not None:
            self._recent.delivered(request_id.decode(), case.name, answer.match)
        record = Served(
            endpoint=case.endpoint.path,
            method="POST",
            model=case.model,
            outcome=answer.outcome,
            status=200,
            seconds=seconds,
            first_byte_s=seconds,
            request_id=request_id.decode(),
            key=answer.key,
            scope=case.scope[:4].hex(),
            tier=answer.tier,
            age_s=entry.age_s(now),
            usage=entry.usage,
            saved_usd=entry.saved_usd(now),
            bytes_sent=sent,
            stream=case.stream,
        )
        if answer.match is not None:
            record.similarity = answer.match.similarity
        self.served(record, span)

    def served(self, record: Served, span: RequestSpan = NO_SPAN) -> None:
        """It is over."""
        if span.trace_id:
            record.trace_id = span.trace_id
            span.ended(record)
        self._metrics.served(record)
        if self._access_log is not None:
            self._access_log.served(record)
