"""Requests that look alike."""

from __future__ import annotations

import random

from proxy.prefixes.entry import Entry
from proxy.prefixes.families import Families, sampled
from proxy.prefixes.prompt import parts

RULES = "answer the customer politely about orders returns invoices shipping and never promise what you cannot keep"
WORDS = RULES.split()


def entry(system=None, *, user="Hi", tools=(), model="m", line=1):
    made = [{"type": "function", "function": {"name": name}} for name in tools]
    said = [] if system is None else [{"role": "system", "content": system}]
    body = {"messages": [*said, {"role": "user", "content": user}], "tools": made}
    return Entry(line, model, None, parts(body))


def number(families, *args, **named):
    member = families.of(entry(*args, **named))
    return member and member.number


def long_text(seed):
    return " ".join(random.Random(seed).choices([f"{word}{letter}" for word in WORDS for letter in "abcdefgh"], k=300))


def test_stamps_numbers_and_names_do_not_make_another_family():
    families = Families()
    first = number(families, f"Now: 2026-03-01 09:30. For Ann. {long_text(1)}")
    assert number(families, f"Now: 2027-04-02 10:31. For Ann. {long_text(1)}") == first
    assert number(families, f"Now: 2026-03-01 09:30. For Bob Jones. {long_text(1)}") == first
    assert number(families, f"Now: Monday. {long_text(2)}") != first


def test_a_short_sentence_may_differ_in_a_word():
    families = Families()
    assert number(families, "You are helping Ann.") == number(families, "You are helping Bob.")
    assert number(families, "You are helping Ann.") != number(families, "Translate everything into French.")


def test_models_tools_and_kinds_of_beginnings_are_told_apart_but_not_the_order_of_tools():
    families = Families()
    known = number(families, "Same.", tools=WORDS)
    assert all(number(families, "Same.", tools=WORDS[turn:] + WORDS[:turn]) == known for turn in range(len(WORDS)))
    others = {
        number(families, "Same.", tools=("a",)),
        number(families, "Same.", model="n"),
        number(families, user="Same."),
    }
    assert known not in others
    assert len(others) == 3


def test_prompts_without_a_system_text_are_told_apart_by_how_their_first_message_begins():
    families = Families()
    template = "Summarise the following text for a busy reader in three sentences:\n"
    assert number(families, user=template + long_text(3)[:40]) == number(families, user=template + long_text(4)[:40])


def test_the_sample_is_the_first_prompt():
    families = Families()
    families.of(entry("You are helping Ann.", line=3))
    member = families.of(entry("You are helping Bob.", line=9))
    assert (member.line, member.requests, member.prompt[0].text) == (3, 2, "You are helping Ann.")


def test_families_of_one_make_room_and_families_of_more_never_do():
    families = Families(most=2)
    kept = number(families, long_text(1))
    assert number(families, long_text(1)) == kept
    single = number(families, long_text(2))
    assert number(families, long_text(3)) not in (None, single)  # in the place of the second
    assert number(families, long_text(2)) != single
    assert number(families, long_text(2)) is not None  # two of it: nobody makes room any more
    assert number(families, long_text(4)) is None
    assert number(families, long_text(1)) == kept


def test_what_made_room_leaves_nothing_behind():
    families = Families(most=1)
    for seed in range(20):
        families.of(entry(long_text(seed), tools=(f"tool{seed}",)))
    assert len(families._shelves) == 1


def test_a_sample_is_no_longer_than_it_may_be_and_says_that_it_is_cut():
    prompt = parts({"messages": [{"role": "user", "content": "x" * 10} for _ in range(3)]})
    kept = sampled(prompt, 15)
    assert [(len(part.text), part.cut) for part in kept] == [(10, False), (5, True)]
    assert sampled(prompt, 30) == prompt


def test_an_empty_beginning_is_a_family_too():
    families = Families()
    assert number(families, "", user="a") == number(families, "", user="b")
