"""Prefix routing before two real vLLMs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from loadtests.vllm_conversations import Workload, compared, two_vllms
from tests.vllm_cpu import VllmServer


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[list[VllmServer]]:
    with two_vllms(tmp_path) as servers:
        yield servers


async def test_conversations_find_more_than_one_and_a_half_times_as_much_in_the_prefix_caches_as_in_turns(
    pair: list[VllmServer], tmp_path: Path
) -> None:
    told = await compared(pair, tmp_path, Workload())
    print(told)
    for way in ("prefix", "round_robin"):
        assert all(min(run["by_endpoint"]) > 0 for run in told["runs"][way]), told  # both took part
        assert [sum(run["by_endpoint"]) for run in told["runs"][way]] == [run["requests"] for run in told["runs"][way]]
    assert 0.5 <= told["each_endpoint_holds"] <= 1
    assert told["ratio"] >= 1.5, told
