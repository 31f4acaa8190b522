"""Where two prompts differ, in what, and what is equal behind it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.prefixes.differing import MOST_DIFFERENCES, Kind, compare, shape
from proxy.prefixes.prompt import Part, parts, stream

REST = " Answer in the words of the customer, and never promise a date of delivery."


def system(text, role="system"):
    return parts({"messages": [{"role": role, "content": text}]})


def only(one, other, role="system"):
    (difference,) = compare(system(one, role), system(other, role)).differences
    return difference


@pytest.mark.parametrize(
    ("one", "other", "kind", "looks"),
    [
        ("2026-03-01 09:30", "2026-03-01 10:12", Kind.TIME, "####-##-## ##:##"),
        ("2026-03-01T09:30:11.123Z", "2026-03-02T09:30:12.987Z", Kind.TIME, "####-##-##a##:##:##.###a"),
        ("2026-03-01", "2026-04-01", Kind.TIME, "####-##-##"),
        ("3/1/2026, 9:05 AM", "3/1/2026, 10:05 PM", Kind.TIME, "#/#/####, ##:## a"),
        ("Monday, 2 March 2026", "Sunday, 1 March 2026", Kind.TIME, "a, # a ####"),
        ("March 2, 2026 at 09:30 UTC", "April 13, 2026 at 09:31 UTC", Kind.TIME, "a ##, #### a ##:## a"),
        ("09:30:01", "23:30:01", Kind.TIME, "##:##:##"),
        ("1767225600", "1767225601", Kind.TIME, "##########"),
        (
            "6f1c2d84-90ab-4cde-8f01-23456789abcd",
            "00000000-90ab-4cde-8f01-23456789abcd",
            Kind.UUID,
            "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx",
        ),
        ("ann@example.org", "bob.b@example.org", Kind.EMAIL, "a@a.a"),
        ("usr_8f3k2a", "usr_9g3k2a", Kind.ID, "aaa_#a#a#a"),
        ("d41d8cd98f00b204", "d41d8cd98f00b2ff", Kind.ID, "a##a#aa##a##a#aa"),
        ("42", "1042", Kind.NUMBER, "####"),
        ("1,204.50", "1,205.50", Kind.NUMBER, "#,###.##"),
        ("Ann Miller", "Bob Jones", Kind.TEXT, ""),
    ],
)
@pytest.mark.parametrize("template", ["Now: {}." + REST, "Now: {}"])
def test_the_kind_of_what_differs_is_known_with_its_place_and_shape(one, other, kind, looks, template):
    found = only(template.format(one), template.format(other))
    assert (found.kind, found.shape, found.movable) == (kind, looks, True)
    assert (found.place, found.offset) == ("messages[0]", 5)


def test_two_dates_that_begin_at_different_places_are_not_one_thing():
    found = only("On 5 12 March 2026 and" + REST, "On 5 March 2026 and" + REST)
    assert (found.kind, found.offset) == (Kind.TEXT, 5)


def test_what_is_equal_behind_a_stamp_is_shared_once_it_is_moved():
    one, other = "Now: 2026-03-01 09:30." + REST, "Now: 2026-03-01 10:12." + REST
    comparison = compare(system(one), system(other))
    header = len("\x1esystem\n")
    assert comparison.differences[0].shared_before == header + len("Now: 2026-03-01 ")
    assert comparison.shared == len(stream(system(other))) - len("2026-03-01 10:12")


def test_every_difference_is_looked_past_and_says_what_is_shared_before_it():
    one = "For Ann." + REST + " Session 6f1c2d84-90ab-4cde-8f01-23456789abcd." + REST
    other = "For Bob." + REST + " Session 00000000-90ab-4cde-8f01-23456789abcd." + REST
    comparison = compare(system(one), system(other))
    assert [each.kind for each in comparison.differences] == [Kind.TEXT, Kind.UUID]
    before = [each.shared_before for each in comparison.differences]
    assert before == sorted(before)
    assert before[1] == len("\x1esystem\nFor ." + REST + " Session ")
    assert comparison.shared == len(stream(system(other))) - len("Bob") - 36


def test_bytes_are_counted_where_letters_have_more_than_one():
    one, other = "Grüße, 1. " + "ä" * 40, "Grüße, 2. " + "ä" * 40
    assert compare(system(one), system(other)).shared == len(stream(system(other))) - len("2")


def test_users_words_are_never_moved_and_end_the_comparison():
    one, other = "I ask about shoes." + REST, "I ask about coats." + REST
    found = only(one, other, "user")
    assert (found.kind, found.movable) == (Kind.TEXT, False)
    assert compare(system(one, "user"), system(other, "user")).shared == found.shared_before


def test_a_stamp_in_the_template_of_a_users_message_can_be_moved():
    assert only("Now: 2026-03-01 09:30." + REST, "Now: 2026-03-01 10:12." + REST, "user").movable


def test_a_number_that_a_user_asks_about_cannot_be_moved():
    found = only("What is 17 plus four?", "What is 19 times a hundred, roughly?", "user")
    assert (found.kind, found.movable, found.shape) == (Kind.NUMBER, False, "")


def test_texts_that_never_go_on_alike_go_apart():
    found = only("Common. " + "a " * 400, "Common. " + "b " * 400)
    assert (found.kind, found.movable) == (Kind.TEXT, False)


def tools(*names, text="does"):
    made = [{"type": "function", "function": {"name": name, "description": f"{name} {text}"}} for name in names]
    return parts({"tools": made, "messages": [{"role": "system", "content": REST}]})


def test_the_same_tools_in_another_order_are_known_and_the_rest_is_shared():
    comparison = compare(tools("a", "b", "c"), tools("a", "c", "b"))
    (found,) = comparison.differences
    assert (found.kind, found.place, found.movable) == (Kind.TOOL_ORDER, "tools[1]", True)
    assert comparison.shared == len(stream(tools("a", "b", "c")))
    assert found.shared_before == len(stream(tools("a")[:1]))


def test_other_tools_end_the_comparison():
    comparison = compare(tools("a", "b"), tools("a", "x"))
    (found,) = comparison.differences
    assert (found.kind, found.place, found.movable) == (Kind.TOOLS, "tools[1]", False)
    (found,) = compare(tools("a", "b"), tools("a")).differences
    assert (found.kind, found.place) == (Kind.TOOLS, "messages[0]")


def test_a_stamp_inside_a_tool_is_found_even_where_the_order_differs_too():
    comparison = compare(
        tools("a", "b", text="as of 2026-03-01 knows all"), tools("b", "a", text="as of 2026-03-02 knows all")
    )
    assert [each.kind for each in comparison.differences] == [Kind.TOOL_ORDER, Kind.TIME, Kind.TIME]


def test_a_longer_conversation_is_equal_as_far_as_the_shorter_goes():
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    one, other = parts({"messages": turns[:1]}), parts({"messages": turns})
    comparison = compare(one, other)
    assert comparison.differences == ()
    assert comparison.shared == len(stream(one))


def test_another_role_at_the_same_place_ends_the_comparison():
    (found,) = compare(system("x"), system("x", "user")).differences
    assert (found.kind, found.movable) == (Kind.PART, False)


def test_nothing_is_told_behind_the_end_of_a_sample():
    cut = (Part("messages[0]", "system", "Common text", cut=True),)
    comparison = compare(cut, system("Common text and more"))
    assert comparison.differences == ()
    assert comparison.shared == len("\x1esystem\nCommon text")


def test_there_is_an_end_to_looking_further():
    one = "".join(f"{index} {REST}" for index in range(100, 120))
    other = "".join(f"{index} {REST}" for index in range(200, 220))
    assert len(compare(system(one), system(other)).differences) == MOST_DIFFERENCES


@given(st.text("ab1 -:.@\n\u00e9", max_size=60), st.text("ab1 -:.@\n\u00e9", max_size=60), st.booleans())
def test_no_two_texts_break_it_and_never_is_more_shared_than_there_is(one, other, by_operator):
    role = "system" if by_operator else "user"
    comparison = compare(system(one, role), system(other, role))
    assert 0 <= comparison.shared <= len(stream(system(other, role)))
    before = [each.shared_before for each in comparison.differences]
    assert before == sorted(before)
    if one == other:
        assert comparison.differences == ()
    elif comparison.differences:
        assert comparison.differences[0].offset <= len(one)


def test_a_shape_holds_no_digit_and_no_letter_of_the_text():
    assert shape(Kind.ID, "ACME-secret-77") == "aaaa-aaaaaa-##"
    assert shape(Kind.TEXT, "Ann Miller") == ""
