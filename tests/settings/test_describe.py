"""The starter file and the schema say what the tree says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from proxy.settings import Part, Rule, Settings, load, tree
from proxy.settings.describe import descriptions, schema, starter
from proxy.settings.names import field_at, is_secret, settable

ROOT = Path(__file__).parents[2]
PARTS = [part for part in vars(tree).values() if isinstance(part, type) and issubclass(part, Part)]


def effective(config: Path) -> Settings:
    """Its settings; a rule of defaults is no rule."""
    settings = load(config, {}, {"HOME": "/home/a"}).settings
    assert set(settings.rules) <= {Rule()} if settings.rules == (Rule(),) else settings.rules == ()
    return settings.model_copy(update={"rules": ()})


def test_every_field_is_described():
    texts = descriptions()
    missing = [
        f"{part.__name__}.{name}"
        for part in PARTS
        for name in part.model_fields
        if not texts.get((part.__name__, name))
    ]
    assert [name for name in missing if not name.startswith("Settings.")] == []


def test_the_file_in_the_repository_is_the_starter_file():
    assert (ROOT / "config/askonce.yaml").read_text(encoding="utf-8") == starter()


def test_the_starter_file_as_it_is_changes_nothing(tmp_path):
    (tmp_path / "askonce.yaml").write_text(starter())
    assert effective(tmp_path / "askonce.yaml") == load(None, {}, {"HOME": "/home/a"}).settings


def test_the_starter_file_with_every_name_switched_on_is_the_defaults(tmp_path):
    (tmp_path / "askonce.yaml").write_text(re.sub(r"(?m)^( *)#(\w+:)", r"\1\2", starter()))
    assert effective(tmp_path / "askonce.yaml") == load(None, {}, {"HOME": "/home/a"}).settings


def test_the_starter_file_names_every_setting():
    text = starter()
    for place in settable():
        if len(place) > 1 and not is_secret(field_at(place)):
            assert re.search(rf"(?m)^ +(#|- )?{place[-1]}:", text), place


def test_the_schema_describes_names_and_has_no_secrets():
    made = schema()
    server = made["$defs"]["Server"]
    assert made["additionalProperties"] is server["additionalProperties"] is False
    assert "listen" in server["properties"]["host"]["description"]
    assert "secret" not in server["properties"]
    assert "api_key" not in made["$defs"]["Upstream"]["properties"]
    assert not {"password", "sentinel_password"} & made["$defs"]["Redis"]["properties"].keys()


def test_the_schema_takes_a_section_whose_names_are_all_switched_off():
    made = schema()
    sections = made["properties"]["store"], made["$defs"]["Store"]["properties"]["redis"]
    assert all({"type": "null"} in section["anyOf"] for section in sections)


@pytest.mark.parametrize("example", sorted((ROOT / "config/examples").glob("*.yaml")), ids=lambda path: path.name)
def test_an_example_file_is_valid_and_says_something(example):
    # The key that an example says is to come from the environment.
    environ = {"ASKONCE_UPSTREAMS__1__API_KEY": "sk-key"} if example.name == "upstreams.yaml" else {}
    assert load(example, {}, environ).settings != load(None, {}, {}).settings
    assert yaml.safe_load(example.read_text(encoding="utf-8"))
