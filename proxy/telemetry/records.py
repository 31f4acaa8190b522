"""What is known of a request when it is over."""

from __future__ import annotations

from dataclasses import dataclass

from proxy.types import Outcome, Usage


@dataclass(slots=True)
class Served:
    """One request. Filled on its way, then handed to metrics and the access log, which keep nothing of it.

    Holds nothing a user wrote but the model's name: no path of theirs, no header, no word, no credential.
    """

    endpoint: str = "other"
    """A cached endpoint's path, or `other`: a closed set, for it becomes a metric label."""
    method: str = ""
    model: str = ""
    """As the client named it."""
    outcome: Outcome = Outcome.ERROR
    status: int = 0
    seconds: float = 0.0
    """From the request's first byte to the answer's last."""
    first_byte_s: float = 0.0
    request_id: str = ""
    key: str = ""
    """`X-Cache-Key`: the question's name in hex; empty where there is none."""
    scope: str = ""
    """The first 8 hex digits of the caller's scope: enough to tell callers apart, too few to find one."""
    reason: str = ""
    """Why it was not cached, or what was wrong with it: a token of ours."""
    tier: str = ""
    """Where a hit came from: `memory`, `sqlite`; empty for anything else."""
    age_s: float = 0.0
    """How old a hit was."""
    usage: Usage = Usage()
    saved_usd: float | None = None
    """What a call of its own would have cost; None when that is not known."""
    bytes_sent: int = 0
    """Of the answer's body."""
    stream: bool = False
    upstream: str = ""
    """The one that was asked; empty if none was."""
    similarity: float | None = None
    """Of the question that was matched; None where none was."""
    trace_id: str = ""
    """Hex; empty where it is not traced, or its trace not sampled."""
