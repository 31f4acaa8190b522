"""The names of settings: what can be set, what a name stands for, which name was meant.

A place is a path in the tree: `("upstreams", 0, "base_url")`, written `upstreams.0.base_url` in messages and
`ASKONCE_UPSTREAMS__0__BASE_URL` in the environment.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from proxy.settings.part import Part
from proxy.settings.tree import Settings
from proxy.settings.units import Written

Place = tuple[str | int, ...]

PREFIX = "ASKONCE_"

SHORT: dict[str, Place] = {
    "ASKONCE_UPSTREAM": ("upstreams", 0, "base_url"),
    "ASKONCE_STORE": ("store", "url"),
    "ASKONCE_DATA_DIR": ("store", "data_dir"),
    "ASKONCE_ADMIN_TOKEN": ("admin", "token"),
}
"""Short forms of variables; the long form wins where both are set."""


def dotted(place: Place) -> str:
    """`upstreams.0.name`."""
    return ".".join(map(str, place))


def place_of(name: str, separator: str = ".") -> Place:
    """The place a name stands for."""
    return tuple(int(step) if step.isdecimal() else step for step in name.split(separator))


def variable(place: Place) -> str:
    """The environment variable that sets it."""
    return PREFIX + "__".join(map(str, place)).upper()


def variable_for(place: Place) -> str:
    """The shortest variable that sets it."""
    return next((short for short, other in SHORT.items() if other == place), variable(place))


def part_of(field: FieldInfo) -> type[Part] | None:
    """The branch below a field: of itself, of each item of its list, of each value of its mapping."""
    kinds = [field.annotation, *get_args(field.annotation)]
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Part)), None)


def holds(field: FieldInfo, kind: type) -> bool:
    """Whether the field's type is `kind`, a generic of it, or that or nothing."""
    annotation = field.annotation
    return kind in (annotation, get_origin(annotation), *get_args(annotation))


def is_secret(field: FieldInfo | None) -> bool:
    """Whether its value must not be shown."""
    return field is not None and holds(field, SecretStr)


def fields_at(place: Place) -> dict[str, FieldInfo]:
    """The names that may stand at a place; none below a plain value."""
    part: type[Part] | None = Settings
    free = False
    for step in place:
        if isinstance(step, int) or free:  # an item of a list or mapping: its names are those of the branch
            free = False
            continue
        field = part.model_fields.get(step) if part else None
        part = part_of(field) if field else None
        free = field is not None and holds(field, dict)
    return dict(part.model_fields) if part and not free else {}


def field_at(place: Place) -> FieldInfo | None:
    """The field at a place; None for the tree itself, an item of a list, or no such name."""
    return fields_at(place[:-1]).get(str(place[-1])) if place else None


def settable(part: type[Part] = Settings, above: Place = ()) -> Iterator[Place]:
    """Every place that can be set, lists of branches with their first item standing for all."""
    for name, field in part.model_fields.items():
        place = (*above, name)
        below = part_of(field)
        if field.annotation is not below:
            yield place
        if below and not holds(field, dict):
            yield from settable(below, (*place, 0) if holds(field, tuple) else place)


def leaves(part: Part, above: Place = ()) -> Iterator[tuple[Place, FieldInfo, object]]:
    """Every value of a tree with its place and field."""
    for name, field in type(part).model_fields.items():
        place, value = (*above, name), getattr(part, name)
        if isinstance(value, Part):
            yield from leaves(value, place)
        elif part_of(field) and isinstance(value, tuple) and value:
            for index, item in enumerate(value):
                yield from leaves(item, (*place, index))
        else:
            yield place, field, value


def plain(field: FieldInfo, value: object) -> object:
    """A value as people write it, in what JSON and YAML know; secrets masked."""
    for mark in field.metadata:
        if isinstance(mark, Written):
            return mark.text(value)
    match value:
        case SecretStr() | Path():
            return str(value)
        case tuple():
            return [plain(field, item) for item in value]
        case dict():
            return {key: plain(field, item) for key, item in value.items()}
        case Part():
            return value.model_dump(mode="json")
        case _:
            return value


def nearest(place: Place) -> str:
    """Which name was probably meant, as the end of a sentence."""
    name, siblings = str(place[-1]), list(fields_at(place[:-1]))
    elsewhere = [dotted(each) for each in settable() if each[-1] == name]
    meant = [dotted((*place[:-1], each)) for each in get_close_matches(name, siblings, 1)] or elsewhere
    if meant:
        return f"did you mean {meant[0]}?"
    return f"there are {', '.join(siblings)}" if siblings else "it is a plain value, without names in it"
