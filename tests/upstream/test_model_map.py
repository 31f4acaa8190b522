"""What a model is called where it is asked."""

from __future__ import annotations

import pytest

from proxy.upstream.model_map import ModelMap


@pytest.mark.parametrize(
    ("model", "there"),
    [
        ("gpt-4o", "big"),
        ("gpt-4o-mini", "small"),
        ("gpt-4o-2024", "middle"),
        ("gpt-3", "old"),
        ("o3", "o3"),
        ("GPT-3", "GPT-3"),
        ("x-gpt-3", "x-gpt-3"),
        ("", ""),
        ("a[1]b", "brackets"),
        ("a1b", "brackets"),
    ],
)
def test_exact_names_come_first_then_globs_in_their_order(model, there):
    names = {"gpt-4o*": "middle", "gpt-*": "old", "gpt-4o": "big", "gpt-4o-mini": "small", "a[1]b": "brackets"}
    assert ModelMap(names).name_of(model) == there


def test_nothing_is_called_otherwise_without_a_map():
    assert ModelMap({}).name_of("gpt-4o") == "gpt-4o"


def test_a_request_that_names_no_model_names_none_there():
    assert ModelMap({"*": "llama", "": "nothing"}).name_of("") == ""


def test_a_name_is_mapped_once():
    assert ModelMap({"a": "b", "b": "c"}).name_of("a") == "b"


def test_a_bracket_is_a_glob_too():
    assert ModelMap({"gpt-[34]": "x"}).name_of("gpt-4") == "x"
