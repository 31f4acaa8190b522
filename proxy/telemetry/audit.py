"""Who went around the cache: one line for each use of `X-Cache-Bypass`."""

from __future__ import annotations

from proxy.telemetry.logs import AccessLog


class Audit:
    """Writes among the access log's lines, marked `askonce.audit`, also when the access log itself is off."""

    def __init__(self, log: AccessLog) -> None:
        self._log = log

    def bypassed(self, *, request_id: str, scope: str, client: str, model: str, endpoint: str) -> None:
        """`scope`: the first digits of the caller's scope, never a credential; `client`: the address it came from."""
        self._log.line(
            {
                "logger": "askonce.audit",
                "event": "bypass",
                "request_id": request_id,
                "scope": scope,
                "client": client,
                "model": model,
                "endpoint": endpoint,
            }
        )
