"""The state that replicas tell each other: two that merge come to the same."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from proxy.upstream.epoch_note import MOST_MODELS, MOST_USUAL, Known, Note, Print

FEW = st.sampled_from(["x", "y"])
KNOWN = st.builds(
    Known,
    turn=st.integers(0, 3),
    version=FEW,
    models=st.dictionaries(FEW, FEW, max_size=2),
    gone=st.booleans(),
    discarded_at=st.floats(0, 3, allow_nan=False),
)
PRINTS = st.dictionaries(FEW, st.builds(Print, turn=st.integers(0, 3), identity=FEW, text=FEW), max_size=2)
NOTES = st.builds(
    Note,
    endpoints=st.dictionaries(FEW, KNOWN, max_size=2),
    prints=st.dictionaries(FEW, PRINTS, max_size=2),
)
WITH_USUAL = st.builds(lambda note, usual: replace(note, usual=usual), NOTES, st.dictionaries(FEW, FEW, max_size=2))


def merged(*notes: Note) -> Note:
    result = Note()
    for note in notes:
        result.merge(note)
    return result


@given(WITH_USUAL)
def test_what_is_written_is_read_as_it_was(note):
    assert Note.read(note.written()) == note


@given(NOTES, NOTES, NOTES)
def test_merging_comes_to_the_same_in_any_order(one, two, three):
    assert merged(one, two, three) == merged(three, one, two) == merged(one, merged(two, three))


def test_what_is_usual_the_note_in_the_store_decides():
    assert merged(Note(usual={"x": "ours", "y": "z"}), Note(usual={"x": "theirs"})).usual == {"x": "theirs", "y": "z"}


@given(WITH_USUAL, WITH_USUAL)
def test_hearing_the_same_again_changes_nothing(one, two):
    assert merged(one, two, one, two) == merged(one, two)


@given(NOTES, NOTES)
def test_merging_leaves_the_other_as_it_was(one, two):
    before = two.written()
    one.merge(two)
    one.trim()
    one.keep_only([], [])
    assert two.written() == before


def test_a_later_turn_holds_and_the_latest_time_does():
    older, newer = Known(1, "1", {}, True, 9.0), Known(2, "2", {}, False, 5.0)
    assert merged(Note({"a": older}), Note({"a": newer})).endpoints["a"] == Known(2, "2", {}, False, 9.0)


@given(NOTES, NOTES)
def test_what_was_seen_just_now_holds_and_is_of_the_latest_turn(told, seen):
    before = merged(told)
    told.insist(seen)
    for address, known in seen.endpoints.items():
        now, was = told.endpoints.get(address, known), before.endpoints.get(address, known)
        assert (now.version, now.models, now.gone) == (known.version, known.models, known.gone)
        assert now == was or now.turn > was.turn or now.discarded_at == was.discarded_at == known.discarded_at
        assert now.discarded_at >= max(known.discarded_at, was.discarded_at)
    for origin, prints in seen.prints.items():
        for model, print_ in prints.items():
            now_print = told.prints[origin].get(model, print_)
            assert (now_print.identity, now_print.text) == (print_.identity, print_.text)


def test_what_is_not_configured_is_dropped():
    note = Note({"a": Known(), "b": Known()}, {"a:80": {}, "b:80": {}})
    note.keep_only({"a"}, {"a:80"})
    assert (note.endpoints.keys(), note.prints.keys()) == ({"a"}, {"a:80"})


def test_the_oldest_of_too_much_goes():
    prints = {f"m{number}": Print(1, "x", "y") for number in range(MOST_MODELS + 2)}
    note = Note({}, {"a": prints}, {f"i{number}": "x" for number in range(MOST_USUAL + 2)})
    note.trim()
    assert (len(note.prints["a"]), len(note.usual)) == (MOST_MODELS, MOST_USUAL)
    assert "m1" not in note.prints["a"]
    assert "i1" not in note.usual
    assert f"i{MOST_USUAL + 1}" in note.usual
