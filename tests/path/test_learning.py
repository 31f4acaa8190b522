"""What is learned of matches, on the wire: labels from answers, the budget that holds, and what operators see of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.path.by_meaning import (
    ASKED,
    OTHERWISE,
    TYPED,
    Begin,
    feedback,
    figures,
    first,
    remembered,
    user,
    x,
)
from tests.provider import Asked, Provider, Script, as_said
from tests.running import Running, Start

LEARNED: dict[str, Any] = {"semantic.policy": "learned", "semantic.audit_rate": 1}
CITIES = (
    "Oslo", "Bergen", "Madrid", "Lisbon", "Vienna", "Prague", "Warsaw", "Athens", "Dublin", "Helsinki", "Riga", "Sofia",
    "Zagreb", "Tallinn", "Vilnius", "Budapest", "Bucharest", "Copenhagen", "Stockholm", "Brussels", "Paris", "Berlin",
    "Rome", "Bern", "Valletta", "Nicosia", "Ljubljana", "Bratislava", "Belgrade", "Skopje",
)  # fmt: skip


ENOUGH = 20
"""Labels. One that is lost on a busy machine is only learned later."""


def asked_words(asked: Asked) -> str:
    words: str = asked.json()["messages"][-1]["content"]
    return words


def alike(asked: Asked) -> Script:
    """Two ways of asking, one answer."""
    return as_said(asked, "Open the settings, choose Security, and press Reset.")


def at_odds(asked: Asked) -> Script:
    """Every way of asking has an answer of its own."""
    return as_said(asked, f"It costs {sum(asked_words(asked).encode())} dollars.")


async def labelled(proxy: Running, labels: int) -> Any:
    """Until so many labels are kept; gives the figures."""
    while (seen := await figures(proxy))["ledger"]["labels"] < labels:
        await asyncio.sleep(0.02)
    return seen


async def known(proxy: Running) -> Any:
    """Until the labels have been learned from; gives the partition's figures."""
    while not (seen := await figures(proxy))["partitions"]:
        await asyncio.sleep(0.02)
    return seen["partitions"][0]


async def test_a_fresh_answer_that_agrees_with_the_neighbours_is_a_label_for_nothing(begin: Begin, provider: Provider):
    async with begin(LEARNED) as proxy:
        provider.answer = alike
        await first(proxy)
        assert x(await proxy.chat(**user(OTHERWISE)), "cache") == "miss"  # audited
        await labelled(proxy, 1)
        partition = await known(proxy)
        assert (partition["labels"], partition["audited"]) == (1, 1)
        assert partition["wrong"] < 0.5
        assert await proxy.metric("askonce_audited_hits_total") == 1
        assert await proxy.metric("askonce_false_hits_total") == 0
        assert await proxy.metric("askonce_false_hit_ratio_upper", partition=partition["partition"]) > 0.5


async def test_where_questions_in_other_words_have_other_answers_nothing_is_served(begin: Begin, provider: Provider):
    async with begin(LEARNED) as proxy:
        provider.answer = at_odds
        for city in CITIES:
            await first(proxy, f"How do I get to {city} by train?")
            await proxy.chat(**user(f"How can I get to {city} by train?"))
        await labelled(proxy, ENOUGH)
        assert await proxy.metric("askonce_false_hits_total") > 0
        assert await proxy.metric("askonce_similarity_count", outcome="refused") > 0
    # It is learned for good: after a restart nothing is served either, audited or not.
    async with begin(LEARNED | {"semantic.audit_rate": 0}) as proxy:
        assert (await known(proxy))["labels"] >= ENOUGH
        await remembered(proxy, ENOUGH)
        answer = await proxy.chat(**user("How might I get to Oslo by train?"))
        assert x(answer, "cache") == "miss"


async def test_a_rule_that_overruns_its_budget_goes_exact_only_and_says_so(begin: Begin, provider: Provider):
    async with begin({"semantic.policy": "faq", "semantic.audit_rate": 1}) as proxy:
        provider.answer = at_odds
        for city in CITIES[:8]:
            await first(proxy, f"How do I get to {city} by train?")
            await proxy.chat(**user(f"How can I get to {city} by train?"))
        while not await proxy.metric("askonce_semantic_suspended"):
            await asyncio.sleep(0.05)
        partition = await known(proxy)
        assert partition["suspended"] is True
        assert partition["false_hit_ratio_upper"] > 0.5
    async with begin({"semantic.policy": "faq", "semantic.audit_rate": 0}) as proxy:
        while not await proxy.metric("askonce_semantic_suspended"):
            await asyncio.sleep(0.05)
        await remembered(proxy, 16)
        assert x(await proxy.chat(**user("How could I get to Oslo by train?")), "cache") == "miss"


async def test_certain_feedback_is_learned_from_at_once(begin: Begin, provider: Provider):
    async with begin({"semantic.policy": "learned", "semantic.audit_rate": 0}) as proxy:
        provider.answer = alike
        await first(proxy)
        answer = await proxy.chat(**user(OTHERWISE))
        assert x(answer, "cache") == "semantic"
        await feedback(proxy, key=x(answer, "cache-key"), verdict="bad")
        assert (await known(proxy))["labels"] == 1


async def test_what_each_threshold_would_have_given_is_shown(begin: Begin, provider: Provider):
    async with begin(LEARNED) as proxy:
        provider.answer = alike
        await first(proxy)
        await proxy.chat(**user(OTHERWISE))
        partition = await known(proxy)
        hits = [row["hits"] for row in partition["thresholds"]]
        assert hits[0] == 1
        assert hits == sorted(hits, reverse=True)
        assert [row["similarity"] for row in partition["thresholds"]] == sorted(
            row["similarity"] for row in partition["thresholds"]
        )


@pytest.mark.parametrize("mode", ["off", "shadow", "on"])
async def test_readyz_says_how_matching_is(begin: Begin, askonce: Start, mode: str):
    async with askonce({"semantic.mode": mode}) as proxy:
        assert (await proxy.http.get("/readyz")).json()["semantic"]["mode"] == mode


async def test_a_model_is_asked_about_answers_whose_likeness_tells_little(begin: Begin, provider: Provider):
    def two_voices(asked: Asked) -> Script:
        if asked.model == "judge":
            assert asked.header("authorization") == "Bearer sk-of-the-judge"
            return as_said(asked, '{"same": false}')
        if asked_words(asked) == ASKED:
            return as_said(asked, "Open the settings of your account and choose a new password there.")
        return as_said(asked, "Ask the help desk in your building to give you a new password for the account.")

    flags = {"semantic.llm_judge.model": "judge", "semantic.llm_judge.base_url": provider.url}
    async with begin(LEARNED | flags, {"ASKONCE_SEMANTIC__LLM_JUDGE__API_KEY": "sk-of-the-judge"}) as proxy:
        provider.answer = two_voices
        await first(proxy)
        await proxy.chat(**user(OTHERWISE))
        await labelled(proxy, 1)
        assert await proxy.metric("askonce_judged_answers_total", judge="llm", source="audit") == 1
        assert await proxy.metric("askonce_false_hits_total") == 1


async def test_words_typed_otherwise_are_audited_too_and_measure_the_judge(begin: Begin, provider: Provider):
    async with begin({"semantic.audit_rate": 1}) as proxy:
        provider.answer = alike
        await first(proxy)
        assert x(await proxy.chat(**user(TYPED)), "cache") == "miss"
        while not await proxy.metric("askonce_judged_answers_total", source="same"):
            await asyncio.sleep(0.01)
        assert await proxy.metric("askonce_audited_hits_total") == 0


async def test_after_a_change_of_embedder_stored_questions_are_embedded_anew_and_matched(
    begin: Begin, provider: Provider
):
    async with begin() as proxy:
        await first(proxy)
    async with begin({"semantic.embedder.precision": "fp32"}) as proxy:
        while (await figures(proxy))["index"]["pending"] or not (await figures(proxy))["index"]["points"]:
            await asyncio.sleep(0.02)
        assert "fp32" in (await figures(proxy))["embedder"]["identity"]
        assert x(await proxy.chat(**user(ASKED)), "cache") == "hit"
        assert x(await proxy.chat(**user(OTHERWISE)), "cache") == "semantic"
        assert provider.calls == 1
