"""The tree itself: what it accepts, and which rule is taken."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from proxy.settings import Redis, RedisKind, Rule, Settings, Store, Upstream


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
    assert Upstream(base_url=address).base_url == ("http://models:8000/v1",)


@pytest.mark.parametrize(("epoch", "text"), [(2, "2"), ("b", "b"), (1.5, "1.5")])
def test_an_epoch_may_be_a_number(epoch, text):
    assert Upstream(epoch=epoch).epoch == text


@pytest.mark.parametrize(
    ("url", "kind"),
    [(None, "sqlite"), ("sqlite:///x/y.db", "sqlite"), ("memory://", "memory"), ("off://", "off"),
     ("redis://r", "redis"), ("rediss://r", "redis"), ("redis+sentinel://a,b/main", "redis"),
     ("rediss+cluster://a,b", "redis")],
)  # fmt: skip
def test_a_store_address_names_a_kind(url, kind):
    assert Store(url=url).kind == kind


@pytest.mark.parametrize(
    "url",
    ["sqlite://y.db", "sqlite:///", "memory://x", "file:///y", "redis://h/x", "valkey://h", "", "sqlite:///x?y=1"],
)
def test_other_store_addresses_are_refused(url):
    with pytest.raises(ValidationError):
        Store(url=url)


def test_the_database_is_the_named_file_or_in_the_data_directory():
    assert Store(url="sqlite:///x/y.db").database == Path("/x/y.db")
    assert Store(data_dir=Path("/data")).database == Path("/data/cache.db")


@pytest.mark.parametrize(
    ("url", "username", "meant"),
    [("redis://r", None, None), ("redis://ann@r", None, "ann"), ("redis://ann@r", "bob", "bob"),
     ("redis://r", "bob", "bob")],
)  # fmt: skip
def test_the_user_of_redis_is_the_one_set_or_that_of_the_address(url, username, meant):
    address = Store(url=url, redis=Redis(username=username)).redis_address
    assert (address.kind, address.hosts, address.username) == (RedisKind.SINGLE, (("r", 6379),), meant)


def test_a_store_elsewhere_has_no_address_of_redis():
    with pytest.raises(ValueError, match="should be written redis://"):
        _ = Store().redis_address


def test_redis_starts_with_values_that_work():
    redis = Redis()
    assert (redis.prefix, redis.connections, redis.breaker_failures, redis.coalesce) == ("askonce", 4, 3, True)
    assert (redis.connect_timeout, redis.command_timeout, redis.retry) == (0.25, 0.1, 0.5)
    assert (redis.poll, redis.max_silence, redis.lease_ttl, redis.lease_wait) == (0.25, 30, 3, 60)
    assert redis.write_backlog == 64 * 2**20
    assert Settings().server.stream_keep_alive == 15


@pytest.mark.parametrize(
    "given",
    [{"prefix": ""}, {"prefix": "a:b"}, {"prefix": "a" * 65}, {"prefix": "a\n"}, {"poll": 0}, {"poll": "1001ms"},
     {"retry": 0}, {"lease_ttl": "400ms"}, {"lease_wait": 0}, {"connections": 0}, {"breaker_failures": 0},
     {"command_timeout": 0}, {"connect_timeout": 0}, {"username": ""}, {"password": ""}, {"host": "r"}],
)  # fmt: skip
def test_what_redis_cannot_work_with_is_refused(given):
    with pytest.raises(ValidationError):
        Redis.model_validate(given)


@pytest.mark.parametrize("alone", ["client_cert_file", "client_key_file"])
def test_a_client_certificate_and_its_key_belong_together(alone):
    with pytest.raises(ValidationError, match="set both or neither"):
        Redis.model_validate({alone: "/a.pem"})
    assert Redis(client_cert_file=Path("/a.pem"), client_key_file=Path("/b.pem"))


def test_redis_may_be_set_up_while_answers_are_kept_elsewhere():
    assert Store(url="memory://", redis=Redis(prefix="chat")).kind == "memory"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (None, "the embedded store belongs to one process.*need Redis as their store .store.url: redis://"),
        ("sqlite:///x/cache.db", "the embedded store belongs to one process.*need Redis as their store"),
        ("memory://", "what is kept in memory:// belongs to one process.*need Redis as their store"),
        ("off://", "need Redis as their store"),
    ],
)
def test_several_processes_are_refused_without_redis_with_what_to_do(url, said):
    with pytest.raises(ValidationError, match=said):
        Settings.model_validate({"server": {"workers": 2}, "store": {"url": url}})


@pytest.mark.parametrize("url", ["redis://r", "rediss://r:6379/0", "redis+sentinel://r:1/main", "redis+cluster://r:1"])
def test_several_processes_can_share_a_redis(url):
    assert Settings.model_validate({"server": {"workers": 4}, "store": {"url": url}}).server.workers == 4


@pytest.mark.parametrize("segment", ["a/b", "..", ".", "", "a?b", "%2e"])
def test_an_allowed_path_is_one_segment(segment):
    with pytest.raises(ValidationError):
        Settings.model_validate({"server": {"allow_paths": [segment]}})


@pytest.mark.parametrize("segment", ["load_lora_adapter", "unload_lora_adapter", "sleep", "inference", "v1"])
def test_what_administers_a_server_cannot_be_opened_and_is_told_why(segment):
    with pytest.raises(ValidationError, match=f"'{segment}' cannot be opened: whoever reaches it administers"):
        Settings.model_validate({"server": {"allow_paths": ["tokenize", segment]}})


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
    assert "sk-hidden" not in repr(Redis(password="sk-hidden", sentinel_password="sk-hidden"))


def test_a_refused_address_is_not_in_the_representation_either():
    with pytest.raises(ValidationError) as refused:
        Store(url="redis://:sk-hidden@r")
    assert "sk-hidden" not in f"{refused.value} {refused.value!r}"
