"""What answers at an endpoint, and what it wants done differently. One file in this folder for each kind of server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from proxy.types import Call


@dataclass(frozen=True, slots=True)
class Identity:
    """What stands behind an endpoint: while this stays the same, so do its answers."""

    version: str = ""
    """Of the server program (`GET /version`)."""
    models: Mapping[str, str] = field(default_factory=dict)
    """What each served name stands for: its card's `root`, `parent` and length, as one text."""
    discarded_at: float = 0.0
    """When its weights were last seen to be gone (sleep of level 2): what is loaded next may be others. Unix seconds;
    0 for never."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One look at an endpoint."""

    well: bool
    """It can be asked now."""
    why: str = ""
    """What is wrong, in a sentence for the operator; never a path, a query or a credential."""
    certain: bool = False
    """It says itself that it does not serve (it sleeps, its engine is dead): a silence may pass, this does not."""
    waiting: int = 0
    running: int = 0
    kv_usage: float = 0.0
    identity: Identity | None = None
    """None where it could not be told, or where this kind tells nothing."""


class Wire(Protocol):
    """How a kind reaches an endpoint for its own purposes: with the proxy's credential if it has one, never with a
    caller's, in little time, and with a bound on what comes back."""

    async def get(self, path: str, *, beside: bool = False) -> tuple[int, bytes]:
        """Status and body of `GET path`, below the endpoint's base address, or `beside` it (`/health` next to `/v1`).

        Raises `errors.UpstreamError` kinds; a body over the bound is one."""


class Kind(Protocol):
    """One kind of server."""

    @property
    def name(self) -> str:
        """The value of `kind` in the configuration."""

    @property
    def harmless(self) -> frozenset[str]:
        """See `base.Upstream.harmless`."""

    @property
    def watched(self) -> bool:
        """Looked at all the time, not only when there is a choice to make: it tells of its load and its models."""

    def prepare(self, call: Call) -> Call:
        """The call as this kind of server should get it: a member added or another model's name put in. Pure; only
        bodies that are there in full (bytes) can be changed. Raises `errors.BadRequest` for a member it would choke on.
        """

    async def look(self, wire: Wire) -> Condition:
        """How the endpoint is. Raises `errors.UpstreamError` kinds, which mean that it is not well."""
