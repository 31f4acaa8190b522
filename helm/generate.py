"""Writes what follows from values.yaml: its schema (values.schema.json), and the table of values in the chart's README.

`python helm/generate.py` writes both; with `--check` it writes nothing and ends with 1 where one is out of date. A
value's description stands above it behind `# -- `, and `# @schema {…}` says what its default cannot. `config` is
checked with the proxy's own schema, in the form of draft-07 that Helm reads, less what the chart sets itself.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from proxy.settings.describe import schema as settings_schema

HERE = Path(__file__).parent
CHART = HERE / "askonce"
VALUES = CHART / "values.yaml"
SCHEMA = CHART / "values.schema.json"
README = CHART / "README.md"
DEFINITIONS = HERE / "definitions.yaml"
BEGIN, END = "<!-- values: written by helm/generate.py -->", "<!-- end of values -->"

DURATION = r"^([0-9]+(\.[0-9]+)?|([0-9]+(\.[0-9]+)? ?(ms|s|m|h|d) ?)+)$"
"""As `proxy.settings.units.seconds` reads it."""
SIZE = r"^[0-9]+(\.[0-9]+)?( ?([kKmMgGtT]?[iI]?[bB]))?$"
"""As `proxy.settings.units.size` reads it."""
ADDRESS = r"^https?://[^@?#\s]+$"
"""An address without a credential in it: the settings become a ConfigMap, which is no place for one."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Value:
    """One value of values.yaml; `below` are those of a section, none of a value that is described as a whole."""

    name: str
    default: Any
    text: str
    hint: Json
    below: tuple[Value, ...]


def values() -> tuple[Value, ...]:
    """What stands in values.yaml. Raises ValueError for a value without a description."""
    text = VALUES.read_text(encoding="utf-8")
    node = yaml.compose(text)
    if not isinstance(node, yaml.MappingNode):
        raise TypeError(f"{VALUES} should be a mapping")
    return tuple(_read(node, text.splitlines(), ""))


def _read(node: yaml.MappingNode, lines: list[str], above: str) -> Iterator[Value]:
    for key, value in node.value:
        comment = _comment(lines, key.start_mark.line)
        text, hint = _described(comment)
        name = f"{above}{key.value}"
        whole = bool(text)
        below = () if whole or not isinstance(value, yaml.MappingNode) else tuple(_read(value, lines, f"{name}."))
        if not whole and not below:
            raise ValueError(f"{VALUES}: {name} has no description: write a line that begins with `# -- ` above it")
        yield Value(key.value, yaml.safe_load(yaml.serialize(value)), text, hint, below)


def _comment(lines: list[str], line: int) -> list[str]:
    """The lines of comment right above a line."""
    first = line
    while first and lines[first - 1].lstrip().startswith("#"):
        first -= 1
    return [each.strip().removeprefix("#").strip() for each in lines[first:line]]


def _described(comment: list[str]) -> tuple[str, Json]:
    hint: Json = {}
    words: list[str] = []
    begun = False
    for line in comment:
        if line.startswith("@schema "):
            hint = json.loads(line.removeprefix("@schema "))
        elif line.startswith("-- "):
            begun, words = True, [line.removeprefix("-- ")]
        elif begun:
            words.append(line)
    return " ".join(words), hint


def made_schema() -> Json:
    """values.schema.json."""
    definitions = yaml.safe_load(DEFINITIONS.read_text(encoding="utf-8")) | _of_settings()
    properties = {each.name: _property(each) for each in values()}
    # Helm gives `global` to every chart that is part of another.
    properties["global"] = {"type": "object", "description": "Values that a chart shares with those it is part of."}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the chart askonce",
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "definitions": dict(sorted(definitions.items())),
    }


def _property(value: Value) -> Json:
    if value.below:
        return {
            "type": "object",
            "additionalProperties": False,
            "properties": {each.name: _property(each) for each in value.below},
        }
    if "$ref" in value.hint:
        # Draft-07 reads nothing beside a $ref.
        return {"description": value.text, "allOf": [{"$ref": value.hint["$ref"]}], **_without(value.hint, "$ref")}
    found = {"description": value.text, **value.hint}
    if "type" not in found and "enum" not in found:
        found["type"] = _type(value)
    elif "enum" in found:
        found["type"] = "string"
    return found


def _type(value: Value) -> str:
    match value.default:
        case bool():
            return "boolean"
        case int():
            return "integer"
        case str():
            return "string"
        case _:
            raise ValueError(f"{VALUES}: {value.name} needs a `# @schema` line: its default does not tell its type")


def _without(tree: Json, *names: str) -> Json:
    return {name: each for name, each in tree.items() if name not in names}


def _of_settings() -> Json:
    """The proxy's own schema, as definitions `config.NAME`."""
    made = settings_schema()
    parts = {f"config.{name}": part for name, part in made["$defs"].items()}
    parts["config.Settings"] = _without(made, "$defs", "$schema", "title")
    _take_over(parts)
    upstream = parts["config.Upstream"]
    parts["config.UpstreamExtras"] = {
        **upstream,
        "properties": _without(upstream["properties"], "name", "kind", "base_url", "models", "api_key_file"),
    }
    return {name: _draft07(part) for name, part in parts.items()}


def _take_over(parts: Json) -> None:
    """What is different below a chart: what it sets itself, and what must not stand in a ConfigMap."""
    server, store = parts["config.Server"]["properties"], parts["config.Store"]["properties"]
    server["port"]["minimum"] = 1
    del store["data_dir"]
    store["url"] = {
        "type": ["string", "null"],
        "pattern": r"^(sqlite:///[^?#]*[^/?#]|memory://|off://)$",
        "description": "sqlite:///absolute/path/cache.db, memory:// or off://. A Redis is named by redis.external.url.",
    }
    # Without one there is the chart's vLLM.
    parts["config.Settings"]["properties"]["upstreams"] = deepcopy(parts["config.Settings"]["properties"]["upstreams"])
    for branch in parts["config.Settings"]["properties"]["upstreams"]["anyOf"]:
        branch.pop("minItems", None)
    for part in parts.values():
        if "base_url" in part["properties"]:
            part["properties"]["base_url"] = _address(part["properties"]["base_url"])


def _address(entry: Json) -> Json:
    one: Json = {"type": "string", "pattern": ADDRESS}
    rest = [branch for branch in entry["anyOf"] if branch.get("type") != "string"]
    return {
        "anyOf": [one, *(branch | {"items": one} if "items" in branch else branch for branch in rest)],
        "description": entry["description"],
    }


def _draft07(node: Any) -> Any:
    """References renamed, no member beside a $ref, units as patterns; defaults and titles left out."""
    if isinstance(node, list):
        return [_draft07(each) for each in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return {"$ref": node["$ref"].replace("#/$defs/", "#/definitions/config.")}
    made = {
        name: {key: _draft07(each) for key, each in below.items()} if name == "properties" else _draft07(below)
        for name, below in node.items()
        if name not in ("title", "default", "examples", "format") or isinstance(below, dict)
    }
    examples = node.get("examples")
    if isinstance(examples, list) and "string" in node.get("type", ()):
        made["pattern"] = DURATION if "30s" in examples else SIZE
        made["minimum"] = 0
    return made


def made_readme() -> str:
    """README.md, its table written anew. Raises ValueError where the marks of the table are missing."""
    text = README.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"{README} should have the lines {BEGIN} and {END} once each: the table goes between them")
    rows = ["| value | default | |", "|---|---|---|", *_rows(values(), "")]
    head, _, rest = text.partition(BEGIN)
    return f"{head}{BEGIN}\n\n" + "\n".join(rows) + f"\n\n{END}{rest.partition(END)[2]}"


def _rows(found: tuple[Value, ...], above: str) -> Iterator[str]:
    for each in found:
        name = f"{above}{each.name}"
        if each.below:
            yield from _rows(each.below, f"{name}.")
        else:
            default, text = json.dumps(each.default, ensure_ascii=False), each.text
            yield "| " + " | ".join(cell.replace("|", "\\|") for cell in (f"`{name}`", f"`{default}`", text)) + " |"


def made() -> dict[Path, str]:
    """What each generated file should hold."""
    return {SCHEMA: json.dumps(made_schema(), indent=1) + "\n", README: made_readme()}


def main(arguments: list[str]) -> int:
    """0, or 1 where `--check` finds a file that is out of date."""
    stale = [path for path, text in made().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if "--check" in arguments:
        for path in stale:
            sys.stderr.write(f"{path} is out of date: run python helm/generate.py\n")
        return 1 if stale else 0
    for path in stale:
        path.write_text(made()[path], encoding="utf-8")
        sys.stdout.write(f"wrote {path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
