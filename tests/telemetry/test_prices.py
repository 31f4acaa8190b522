"""Prices: which one applies, and what it comes to."""

from __future__ import annotations

import pytest

from proxy.telemetry.prices import REMEMBERED, SNAPSHOT, Price, Prices
from proxy.types import Usage

MILLION = Usage(1_000_000, 1_000_000)


def test_tokens_cost_what_the_table_says() -> None:
    assert Price(2.0, 8.0).cost(Usage(500_000, 250_000)) == 3.0


def test_cached_tokens_cost_their_own_price() -> None:
    usage = Usage(1_000_000, 0, cached_tokens=400_000)
    assert Price(2.0, 8.0, 0.5).cost(usage) == pytest.approx(1.4)
    assert Price(2.0, 8.0).cost(usage) == 2.0
    assert Price(2.0, 8.0, 0.0).cost(Usage(10, 0, cached_tokens=99)) == 0.0


@pytest.mark.parametrize(
    ("prompt", "cached", "again"),
    [
        (1023, 0, 0),  # too short to be cached
        (1024, 0, 1024),
        (2000, 0, 1920),  # in steps of 128
        (2000, 1990, 1990),  # the upstream knows better
        (100, 64, 64),
    ],
)
def test_asked_again_soon_the_prompt_would_cost_what_cached_input_costs(prompt: int, cached: int, again: int) -> None:
    price = Price(2.0, 8.0, 0.5)
    usage = Usage(prompt, 300, cached)
    assert price.warm(usage) == price.cost(Usage(prompt, 300, again)) <= price.cost(usage)
    assert Price(2.0, 8.0).warm(usage) == Price(2.0, 8.0).cost(usage)
    assert Prices({"m": price}).warm("m", usage) == price.warm(usage)
    assert Prices({}).warm("m", usage) is None


@pytest.mark.parametrize(
    ("model", "usd"),
    [
        ("llama-3-70b", 2.0),  # the longest glob
        ("llama-3-8b", 1.0),
        ("llama-3-70b-exact", 3.0),  # the very name
        ("LLAMA-3-8b", None),
        ("unheard-of", None),
        ("", None),
    ],
)
def test_the_most_specific_entry_applies(model: str, usd: float | None) -> None:
    prices = Prices({"llama-*": Price(1, 0), "llama-3-70b*": Price(2, 0), "llama-3-70b-exact": Price(3, 0)})
    assert prices.cost(model, MILLION) == usd


def test_the_operators_table_comes_before_the_built_in_one() -> None:
    assert Prices({}).cost("gpt-4.1-mini", MILLION) == pytest.approx(2.0)
    assert Prices({"gpt-*": Price(1, 1)}).cost("gpt-4.1-mini", MILLION) == 2.0
    assert Prices({"gpt-*": Price(0, 0)}).cost("gpt-4.1-mini", MILLION) == 0.0


@pytest.mark.parametrize(
    ("model", "known"),
    [
        ("gpt-4o-2024-08-06", True),
        ("gpt-4o-mini-2024-07-18", True),
        ("gpt-4o-audio-preview", False),
        ("gpt-5-pro", False),
    ],
)
def test_a_dated_version_costs_what_the_model_costs_and_another_model_does_not(model: str, known: bool) -> None:
    assert (Prices({}).cost(model, MILLION) is not None) == known


def test_names_clients_make_up_are_not_remembered_without_end() -> None:
    prices = Prices({})
    for number in range(3 * REMEMBERED):
        assert prices.cost(f"model-{number}", MILLION) is None
    assert len(prices._known) <= REMEMBERED


def test_no_built_in_price_charges_more_for_cached_tokens() -> None:
    assert all(price.cached_input is None or price.cached_input < price.input for price in SNAPSHOT.values())
