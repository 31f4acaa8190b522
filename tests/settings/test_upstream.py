"""What must hold between upstreams, so that no credential goes where it does not belong."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import ValidationError

from proxy.settings import Settings, Upstream

KEY = {"api_key": "sk-own-key"}


def settings(*upstreams: dict[str, Any]) -> Settings:
    return Settings(upstreams=tuple(Upstream(**{"name": "abc"[n]} | each) for n, each in enumerate(upstreams)))


def at(host: str) -> dict[str, Any]:
    return {"base_url": f"https://{host}/v1"}


@pytest.mark.parametrize(
    ("upstreams", "said"),
    [
        ([{"name": "x"}, {"name": "x"} | KEY], "two are called x"),
        ([{"fallback": "z"}], "a falls back on z, and none is called that"),
        ([{"fallback": "a"}], "falling back from a on a leads round in a circle"),
        ([{"fallback": "b"} | KEY, {"fallback": "a"} | KEY], "leads round in a circle"),
        ([{"fallback": "b"}, at("other")], "a falls back on b, which would get the caller's credential for a"),
        ([{}, at("other")], "a and b would both be sent the callers' credentials"),
        ([{"credential": "caller"}, at("other")], "a and b would both be sent the callers' credentials"),
        ([{"credential": "own"}], "a has credential: own and no api_key"),
        ([{"credential": "none"} | KEY], "a has an api_key and credential: none"),
        ([{"credential": "caller"} | KEY], "a has an api_key and credential: caller"),
    ],
)
def test_upstreams_that_contradict_each_other_are_refused(upstreams: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(said)) as refused:
        settings(*upstreams)
    assert "sk-own-key" not in str(refused.value)


@pytest.mark.parametrize(
    "upstreams",
    [
        [{}, {"models": ["gpt-*"]}],
        [{}, at("other") | KEY],
        [{}, at("gpu:8000") | {"kind": "vllm"}],
        [{"credential": "caller"}, at("other") | {"credential": "caller"}],
        [{"fallback": "b"}, at("other") | {"credential": "none"}],
        [{"fallback": "b"} | KEY, {"fallback": "c"} | KEY, KEY],
    ],
)
def test_upstreams_that_fit_together_are_taken(upstreams: list[dict[str, Any]]) -> None:
    assert len(settings(*upstreams).upstreams) == len(upstreams)


@pytest.mark.parametrize(
    ("upstream", "alone", "sends"),
    [
        ({}, True, "caller"),
        ({}, False, "caller"),
        (KEY, True, "own"),
        ({"kind": "vllm"}, True, "caller"),
        ({"kind": "vllm"}, False, "none"),
        ({"kind": "vllm"} | KEY, False, "own"),
        ({"kind": "vllm", "credential": "caller"}, False, "caller"),
        ({"credential": "none"}, True, "none"),
    ],
)
def test_whose_credential_goes_upstream(upstream: dict[str, Any], alone: bool, sends: str) -> None:
    assert Upstream(**upstream).sends(alone=alone) == sends


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("http://a/v1/", ("http://a/v1",)),
        (["http://a/v1", "http://b/v1"], ("http://a/v1", "http://b/v1")),
        ("http://a/v1, http://b/v1", ("http://a/v1", "http://b/v1")),
    ],
)
def test_an_upstream_has_one_address_or_several(given: object, kept: tuple[str, ...]) -> None:
    assert Upstream(base_url=given).base_url == kept
