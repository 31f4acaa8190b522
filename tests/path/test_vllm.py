"""What AskOnce does for a vLLM, before a provider that tells of itself as one does. On a real one: `make test-vllm`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.conftest import LANES
from tests.path.several import card, chats, several
from tests.provider import Asked, Provider, Script, as_said, failure, plain, reply
from tests.running import ALICE, BOB, Running, Start, said

QUICK = {"kind": "vllm", "health_interval": 0.01}


@dataclass
class Vllm:
    """What stands behind the provider's address."""

    version: str = "0.32.0"
    roots: dict[str, str] = field(default_factory=lambda: {"gpt-test": "org/weights", "other": "org/other"})
    sleep: str = "awake"
    healthy: bool = True
    looks: int = 0

    def answer(self, asked: Asked) -> Script:
        match asked.path:
            case "/health":
                self.looks += 1
                return reply(b"") if self.healthy else failure(503)
            case "/version":
                return plain({"version": self.version})
            case "/metrics":
                return reply(self._metrics().encode(), content_type="text/plain")
            case "/v1/models":
                cards = [card(name) | {"root": root, "parent": None} for name, root in self.roots.items()]
                return plain({"object": "list", "data": cards})
        model = asked.json()["model"]
        return as_said(asked, "from ", self.roots.get(model, "nowhere"), " ", self.version)

    def _metrics(self) -> str:
        states = ("awake", "weights_offloaded", "discard_all")
        sleeps = [f'vllm:engine_sleep_state{{sleep_state="{state}"}} {int(state == self.sleep)}.0' for state in states]
        return "\n".join(["vllm:num_requests_waiting{} 2.0", "vllm:kv_cache_usage_perc{} 0.5", *sleeps, ""])

    async def seen(self) -> None:
        """Until what is so now was looked at."""
        before = self.looks
        while self.looks < before + 3:
            await asyncio.sleep(0.005)


@asynccontextmanager
async def before(askonce: Start, provider: Provider, vllm: Vllm, **members: Any) -> AsyncIterator[Running]:
    async with several(askonce, provider, QUICK | members, answer=vllm.answer) as (proxy, _):
        await vllm.seen()
        yield proxy


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize(
    "change",
    [{"version": "0.33.0"}, {"roots": {"gpt-test": "org/finetuned", "other": "org/other"}}],
    ids=["another version", "other weights"],
)
async def test_old_answers_are_not_served_after_a_change_on_any_lane(
    askonce: Start, provider: Provider, lane: str, change: dict[str, Any]
) -> None:
    vllm = Vllm()
    async with several(askonce, provider, QUICK, flags=LANES[lane], answer=vllm.answer) as (proxy, _):
        await vllm.seen()
        first = await proxy.chat()
        for _ in range(3):
            assert (await proxy.chat()).headers["x-cache"] == "hit"
        for name, value in change.items():
            setattr(vllm, name, value)
        await vllm.seen()
        second = await proxy.chat()
        assert (second.headers["x-cache"], said(second) == said(first)) == ("miss", False)
        assert said(await proxy.chat()) == said(second)


async def test_a_change_of_one_model_leaves_the_others_answers(askonce: Start, provider: Provider) -> None:
    vllm = Vllm()
    async with before(askonce, provider, vllm) as proxy:
        for model in vllm.roots:
            await proxy.chat(model=model)
        vllm.roots = vllm.roots | {"other": "org/finetuned", "adapter": "lora/a"}
        await vllm.seen()
        seen = {model: (await proxy.chat(model=model)).headers["x-cache"] for model in ("gpt-test", "other")}
        assert seen == {"gpt-test": "hit", "other": "miss"}


async def test_what_stood_behind_a_model_is_known_after_a_restart(askonce: Start, provider: Provider) -> None:
    vllm = Vllm()
    async with before(askonce, provider, vllm) as proxy:
        await proxy.chat()
    # Nothing can be seen of it now: what it was last counts.
    async with several(askonce, provider, QUICK, answer=lambda _: failure(503)) as (proxy, _):
        assert (await proxy.chat()).headers["x-cache"] == "hit"


async def test_weights_that_were_put_away_take_old_answers_with_them(askonce: Start, provider: Provider) -> None:
    vllm = Vllm()
    async with before(askonce, provider, vllm) as proxy:
        await proxy.chat()
        vllm.sleep = "discard_all"
        await vllm.seen()
        assert "sleeps (level 2)" in (await proxy.http.get("/readyz")).json()["upstreams"][0]["detail"]
        vllm.sleep = "awake"
        await vllm.seen()
        assert (await proxy.chat()).headers["x-cache"] == "miss"
        assert (await proxy.chat()).headers["x-cache"] == "hit"


async def test_a_sleep_that_keeps_the_weights_keeps_the_answers(askonce: Start, provider: Provider) -> None:
    vllm = Vllm()
    async with before(askonce, provider, vllm) as proxy:
        await proxy.chat()
        vllm.sleep = "weights_offloaded"
        await vllm.seen()
        vllm.sleep = "awake"
        await vllm.seen()
        assert (await proxy.chat()).headers["x-cache"] == "hit"


async def test_without_following_nothing_changes(askonce: Start, provider: Provider) -> None:
    vllm = Vllm()
    async with before(askonce, provider, vllm, follow_model=False) as proxy:
        await proxy.chat()
        vllm.version = "0.33.0"
        await vllm.seen()
        assert (await proxy.chat()).headers["x-cache"] == "hit"


async def test_a_fallback_is_asked_at_once_where_the_engine_is_dead(askonce: Start, provider: Provider) -> None:
    vllm = Vllm()
    local, hosted = QUICK | {"fallback": "b"}, {"api_key": "sk-own"}
    async with several(askonce, provider, local, hosted, answer=vllm.answer) as (proxy, _):
        await vllm.seen()
        vllm.healthy = False
        await vllm.seen()
        asked = len(chats(provider))
        assert (await proxy.chat()).headers["x-upstream"] == "b"
        assert len(chats(provider)) == asked


async def test_each_caller_has_a_salt_of_its_own_on_every_path_that_takes_one(
    askonce: Start, provider: Provider
) -> None:
    vllm = Vllm()
    async with before(askonce, provider, vllm) as proxy:
        salts: dict[str, set[str]] = {ALICE: set(), BOB: set()}
        for key, seen in salts.items():
            for seed in range(2):
                await proxy.chat(key=key, seed=seed)
            for path in ("/v1/completions", "/v1/responses"):
                await proxy.post(path, '{"model":"gpt-test","input":"x","prompt":"x"}', key=key)
            seen |= {asked.json()["cache_salt"] for asked in chats(provider)[-4:]}
        assert [len(seen) for seen in salts.values()] == [1, 1]
        assert salts[ALICE].isdisjoint(salts[BOB])


async def test_a_caller_s_own_salt_narrows_and_never_reaches_another_s(askonce: Start, provider: Provider) -> None:
    vllm = Vllm()
    async with before(askonce, provider, vllm) as proxy:
        await proxy.chat(key=ALICE)
        alices = chats(provider)[-1].json()["cache_salt"]
        await proxy.chat(key=BOB, cache_salt=alices)
        assert chats(provider)[-1].json()["cache_salt"] not in {alices, ""}
        refused = await proxy.chat(key=BOB, cache_salt="a/b")
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "cache_salt")


async def test_the_operator_may_let_callers_share_blocks(askonce: Start, provider: Provider) -> None:
    vllm = Vllm()
    async with before(askonce, provider, vllm, share_prefix_cache=True) as proxy:
        await proxy.chat()
        assert "cache_salt" not in chats(provider)[-1].json()


@pytest.mark.parametrize("member", ["priority", "request_id", "session_id", "stream_interval"])
async def test_members_that_only_schedule_are_no_part_of_the_name(
    askonce: Start, provider: Provider, member: str
) -> None:
    async with before(askonce, provider, Vllm()) as proxy:
        await proxy.chat()
        assert (await proxy.chat(**{member: 7})).headers["x-cache"] == "hit"
    async with askonce() as proxy:  # to another kind of server they may mean anything
        await proxy.chat()
        assert (await proxy.chat(**{member: 7})).headers["x-cache"] == "miss"


async def test_its_load_is_shown(askonce: Start, provider: Provider) -> None:
    async with before(askonce, provider, Vllm()) as proxy:
        assert await proxy.metric("askonce_upstream_endpoint_waiting", upstream="a") == 2
        assert await proxy.metric("askonce_upstream_endpoint_kv_cache_usage", upstream="a") == 0.5


# --- a hosted API's prompt cache


async def test_a_prompt_cache_key_is_filled_in_where_the_operator_asks_for_it(
    askonce: Start, provider: Provider
) -> None:
    async with several(askonce, provider, {"prompt_cache_key": True}) as (proxy, _):
        long = [{"role": "system", "content": "rules " * 1000}]
        for seed, key in ((0, ALICE), (1, ALICE), (2, BOB)):
            await proxy.chat(key=key, seed=seed, messages=[*long, {"role": "user", "content": f"question {seed}"}])
        keys = [asked.json()["prompt_cache_key"] for asked in chats(provider)]
        assert keys[0] == keys[1] != keys[2]
        await proxy.chat(seed=3, prompt_cache_key="mine")
        assert chats(provider)[-1].json()["prompt_cache_key"] == "mine"
    async with askonce() as proxy:
        await proxy.chat(seed=4)
        assert "prompt_cache_key" not in chats(provider)[-1].json()
