"""One tree from flag, environment, file and default, in this order, each value with where it came from.

Every source is cut into single values by place; a later source replaces what stands at or below its places, so a
variable changes one field of an upstream that the file describes. Then the tree is built and checked as a whole, and
whatever is wrong is said at once, by name, value and source.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BeforeValidator, ValidationError
from pydantic_core import ErrorDetails

from proxy.errors import SettingsError
from proxy.settings.names import (
    PREFIX,
    SHORT,
    Place,
    dotted,
    field_at,
    holds,
    is_secret,
    leaves,
    nearest,
    part_of,
    place_of,
    settable,
    variable,
    variable_for,
)
from proxy.settings.redis_address import means_redis, without_password
from proxy.settings.tree import Settings

Origin = Literal["default", "file", "env", "flag"]

CONFIG = "ASKONCE_CONFIG"

# Kubernetes and Docker links set these for a service called askonce; they are not meant for us.
_SERVICE_LINK = re.compile(
    r"ASKONCE_(\w+_)?(SERVICE_HOST=|SERVICE_PORT(_\w+)?=\d+$|PORT=\w+://|PORT_\d+_(TCP|UDP)(_(PROTO|PORT|ADDR))?=)"
)


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings, and for each dotted name where its value came from."""

    settings: Settings
    origins: Mapping[str, Origin]


@dataclass(frozen=True, slots=True)
class _Given:
    """A value as a source gave it; `where` names the source in messages."""

    value: object
    origin: Origin
    where: str


_Values = dict[Place, _Given]
_Source = Iterator[tuple[Place, _Given]]


def load(config: Path | None, flags: Mapping[str, object], environ: Mapping[str, str]) -> Loaded:
    """Read every source once.

    `config` is the file of the command line; without it ASKONCE_CONFIG may name one. `flags` are dotted names to
    values, None for one that was not given. Raises `errors.SettingsError`.
    """
    if config is None and environ.get(CONFIG):
        config = Path(environ[CONFIG])
    values: _Values = {}
    for place, given in chain(_from_file(config), _from_environment(environ), _from_flags(flags)):
        _lay(values, place, given)
    if ("store",) not in values:
        values.setdefault(("store", "data_dir"), _Given(_data_directory(environ), "default", "default"))
    _refuse_open_secrets(values)
    _expand_home(values, environ)
    _read_secret_files(values)
    _take_password_out_of_address(values)
    settings = _validated(values)
    return Loaded(settings, {dotted(place): _origin(values, place) for place, _, _ in leaves(settings)})


def _data_directory(environ: Mapping[str, str]) -> str:
    # The XDG specification has relative paths ignored.
    if environ.get("XDG_DATA_HOME", "").startswith("/"):
        return f"{environ['XDG_DATA_HOME']}/askonce"
    return "~/.local/share/askonce" if environ.get("HOME") else "askonce-data"


def _from_file(config: Path | None) -> _Source:
    if config is None:
        return
    tree = _read_yaml(config)
    if not isinstance(tree, dict | None):
        raise SettingsError(f"{config} should hold sections such as `server:`, not a {type(tree).__name__}")
    yield (), _Given(tree or {}, "file", str(config))


class _YamlLoader(yaml.SafeLoader):
    """Refuses a key given twice, where YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
        seen: set[str] = set()
        for key, _ in node.value:
            if str(key.value) in seen:
                raise yaml.MarkedYAMLError(problem="a name is given twice", problem_mark=key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep=deep)


def _read_yaml(config: Path) -> object:
    try:
        # A subclass of the safe loader: it builds plain values only.
        return yaml.load(config.read_text(encoding="utf-8"), _YamlLoader)  # noqa: S506
    except OSError as error:
        raise SettingsError(f"cannot read {config}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"cannot read {config}: it is not UTF-8 text") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise SettingsError(f"{config} line {line} is not valid YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise SettingsError(f"{config} is not valid YAML: it holds a character that may not be there") from error


def _from_environment(environ: Mapping[str, str]) -> _Source:
    # Short forms first, so that long ones win; a whole list before the fields of its items.
    for name in sorted(environ, key=lambda name: (name not in SHORT, len(name), name)):
        if not name.startswith(PREFIX) or name == CONFIG:
            continue
        place = _place_of_variable(name, environ[name])
        if place and environ[name]:  # set but empty is how compose files and charts say "not set"
            yield place, _Given(_decoded(name, place, environ[name]), "env", name)


def _place_of_variable(name: str, text: str) -> Place | None:
    """What it sets; None for one that is not meant for us."""
    known = {variable(place) for place in settable()}
    if name in SHORT:
        return SHORT[name]
    if re.sub(r"__\d+__", "__0__", name) in known:
        return place_of(name.removeprefix(PREFIX).lower(), "__")
    if _SERVICE_LINK.match(f"{name}={text}"):
        return None
    raise SettingsError(f"unknown variable {name}{_nearest_variable(name, sorted([*known, *SHORT, CONFIG]))}")


def _nearest_variable(name: str, known: list[str]) -> str:
    ending = [each for each in known if each.endswith(f"__{name.removeprefix(PREFIX)}")]
    meant = ending or get_close_matches(name, known, 1)
    return f": did you mean {meant[0]}?" if meant else "; `askonce config show` lists what can be set"


def _decoded(name: str, place: Place, text: str) -> object:
    """The text itself, or what its JSON says where the setting is a list or a mapping."""
    field = field_at(place)
    if field is None or not (holds(field, tuple) or holds(field, dict)):
        return text
    if not text.startswith("[") and any(isinstance(mark, BeforeValidator) for mark in field.metadata):
        return text  # a list whose only item may stand without brackets
    try:
        return json.loads(text)
    except ValueError as error:
        item = '{"name": "value"}' if part_of(field) else '"value"'
        form = f"[{item}]" if holds(field, tuple) else item
        raise SettingsError(f"{name} is not valid JSON: {dotted(place)} is written like {form} there") from error


def _from_flags(flags: Mapping[str, object]) -> _Source:
    for name, value in flags.items():
        if value is not None:
            yield place_of(name), _Given(value, "flag", "flag")


def _lay(values: _Values, place: Place, given: _Given) -> None:
    """Put what a source gave over what stands at, above or below its place."""
    for other in [other for other in values if other[: len(place)] == place or place[: len(other)] == other]:
        del values[other]
    for at, value in _cut(given.value, place):
        values[at] = replace(given, value=value)


def _cut(value: object, place: Place) -> Iterator[tuple[Place, object]]:
    """Single values of a nested one. An empty section (`store:` with nothing below) is no value at all."""
    field = field_at(place)
    branch = not place or isinstance(place[-1], int) or (field and part_of(field) and not holds(field, dict))
    if branch and isinstance(value, dict):
        for name, below in value.items():
            yield from _cut(below, (*place, str(name)))
    elif branch and isinstance(value, list) and value:
        for index, below in enumerate(value):
            yield from _cut(below, (*place, index))
    elif value is not None or not branch:
        yield place, value


def _refuse_open_secrets(values: _Values) -> None:
    for place, given in values.items():
        if given.origin in ("file", "flag") and given.value is not None and is_secret(field_at(place)):
            raise SettingsError(
                f"{dotted(place)} ({given.where}): a secret does not belong there: set {variable_for(place)}, "
                f"or name a file that holds it with {dotted(place)}_file"
            )


def _expand_home(values: _Values, environ: Mapping[str, str]) -> None:
    for place, given in values.items():
        field = field_at(place)
        if not (field and holds(field, Path) and isinstance(given.value, str) and given.value.startswith("~/")):
            continue
        if not environ.get("HOME"):
            raise SettingsError(f"{dotted(place)} = {given.value} ({given.where}): `~` needs HOME to be set")
        values[place] = replace(given, value=environ["HOME"] + given.value[1:])


def _read_secret_files(values: _Values) -> None:
    """`token_file` gives `token` its value, unless the environment did."""
    for place, given in list(values.items()):
        target = (*place[:-1], str(place[-1]).removesuffix("_file"))
        if target == place or target in values or not is_secret(field_at(target)) or given.value is None:
            continue
        try:
            text = Path(str(given.value)).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise SettingsError(f"{dotted(place)} = {given.value} ({given.where}): cannot be read: {reason}") from error
        if not text:
            raise SettingsError(f"{dotted(place)} = {given.value} ({given.where}): the file is empty")
        values[target] = replace(given, value=text)


def _take_password_out_of_address(values: _Values) -> None:
    """The environment may give Redis' password within its address; from here on they are two values."""
    place: Place = ("store", "url")
    given = values.get(place)
    if given is None or given.origin != "env":
        return
    try:
        url, password = without_password(str(given.value))
    except ValueError as error:
        raise SettingsError(f"{dotted(place)} ({given.where}): {error}") from None
    values[place] = replace(given, value=url)
    own: Place = ("store", "redis", "password")
    if password and own not in values:
        _lay(values, own, replace(given, value=password))


def _validated(values: _Values) -> Settings:
    try:
        return Settings.model_validate(_tree(values))
    except ValidationError as error:
        # `from None`: pydantic's own text says the same again, and less plainly.
        raise SettingsError("\n".join(_said(each, values) for each in error.errors())) from None


def _tree(values: _Values) -> object:
    """Nested mappings and lists again."""
    tree: dict[str | int, Any] = {}
    for place, given in values.items():
        node = tree
        for step in place[:-1]:
            node = node.setdefault(step, {})
        node[place[-1]] = given.value
    return _listed(tree)


def _listed(node: object) -> object:
    if not isinstance(node, dict):
        return node
    below = {step: _listed(value) for step, value in node.items()}
    if below and all(isinstance(step, int) for step in below):
        return [below[step] for step in sorted(below)]
    return below


_PLAINLY = {
    "model_type": "should be a section, with names below it",
    "tuple_type": "should be a list",
    "dict_type": "should be a mapping",
    "too_short": "is too short",
}


def _said(error: ErrorDetails, values: _Values) -> str:
    """One thing that is wrong, by name, value and source."""
    place: Place = error["loc"]
    source = _source(values, place)
    where = source.where if source else "default"
    if error["type"] == "extra_forbidden":
        return f"unknown setting {dotted(place)} in {where}: {nearest(place)}"
    reason = _PLAINLY.get(error["type"]) or re.sub(
        "^(Value error, |Input (?=should)|String (?=should))", "", error["msg"]
    )
    if not place:
        return reason
    return f"{dotted(place)}{_shown(place, error['input'])} ({where}): {reason}"


def _shown(place: Place, value: object) -> str:
    if is_secret(field_at(place)):
        return " = **********"
    if isinstance(value, str):
        return f" = {_without_credentials(value)[:100]!r}"
    return f" = {value}" if isinstance(value, int | float) else ""


def _without_credentials(text: str) -> str:
    """Of an address of Redis the scheme alone: where it is malformed, any part may be the password."""
    hidden = ".*" if means_redis(text) else ".*(?=@)"
    return re.sub(rf"^([a-z+-]+://)?{hidden}", r"\1**********", text, flags=re.DOTALL)


def _source(values: _Values, place: Place) -> _Given | None:
    """What was given at a place, or else above it, or else below it."""
    above = (values[place[:end]] for end in range(len(place), 0, -1) if place[:end] in values)
    below = (given for other, given in values.items() if other[: len(place)] == place)
    return next(above, None) or next(below, None)


def _origin(values: _Values, place: Place) -> Origin:
    source = _source(values, place)
    return source.origin if source else "default"
