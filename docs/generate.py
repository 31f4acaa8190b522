"""What can be written without a hand: settings, metrics, commands, the operator's API, measured figures.

    python docs/generate.py            write them
    python docs/generate.py --check    exit 1 where a page differs from what would be written

A page begins with what people wrote, down to the line `MARK`; what follows is written here. Nothing is started and
nothing is asked: the settings' tree, the commands and the routes are read, and the metrics of an application that was
built and never opened.
"""

from __future__ import annotations

import argparse
import difflib
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import typer
from pydantic.fields import FieldInfo
from typer.testing import CliRunner

from proxy import app, settings
from proxy.cli import app as commands
from proxy.settings.describe import descriptions
from proxy.settings.names import Place, dotted, holds, is_secret, part_of, plain, variable_for
from proxy.settings.part import Part
from proxy.settings.tree import Settings
from proxy.settings.units import Written, duration_text

HERE = Path(__file__).parent

MARK = "<!-- From here on written by docs/generate.py: change the texts in the program, then `make docs`. -->"

WIDTH = 100
"""Columns of help texts: what fits beside GitHub's side bar without a scroll bar."""


# -- settings


def configuration() -> str:
    """Every setting: name, variable, kind, default, range, and why."""
    texts = descriptions()
    lines: list[str] = []
    for name, field in Settings.model_fields.items():
        part = part_of(field) or Part
        listed = holds(field, tuple)
        lines += [f"## {name}", "", texts[part.__name__, ""], ""]
        lines += _settings(part, (name, 0) if listed else (name,), texts)
    return "\n".join(lines).rstrip() + "\n"


def _settings(part: type[Part], place: Place, texts: Mapping[tuple[str, str], str]) -> Iterator[str]:
    for name, field in part.model_fields.items():
        below = part_of(field)
        text = texts[part.__name__, name]
        if below and not holds(field, dict):
            yield from (f"### {_shown((*place, name))}", "", text, "")
            yield from _settings(below, (*place, name), texts)
            continue
        yield from (f"### {_shown((*place, name))}", "", text, "", _facts((*place, name), field), "")
        if below:
            members = ", ".join(f"`{each}` ({texts[below.__name__, each].rstrip('.')})" for each in below.model_fields)
            yield from (f"Members: {members}.", "")


def _shown(place: Place) -> str:
    """As it stands in the file: `upstreams[].name`."""
    return f"`{dotted(place).replace('.0.', '[].')}`"


def _facts(place: Place, field: FieldInfo) -> str:
    variable = variable_for(place)
    facts = [f"`{variable}`", _kind(field)]
    if is_secret(field):
        facts[0] += " (environment only)"
    default = plain(field, field.get_default(call_default_factory=True))
    empty = default is None or default in ([], {}, "")
    facts.append("no default" if empty else f"default `{_text(default)}`")
    return " · ".join(facts)


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _kind(field: FieldInfo) -> str:
    written = next((mark for mark in field.metadata if isinstance(mark, Written)), None)
    if written is not None:
        kind = "duration" if written.text is duration_text else "size"
    else:
        kind = "secret" if is_secret(field) else _of_annotation(field.annotation)
    bounds = ", ".join(_bounds(field, written.text if written else str))
    return f"{kind}, {bounds}" if bounds else kind


def _of_annotation(annotation: Any) -> str:
    kinds = [kind for kind in get_args(annotation) if kind is not NoneType]
    if NoneType in get_args(annotation):
        return _of_annotation(kinds[0])
    origin = get_origin(annotation)
    if origin is Literal:
        return "one of " + ", ".join(f"`{choice}`" for choice in kinds)
    if origin is tuple:
        return "list"
    if origin is dict:
        return "mapping"
    if origin is not None and not isinstance(annotation, type):
        return _of_annotation(kinds[0])  # Annotated[X, ...]
    names = {bool: "true or false", int: "whole number", float: "number", str: "text", Path: "path"}
    return names.get(annotation, "text")


def _bounds(field: FieldInfo, shown: Callable[[Any], str]) -> Iterator[str]:
    for mark in field.metadata:
        for name, words in (
            ("ge", "at least {}"),
            ("gt", "more than {}"),
            ("le", "at most {}"),
            ("lt", "less than {}"),
        ):
            if (bound := getattr(mark, name, None)) is not None:
                yield words.format(shown(bound))
        what = "items" if holds(field, tuple) else "characters"
        if (least := getattr(mark, "min_length", None)) and least > 1:
            yield f"at least {least} {what}"
        if most := getattr(mark, "max_length", None):
            yield f"at most {most} {what}"
        if pattern := getattr(mark, "pattern", None):
            yield f"matching `{pattern}`"


# -- metrics


def metrics() -> str:
    """Every family that a proxy can show."""
    families = _families()
    of_askonce = [family for family in families if family.name.startswith("askonce_")]
    of_process = [family for family in families if not family.name.startswith("askonce_")]
    lines = [*_metric_table(of_askonce), "", "## Of the process", "", "From the system, on Linux.", ""]
    return "\n".join([*lines, *_metric_table(of_process)]) + "\n"


def _families() -> list[Any]:
    """Of an application with all its parts: on Redis, matching by meaning. It is built and never opened."""
    flags = {"store.url": "redis://127.0.0.1:6379/0", "semantic.mode": "on", "upstreams.0.kind": "vllm"}
    built = app.build(settings.load(None, flags, {}).settings)
    return list(built.metrics.registry.collect())


def _metric_table(families: list[Any]) -> list[str]:
    rows = ["| metric | kind | labels | what |", "|---|---|---|---|"]
    for family in sorted(families, key=lambda family: family.name):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        # prometheus_client has no public way to the names of a family's labels.
        labels = ", ".join(f"`{label}`" for label in family._labelnames)
        rows.append(f"| `{name}` | {family.type} | {labels} | {family.documentation} |")
    return rows


# -- commands


def cli() -> str:
    """The help of every command."""
    return "\n".join(_helped(typer.main.get_command(commands), ())).rstrip() + "\n"


def _helped(command: Any, path: tuple[str, ...]) -> Iterator[str]:
    asked = CliRunner().invoke(commands, [*path, "--help"], prog_name="askonce", terminal_width=WIDTH)
    text = "\n".join(line.rstrip() for line in asked.stdout.strip().splitlines())
    yield from (
        f"## {' '.join(('askonce', *path))}",
        "",
        "<!-- not run: printed by --help -->",
        "```text",
        text,
        "```",
        "",
    )
    # Typer's own copy of click: only what both have is used.
    for name, below in getattr(command, "commands", {}).items():
        yield from _helped(below, (*path, name))


# -- the operator's API


def admin_api() -> str:
    """What OpenAPI says of it."""
    flags = {"store.url": "memory://", "semantic.mode": "off"}
    described = app.build(settings.load(None, flags, {}).settings).openapi()
    schemas = described.get("components", {}).get("schemas", {})
    lines: list[str] = []
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            lines += _operation(f"{method.upper()} {path}", operation, schemas)
    return "\n".join(lines).rstrip() + "\n"


def _operation(name: str, operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"## {name}", "", operation.get("description", operation.get("summary", "")), "")
    for parameter in operation.get("parameters", []):
        yield from (f"`{parameter['name']}` in the {parameter['in']}.", "")
    body = _json_of(operation.get("requestBody", {}))
    if body is not None:
        yield from ("Body:", "", *_members(body, schemas), "")
    done = (
        operation.get("responses", {}).get("200", {}).get("content", {}).get("application/json", {}).get("schema", {})
    )
    if "$ref" in done:
        yield from ("Answer:", "", *_members(done, schemas), "")


def _json_of(part: Mapping[str, Any]) -> Any:
    return part.get("content", {}).get("application/json", {}).get("schema")


def _members(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Iterator[str]:
    found = schemas[schema["$ref"].rpartition("/")[2]]
    yield from (found.get("description", ""), "", "| member | kind | |", "|---|---|---|")
    for name, member in found["properties"].items():
        text = member.get("description", "")
        if "default" in member and member["default"] is not None:
            text = f"{text} Default: `{json.dumps(member['default'])}`.".strip()
        yield f"| `{name}` | {_member_kind(member, schemas)} | {text} |"


def _member_kind(member: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    if "$ref" in member:
        return _member_kind(schemas[member["$ref"].rpartition("/")[2]], schemas)
    if "enum" in member:
        return " or ".join(f"`{each}`" for each in member["enum"])
    if "anyOf" in member:
        return next(_member_kind(each, schemas) for each in member["anyOf"] if each.get("type") != "null")
    return str(member.get("type", "any"))


# -- results


RESULTS = HERE.parent / "loadtests" / "results"

GROUPS: Mapping[str, tuple[str, ...]] = {
    "Hits": ("hit", "size", "bare"),
    "Misses": ("miss", "relay", "herd", "stream", "routing"),
    "Matching by meaning": ("semantic", "exact-while", "vectors"),
    "The process": ("start", "memory", "redis"),
}
"""Rows of the load tests by how their names begin; what fits nowhere is shown at the end."""


def benchmarks() -> str:
    """The latest figure of each row of the load tests."""
    latest: dict[str, tuple[str, list[str]]] = {}
    for report in sorted(RESULTS.glob("20??-??-??.md")):
        for line in report.read_text(encoding="utf-8").splitlines():
            cells = [cell.strip() for cell in line.strip("|").split(" | ")]
            if line.startswith("| ") and len(cells) == 10 and re.fullmatch(r"(?!row$)[a-z][a-z0-9-]+", cells[0]):
                latest[cells[0]] = (report.stem, cells)
    lines: list[str] = []
    for group in [*GROUPS, "Others"]:
        rows = [each for row, each in latest.items() if _group(row) == group]
        if rows:
            lines += [f"## {group}", "", "| what | against | measured | bar | |", "|---|---|---|---|---|"]
            lines += [_benchmark(day, cells) for day, cells in rows]
            lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _group(row: str) -> str:
    return next((group for group, begins in GROUPS.items() if row.startswith(begins)), "Others")


def _benchmark(day: str, cells: list[str]) -> str:
    row, work, against, bar, measured, verdict, *_ = cells
    taken = f"[{row}](../loadtests/results/{day}.md)"
    return f"| {work} | {against} | {measured} | {bar} | {verdict}; {taken} |"


PAGES: Mapping[str, Callable[[], str]] = {
    "configuration.md": configuration,
    "metrics.md": metrics,
    "cli.md": cli,
    "admin-api.md": admin_api,
    "benchmarks.md": benchmarks,
}


def page(name: str) -> str:
    """A page as it should be. Raises ValueError where it has lost the line that parts it."""
    written, mark, _ = (HERE / name).read_text(encoding="utf-8").partition(MARK)
    if not mark:
        raise ValueError(f"docs/{name} has no line {MARK!r}: put it where the generated part begins")
    return f"{written}{mark}\n\n{PAGES[name]()}"


def differing() -> Iterator[str]:
    """What would change, page by page, as a unified diff."""
    for name in PAGES:
        before, after = (HERE / name).read_text(encoding="utf-8"), page(name)
        if before != after:
            lines = difflib.unified_diff(before.splitlines(), after.splitlines(), name, "as it should be", lineterm="")
            yield "\n".join(lines)


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a page is behind")
    if parser.parse_args().check:
        behind = list(differing())
        if behind:
            sys.stderr.write("\n".join([*behind, "docs: run `make docs`", ""]))
        return int(bool(behind))
    for name in PAGES:
        (HERE / name).write_text(page(name), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
