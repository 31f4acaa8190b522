"""`askonce config`: write, explain, describe."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from proxy.cli import app
from proxy.settings.describe import starter


def config(*arguments: object):
    return CliRunner().invoke(app, ["config", *map(str, arguments)])


def test_init_writes_the_starter_file(tmp_path):
    assert config("init", tmp_path / "a.yaml").exit_code == 0
    assert (tmp_path / "a.yaml").read_text() == starter()


def test_init_does_not_overwrite_unless_told(tmp_path):
    (tmp_path / "a.yaml").write_text("mine")
    refused = config("init", tmp_path / "a.yaml")
    assert refused.exit_code == 1
    assert "--force" in refused.stderr
    assert (tmp_path / "a.yaml").read_text() == "mine"
    assert config("init", tmp_path / "a.yaml", "--force").exit_code == 0
    assert (tmp_path / "a.yaml").read_text() == starter()


def test_init_writes_to_standard_output():
    assert config("init", "-").stdout == starter()


def test_init_says_why_it_cannot_write(tmp_path):
    refused = config("init", tmp_path / "none" / "a.yaml")
    assert refused.exit_code == 1
    assert "No such file or directory" in refused.stderr


def test_show_says_each_value_and_where_it_came_from(tmp_path, monkeypatch):
    (tmp_path / "a.yaml").write_text("server: {port: 1}\nrules: [{ttl: 1h}]")
    monkeypatch.setenv("ASKONCE_STORE__MEMORY", "1GiB")
    lines = [line.split(maxsplit=2) for line in config("show", "--config", tmp_path / "a.yaml").stdout.splitlines()]
    assert ["server.port", "file", "1"] in lines
    assert ["store.memory", "env", "1GiB"] in lines
    assert ["rules.0.ttl", "file", "1h"] in lines
    assert ["server.keep_alive", "default", "75s"] in lines


def test_show_as_json():
    shown = json.loads(config("show", "--json").stdout)
    assert shown["server.port"] == {"value": 8080, "origin": "default"}
    assert shown["server.keep_alive"]["value"] == "75s"


def test_show_masks_secrets(monkeypatch):
    monkeypatch.setenv("ASKONCE_ADMIN_TOKEN", "sk-hidden")
    for shown in (config("show").stdout, config("show", "--json").stdout):
        assert "admin.token" in shown
        assert "sk-hidden" not in shown


def test_schema_is_json():
    assert "upstreams" in json.loads(config("schema").stdout)["properties"]
