"""What fits a pattern is what a parser reads alike; everything else does not fit."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.streaming.pattern import Pattern, Run, fill

TEXT = ("choices", 0, "delta", "content")
PADDING = ("obfuscation",)
LINE = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"one"}}],"obfuscation":"xx"}'


def pattern(line: bytes = LINE, *places: tuple[str | int, ...]) -> Pattern | None:
    return Pattern.of(line, orjson.loads(line[6:]), places or (TEXT,))


def run(made: Pattern | None, *lines: bytes) -> Run | None:
    assert made is not None
    return made.run([part for line in lines for part in (line, b"")], 0)


def other(text: bytes, padding: bytes = b"xx") -> bytes:
    return LINE.replace(b'"one"', b'"%b"' % text).replace(b'"xx"', b'"%b"' % padding)


def test_events_with_other_texts_are_one_run():
    made = pattern()
    assert made is not None
    again = run(made, other(b"two"), other(b""), other("drei \\n \\u00e9 é👋 \\\\".encode()))
    assert again is not None
    assert (again.text, again.events) == ("twodrei \n é é👋 \\", 3)
    texts = (b"two", b"", "drei \\n \\u00e9 é👋 \\\\".encode())
    assert again.gaps == [[*texts]]
    assert fill(made.pieces, again.gaps) == b"".join(other(text) + b"\n\n" for text in texts)


def test_padding_may_differ_too_and_says_nothing():
    both = pattern(LINE, TEXT, PADDING)
    again = run(both, other(b"two", b"abc"), other(b"three", b""))
    assert again is not None
    assert again.text == "twothree"
    assert again.gaps == [(b"two", b"three"), (b"abc", b"")]
    turned = b'data: {"obfuscation":"a","choices":[{"index":0,"delta":{"content":"b"}}]}'
    again = run(pattern(turned, TEXT, PADDING), turned.replace(b'"a"', b'"1"').replace(b'"b"', b'"2"'))
    assert again is not None
    assert again.text == "2"


def test_without_a_gap_for_it_other_padding_is_another_event():
    assert run(pattern(), other(b"two", b"abc")) is None


@pytest.mark.parametrize(
    "text",
    [
        b'a"b',
        b'"',
        b"\\",
        b"a\\",
        b"\\x",
        b"\\u12",
        b"\\ud83d",
        b"\\udc4b",
        b"a\tb",
        b"\x00",
        b"\xf0\x9f",
        b"\xc3",
        b"\xed\xa0\xbd",
        b'","x":"',
    ],
)
def test_what_is_no_string_does_not_fit_alone_or_between_others(text):
    assert run(pattern(), other(text)) is None
    before = run(pattern(), other(b"two"), other(text), other(b"three"))
    assert before is not None
    assert (before.text, before.events) == ("two", 1)


@pytest.mark.parametrize(("first", "second"), [(b"\\", b"n"), (b"\xf0\x9f", b"\x91\x8b"), (b"\\ud83d", b"\\udc4b")])
def test_two_halves_do_not_make_a_whole(first, second):
    assert run(pattern(), other(first), other(second)) is None


def test_a_run_ends_before_an_event_of_another_kind():
    made = pattern()
    again = run(made, other(b"two"), b"data: {}", other(b"three"))
    assert again is not None
    assert again.events == 1
    assert run(made, b"data: {}", other(b"two")) is None
    longer = made.run([other(b"two"), b": comment", b"", other(b"three"), b""], 0) if made else None
    assert longer is None
    assert run(made, LINE[: len(LINE) // 2] + LINE[-20:]) is None


def test_lines_of_one_event_are_not_taken_for_several():
    made = pattern()
    assert made is not None
    assert made.run([other(b"two"), b": comment", other(b"three"), b""], 0) is None


def test_padding_that_is_no_string_does_not_fit():
    assert run(pattern(LINE, TEXT, PADDING), other(b"two", b"\\x")) is None


def test_a_long_run_is_taken_in_parts():
    made = pattern()
    assert made is not None
    lines = [part for number in range(1000) for part in (other(b"%d" % number), b"")]
    at, texts = 0, []
    while at < len(lines):
        again = made.run(lines, at)
        assert again is not None
        texts.append(again.text)
        at += 2 * again.events
    assert "".join(texts) == "".join(map(str, range(1000)))


@pytest.mark.parametrize(
    "line",
    [
        b'data: {"x":{"content":"one"},"choices":[{"index":0,"delta":{"content":"one"}}]}',
        b'data: {"choices":[{"index":0,"delta":{"x\\"content":"one","content":"o\\u006ee"}}]}',
        b'data: {"choices":[{"index":0,"delta":{"content":"\\u006fne"}}]}',
        b'data: {"choices":[{"index":0,"delta":{"content"  :  "one"}}]}',
        b'data: {"choices":[{"index":0,"delta":{"content":"two","content":"one"}}],"content":"one"}',
    ],
)
def test_where_the_text_cannot_be_found_for_sure_there_is_no_pattern_or_a_right_one(line):
    made = pattern(line)
    if made is not None:
        changed = fill(made.pieces, [[b"two"]])
        expected: Any = orjson.loads(line[6:])
        expected["choices"][0]["delta"]["content"] = "two"
        assert orjson.loads(changed[6:]) == expected


def test_a_member_of_that_name_elsewhere_is_not_taken_for_the_text():
    assert pattern(b'data: {"x":{"content":"one"},"choices":[{"index":0,"delta":{"content":"one"}}]}') is None


def test_a_space_behind_the_colon_is_no_hindrance():
    line = b'data: {"choices": [{"index": 0, "delta": {"content": "one"}}]}'
    again = run(pattern(line), line.replace(b"one", b"two"))
    assert again is not None
    assert again.text == "two"


@given(st.lists(st.text(max_size=6), min_size=1, max_size=40), st.booleans())
def test_a_run_says_what_a_parser_reads(texts, ascii_only):
    def line(text: str) -> bytes:
        members = {"choices": [{"index": 0, "delta": {"content": text}}], "n": 1.0}
        return b"data: " + json.dumps(members, separators=(",", ":"), ensure_ascii=ascii_only).encode(
            "utf-8", "replace"
        )

    first = line("start")
    lines = [line(text) for text in texts]
    again = run(pattern(first), *lines)
    said = [orjson.loads(one[6:])["choices"][0]["delta"]["content"] for one in lines[: again.events if again else 0]]
    assert "".join(said) == (again.text if again else "")
    # What is escaped in two halves is left to the parser.
    halves = (ascii_only and any(character > "\uffff" for character in text) for text in texts)
    assert (again.events if again else 0) == next((number for number, half in enumerate(halves) if half), len(texts))
