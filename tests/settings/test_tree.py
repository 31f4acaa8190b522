"""The tree itself: what it accepts, and which rule is taken."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from proxy.settings import Rule, Settings, Store, Upstream


def test_settings_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        Settings().server.port = 1


@pytest.mark.parametrize(
    "address",
    ["ftp://models", "models:8000", "https://", "http://user:word@models/v1", "http://models/v1?key=1", "http://models/v1#x",
     "http://models:port/v1", "http://mod els/v1", "http://models\\@other/v1", ""],
)  # fmt: skip
def test_an_upstream_address_is_http_and_nothing_more(address):
    with pytest.raises(ValidationError):
        Upstream(base_url=address)


@pytest.mark.parametrize("address", ["http://models:8000/v1/", ["http://models:8000/v1"]])
def test_an_upstream_address_is_kept_in_one_form(address):
    assert Upstream(base_url=address).base_url == "http://models:8000/v1"


@pytest.mark.parametrize(("epoch", "text"), [(2, "2"), ("b", "b"), (1.5, "1.5")])
def test_an_epoch_may_be_a_number(epoch, text):
    assert Upstream(epoch=epoch).epoch == text


@pytest.mark.parametrize(
    ("url", "kind"), [(None, "sqlite"), ("sqlite:///x/y.db", "sqlite"), ("memory://", "memory"), ("off://", "off")]
)
def test_a_store_address_names_a_kind(url, kind):
    assert Store(url=url).kind == kind


@pytest.mark.parametrize(
    "url", ["sqlite://y.db", "sqlite:///", "memory://x", "file:///y", "redis://h", "", "sqlite:///x?y=1"]
)
def test_other_store_addresses_are_refused(url):
    with pytest.raises(ValidationError):
        Store(url=url)


def test_the_database_is_the_named_file_or_in_the_data_directory():
    assert Store(url="sqlite:///x/y.db").database == Path("/x/y.db")
    assert Store(data_dir=Path("/data")).database == Path("/data/cache.db")


@pytest.mark.parametrize("segment", ["a/b", "..", ".", "", "a?b", "%2e"])
def test_an_allowed_path_is_one_segment(segment):
    with pytest.raises(ValidationError):
        Settings.model_validate({"server": {"allow_paths": [segment]}})


def test_the_first_rule_that_fits_is_taken():
    settings = Settings.model_validate(
        {
            "rules": [
                {"match": {"model": "gpt-*", "path": "/v1/chat/*"}, "ttl": 1},
                {"match": {"model": "gpt-*"}, "ttl": 2},
                {"match": {"path": "/v1/chat/*"}, "ttl": 3},
            ]
        }
    )
    chat = "/v1/chat/completions"
    assert settings.rule_for("gpt-5", chat).ttl == 1
    assert settings.rule_for("gpt-5", "/v1/completions").ttl == 2
    assert settings.rule_for("llama", chat).ttl == 3
    assert settings.rule_for(None, chat).ttl == 3
    assert settings.rule_for("llama", "/v1/completions") == Rule()


def test_a_rule_without_a_match_fits_everything():
    settings = Settings.model_validate({"rules": [{"ttl": "1h"}]})
    assert settings.rule_for(None, "/v1/anything").ttl == 3600


def test_vary_headers_are_compared_in_lower_case():
    assert Rule(vary=("X-Experiment",)).vary == ("x-experiment",)


def test_a_secret_is_not_in_the_representation():
    assert "sk-hidden" not in repr(Upstream(api_key="sk-hidden"))
