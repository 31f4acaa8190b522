"""To the endpoint with the fewest calls on it."""

from __future__ import annotations

from collections.abc import Sequence

from proxy.types import Call
from proxy.upstream.balancing.base import Load, Plan
from proxy.upstream.balancing.turns import Turns


class LeastLoaded:
    """A `Balancer` by the calls in flight here and those of others. Equal ones take turns: an idle fleet is used
    evenly, which is what endpoints with a quota each (Azure's deployments) want."""

    def __init__(self) -> None:
        self._turns = Turns()

    def plan(self, call: Call, loads: Sequence[Load]) -> Plan:
        return self._turns.plan(loads, calls)


def calls(load: Load) -> int:
    """That are there now, as far as known."""
    return load.in_flight + load.elsewhere
