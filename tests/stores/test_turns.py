"""Look-ups of one turn go out together."""

from __future__ import annotations

import asyncio

import pytest

from proxy.stores.turns import TurnGather


class Fetch:
    """Answers batches when the test says so."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.futures: list[asyncio.Future[dict[str, int]]] = []

    def __call__(self, keys):
        self.batches.append(keys)
        self.futures.append(asyncio.get_running_loop().create_future())
        return self.futures[-1]


async def turn():
    """Let what is ready run, and what that made ready."""
    for _ in range(3):
        await asyncio.sleep(0)


def ask(gather, *keys):
    return [asyncio.create_task(gather.get(key)) for key in keys]


async def test_what_one_turn_asks_is_one_batch():
    fetch = Fetch()
    asked = ask(TurnGather(fetch), "a", "b", "c")
    await turn()
    fetch.futures[0].set_result({"a": 1, "c": 3})
    assert await asyncio.gather(*asked) == [1, None, 3]
    assert fetch.batches == [["a", "b", "c"]]


async def test_a_key_asked_twice_is_fetched_once():
    fetch = Fetch()
    asked = ask(TurnGather(fetch), "a", "a", "b", "a")
    await turn()
    fetch.futures[0].set_result({"a": 1})
    assert await asyncio.gather(*asked) == [1, 1, None, 1]
    assert fetch.batches == [["a", "b"]]


async def test_several_batches_may_be_in_flight_and_land_in_any_order():
    fetch = Fetch()
    gather = TurnGather(fetch)
    first = ask(gather, "a")
    await turn()
    second = ask(gather, "a", "b")
    await turn()
    fetch.futures[1].set_result({"a": 2, "b": 2})
    assert await asyncio.gather(*second) == [2, 2]
    assert not first[0].done()
    fetch.futures[0].set_result({"a": 1})
    assert await first[0] == 1
    assert fetch.batches == [["a"], ["a", "b"]]


async def test_a_failure_reaches_everyone_who_waits():
    fetch = Fetch()
    asked = ask(TurnGather(fetch), "a", "a", "b")
    await turn()
    fetch.futures[0].set_exception(OSError("gone"))
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [OSError] * 3


async def test_who_leaves_harms_no_one():
    fetch = Fetch()
    gather = TurnGather(fetch)
    asked = ask(gather, "a", "a", "b", "b")
    await turn()
    asked[0].cancel()
    asked[2].cancel()
    await turn()
    fetch.futures[0].set_result({"a": 1, "b": 2})
    assert await asked[1] == 1
    assert await asked[3] == 2
    assert asked[0].cancelled()
    assert not fetch.futures[0].cancelled()


async def test_who_leaves_before_the_batch_goes_out_harms_no_one():
    fetch = Fetch()
    gather = TurnGather(fetch)
    leaving = asyncio.create_task(gather.get("a"))
    staying = asyncio.create_task(gather.get("a"))
    leaving.cancel()
    await turn()
    fetch.futures[0].set_result({"a": 1})
    assert await staying == 1


async def test_a_cancelled_batch_cancels_those_who_wait():
    fetch = Fetch()
    asked = ask(TurnGather(fetch), "a", "b")
    await turn()
    fetch.futures[0].cancel()
    await turn()
    assert all(task.cancelled() for task in asked)


async def test_a_fetch_that_cannot_even_begin_leaves_no_one_waiting():
    def broken(keys):
        raise ValueError("no")

    said = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context["exception"]))
    asked = ask(TurnGather(broken), "a", "b")
    with pytest.raises(ValueError, match="no"):
        await asked[0]
    with pytest.raises(ValueError, match="no"):
        await asked[1]
    assert [type(bug) for bug in said] == [ValueError]


async def test_at_most_so_many_batches_are_in_flight_and_what_waits_is_the_next_one():
    fetch = Fetch()
    gather = TurnGather(fetch, at_most=1)
    first = ask(gather, "a")
    await turn()
    waiting = [*ask(gather, "b"), *ask(gather, "c")]
    await turn()
    waiting += ask(gather, "d", "b")
    await turn()
    assert fetch.batches == [["a"]]
    fetch.futures[0].set_result({"a": 1})
    await turn()
    assert fetch.batches == [["a"], ["b", "c", "d"]]
    fetch.futures[1].set_result({"b": 2, "d": 4})
    assert await asyncio.gather(*first, *waiting) == [1, 2, None, 4, 2]


async def test_a_batch_that_failed_makes_room_too():
    fetch = Fetch()
    gather = TurnGather(fetch, at_most=1)
    first = ask(gather, "a")
    await turn()
    second = ask(gather, "b")
    await turn()
    fetch.futures[0].set_exception(OSError("gone"))
    await turn()
    fetch.futures[1].set_result({"b": 2})
    assert await second[0] == 2
    with pytest.raises(OSError, match="gone"):
        await first[0]


async def test_a_full_house_that_empties_with_nobody_waiting_takes_the_next_one_as_ever():
    fetch = Fetch()
    gather = TurnGather(fetch, at_most=1)
    first = ask(gather, "a")
    await turn()
    fetch.futures[0].set_result({"a": 1})
    assert await first[0] == 1
    second = ask(gather, "b")
    await turn()
    fetch.futures[1].set_result({"b": 2})
    assert await second[0] == 2


async def test_a_crowd_is_several_batches_of_at_most_so_many_keys():
    fetch = Fetch()
    gather = TurnGather(fetch, at_most=2, most_keys=2)
    asked = ask(gather, "a", "b", "c", "d", "e")
    await turn()
    assert fetch.batches == [["a", "b"], ["c", "d"]]
    fetch.futures[1].set_result({"c": 3, "d": 4})
    await turn()
    assert fetch.batches[2:] == [["e"]]
    fetch.futures[0].set_result({"a": 1, "b": 2})
    fetch.futures[2].set_result({"e": 5})
    assert await asyncio.gather(*asked) == [1, 2, 3, 4, 5]
