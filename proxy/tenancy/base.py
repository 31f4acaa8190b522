"""Who asks? One file in this folder for each way to tell callers apart."""

from __future__ import annotations

from typing import Protocol

from proxy.types import Pairs, Scope


class Tenancy(Protocol):
    """Tells callers apart, before any look-up, on every request, hits included."""

    @property
    def headers(self) -> frozenset[bytes]:
        """The request fields it looks at, lower-case: two requests alike in these are of one caller."""

    def identify(self, headers: Pairs) -> Scope:
        """Who may share answers with this caller. Raises `errors.Unauthenticated` or `errors.Forbidden`."""
