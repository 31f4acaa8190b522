"""What an answer cost, by a table of prices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from proxy.types import Usage

REMEMBERED = 1024
"""Names whose price is remembered; clients choose them, so there is an end."""


PREFIX_LEAST, PREFIX_STEP = 1024, 128
"""Tokens: the shortest prompt that OpenAI caches, and the steps in which it does."""


@dataclass(frozen=True, slots=True)
class Price:
    """USD for a million tokens. `cached_input` None: as `input`."""

    input: float
    output: float
    cached_input: float | None = None

    def cost(self, usage: Usage) -> float:
        """USD. Cached tokens are a part of the prompt's."""
        cached = min(usage.cached_tokens, usage.prompt_tokens)
        cached_price = self.input if self.cached_input is None else self.cached_input
        fresh = usage.prompt_tokens - cached
        return (fresh * self.input + cached * cached_price + usage.completion_tokens * self.output) / 1_000_000

    def warm(self, usage: Usage) -> float:
        """USD of the same call again, soon: the prompt would then be in the upstream's prefix cache, in steps of
        `PREFIX_STEP` and from `PREFIX_LEAST` on. What an answer from here saves is no more than that; without it the
        discount would be counted twice, here and on the provider's bill."""
        prompt = usage.prompt_tokens
        again = prompt - prompt % PREFIX_STEP if prompt >= PREFIX_LEAST else 0
        return self.cost(replace(usage, cached_tokens=max(usage.cached_tokens, again)))


SNAPSHOT: dict[str, Price] = {
    # Dated versions of a model (`-2025-08-07`) cost what the model costs; other suffixes are other models.
    "gpt-5.5": Price(5.0, 30.0, 0.5),
    "gpt-5.4": Price(2.5, 15.0, 0.25),
    "gpt-5.4-mini": Price(0.75, 4.5, 0.075),
    "gpt-5.4-nano": Price(0.2, 1.25, 0.02),
    "gpt-5.1": Price(1.25, 10.0, 0.125),
    "gpt-5": Price(1.25, 10.0, 0.125),
    "gpt-5-mini": Price(0.25, 2.0, 0.025),
    "gpt-5-nano": Price(0.05, 0.4, 0.005),
    "gpt-4.1": Price(2.0, 8.0, 0.5),
    "gpt-4.1-mini": Price(0.4, 1.6, 0.1),
    "gpt-4.1-nano": Price(0.1, 0.4, 0.025),
    "gpt-4o": Price(2.5, 10.0, 1.25),
    "gpt-4o-mini": Price(0.15, 0.6, 0.075),
    "gpt-3.5-turbo": Price(0.5, 1.5),
    "o1": Price(15.0, 60.0, 7.5),
    "o3": Price(2.0, 8.0, 0.5),
    "o3-mini": Price(1.1, 4.4, 0.55),
    "o4-mini": Price(1.1, 4.4, 0.275),
    "text-embedding-3-small": Price(0.02, 0.0),
    "text-embedding-3-large": Price(0.13, 0.0),
}
"""List prices of well-known public models as of 2026-06, standard tier: a start, not a source. Providers change them,
so operators put theirs into `telemetry.prices`, which is looked at first."""

DATED = "-20[0-9][0-9]-[0-9][0-9]-[0-9][0-9]"


class Prices:
    """`table` has globs over model names and is looked at before `SNAPSHOT`; the name itself wins, then the longest."""

    def __init__(self, table: Mapping[str, Price]) -> None:
        dated = {model + DATED: price for model, price in SNAPSHOT.items()}
        self._tables = [_longest_first(table), _longest_first(SNAPSHOT | dated)]
        self._known: dict[str, Price | None] = {}

    def cost(self, model: str, usage: Usage) -> float | None:
        """USD; None for a model whose price nobody said."""
        price = self._price(model)
        return None if price is None else price.cost(usage)

    def warm(self, model: str, usage: Usage) -> float | None:
        """USD of asking the same again soon (`Price.warm`)."""
        price = self._price(model)
        return None if price is None else price.warm(usage)

    def _price(self, model: str) -> Price | None:
        if model not in self._known:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[model] = next((found for table in self._tables if (found := _match(table, model))), None)
        return self._known[model]


def _longest_first(table: Mapping[str, Price]) -> dict[str, Price]:
    return {glob: table[glob] for glob in sorted(table, key=len, reverse=True)}


def _match(table: dict[str, Price], model: str) -> Price | None:
    return table.get(model) or next((price for glob, price in table.items() if fnmatchcase(model, glob)), None)
