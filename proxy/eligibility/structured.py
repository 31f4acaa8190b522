"""A program reads the answer: one in the wrong shape, or with another's values, breaks it silently."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from proxy.lexis.reading import Reading
from proxy.settings import Rule
from proxy.types import Asking

_CONSTRAINTS: Final = (
    "structured_outputs",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
    "structural_tag",
    "grammar",
    "json_schema",
    "ebnf",
    "regex",
)
"""What vLLM, SGLang and llama.cpp take beside `response_format`, now or in earlier versions."""


def structured(asking: Asking, _reading: Reading, rule: Rule) -> str:
    """`json`: the answer's form is prescribed, and the rule does not say `match_json`."""
    return "" if rule.match_json or not _is_prescribed(asking.members) else "json"


def _is_prescribed(members: Mapping[str, object]) -> bool:
    wanted = members.get("response_format")
    if isinstance(wanted, dict) and wanted.get("type", "text") != "text":
        return True
    return any(members.get(name) not in (None, False, "", [], {}) for name in _CONSTRAINTS)
