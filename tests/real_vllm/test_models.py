"""What stands behind a real vLLM's model names: adapters, sleep, and restarts with the same model and with another."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from safetensors.numpy import save_file

from tests.real_vllm.served import Before, ask, asking, cache, looked_at, quiet, told
from tests.redis_servers import free_port
from tests.running import Running
from tests.vllm_cpu import TINY, VllmServer, vllm


def adapter(folder: Path, seed: int) -> str:
    """A LoRA of rank 8 for the tiny model's queries. Gives where it is."""
    chance = np.random.default_rng(seed)
    shapes = {"A": (8, 256), "B": (256, 8)}
    weights = {
        f"base_model.model.model.layers.{layer}.self_attn.q_proj.lora_{half}.weight": chance.normal(size=shape).astype(
            np.float32
        )
        for layer in (0, 1)
        for half, shape in shapes.items()
    }
    folder.mkdir(parents=True)
    save_file(weights, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"], "task_type": "CAUSAL_LM"}
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    return str(folder)


async def test_an_adapter_comes_and_changes_without_touching_what_the_model_below_has_answered(
    served: VllmServer, before: Before, tmp_path: Path
) -> None:
    base, adapted = asking("Who is there?"), asking("Who is there?", model="adapted")
    one, two = adapter(tmp_path / "one", 1), adapter(tmp_path / "two", 2)
    async with before(served.url) as proxy:
        assert cache(await ask(proxy, base)) == "miss"
        assert (await ask(proxy, adapted)).status_code == 404

        served.post("/v1/load_lora_adapter", {"lora_name": "adapted", "lora_path": one})
        try:
            await looked_at(served)
            assert [cache(await ask(proxy, adapted)) for _ in range(2)] == ["miss", "hit"]
            assert cache(await ask(proxy, base)) == "hit"
        finally:
            served.post("/v1/unload_lora_adapter", {"lora_name": "adapted"})

        served.post("/v1/load_lora_adapter", {"lora_name": "adapted", "lora_path": two})
        try:
            await looked_at(served)
            assert cache(await ask(proxy, adapted)) == "miss"
            assert cache(await ask(proxy, base)) == "hit"
        finally:
            served.post("/v1/unload_lora_adapter", {"lora_name": "adapted"})


@pytest.mark.parametrize(("level", "after"), [(1, "hit"), (2, "miss")])
async def test_what_was_answered_before_weights_were_given_up_is_not_served_after(
    served: VllmServer, before: Before, level: int, after: str
) -> None:
    """Level 1 keeps the weights. vLLM on a processor says that it sleeps, as any does, and keeps its weights: no answer
    here shows that they are gone."""
    question = asking(f"Asleep at {level}?")
    await quiet(served)
    async with before(served.url, breaker_failures=1) as proxy:
        assert cache(await ask(proxy, question)) == "miss"
        served.post(f"/sleep?level={level}")
        try:
            await looked_at(served)
            asleep = (await proxy.http.get("/admin/stats")).json()["endpoints"]
        finally:
            served.post("/wake_up")
        await looked_at(served)
        assert [cache(await ask(proxy, question)) for _ in range(2)] == [after, "hit"]
        awake = (await proxy.http.get("/admin/stats")).json()["endpoints"]
    assert [(each["state"], f"level {level}" in each["detail"]) for each in asleep] == [("failing", True)]
    assert [each["state"] for each in awake] == ["well"]


ENDLESS = {"ignore_eos": True}
"""What openai-python does not know goes into `extra_body`."""


async def test_a_restart_with_the_same_model_keeps_its_answers_and_one_with_another_does_not(
    before: Before, tmp_path: Path
) -> None:
    """Before the first one ends its engine is killed while it streams."""
    port = free_port()
    other = Path(shutil.copytree(TINY, tmp_path / "other"))
    kept, broken = asking("Who are you?"), asking("Who were you?", max_tokens=1500)
    async with before(f"http://127.0.0.1:{port}/v1") as proxy:
        with vllm(tmp_path, port=port, threads="0-1") as first:
            first.wait()
            await looked_at(first)
            answer = await ask(proxy, kept)
            assert cache(answer) == "miss"
            await _break(proxy, first, broken)

        with vllm(tmp_path, port=port, threads="0-1") as same:
            same.wait()
            await looked_at(same)
            again = await ask(proxy, kept)
            assert (cache(again), told(again)) == ("hit", told(answer))
            assert (await ask(proxy, broken | ENDLESS, cache_control="only-if-cached")).status_code == 504

        with vllm(tmp_path, port=port, threads="0-1", model=other) as another:
            another.wait()
            await looked_at(another)
            assert cache(await ask(proxy, kept)) == "miss"
            assert another.metric("vllm:request_success_total") == 1


async def _break(proxy: Running, server: VllmServer, members: dict[str, Any]) -> None:
    """The engine dies in the middle of an answer: its caller is told."""
    async with proxy.sdk() as client:
        stream = await client.chat.completions.create(**members, stream=True, extra_body=ENDLESS)
        for _ in range(3):
            await anext(stream)
        server.kill_engine()
        with pytest.raises(openai.APIError, match="EngineCore"):  # vLLM's word, which it ends with `[DONE]`
            async for _chunk in stream:
                pass
    await proxy.landed()
