"""An endpoint for embeddings, with all that can go wrong with one."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from proxy.embedders.openai import OpenAIEmbedder
from proxy.errors import CacheFailure
from tests.embedders.endpoint import DIMENSIONS, Endpoint, vector_of
from tests.redis_servers import free_port

SECRET_WORDS = "my mother's maiden name"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def at(url, **arguments):
    given = {"model": "small", "dimensions": DIMENSIONS, "timeout_s": 30.0, "rest_s": 5.0}
    return OpenAIEmbedder(base_url=url, **given | arguments)


@pytest.fixture
async def endpoint():
    async with Endpoint() as listening:
        yield listening


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def embedder(endpoint, clock):
    made = at(endpoint.url, api_key="sk-123", batch=4, steady=clock)
    await made.open()
    await made.ready()
    endpoint.asked.clear()
    yield made
    await made.close()


async def test_it_asks_as_the_protocol_says_and_brings_vectors_to_length_1(endpoint, embedder):
    vector, whole = await embedder.embed("Where is my card?")
    expected = np.array(vector_of("Where is my card?"))
    assert vector == pytest.approx(expected / np.linalg.norm(expected), abs=1e-6)
    assert whole
    assert endpoint.requests[-1] == {"model": "small", "input": ["Where is my card?"], "encoding_format": "float"}
    assert endpoint.headers[-1].startswith("POST /v1/embeddings HTTP/1.1")
    assert "Bearer sk-123" in endpoint.headers[-1]


async def test_what_waits_goes_out_together(endpoint, embedder):
    endpoint.go.clear()
    first = [asyncio.create_task(embedder.embed(f"first {n}")) for n in range(4)]
    await asyncio.sleep(0)
    rest = [asyncio.create_task(embedder.embed(f"rest {n}")) for n in range(4)]
    await asyncio.sleep(0)
    endpoint.go.set()
    for task, text in zip(
        first + rest, [f"first {n}" for n in range(4)] + [f"rest {n}" for n in range(4)], strict=True
    ):
        expected = np.array(vector_of(text))
        assert (await task).vector == pytest.approx(expected / np.linalg.norm(expected), abs=1e-6)
    assert [f"rest {n}" for n in range(4)] in [request["input"] for request in endpoint.requests]


@pytest.mark.parametrize("fault", ["500", "not json", "short", "few", "cut"])
async def test_a_fault_is_a_failure_without_the_callers_words_and_the_next_is_answered(endpoint, embedder, fault):
    endpoint.faults.append(fault)
    with pytest.raises(CacheFailure) as failure:
        await embedder.embed(SECRET_WORDS)
    assert failure.value.reason == "failed"
    assert SECRET_WORDS not in failure.value.message
    assert embedder.report().degraded == failure.value.message
    assert (await embedder.embed(SECRET_WORDS)).whole
    assert embedder.report().degraded is None


async def test_one_that_does_not_answer_is_given_up(endpoint, clock):
    embedder = at(endpoint.url, timeout_s=0.05, steady=clock)
    endpoint.faults.append("silent")
    await embedder.open()
    with pytest.raises(CacheFailure, match="Timeout"):
        await embedder.ready()
    await embedder.close()


async def test_failing_three_times_in_a_row_it_is_left_alone_and_then_tried_again(endpoint, embedder, clock):
    endpoint.faults.extend(["500"] * 3)
    for _ in range(3):
        with pytest.raises(CacheFailure):
            await embedder.embed("card")
    asked = len(endpoint.requests)
    with pytest.raises(CacheFailure) as refused:
        await embedder.embed("card")
    assert refused.value.reason == "not_ready"
    assert len(endpoint.requests) == asked

    clock.now += 5
    endpoint.faults.append("500")
    with pytest.raises(CacheFailure) as failure:
        await embedder.embed("card")
    assert failure.value.reason == "failed"
    with pytest.raises(CacheFailure) as refused:
        await embedder.embed("card")
    assert refused.value.reason == "not_ready"

    clock.now += 5
    assert (await embedder.embed("card")).whole
    assert (await embedder.embed("card")).whole


async def test_only_one_finds_out_how_things_are(endpoint, embedder, clock):
    endpoint.faults.extend(["500"] * 3)
    for _ in range(3):
        with pytest.raises(CacheFailure):
            await embedder.embed("card")
    clock.now += 5
    outcomes = await asyncio.gather(*(embedder.embed(f"card {n}") for n in range(5)), return_exceptions=True)
    assert [isinstance(outcome, CacheFailure) for outcome in outcomes] == [False, True, True, True, True]


async def test_failures_that_are_not_in_a_row_do_not_count(endpoint, embedder):
    for _ in range(4):
        endpoint.faults.append("500")
        with pytest.raises(CacheFailure):
            await embedder.embed("card")
        assert (await embedder.embed("card")).whole


async def test_an_endpoint_that_is_down_costs_nothing_and_serves_once_it_is_up(clock):
    embedder = at(f"http://127.0.0.1:{free_port()}/v1", steady=clock)
    await embedder.open()
    with pytest.raises(CacheFailure, match="cannot be reached"):
        await embedder.ready()
    with pytest.raises(CacheFailure) as refused:
        await embedder.embed("card")
    assert refused.value.reason == "not_ready"
    async with Endpoint() as endpoint:
        embedder._base_url = endpoint.url
        clock.now += 5
        assert (await embedder.embed("card")).whole
    await embedder.close()


@pytest.mark.parametrize(
    ("text", "whole"), [("card " * 3, True), ("card " * 4, False), ("x" * 20, True), ("x" * 21, False)]
)
async def test_word_pieces_are_estimated(endpoint, text, whole):
    embedder = at(endpoint.url, max_pieces=5)
    await embedder.open()
    await embedder.ready()
    assert (await embedder.embed(text.strip())).whole is whole
    await embedder.close()


async def test_a_cancelled_caller_leaves_the_queue(endpoint, embedder):
    endpoint.go.clear()
    busy = [asyncio.create_task(embedder.embed(f"first {n}")) for n in range(4)]
    await asyncio.sleep(0)
    left, stayed = (asyncio.create_task(embedder.embed(text)) for text in ("left", "stayed"))
    await asyncio.sleep(0)
    left.cancel()
    await asyncio.sleep(0)
    endpoint.go.set()
    await asyncio.gather(*busy, stayed)
    assert ["stayed"] in [request["input"] for request in endpoint.requests]
    assert "left" not in [text for request in endpoint.requests for text in request["input"]]


async def test_background_work_waits_for_requests(endpoint, embedder):
    endpoint.go.clear()
    tasks = [asyncio.create_task(embedder.embed("first"))]
    await asyncio.sleep(0)
    tasks += [asyncio.create_task(embedder.embed(f"patient {n}", patient=True)) for n in range(2)]
    await asyncio.sleep(0)
    tasks.append(asyncio.create_task(embedder.embed("urgent")))
    await asyncio.sleep(0)
    endpoint.go.set()
    await asyncio.gather(*tasks)
    inputs = [request["input"] for request in endpoint.requests][1:]
    assert inputs[2:] == [["patient 0"], ["patient 1"]]


async def test_closing_turns_away_who_waits(endpoint, embedder):
    endpoint.go.clear()
    tasks = [asyncio.create_task(embedder.embed(f"card {n}")) for n in range(6)]
    await endpoint.asked.wait()
    await embedder.close()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert {outcome.reason for outcome in outcomes} == {"not_ready"}
