"""The vectors of one shape, in their exact part and in their graph."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from proxy.vectors.embedded_shapes import AT_ONCE, FEW, Graph, Shape
from tests.vectors import DIMENSIONS, SHAPE, beside, unit


def shape_of(count: int) -> Shape:
    shape = Shape(SHAPE, DIMENSIONS)
    for slot in range(count):
        shape.add(slot, unit(slot))
    return shape


def exact(shape: Shape, seed: int) -> list[int]:
    return list(shape.compare(unit(seed), 0.99, 0).slots)


def test_vectors_are_compared_and_come_nearest_first():
    shape = Shape(SHAPE, DIMENSIONS)
    asked = unit(1)
    for slot, cosine in enumerate((0.5, 0.9, 0.7, 0.2)):
        shape.add(slot, beside(asked, cosine, seed=slot))
    found = shape.compare(asked, 0.4, 0)
    assert found.slots == [1, 2, 0]
    assert found.cosines == pytest.approx([0.9, 0.7, 0.5], abs=1e-3)


def test_many_are_compared_as_they_came_however_many_there_were_meanwhile():
    shape = shape_of(FEW)
    half = shape.compare(unit(3), 0.99, 0).cosines[0]
    for slot in range(FEW, 4 * FEW):
        shape.add(slot, unit(slot))
    (cosine,) = shape.compare(unit(40), 0.99, 0).cosines
    assert cosine == pytest.approx(1.0, abs=1e-6)
    for slot in range(FEW // 2, 4 * FEW):
        shape.remove(slot)
    assert exact(shape, 3) == [3]
    assert half == pytest.approx(1.0, abs=1e-3)


def test_no_more_than_a_stretch_is_compared_at_once():
    shape = Shape(SHAPE, DIMENSIONS)
    for slot in range(AT_ONCE + 10):
        shape.add(slot, unit(1))
    assert len(shape.compare(unit(1), 0.9, 0).slots) == AT_ONCE
    assert sorted(shape.compare(unit(1), 0.9, AT_ONCE).slots) == list(range(AT_ONCE, AT_ONCE + 10))


@pytest.mark.parametrize("order", [range(20), reversed(range(20)), [*range(10, 20), *range(10)]])
def test_removing_in_any_order_leaves_the_others(order):
    shape = shape_of(20)
    left = set(range(20))
    for slot in order:
        assert shape.remove(slot)
        left.discard(slot)
        assert {number for number in range(20) if exact(shape, number) == [number]} == left
    assert shape.empty
    assert shape.size < 1000


def move(shape: Shape, most: int, meanwhile=lambda: None) -> list[int]:
    shape.graph = shape.graph or Graph(DIMENSIONS)
    slots, vectors = shape.leave(most)
    meanwhile()
    shape.graph.add(slots, vectors)
    return shape.arrived(slots)


def in_graph(shape: Shape, seed: int) -> list[int]:
    found = shape.graph.nearest(unit(seed), 3)
    return [slot for slot, cosine in zip(*found, strict=True) if cosine > 0.99]


def test_what_moves_is_found_before_and_after_in_one_place():
    shape = shape_of(20)

    def is_still_exact() -> None:
        assert exact(shape, 3) == [3]

    assert move(shape, 8, is_still_exact) == []
    assert shape.waiting == 12
    for slot in range(20):
        assert (exact(shape, slot), in_graph(shape, slot)) == (([], [slot]) if slot < 8 else ([slot], []))
    assert np.allclose(shape.vector(3), unit(3), atol=1e-3)
    assert np.allclose(shape.vector(12), unit(12), atol=1e-3)


def test_one_removed_on_the_move_is_in_neither_and_its_slot_comes_back_when_it_arrived():
    shape = shape_of(10)

    def remove() -> None:
        assert not shape.remove(2)
        assert exact(shape, 2) == []
        assert shape.remove(9)

    assert move(shape, 5, remove) == [2]
    assert in_graph(shape, 2) == exact(shape, 2) == []
    assert in_graph(shape, 3) == [3]
    assert shape.waiting == 4


def test_one_added_on_the_move_stays_exact_until_it_moves_itself():
    shape = shape_of(5)
    move(shape, 5, lambda: shape.add(77, unit(77)))
    assert exact(shape, 77) == [77]
    move(shape, 5)
    assert in_graph(shape, 77) == [77]
    assert shape.waiting == 0


def test_one_removed_from_the_graph_is_gone_and_its_slot_may_be_used_again():
    shape = shape_of(10)
    move(shape, 10)
    assert shape.remove(4)
    assert in_graph(shape, 4) == []
    shape.add(4, unit(50))
    move(shape, 1)
    assert in_graph(shape, 50) == [4]
    assert in_graph(shape, 4) == []


def test_it_is_empty_when_all_is_gone_wherever_it_was():
    shape = shape_of(6)
    move(shape, 3)
    for slot in range(6):
        assert not shape.empty
        shape.remove(slot)
    assert shape.empty


def test_a_graph_that_is_changed_all_the_time_still_finds_everything():
    graph = Graph(DIMENSIONS)
    for round_ in range(20):
        for slot in range(50):
            if round_:
                graph.remove(slot)
            graph.add(np.array([slot]), unit(round_ * 50 + slot)[np.newaxis])
    assert len(graph) == 50
    for slot in range(50):
        assert graph.nearest(unit(19 * 50 + slot), 1).slots == [slot]


def test_a_graph_is_searched_while_a_thread_adds_to_it():
    graph = Graph(DIMENSIONS)
    graph.add(np.array([10_000]), unit(10_000)[np.newaxis])
    vectors = np.stack([unit(number) for number in range(1500)])
    adding = threading.Thread(target=graph.add, args=(np.arange(1500), vectors))
    adding.start()
    searches = 0
    while adding.is_alive():
        assert graph.nearest(unit(10_000), 1).slots == [10_000]
        searches += 1
    adding.join()
    assert searches > 10
    assert len(graph) == 1501
