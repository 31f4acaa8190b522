"""The columns of what is known of points."""

from __future__ import annotations

from proxy.vectors.embedded_points import Points
from tests.vectors import OTHER_SHAPE, SHAPE, name_of


def filled() -> tuple[Points, list[int]]:
    points = Points()
    return points, [points.take(name_of(n), SHAPE, b"w%d" % n, generation=n, kept_until=10.0 + n) for n in range(4)]


def test_a_point_is_found_by_its_name():
    points, slots = filled()
    assert [points.slot(name_of(n)) for n in range(5)] == [*slots, None]
    assert points.words[slots[2]] == b"w2"
    assert len(points) == 4


def test_a_forgotten_ones_slot_is_used_again_only_when_it_is_free():
    points, slots = filled()
    points.forget(slots[1])
    assert points.slot(name_of(1)) is None
    assert not points.lives(slots[1], 0.0)
    other = points.take(name_of(7), OTHER_SHAPE, b"", 1, 50.0)
    assert other not in slots
    points.free(slots[1])
    assert points.take(name_of(8), OTHER_SHAPE, b"w", 1, 50.0) == slots[1]
    assert points.shapes[slots[1]] == OTHER_SHAPE
    assert points.lives(slots[1], 49.0)


def test_one_that_has_ended_does_not_live():
    points, slots = filled()
    assert points.lives(slots[0], 9.9)
    assert not points.lives(slots[0], 10.0)
    assert points.ended(11.0, 9) == slots[:2]
    assert points.ended(11.0, 1) == slots[:1]
    points.forget(slots[0])
    assert points.ended(11.0, 9) == slots[1:2]


def test_the_oldest_is_the_one_that_came_first_whatever_its_slot():
    points, slots = filled()
    points.forget(slots[0])
    points.free(slots[0])
    points.take(name_of(9), SHAPE, b"", 1, 50.0)
    assert points.oldest() == slots[1]


def test_those_of_a_generation_are_told():
    points, slots = filled()
    points.forget(slots[3])
    assert list(points.of_generation(2)) == [(slots[2], 2, 12.0)]
    assert list(Points().of_generation(0)) == []


def test_its_size_goes_with_what_is_forgotten():
    points, slots = filled()
    full = points.size
    for slot in slots:
        points.forget(slot)
    assert full > 4 * len(b"w0")
    assert points.size == 0
