"""Answers for programs are not matched by meaning unless a rule allows it."""

from __future__ import annotations

import pytest

from proxy.eligibility.structured import structured
from proxy.settings import Rule
from tests.eligibility import barred

PRESCRIBED = [
    {"response_format": {"type": "json_object"}},
    {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}},
    {"response_format": {"type": "structural_tag"}},
    {"guided_json": {"type": "object"}},
    {"guided_regex": "[0-9]+"},
    {"guided_choice": ["yes", "no"]},
    {"structured_outputs": {"json": {"type": "object"}}},
    {"grammar": "root ::= x"},
]


@pytest.mark.parametrize("members", PRESCRIBED)
def test_a_prescribed_form_bars(members):
    assert barred(structured, **members) == "json"


@pytest.mark.parametrize("members", PRESCRIBED)
def test_a_rule_may_allow_it(members):
    assert barred(structured, rule=Rule(match_json=True), **members) == ""


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"response_format": None},
        {"response_format": {"type": "text"}},
        {"response_format": {}},
        {"guided_json": None},
    ],
)
def test_plain_text_is_not_barred(members):
    assert barred(structured, **members) == ""
