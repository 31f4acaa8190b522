"""The traffic is what its settings say, and the same for the same seed."""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter
from itertools import islice, pairwise

import pytest
import traffic
from traffic import Mix, Traffic, Zipf, arrivals, made, read

MANY = 20_000


def some(mix, count=MANY, catalogue=None):
    return list(islice(Traffic(mix, catalogue or made(200)), count))


@pytest.mark.parametrize("exponent", [0.6, 1.0, 1.4])
def test_ranks_are_drawn_by_zipfs_law(exponent):
    import random

    zipf, rng = Zipf(1000, exponent), random.Random(3)
    counted = Counter(zipf.draw(rng) for _ in range(200_000))
    # The slope of log frequency over log rank, over ranks that came often enough to have one.
    points = [(math.log(rank + 1), math.log(counted[rank])) for rank in range(40)]
    slope = statistics.linear_regression(*zip(*points, strict=True)).slope
    assert slope == pytest.approx(-exponent, abs=0.06)


def test_an_exponent_of_zero_asks_all_alike():
    import random

    zipf, rng = Zipf(10, 0), random.Random(3)
    counted = Counter(zipf.draw(rng) for _ in range(50_000))
    assert min(counted.values()) > 4500
    assert set(counted) == set(range(10))


def test_the_same_seed_asks_the_same_and_another_seed_something_else():
    assert some(Mix(seed=5), 500) == some(Mix(seed=5), 500)
    assert some(Mix(seed=5), 500) != some(Mix(seed=6), 500)


def test_shares_are_met():
    asked = some(Mix(reworded=0.3, slot=0.1, unique=0.2, streamed=0.4, tenants=4))
    kinds = Counter(one.kind for one in asked)
    assert kinds["reworded"] / MANY == pytest.approx(0.3, abs=0.015)
    assert kinds["slot"] / MANY == pytest.approx(0.1, abs=0.015)
    assert kinds["unique"] / MANY == pytest.approx(0.2, abs=0.015)
    assert sum(one.stream for one in asked) / MANY == pytest.approx(0.4, abs=0.015)
    assert all(n / MANY == pytest.approx(0.25, abs=0.015) for n in Counter(one.tenant for one in asked).values())


def test_another_share_of_streams_leaves_the_questions_as_they_are():
    plain, streamed = some(Mix(streamed=0), 500), some(Mix(streamed=1, tenants=3), 500)
    assert [one.text for one in plain] == [one.text for one in streamed]
    assert not any(one.stream for one in plain)
    assert all(one.stream for one in streamed)


def test_a_unique_question_never_comes_back_and_not_in_another_series_either():
    mix = Mix(unique=1, reworded=0, slot=0)
    here = [one.text for one in islice(Traffic(mix, made(10), "a."), 3000)]
    there = [one.text for one in islice(Traffic(mix, made(10), "b."), 3000)]
    assert len({*here, *there}) == 6000


def test_one_text_has_one_meaning_and_a_near_question_another_than_its_neighbour():
    asked = some(Mix(slot=0.4, reworded=0.4, unique=0))
    meanings = {}
    for one in asked:
        assert meanings.setdefault(one.text, one.meaning) == one.meaning
    import random

    for subject in made(300):
        label, text = subject.near(random.Random(1))
        assert label != subject.meaning
        assert text != subject.text


def test_other_words_say_something_else_with_the_same_label():
    import random

    for subject in made(300):
        for seed in range(10):
            assert subject.reworded(random.Random(seed)) != subject.text


def test_no_two_made_questions_share_a_text():
    wordings = Counter(one.worded(w) for f in traffic.FAMILIES for one in f.all() for w in f.wordings)
    assert set(wordings.values()) == {1}


def test_a_body_is_a_chat_request_that_a_cache_may_keep():
    asked = next(one for one in Traffic(Mix(streamed=1, unique=0), made(5)))
    members = json.loads(asked.body("m"))
    assert members["model"] == "m"
    assert members["temperature"] == 0
    assert members["stream"] is True
    assert members["stream_options"] == {"include_usage": True}
    assert members["messages"][-1] == {"role": "user", "content": asked.text}


@pytest.mark.parametrize("wrong", [{"unique": 1.2}, {"unique": 0.6, "slot": 0.6}, {"tenants": 0}, {"exponent": -1}])
def test_a_mix_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match=r"share|tenant"):
        Mix(**wrong)


def test_a_catalogue_larger_than_can_be_made_is_refused():
    with pytest.raises(ValueError, match="can be made"):
        made(10**6)


# -- labelled files


def jsonl(folder, lines):
    path = folder / "set.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in lines))
    return path


def test_clusters_are_read_by_their_strictest_label(tmp_path):
    path = jsonl(
        tmp_path,
        [
            {"text": "play jazz", "intent": "play", "strict": "play|jazz"},
            {"text": "put on some jazz", "intent": "play", "strict": "play|jazz"},
            {"text": "play rock", "intent": "play", "strict": "play|rock"},
            {"text": "both", "intent": "x", "strict": "x|1"},
            {"text": "both", "intent": "x", "strict": "x|2"},
        ],
    )
    subjects = {one.meaning: one for one in read(path, 10)}
    assert set(subjects) == {"play|jazz", "play|rock"}  # a text with two labels is left out
    assert subjects["play|jazz"].texts == ("play jazz", "put on some jazz")
    assert subjects["play|jazz"].others == (("play|rock", "play rock"),)


def test_pairs_are_followed_through(tmp_path):
    path = jsonl(
        tmp_path,
        [
            {"a": "a", "b": "b", "equivalent": True},
            {"a": "c", "b": "b", "equivalent": True},
            {"a": "a", "b": "d", "equivalent": False},
            {"a": "c", "b": "a", "equivalent": False},  # against what follows from the others
        ],
    )
    found = {frozenset(one.texts): one for one in read(path, 10)}
    assert set(found) == {frozenset("abc"), frozenset("d")}
    near = found[frozenset("abc")].others
    assert [text for _, text in near] == ["d"]
    assert near[0][0] == found[frozenset("d")].meaning


def test_a_line_separator_within_a_question_does_not_end_its_line(tmp_path):
    path = tmp_path / "set.jsonl"
    path.write_text(json.dumps({"text": "one\u2028two"}, ensure_ascii=False))
    assert [one.text for one in read(path, 5)] == ["one\u2028two"]


def test_a_file_of_another_form_is_refused(tmp_path):
    with pytest.raises(ValueError, match="lacks 'text'"):
        read(jsonl(tmp_path, [{"question": "what?"}]), 5)


# -- arrivals


def test_arrivals_are_a_poisson_process_of_that_rate():
    times = list(islice(arrivals(50, 7), 20_000))
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert times == sorted(times)
    assert statistics.mean(gaps) == pytest.approx(1 / 50, rel=0.03)
    assert statistics.pstdev(gaps) == pytest.approx(1 / 50, rel=0.04)  # exponential: as much as the mean
    assert times[:100] == list(islice(arrivals(50, 7), 100))
