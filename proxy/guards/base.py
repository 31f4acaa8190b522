"""Is there a word that tells these two questions apart? One file in this folder for each kind of such words.

A guard may only refuse: what no guard refuses still has to convince a verifier.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from proxy.lexis.reading import Reading


@dataclass(frozen=True, slots=True)
class Guard:
    """One guard. Pure and quick (a tenth of a millisecond for all of them together)."""

    name: str
    """The label `guard` of `askonce_refused_candidates_total`."""
    refuses: Callable[[Reading, Reading], bool]
    """(asked, stored): True when the answer to one cannot be served for the other."""
