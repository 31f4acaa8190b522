"""Which endpoint is asked first. One file in this folder for each way to choose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from proxy.types import Call


@dataclass(frozen=True, slots=True)
class Load:
    """What is known of an endpoint that may be chosen. All that are shown to a balancer are well."""

    address: str
    """Its configured address: what makes the choice consistent when others come and go."""
    in_flight: int
    """Calls of this process that have not ended."""
    elsewhere: int = 0
    """Requests of others there, running or waiting, when last looked at."""
    full: bool = False
    """Requests wait there and its KV cache is as good as used up: one more would push out what is there."""


class Plan(Protocol):
    """One call's way: made by `Balancer.plan`."""

    @property
    def order(self) -> Sequence[int]:
        """Places in the loads that were shown, best first; each once."""

    def served(self, place: int) -> None:
        """That endpoint answered: what of it is remembered (a conversation) is remembered now."""


class Balancer(Protocol):
    """Chooses. Does no I/O and needs no lock: it is used by one event loop."""

    def plan(self, call: Call, loads: Sequence[Load]) -> Plan:
        """`loads` has two or more endpoints, in the order of the configuration."""
