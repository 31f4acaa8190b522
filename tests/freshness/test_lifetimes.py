"""How long an answer lives, and who may have it at its age."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.freshness.lifetimes import Fitness, Lifetime, covers_error, fitness, lifetime
from proxy.settings import Rule
from proxy.types import Digest, Directives, Entry, Form

BORN = 1_800_000_000.0
DEFAULTS = Rule()
SERVE, STALE, REFRESH, GO = (
    Fitness.SERVE,
    Fitness.SERVE_STALE,
    Fitness.SERVE_AND_REFRESH,
    Fitness.GO_UPSTREAM,
)


def entry(fresh_s: float = 100, kept_s: float = 1000) -> Entry:
    return Entry(
        name=Digest(bytes(16)),
        endpoint="/v1/chat/completions",
        model="gpt-test",
        form=Form.WHOLE,
        body=b"{}",
        finished_at=BORN,
        fresh_s=fresh_s,
        kept_s=kept_s,
    )


def of_age(age_s: float, its_rule: Rule = DEFAULTS, **directives: float) -> Fitness:
    """What an entry that is fresh for 100 s is good for."""
    return fitness(entry(), Directives(**directives), its_rule, BORN + age_s)


def rule(**fields: float) -> Rule:
    """Answers are of no use when stale, unless told otherwise."""
    return Rule(**{"keep_stale": 0} | fields)


def middle() -> float:
    return 0.5


# --- lifetimes

LIFETIMES = {
    "the rule's own": (rule(ttl=100, ttl_jitter=0), {}, Lifetime(100, 100)),
    "shortened by chance": (rule(ttl=100, ttl_jitter=0.2), {}, Lifetime(90, 90)),
    "never over the maximum": (rule(ttl=100, max_ttl=50, ttl_jitter=0), {}, Lifetime(50, 50)),
    "chosen by the caller": (rule(ttl=100), {"ttl_s": 7}, Lifetime(7, 7)),
    "chosen longer": (rule(ttl=100), {"ttl_s": 1000}, Lifetime(1000, 1000)),
    "chosen too long": (rule(ttl=100, max_ttl=200), {"ttl_s": 1e9}, Lifetime(200, 200)),
    "chosen to be none": (rule(ttl=100), {"ttl_s": 0}, Lifetime(0, 0)),
    "of use when stale, to refresh": (rule(ttl=100, ttl_jitter=0, stale_while_revalidate=30), {}, Lifetime(100, 130)),
    "of use when stale, for errors": (
        rule(ttl=100, ttl_jitter=0, stale_while_revalidate=30, stale_if_error=50),
        {},
        Lifetime(100, 150),
    ),
    "of use when stale, because the operator says so": (
        rule(ttl=100, ttl_jitter=0, keep_stale=60),
        {},
        Lifetime(100, 160),
    ),
    "never kept over the maximum": (
        rule(ttl=100, max_ttl=120, ttl_jitter=0, stale_if_error=50),
        {},
        Lifetime(100, 120),
    ),
}


@pytest.mark.parametrize(("its_rule", "directives", "expected"), LIFETIMES.values(), ids=LIFETIMES)
def test_a_lifetime_is_the_rules_or_the_callers_within_the_maximum(its_rule, directives, expected):
    assert lifetime(its_rule, Directives(**directives), middle) == expected


SECONDS = st.floats(0, 1e8)


@given(SECONDS, SECONDS, SECONDS, st.floats(0, 0.99), st.none() | SECONDS, st.floats(0, 1, exclude_max=True))
def test_no_answer_is_kept_longer_than_the_maximum_or_shorter_than_it_is_fresh(ttl, most, stale, jitter, asked, chance):
    its_rule = Rule(ttl=ttl, max_ttl=most, keep_stale=stale, ttl_jitter=jitter)
    life = lifetime(its_rule, Directives(ttl_s=asked), lambda: chance)
    assert 0 <= life.fresh_s <= life.kept_s <= most


# --- fitness

TABLE = {
    "new": (0, {}, SERVE),
    "fresh": (99, {}, SERVE),
    "at the end of its life": (100, {}, GO),
    "expired": (101, {}, GO),
    "young enough": (40, {"max_age_s": 40}, SERVE),
    "too old for this caller": (41, {"max_age_s": 40}, GO),
    "expired, whatever age is allowed": (101, {"max_age_s": 1000}, GO),
    "fresh for long enough": (60, {"min_fresh_s": 40}, SERVE),
    "not fresh for long enough": (61, {"min_fresh_s": 40}, GO),
    "never fresh for that long": (0, {"min_fresh_s": 101}, GO),
    "stale, any is taken": (500, {"max_stale_s": math.inf}, STALE),
    "stale, near enough": (110, {"max_stale_s": 10}, STALE),
    "too stale": (111, {"max_stale_s": 10}, GO),
    "at the end, no staleness is taken": (100, {"max_stale_s": 0}, STALE),
    "a little stale, no staleness is taken": (100.5, {"max_stale_s": 0}, GO),
    "fresh, staleness is taken": (50, {"max_stale_s": 10}, SERVE),
    "over the caller's age by less than it takes": (45, {"max_age_s": 40, "max_stale_s": 10}, STALE),
    "over the caller's age by more": (51, {"max_age_s": 40, "max_stale_s": 10}, GO),
    "over the caller's age, any is taken": (500, {"max_age_s": 40, "max_stale_s": math.inf}, STALE),
    "fresh for less than asked, any staleness is taken": (90, {"min_fresh_s": 40, "max_stale_s": math.inf}, GO),
}


@pytest.mark.parametrize(("age", "directives", "expected"), TABLE.values(), ids=TABLE)
def test_an_entrys_fitness_follows_from_its_age_and_the_callers_word(age, directives, expected):
    assert of_age(age, **directives) is expected


REFRESHED = {
    "fresh": (99, {}, SERVE),
    "at the end of its life": (100, {}, REFRESH),
    "within the window": (129, {}, REFRESH),
    "past the window": (130, {}, GO),
    "the caller takes stale ones": (110, {"max_stale_s": 20}, STALE),
    "the caller takes less stale ones": (110, {"max_stale_s": 5}, REFRESH),
    "the caller wants a young one": (110, {"max_age_s": 1000}, GO),
    "the caller wants a fresh one": (110, {"min_fresh_s": 1}, GO),
}


@pytest.mark.parametrize(("age", "directives", "expected"), REFRESHED.values(), ids=REFRESHED)
def test_within_the_operators_window_a_stale_entry_is_served_and_refreshed(age, directives, expected):
    assert of_age(age, Rule(stale_while_revalidate=30), **directives) is expected


AGES = st.floats(0, 1e4)


@given(AGES, st.none() | AGES, AGES, AGES)
def test_a_callers_wish_for_a_young_or_fresh_answer_never_gets_it_an_older_one(age, max_age, min_fresh, window):
    its_rule = Rule(stale_while_revalidate=window)
    asked = {"min_fresh_s": min_fresh} | ({} if max_age is None else {"max_age_s": max_age})
    if of_age(age, its_rule, **asked) is not GO:
        assert of_age(age, its_rule) is not GO


@given(AGES)
def test_what_is_served_as_fresh_is_fresh(age):
    assert (of_age(age) is SERVE) == (entry().ttl_s(BORN + age) > 0)


def test_a_clock_that_stepped_back_makes_an_entry_new_and_not_younger():
    assert of_age(-50) is SERVE
    assert of_age(-50, max_age_s=0) is SERVE


# --- standing in

ERRORS = {
    "nobody allows it": (101, 0, {}, False),
    "the rule allows it": (110, 10, {}, True),
    "staler than the rule allows": (111, 10, {}, False),
    "the caller allows it": (110, 0, {"stale_if_error_s": 10}, True),
    "staler than the caller allows": (111, 0, {"stale_if_error_s": 10}, False),
    "the caller's word goes before the rule's, tighter": (110, 60, {"stale_if_error_s": 5}, False),
    "the caller's word goes before the rule's, wider": (150, 10, {"stale_if_error_s": 60}, True),
    "the caller forbids it": (101, 60, {"stale_if_error_s": 0}, False),
    "fresh, but not for this caller": (50, 10, {"max_age_s": 1}, True),
}


@pytest.mark.parametrize(("age", "allowed", "directives", "expected"), ERRORS.values(), ids=ERRORS)
def test_a_stale_entry_stands_in_for_an_error_as_long_as_it_is_allowed_to(age, allowed, directives, expected):
    its_rule = Rule(stale_if_error=allowed)
    assert covers_error(entry(), Directives(**directives), its_rule, BORN + age) is expected
