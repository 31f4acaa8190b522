"""The statements on the embedded index's file."""

from __future__ import annotations

import sqlite3

import numpy as np
import pytest

from proxy.types import Digest
from proxy.vectors import embedded_rows as rows
from tests.vectors import BEGIN, NOTHING, name_of, point

VECTOR = np.ones(4, np.float16).tobytes()


@pytest.fixture
def database():
    made = sqlite3.connect(":memory:", isolation_level=None)
    for statement in rows.SCHEMA.tables:
        made.execute(statement)
    yield made
    made.close()


def put(database, number: int, identity: str = "one", **other) -> int:
    return rows.put(database, row=rows.row_of(point(number, **other), identity, VECTOR))


def loaded(database, identity: str = "one", after: int = 0, most: int = 100) -> list[Digest]:
    return [row.name for row in rows.load(database, identity, after, most)]


def test_rows_are_loaded_in_the_order_they_came_and_by_identity(database):
    for number in range(5):
        put(database, number, "two" if number == 2 else "one")
    assert loaded(database) == [name_of(number) for number in (0, 1, 3, 4)]
    first = rows.load(database, "one", 0, 2)
    assert [row.name for row in rows.load(database, "one", first[-1].id, 2)] == [name_of(3), name_of(4)]
    assert first[0].words == b"question 0"
    assert first[0].vector == VECTOR


def test_a_row_replaces_what_has_its_name_and_says_if_it_was_of_another_embedder(database):
    assert put(database, 1, "one") == 0
    assert put(database, 1, "one") == 0
    assert put(database, 1, "two") == 1
    assert loaded(database, "one") == []
    assert rows.delete(database, name=name_of(1), identity="one") == 1
    assert rows.delete(database, name=name_of(1), identity="one") == 0


def test_others_are_those_of_every_other_identity(database):
    for number, identity in enumerate(("a", "m", "z")):
        put(database, number, identity, tags=("x", "y"), words="ü")
    others = rows.others(database, identity="m", most=10, vector=NOTHING)
    assert sorted(each.name for each in others) == sorted([name_of(0), name_of(2)])
    assert {(each.words, each.tags, len(each.vector)) for each in others} == {("ü", ("x", "y"), 0)}
    assert len(rows.others(database, identity="m", most=1, vector=NOTHING)) == 1
    assert rows.count_of_others(database, "m") == 2


def test_others_are_found_without_reading_the_table(database):
    plan = database.execute("EXPLAIN QUERY PLAN " + rows._OTHERS, ("m", "m", 1)).fetchall()
    assert not [step for *_, step in plan if "SCAN" in step and "points" in step], plan


def test_a_disowned_row_is_anothers(database):
    put(database, 1)
    rows.disown(database, [rows.load(database, "one", 0, 1)[0].id])
    assert loaded(database) == []
    assert rows.count_of_others(database, "one") == 1


def test_a_purge_keeps_its_generation_and_what_is_of_it(database):
    put(database, 1, generation=1)
    put(database, 2, generation=2)
    rows.purge(database, 2)
    rows.purge(database, 1)
    assert rows.generation_of(database) == 2
    assert loaded(database) == [name_of(2)]


def test_a_sweep_takes_so_many_of_what_has_ended(database):
    for number in range(5):
        put(database, number, kept_until=BEGIN + number)
    assert rows.sweep(database, BEGIN + 3, 3) == 3
    assert rows.sweep(database, BEGIN + 3, 3) == 1
    assert loaded(database) == [name_of(4)]
