"""What waits together goes together, whoever leaves is forgotten, whoever is too many is told so."""

from __future__ import annotations

import asyncio
import threading

import pytest

from proxy.embedders.gather import Gather
from proxy.errors import CacheFailure


class Held:
    """Work that begins its first batch only when let go."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go = threading.Event()
        self.batches: list[list[str]] = []

    def __call__(self, texts: list[str]) -> list[str]:
        self.begun.set()
        self.go.wait()
        self.batches.append(texts)
        return [text.upper() for text in texts]


class Held4:
    """A gather whose thread is held at the text `first`, with what is asked afterwards waiting."""

    def __init__(self, queue: int = 8) -> None:
        self.work = Held()
        self.sizes: list[int] = []
        self.gather = Gather[str]("test", self.work, batch=4, queue=queue, noted=self.sizes.append)
        self.tasks: list[asyncio.Task[str]] = []

    async def __aenter__(self) -> Held4:
        self.gather.start()
        await self.asked("first")
        await asyncio.to_thread(self.work.begun.wait)
        return self

    async def asked(self, *texts: str, patient: bool = False) -> None:
        self.tasks += [asyncio.create_task(self.gather.ask(text, patient=patient)) for text in texts]
        await asyncio.sleep(0)

    async def outcomes(self) -> list[object]:
        self.work.go.set()
        return await asyncio.gather(*self.tasks, return_exceptions=True)

    async def __aexit__(self, *_: object) -> None:
        self.work.go.set()
        await self.gather.stop()


async def test_what_waits_is_the_next_batch_up_to_its_bound_and_everybody_gets_their_own():
    async with Held4() as held:
        await held.asked("a", "b", "c", "d", "e")
        assert await held.outcomes() == ["FIRST", "A", "B", "C", "D", "E"]
        assert held.work.batches == [["first"], ["a", "b", "c", "d"], ["e"]]
        assert held.sizes == [1, 4, 1]
        assert held.gather.done == 6


async def test_over_the_bound_a_text_is_turned_away_at_once():
    async with Held4(queue=2) as held:
        await held.asked("a", "b")
        with pytest.raises(CacheFailure) as refused:
            await held.gather.ask("c")
        assert refused.value.reason == "busy"
        assert held.gather.refused == 1
        assert await held.outcomes() == ["FIRST", "A", "B"]


async def test_a_cancelled_text_leaves_the_queue_and_makes_room():
    async with Held4(queue=2) as held:
        await held.asked("a", "b")
        held.tasks.pop(1).cancel()
        await asyncio.sleep(0)
        await held.asked("c")
        assert await held.outcomes() == ["FIRST", "B", "C"]
        assert held.work.batches == [["first"], ["b", "c"]]


async def test_cancelled_while_it_is_embedded_it_holds_up_nobody():
    async with Held4() as held:
        held.tasks.pop().cancel()
        await held.asked("a")
        assert await held.outcomes() == ["A"]


async def test_patient_texts_go_one_by_one_when_no_other_waits_and_take_no_place_of_theirs():
    async with Held4(queue=2) as held:
        await held.asked("p", "q", patient=True)
        await held.asked("a", "b")
        assert sorted(await held.outcomes()) == ["A", "B", "FIRST", "P", "Q"]
        assert held.work.batches == [["first"], ["a", "b"], ["p"], ["q"]]


async def test_a_failing_batch_fails_its_own_callers_only():
    def work(texts: list[str]) -> list[str]:
        if "bad" in texts:
            raise ZeroDivisionError
        return texts

    gather = Gather[str]("test", work, batch=4, queue=4)
    gather.start()
    with pytest.raises(ZeroDivisionError):
        await gather.ask("bad")
    assert await gather.ask("good") == "good"
    assert gather.done == 1
    await gather.stop()


async def test_stopping_turns_away_what_waits_and_lets_the_batch_end():
    async with Held4() as held:
        await held.asked("a")
        stopping = asyncio.create_task(held.gather.stop())
        await asyncio.sleep(0)
        done, left = await held.outcomes()
        await stopping
        assert done == "FIRST"
        assert isinstance(left, CacheFailure)
        assert left.reason == "not_ready"
        with pytest.raises(CacheFailure):
            await held.gather.ask("late")


async def test_one_that_was_not_started_refuses_and_can_be_stopped():
    gather = Gather[str]("test", lambda texts: texts, batch=1, queue=1)
    with pytest.raises(CacheFailure) as refused:
        await gather.ask("a")
    assert refused.value.reason == "not_ready"
    await gather.stop()


def test_a_loop_that_was_closed_without_stopping_does_not_break_the_thread():
    work = Held()
    gather = Gather[str]("test", work, batch=1, queue=1)

    async def leave() -> None:
        gather.start()
        task = asyncio.create_task(gather.ask("a"))
        await asyncio.to_thread(work.begun.wait)
        task.cancel()

    asyncio.run(leave())
    before = [thread for thread in threading.enumerate() if thread.name == "test"]
    work.go.set()
    assert before
    assert work.begun.is_set()
