"""How long an answer lives, and whether this caller may have it at its age. Pure functions.

RFC 9111 sections 4.2 and 5.2.1, RFC 5861. Model answers do not go bad by themselves: lifetimes stand for policy,
privacy and models that move behind their names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from proxy.settings import Rule
from proxy.types import Directives, Entry


@dataclass(frozen=True, slots=True)
class Lifetime:
    """Seconds: fresh for `fresh_s`, of some use when stale until `kept_s`."""

    fresh_s: float
    kept_s: float


class Fitness(Enum):
    """What an entry of this age is good for, named after what to do with it."""

    SERVE = auto()
    SERVE_STALE = auto()
    """The caller said that it takes stale answers."""
    SERVE_AND_REFRESH = auto()
    """Within the operator's stale-while-revalidate window."""
    GO_UPSTREAM = auto()


def lifetime(rule: Rule, directives: Directives, random: Callable[[], float]) -> Lifetime:
    """What is stored for this question lives so long. `X-Cache-TTL` is taken as it is, clamped to the rule's maximum;
    the rule's own lifetime is jittered downwards, so that what was stored together does not expire together and a
    maximum retention still holds."""
    if directives.ttl_s is not None:
        fresh_s = min(directives.ttl_s, rule.max_ttl)
    else:
        fresh_s = min(rule.ttl, rule.max_ttl) * (1 - rule.ttl_jitter * random())
    stale_s = max(rule.keep_stale, rule.stale_while_revalidate, rule.stale_if_error)
    return Lifetime(fresh_s, max(fresh_s, min(fresh_s + stale_s, rule.max_ttl)))


def fitness(entry: Entry, directives: Directives, rule: Rule, now: float) -> Fitness:
    """May this caller have this entry now? `now` is Unix seconds."""
    ttl_s = entry.ttl_s(now)
    if ttl_s > 0 and directives.max_age_s is None and not directives.min_fresh_s:
        return Fitness.SERVE
    stale_s = -ttl_s
    if directives.max_age_s is not None:
        stale_s = max(stale_s, entry.age_s(now) - directives.max_age_s)
    if directives.min_fresh_s and ttl_s < directives.min_fresh_s:
        return Fitness.GO_UPSTREAM
    if ttl_s > 0 and stale_s <= 0:  # RFC 9111 section 4.2: fresh while its lifetime is greater than its age
        return Fitness.SERVE
    if directives.max_stale_s is not None and stale_s <= directives.max_stale_s:
        return Fitness.SERVE_STALE
    if directives.max_age_s is None and stale_s < rule.stale_while_revalidate:
        return Fitness.SERVE_AND_REFRESH
    return Fitness.GO_UPSTREAM


def covers_error(entry: Entry, directives: Directives, rule: Rule, now: float) -> bool:
    """May this entry stand in for a failing upstream (RFC 5861 section 4)? The caller's word goes before the rule's."""
    allowed_s = rule.stale_if_error if directives.stale_if_error_s is None else directives.stale_if_error_s
    return allowed_s > 0 and -entry.ttl_s(now) <= allowed_s
