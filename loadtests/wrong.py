"""Whose answer was served: judged by the provider's echo against what was asked.

An answer belongs to a question. It is **right** where that question has the meaning of the one that was asked,
**wrong** where it has another, **leaked** where it was made for another tenant's credential (whatever it says), and
**unknown** where there is no echo to judge by: a real model's answer, or one made before this run. No answer, no
verdict: **none**.
"""

from __future__ import annotations

from asking import Sample
from names import named
from traffic import Asked


class Judge:
    """Remembers what was asked, and judges samples. One for each cache that is judged."""

    def __init__(self) -> None:
        self.meanings: dict[str, str] = {}
        self.tenants: dict[str, int] = {}
        self.calls: set[int] = set()

    def sent(self, asked: Asked) -> None:
        """To be told before a request goes out: its answer may be served to somebody else first."""
        self.meanings[asked.name] = asked.meaning
        self.tenants.setdefault(named(asked.credential), asked.tenant)

    def __call__(self, sample: Sample) -> str:
        echo = sample.echo
        if echo is None:
            return "none" if sample.failure else "unknown"
        if self.tenants.get(echo.credential, sample.asked.tenant) != sample.asked.tenant:
            return "leaked"
        meaning = self.meanings.get(echo.question)
        if meaning is None:
            return "unknown"
        return "right" if meaning == sample.asked.meaning else "wrong"

    def again(self, sample: Sample) -> bool | None:
        """Whether a call's answer was served before: a hit, whatever the proxy calls it. None where nobody can tell."""
        if sample.echo is None:
            return None
        known = sample.echo.call in self.calls
        self.calls.add(sample.echo.call)
        return known
