"""What `askonce check` says of one part."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Probe:
    """One line of `askonce check`."""

    part: str
    ok: bool
    detail: str
    warns: bool = False
    """It works, and something should be changed."""
