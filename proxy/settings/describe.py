"""What the tree says about itself, for people and editors: the starter file and the JSON Schema.

Descriptions are the texts under the fields, read from the source when they are asked for. Pydantic can
collect them itself, when the classes are made: that would cost every start a tenth of a second.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from itertools import chain
from typing import Any

import yaml
from pydantic.fields import FieldInfo

from proxy.settings import tree, upstream
from proxy.settings.names import Place, holds, is_secret, part_of, plain, variable_for
from proxy.settings.part import Part
from proxy.settings.tree import Settings

WIDTH = 110

_HEAD = """\
AskOnce settings. Every name is here with its default, behind a `#`: take the `#` away to change it.
A flag wins over the environment, the environment over this file, this file over the default. Environment:
ASKONCE_<SECTION>__<NAME>, for example ASKONCE_SERVER__PORT=8081. Secrets stand in the environment or in files of
their own (the names that end in _file), never here.
`askonce check --config FILE` tries it all, `askonce config show` says what is in force and why."""


def descriptions() -> dict[tuple[str, str], str]:
    """Text by class and field; a class's own text has the field ``""``."""
    found: dict[tuple[str, str], str] = {}
    for each in chain.from_iterable(ast.parse(inspect.getsource(module)).body for module in (tree, upstream)):
        if not isinstance(each, ast.ClassDef):
            continue
        found[each.name, ""] = _joined(ast.get_docstring(each) or "")
        for field, text in zip(each.body, each.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
                found[each.name, field.target.id] = _joined(ast.literal_eval(text.value))
    return found


def _joined(text: str) -> str:
    return " ".join(text.split())


def schema() -> dict[str, Any]:
    """JSON Schema of the configuration file."""
    made = Settings.model_json_schema()
    texts = descriptions()
    for name, part in [("Settings", made), *made["$defs"].items()]:
        for field, entry in part["properties"].items():
            if text := texts.get((name, field)):
                entry["description"] = text
            if part is made or "$ref" in entry:  # a section whose names are all switched off is null
                part["properties"][field] = {"anyOf": [entry, {"type": "null"}]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made, "title": "AskOnce settings"}


def starter() -> str:
    """The commented configuration file: all names, all defaults, all switched off."""
    texts = descriptions()
    lines = [f"# {line}" for line in _HEAD.splitlines()]
    for name, field in Settings.model_fields.items():
        part = part_of(field) or Part
        lines += ["", *_prose(texts[part.__name__, ""]), f"{name}:"]
        listed = holds(field, tuple)
        below = _lines(part, (name, 0) if listed else (name,), texts)
        lines += _as_item(below) if listed else [f"  {line}" for line in below]
    return "\n".join(lines) + "\n"


def _lines(part: type[Part], place: Place, texts: dict[tuple[str, str], str]) -> Iterator[str]:
    for name, field in part.model_fields.items():
        yield from _prose(texts[part.__name__, name])
        below = part_of(field)
        if below and not holds(field, dict):
            yield f"{name}:"
            yield from (f"  {line}" for line in _lines(below, (*place, name), texts))
        elif is_secret(field):
            yield from _prose(f"It is a secret and stands in {variable_for((*place, name))}, or:")
        else:
            yield f"#{name}: {_scalar(field)}".rstrip()


def _as_item(lines: Iterator[str]) -> Iterator[str]:
    """Lines of one list item. Its first name is not switched off: it is what makes it an item."""
    begun = False
    for line in lines:
        if begun or line.startswith("# "):
            yield f"    {line}" if begun else f"  {line}"
        else:
            yield f"  - {line.removeprefix('#')}"
            begun = True


def _prose(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def _scalar(field: FieldInfo) -> str:
    value = plain(field, field.get_default(call_default_factory=True))
    if value is None:
        return ""
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10_000)
    return text.removesuffix("...\n").strip()
