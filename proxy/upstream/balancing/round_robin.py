"""To each endpoint in turn, whatever is on it."""

from __future__ import annotations

from collections.abc import Sequence

from proxy.types import Call
from proxy.upstream.balancing.base import Load, Plan
from proxy.upstream.balancing.turns import Turns


class RoundRobin:
    """A `Balancer` that gives every endpoint the same number of calls. One that is full is passed over while it is."""

    def __init__(self) -> None:
        self._turns = Turns()

    def plan(self, call: Call, loads: Sequence[Load]) -> Plan:
        return self._turns.plan(loads, lambda _load: 0)
