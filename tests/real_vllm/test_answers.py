"""Answers of a real vLLM, in both forms, with all that it puts into them: kept, and given again without loss."""

from __future__ import annotations

from typing import Any

import pytest

from tests.real_vllm.served import (
    BLOCK,
    GENERATED,
    Before,
    ask,
    asking,
    cache,
    cached_tokens,
    long_text,
    plain_of,
    stream_of,
    told,
    unspaced,
)
from tests.running import ALICE, BOB, error, frames
from tests.vllm_cpu import VllmServer

FORMS = {"plain": plain_of, "streamed": stream_of}

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"unit": {"type": "string", "enum": ["C", "F"]}, "days": {"type": "integer", "maximum": 9}},
            "required": ["unit", "days"],
            "additionalProperties": False,
        },
    },
}
LIGHT: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "light",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"on": {"type": "boolean"}},
            "required": ["on"],
            "additionalProperties": False,
        },
    },
}
TOOLS: dict[str, Any] = {"tools": [WEATHER, LIGHT], "max_tokens": 100, "logit_bias": unspaced()}
CHANCE = {"temperature": 1, "seed": 4}


@pytest.mark.parametrize("filled_by", FORMS)
async def test_what_one_form_brought_openai_python_gets_in_both(
    served: VllmServer, before: Before, filled_by: str
) -> None:
    words = long_text(f"what came {filled_by}")
    async with before(served.url) as proxy, proxy.sdk() as client:
        await ask(proxy, asking(words))  # so that the next has something in the prefix cache
        question = asking(words, max_tokens=7)
        first, brought = await FORMS[filled_by](client, question)
        generated = served.metric(GENERATED)
        again = {form: await get(client, question) for form, get in FORMS.items()}
        assert served.metric(GENERATED) == generated

    assert first == "miss"
    assert again == {"plain": ("hit", brought), "streamed": ("hit", brought)}
    assert brought["usage"]["completion_tokens"] == 7
    assert brought["usage"]["prompt_tokens_details"]["cached_tokens"] == 2 * BLOCK


RICH: dict[str, dict[str, Any]] = {
    "a call that was required": {**TOOLS, "tool_choice": "required"},
    "a call of a named tool": {**TOOLS, "tool_choice": {"type": "function", "function": {"name": "light"}}},
    "calls in two choices": {**TOOLS, "tool_choice": "required", "n": 2, **CHANCE},
    "three choices": {"n": 3, **CHANCE},
    "logprobs": {"logprobs": True, "top_logprobs": 3},
    "logprobs of some tokens": {"logprobs": True, "logprob_token_ids": [11, 12]},
    "tokens as ids": {"logprobs": True, "return_tokens_as_token_ids": True},
    "token ids": {"return_token_ids": True},
    "token ids in two choices": {"return_token_ids": True, "n": 2, **CHANCE},
    "the prompt as text": {"return_prompt_text": True},
    "a choice among words": {"structured_outputs": {"choice": ["yes", "no"]}},
    "JSON of a schema": {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "x", "schema": WEATHER["function"]["parameters"], "strict": True},
        },
        "logit_bias": TOOLS["logit_bias"],
        "max_tokens": 60,
    },
    "a stop token": {"stop_token_ids": [*range(300, 1600)], "min_tokens": 3, "max_tokens": 40},
    "a stop string that stays": {
        "stop": ["a", "e", "i", "o"],
        "include_stop_str_in_output": True,
        "max_tokens": 40,
    },
}
"""Requests by what is special in their answers."""


@pytest.mark.parametrize("special", RICH)
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_nothing_of_an_answer_is_lost(served: VllmServer, before: Before, special: str, stream: bool) -> None:
    question = asking("What is kept?", **RICH[special])
    async with before(served.url) as proxy:
        first = await ask(proxy, question, stream=stream)
        same = await ask(proxy, question, stream=stream)
        other = await ask(proxy, question, stream=not stream)
    assert (cache(first), cache(same)) == ("miss", "hit")
    assert told(same) == told(first)
    assert (cache(other), told(other)) == ("hit", told(first))
    if not stream:
        assert _without_stamps(same.json()) == _without_stamps(first.json())


def _without_stamps(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name not in ("id", "created")}


async def test_the_special_is_there(served: VllmServer, before: Before) -> None:
    """Or the test before this one would compare nothing with nothing."""
    async with before(served.url) as proxy:

        async def answer(special: str) -> dict[str, Any]:
            return told(await ask(proxy, asking("Is it there?", **RICH[special])))

        (choice,) = (await answer("a call of a named tool"))["choices"]
        assert choice["message"]["tool_calls"][0]["function"]["name"] == "light"
        assert len((await answer("three choices"))["choices"]) == 3
        (choice,) = (await answer("logprobs"))["choices"]
        assert [len(each["top_logprobs"]) for each in choice["logprobs"]["content"]] == [3] * 6
        with_ids = await answer("token ids")
        assert len(with_ids["choices"][0]["token_ids"]) == 6
        assert len(with_ids["prompt_token_ids"]) == with_ids["usage"]["prompt_tokens"]
        assert (await answer("the prompt as text"))["prompt_text"].startswith("<|bos|>user\nIs it there?")
        assert (await answer("a choice among words"))["choices"][0]["message"]["content"] in ("yes", "no")
        assert (await answer("a stop token"))["choices"][0]["stop_reason"] >= 300


async def test_choices_of_a_real_stream_come_mixed(served: VllmServer, before: Before) -> None:
    """As they do in the test that they are kept in."""
    async with before(served.url) as proxy:
        answer = await ask(proxy, asking("Mixed?", n=2, **CHANCE), stream=True)
    order = [choice["index"] for frame in frames(answer.content) for choice in frame["choices"]]
    assert order != sorted(order)


async def test_log_probabilities_of_the_prompt_are_kept_for_the_plain_form_alone_as_no_stream_has_them(
    served: VllmServer, before: Before
) -> None:
    question = asking("Prompt?", prompt_logprobs=1)
    async with before(served.url) as proxy:
        first = await ask(proxy, question)
        streamed = await ask(proxy, question, stream=True)
        again = await ask(proxy, question)
    assert (cache(first), cache(again)) == ("miss", "hit")
    assert _without_stamps(again.json()) == _without_stamps(first.json())
    assert len(first.json()["prompt_logprobs"]) == first.json()["usage"]["prompt_tokens"]
    assert (streamed.status_code, error(streamed)["param"]) == (400, "prompt_logprobs")  # vLLM's own word


# --- what is part of the question

ASKED: dict[str, Any] = {
    "top_k": 5,
    "min_p": 0.1,
    "repetition_penalty": 1.5,
    "length_penalty": 1.5,
    "stop_token_ids": [7],
    "include_stop_str_in_output": True,
    "min_tokens": 2,
    "ignore_eos": True,
    "allowed_token_ids": [300, 301, 302],
    "bad_words": ["the"],
    "skip_special_tokens": False,
    "spaces_between_special_tokens": False,
    "truncate_prompt_tokens": 4,
    "structured_outputs": {"choice": ["yes", "no"]},
    "add_special_tokens": True,
    "add_generation_prompt": False,
    "chat_template_kwargs": {"deep": True},
    "documents": [{"title": "t", "text": "x"}],
    "prompt_logprobs": 0,
    "logprob_token_ids": [7],
    "return_tokens_as_token_ids": True,
    "return_token_ids": True,
    "return_prompt_text": True,
    "include_reasoning": False,
    "repetition_detection": {"max_pattern_size": 4, "min_count": 4},
    "vllm_xargs": {"anything": 1},
}
"""Members that vLLM has beside OpenAI's, and takes."""


async def test_every_member_of_vllms_own_is_part_of_the_question(served: VllmServer, before: Before) -> None:
    seen = {}
    async with before(served.url) as proxy:
        question = asking("Asked?", logprobs=True)
        assert cache(await ask(proxy, question)) == "miss"
        for name, value in ASKED.items():
            seen[name] = [cache(await ask(proxy, {**question, name: value})) for _ in range(2)]
        assert cache(await ask(proxy, question)) == "hit"
    assert seen == {name: ["miss", "hit"] for name in ASKED}


ABOUT_TURNS: dict[str, Any] = {"priority": 1, "request_id": "mine", "session_id": "mine", "stream_interval": 3}


async def test_members_about_whose_turn_it_is_are_not_part_of_the_question(served: VllmServer, before: Before) -> None:
    seen = {}
    async with before(served.url) as proxy:
        question = asking("Whose turn?")
        first = await ask(proxy, {**question, **ABOUT_TURNS}, stream=True)
        for name, value in ABOUT_TURNS.items():
            seen[name] = cache(await ask(proxy, {**question, name: value}))
        again = await ask(proxy, question)
    assert (cache(first), cache(again)) == ("miss", "hit")
    assert seen == dict.fromkeys(ABOUT_TURNS, "hit")
    assert told(again) == told(first)
    assert len(frames(first.content)) < 6  # vLLM had it: fewer chunks than tokens


# --- whose blocks are whose


@pytest.mark.parametrize("share", [False, True])
async def test_callers_share_blocks_only_where_they_may(served: VllmServer, before: Before, share: bool) -> None:
    beginning = long_text("blocks")

    def about(end: str) -> dict[str, Any]:
        first = asking(beginning)["messages"][0]
        return asking("", messages=[first, {"role": "user", "content": end}])

    async with before(served.url, share_prefix_cache=share) as proxy:
        alices = await ask(proxy, about("one"), key=ALICE)
        hits = served.metric("vllm:prefix_cache_hits_total")
        bobs = await ask(proxy, about("two"), key=BOB)
        after_bob = served.metric("vllm:prefix_cache_hits_total") - hits
        more = await ask(proxy, about("three"), key=ALICE)
        after_alice = served.metric("vllm:prefix_cache_hits_total") - hits - after_bob
    assert [cache(each) for each in (alices, bobs, more)] == ["miss"] * 3
    assert (cached_tokens(bobs), after_bob) == ((2 * BLOCK, 2 * BLOCK) if share else (0, 0))
    assert (cached_tokens(more), after_alice) == (2 * BLOCK, 2 * BLOCK)
