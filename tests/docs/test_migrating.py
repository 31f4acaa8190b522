"""What the page on migrating says of other gateways' words: each is sent, and its effect is seen."""

from __future__ import annotations

import json
import re

import pytest

from proxy.edge.directives import HEADERS, LITELLM, TENSORZERO
from tests.docs.pages import ROOT
from tests.embedding_model import lend
from tests.path.by_meaning import ASKED, ON, OTHERWISE, echo, first, ready, user

TEXT = (ROOT / "docs" / "migrating.md").read_text(encoding="utf-8")

ROW = re.compile(r"^\|(?:[^|]*\|)? `([^`]+)` \| ([a-z ]+) \|$", re.MULTILINE)


def _mappings():
    """What is sent, and the word for its effect."""
    for section in TEXT.split("<!-- mappings -->")[1:]:
        yield from ROW.findall(section.strip().partition("\n\n")[0])


MAPPINGS = list(_mappings())

OURS = frozenset(name for name in HEADERS if name.startswith(b"x-cache-")) | {b"cache-control"}
"""Described in headers.md."""


def _sent(word):
    """Headers, and members of the body."""
    if word.startswith("{"):
        return {}, json.loads(word)
    name, value = word.split(": ", 1)
    return {name: value}, {}


async def _plain(proxy):
    return (await proxy.chat()).headers["x-cache"]


async def _bypass(proxy, headers, members):
    asked = [await proxy.chat(headers, **members) for _ in range(2)]
    assert [answer.headers["x-cache"] for answer in asked] == ["bypass", "bypass"]
    assert asked[0].headers["x-cache-reason"] == "client"


async def _regenerate(proxy, headers, members):
    old = (await proxy.chat()).json()["choices"]
    new = await proxy.chat(headers, **members)
    assert new.headers["x-cache"] == "miss"
    assert new.json()["choices"] != old
    again = await proxy.chat()
    assert (again.headers["x-cache"], again.json()["choices"]) == ("hit", new.json()["choices"])


async def _not_kept(proxy, headers, members):
    assert (await proxy.chat(headers, **members)).headers["x-cache"] == "miss"
    assert await _plain(proxy) == "miss"
    assert (await proxy.chat(headers, **members)).headers["x-cache"] == "hit"


async def _namespace(proxy, headers, members):
    assert await _plain(proxy) == "miss"
    assert (await proxy.chat(headers, **members)).headers["x-cache"] == "miss"
    assert (await proxy.chat(headers, **members)).headers["x-cache"] == "hit"


async def _lifetime(proxy, headers, members):
    answer = await proxy.chat(headers, **members)
    entry = (await proxy.http.get(f"/admin/entries/{answer.headers['x-cache-key']}")).json()
    assert 0 < entry["ttl_s"] <= 60
    assert await _plain(proxy) == "hit"


async def _newest(proxy, headers, members):
    assert await _plain(proxy) == "miss"
    assert (await proxy.chat(headers, **members)).headers["x-cache"] == "miss"
    assert await _plain(proxy) == "hit"


async def _nothing(proxy, headers, members):
    assert await _plain(proxy) == "miss"
    assert (await proxy.chat(headers, **members)).headers["x-cache"] == "hit"


EFFECTS = {
    "bypass": _bypass,
    "regenerate": _regenerate,
    "not kept": _not_kept,
    "namespace": _namespace,
    "lifetime": _lifetime,
    "newest": _newest,
    "nothing": _nothing,
}

OF_MATCHING = ("exact only", "similarity")


def _told_upstream(provider, headers, members):
    for asked in provider.asked:
        assert not {name.lower() for name, _ in asked.headers} & {name.lower() for name in headers}
        assert not set(asked.json()) & set(members)


@pytest.mark.parametrize(("word", "effect"), [each for each in MAPPINGS if each[1] not in OF_MATCHING])
async def test_another_gateways_word_has_the_effect_that_is_said(word, effect, default_proxy, provider):
    headers, members = _sent(word)
    await EFFECTS[effect](default_proxy, headers, members)
    _told_upstream(provider, headers, members)


@pytest.mark.parametrize("word", [word for word, effect in MAPPINGS if effect in OF_MATCHING])
async def test_another_gateways_word_forbids_a_match_that_would_be_served(word, askonce, provider, tmp_path):
    lend(tmp_path / "data")
    provider.answer = echo
    headers, members = _sent(word)
    async with askonce(ON) as proxy:
        await ready(proxy)
        await first(proxy, ASKED)
        assert (await proxy.chat(headers, **members, **user(OTHERWISE))).headers["x-cache"] == "miss"
        await first(proxy, "How do I close my account?")
        assert (await proxy.chat(**user("How can I close my account?"))).headers["x-cache"] == "semantic"
    _told_upstream(provider, headers, members)


def test_every_word_that_is_understood_is_on_the_page():
    named = {word.partition(":")[0].lower().encode() for word, _ in MAPPINGS if not word.startswith("{")}
    assert named == frozenset(HEADERS) - OURS - {b"x-cache-control"}
    members = [json.loads(word) for word, _ in MAPPINGS if word.startswith("{")]
    assert {name for each in members for name in each.get("cache", {})} == set(LITELLM)
    assert {name for each in members for name in each.get("tensorzero::cache_options", {})} == set(TENSORZERO)
    assert {"skip_cache", "cache_similarity_threshold"} <= {name for each in members for name in each}


def test_the_effects_are_explained():
    for effect in (*EFFECTS, *OF_MATCHING):
        assert f"\n| {effect} | " in TEXT
    assert {effect for _, effect in MAPPINGS} == {*EFFECTS, *OF_MATCHING}
