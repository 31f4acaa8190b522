"""Whatever makes vectors that do not go together has another name."""

from __future__ import annotations

import itertools

from proxy.vectors.redis_names import Names, place_of
from tests.vectors import OTHER_SHAPE, SHAPE, point

KINDS = [Names("askonce", "model-a", 16), Names("askonce", "model-b", 16), Names("askonce", "model-a", 8)]


def test_embedders_share_words_and_nothing_else() -> None:
    for one, two in itertools.combinations(KINDS, 2):
        assert one.words == two.words
        assert len({one.vector, one.seal, one.index, two.vector, two.seal, two.index}) == 6
        assert one.identity != two.identity


def test_the_same_embedder_has_the_same_names_everywhere() -> None:
    again = Names("askonce", "model-a", 16)
    assert (again.index, again.vector, again.seal) == (KINDS[0].index, KINDS[0].vector, KINDS[0].seal)


def test_a_prefix_has_indexes_of_its_own() -> None:
    assert Names("other", "model-a", 16).index != KINDS[0].index


def test_a_place_is_a_shape_in_a_generation_spelt_as_one_word() -> None:
    places = {place_of(shape, generation) for shape in (SHAPE, OTHER_SHAPE) for generation in (0, 1, 0x1F)}
    assert len(places) == 6
    assert all(place.isalnum() for place in places)


def test_all_that_is_written_is_known_for_taking_it_away() -> None:
    [names, *_] = KINDS
    written = names.fields(point(1, tags=("a",)), b"words", b"vector", b"seal")[::2]
    assert set(written) == set(names.all)
