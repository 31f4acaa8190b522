"""`Cache-Status` as a parser of RFC 9651 that is not ours reads it."""

from __future__ import annotations

from typing import Any

import http_sf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.edge.cache_status import render
from proxy.types import CacheStatus


def parsed(status: CacheStatus) -> dict[str, Any]:
    """The parameters of our member; tokens as plain strings."""
    ((name, parameters),) = http_sf.parse(render(status), tltype="list")
    assert isinstance(name, http_sf.Token)
    assert str(name) == "askonce"
    return {key: str(value) if isinstance(value, http_sf.Token) else value for key, value in parameters.items()}


# Protocol 3.3, row by row; the tiers are called what they are here.
ROWS: dict[str, tuple[CacheStatus, bytes, dict[str, Any]]] = {
    "hit in memory": (
        CacheStatus(ttl=3540, detail="memory"),
        b"askonce; hit; ttl=3540; detail=memory",
        {"hit": True, "ttl": 3540, "detail": "memory"},
    ),
    "hit behind it": (
        CacheStatus(ttl=3540, detail="sqlite"),
        b"askonce; hit; ttl=3540; detail=sqlite",
        {"hit": True, "ttl": 3540, "detail": "sqlite"},
    ),
    "hit by meaning": (
        CacheStatus(ttl=1200, detail="semantic"),
        b"askonce; hit; ttl=1200; detail=semantic",
        {"hit": True, "ttl": 1200, "detail": "semantic"},
    ),
    "stale while refreshed": (
        CacheStatus(ttl=-12, detail="swr"),
        b"askonce; hit; ttl=-12; detail=swr",
        {"hit": True, "ttl": -12, "detail": "swr"},
    ),
    "stale for an error": (
        CacheStatus(ttl=-300, detail="sie"),
        b"askonce; hit; ttl=-300; detail=sie",
        {"hit": True, "ttl": -300, "detail": "sie"},
    ),
    "miss, stored": (
        CacheStatus(fwd="uri-miss", fwd_status=200, stored=True),
        b"askonce; fwd=uri-miss; fwd-status=200; stored",
        {"fwd": "uri-miss", "fwd-status": 200, "stored": True},
    ),
    "miss, streamed": (CacheStatus(fwd="uri-miss"), b"askonce; fwd=uri-miss", {"fwd": "uri-miss"}),
    "follower": (
        CacheStatus(fwd="uri-miss", collapsed=True),
        b"askonce; fwd=uri-miss; collapsed",
        {"fwd": "uri-miss", "collapsed": True},
    ),
    "follower that had to go itself": (
        CacheStatus(fwd="uri-miss", collapsed=False),
        b"askonce; fwd=uri-miss; collapsed=?0",
        {"fwd": "uri-miss", "collapsed": False},
    ),
    "no-cache": (
        CacheStatus(fwd="request", stored=True),
        b"askonce; fwd=request; stored",
        {"fwd": "request", "stored": True},
    ),
    "expired": (CacheStatus(fwd="stale"), b"askonce; fwd=stale", {"fwd": "stale"}),
    "in another form only": (CacheStatus(fwd="vary-miss"), b"askonce; fwd=vary-miss", {"fwd": "vary-miss"}),
    "not cacheable": (
        CacheStatus(fwd="bypass", detail="temperature"),
        b"askonce; fwd=bypass; detail=temperature",
        {"fwd": "bypass", "detail": "temperature"},
    ),
}


@pytest.mark.parametrize(("status", "text", "parameters"), ROWS.values(), ids=ROWS)
def test_each_situation_is_written_as_the_protocol_says(status, text, parameters):
    assert render(status) == text
    assert parsed(status) == parameters


STATUSES = st.builds(
    CacheStatus,
    fwd=st.none() | st.sampled_from(["bypass", "method", "uri-miss", "vary-miss", "miss", "request", "stale"]),
    fwd_status=st.none() | st.integers(100, 599),
    ttl=st.none() | st.integers(-(10**15) + 1, 10**15 - 1),
    stored=st.none() | st.booleans(),
    collapsed=st.none() | st.booleans(),
    detail=st.text(max_size=20) | st.text(st.characters(codec="ascii"), max_size=20),
)


@given(STATUSES)
def test_whatever_happened_is_a_valid_structured_field_that_says_it(status):
    parameters = parsed(status)
    assert parameters.get("ttl") == status.ttl
    assert parameters.get("fwd") == status.fwd
    assert ("hit" in parameters) == (status.fwd is None)
    assert ("detail" in parameters) == bool(status.detail)


@given(STATUSES)
def test_a_hit_says_nothing_of_going_forward(status):
    parameters = parsed(status)
    forwarded = {"fwd-status": status.fwd_status, "stored": status.stored, "collapsed": status.collapsed}
    for name, value in forwarded.items():
        assert parameters.get(name) == (None if status.fwd is None else value)


@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1))
def test_any_printable_detail_comes_through(detail):
    assert parsed(CacheStatus(detail=detail))["detail"] == detail


@given(STATUSES)
def test_no_status_breaks_out_of_its_field(status):
    assert not set(render(status)) & set(b"\r\n\0")
