"""The names of settings."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from proxy.settings.names import dotted, field_at, is_secret, leaves, place_of, plain, settable, variable, variable_for
from proxy.settings.tree import Settings


@pytest.mark.parametrize("place", list(settable()), ids=dotted)
def test_every_setting_has_a_variable_that_leads_back_to_it(place):
    assert place_of(variable(place).removeprefix("ASKONCE_").lower(), "__") == place
    assert field_at(place) is not None


def test_every_value_of_the_tree_can_be_set():
    places = set(settable())
    assert {place for place, _, _ in leaves(Settings())} <= places


def test_the_shortest_variable_is_named():
    assert variable_for(("admin", "token")) == "ASKONCE_ADMIN_TOKEN"
    assert variable_for(("server", "port")) == "ASKONCE_SERVER__PORT"


def test_the_secrets_are_known_as_such():
    secrets = {place for place in settable() if is_secret(field_at(place))}
    assert secrets == {
        ("server", "secret"),
        ("upstreams", 0, "api_key"),
        ("store", "redis", "password"),
        ("store", "redis", "sentinel_password"),
        ("semantic", "embedder", "api_key"),
        ("semantic", "llm_judge", "api_key"),
        ("admin", "token"),
    }


@pytest.mark.parametrize(
    "place", [(), ("upstreams", 0), ("none",), ("server", "port", "x"), ("telemetry", "prices", "m")]
)
def test_what_is_no_setting_has_no_field(place):
    assert field_at(place) is None


@pytest.mark.parametrize(
    ("place", "value", "shown"),
    [
        (("rules", 0, "ttl"), 86400.0, "1d"),
        (("store", "memory"), 2**28, "256MiB"),
        (("admin", "token"), SecretStr("hidden"), "**********"),
        (("store", "data_dir"), Path("/data"), "/data"),
        (("rules", 0, "vary"), ("a", "b"), ["a", "b"]),
        (("server", "port"), 1, 1),
        (("store", "url"), None, None),
    ],
)
def test_values_are_shown_as_people_write_them(place, value, shown):
    assert plain(field_at(place), value) == shown
