"""Flag over environment over file over default, and a clear no to everything else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from proxy.errors import SettingsError
from proxy.settings import leaves, load, plain

SECRET = "sk-do-not-show-me"


@pytest.fixture
def file(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "askonce.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def refusal(config: Path | None = None, flags=None, environ=None) -> str:
    with pytest.raises(SettingsError) as refused:
        load(config, flags or {}, environ or {})
    return refused.value.message


def test_nothing_given_is_openai_on_the_embedded_store():
    settings = load(None, {}, {}).settings
    assert settings.upstreams[0].base_url == ("https://api.openai.com/v1",)
    assert (settings.server.host, settings.server.port) == ("127.0.0.1", 8080)
    assert settings.store.kind == "sqlite"


@pytest.mark.parametrize(
    ("sources", "port", "origin"),
    [
        ("", 8080, "default"),
        ("file", 1, "file"),
        ("env", 2, "env"),
        ("file env", 2, "env"),
        ("file flag", 3, "flag"),
        ("file env flag", 3, "flag"),
    ],
)
def test_a_flag_wins_over_the_environment_over_the_file_over_the_default(file, sources, port, origin):
    config = file("server: {port: 1}") if "file" in sources else None
    environ = {"ASKONCE_SERVER__PORT": "2"} if "env" in sources else {}
    loaded = load(config, {"server.port": 3 if "flag" in sources else None}, environ)
    assert (loaded.settings.server.port, loaded.origins["server.port"]) == (port, origin)


def test_every_value_has_an_origin(file):
    loaded = load(file("rules: [{ttl: 1h}]\nstore: {memory: 1MiB}"), {}, {"ASKONCE_UPSTREAM": "http://models/v1"})
    assert {loaded.origins[name] for name in ("rules.0.ttl", "store.memory")} == {"file"}
    assert loaded.origins["upstreams.0.base_url"] == "env"
    assert loaded.origins["rules.0.max_ttl"] == loaded.origins["upstreams.0.name"] == "default"


def test_the_environment_may_name_the_file(file):
    assert load(None, {}, {"ASKONCE_CONFIG": str(file("server: {port: 1}"))}).settings.server.port == 1


def test_a_variable_changes_one_field_of_what_the_file_describes(file):
    config = file("upstreams: [{name: local, base_url: 'http://a/v1', epoch: 3}]")
    upstream = load(config, {}, {"ASKONCE_UPSTREAMS__0__EPOCH": "4"}).settings.upstreams[0]
    assert (upstream.name, upstream.base_url, upstream.epoch) == ("local", ("http://a/v1",), "4")


def test_a_list_in_a_variable_replaces_the_list_of_the_file(file):
    config = file("upstreams: [{name: local, epoch: 3}]\nserver: {allow_paths: [a, b]}")
    environ = {"ASKONCE_UPSTREAMS": '[{"name": "other"}]', "ASKONCE_SERVER__ALLOW_PATHS": '["c"]'}
    settings = load(config, {}, environ).settings
    assert (settings.upstreams[0].name, settings.upstreams[0].epoch) == ("other", "")
    assert settings.server.allow_paths == ("c",)


def test_a_variable_can_add_to_an_empty_list(file):
    assert load(file("rules: []"), {}, {"ASKONCE_RULES__0__TTL": "1h"}).settings.rules[0].ttl == 3600


@pytest.mark.parametrize(
    ("name", "value", "place"),
    [("ASKONCE_UPSTREAM", "http://models/v1", "upstreams.0.base_url"), ("ASKONCE_STORE", "memory://", "store.url"),
     ("ASKONCE_DATA_DIR", "/data", "store.data_dir"), ("ASKONCE_ADMIN_TOKEN", "word", "admin.token")],
)  # fmt: skip
def test_short_forms_of_variables(name, value, place):
    assert load(None, {}, {name: value}).origins[place] == "env"


def test_the_long_form_of_a_variable_wins_over_the_short_one():
    environ = {"ASKONCE_STORE__URL": "off://", "ASKONCE_STORE": "memory://"}
    assert load(None, {}, environ).settings.store.kind == "off"


def test_an_empty_variable_is_not_set():
    assert load(None, {}, {"ASKONCE_SERVER__PORT": "", "ASKONCE_CONFIG": ""}).origins["server.port"] == "default"


@pytest.mark.parametrize("text", ["", "server:\nupstreams:\nstore:\nrules:\n", "# nothing\n", "rules:\n  - match:\n"])
def test_an_empty_file_or_section_says_nothing(file, text):
    assert load(file(text), {}, {}).settings.server.port == 8080


@pytest.mark.parametrize("mode", ["on", "off"])
def test_yaml_may_read_on_and_off_as_true_and_false(file, mode):
    assert load(file(f"semantic: {{mode: {mode}}}"), {}, {}).settings.semantic.mode == mode


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("store: {memmory: 1}", "unknown setting store.memmory in {file}: did you mean store.memory?"),
        ("stor: {memory: 1}", "unknown setting stor in {file}: did you mean store?"),
        ("port: 80", "unknown setting port in {file}: did you mean server.port?"),
        ("upstreams: [{base_ur: x}]", "did you mean upstreams.0.base_url?"),
        ("rules: [{match: {modl: x}}]", "did you mean rules.0.match.model?"),
        ("telemetry: {prices: {gpt-4.1: {inptu: 1}}}", "did you mean telemetry.prices.gpt-4.1.input?"),
        ("tenants: {zzz: 1}", "unknown setting tenants.zzz in {file}: there are mode"),
    ],
)
def test_an_unknown_name_in_the_file_is_refused_with_the_right_one(file, text, said):
    config = file(text)
    assert said.format(file=config) in refusal(config)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("ASKONCE_STORE__MEMMORY", "ASKONCE_STORE__MEMORY"), ("ASKONCE_PORT", "ASKONCE_SERVER__PORT"),
     ("ASKONCE_UPSTREM", "ASKONCE_UPSTREAM"), ("ASKONCE_UPSTREAMS__0__NAM", "ASKONCE_UPSTREAMS__0__NAME")],
)  # fmt: skip
def test_an_unknown_variable_is_refused_with_the_right_one(name, meant):
    assert refusal(environ={name: "1"}) == f"unknown variable {name}: did you mean {meant}?"


def test_a_section_is_not_one_variable():
    assert "unknown variable ASKONCE_SERVER" in refusal(environ={"ASKONCE_SERVER": "{}"})


def test_variables_of_service_links_are_not_meant_for_us():
    links = {
        "ASKONCE_SERVICE_HOST": "10.0.0.1",
        "ASKONCE_SERVICE_PORT": "8080",
        "ASKONCE_SERVICE_PORT_HTTP": "8080",
        "ASKONCE_PORT": "tcp://10.0.0.1:8080",
        "ASKONCE_PORT_8080_TCP": "tcp://10.0.0.1:8080",
        "ASKONCE_PORT_8080_TCP_ADDR": "10.0.0.1",
        "ASKONCE_METRICS_SERVICE_HOST": "10.0.0.2",
    }
    assert load(None, {}, links).settings.server.port == 8080


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("server: {port: 99999}", "server.port = 99999 ({file}): should be less than or equal to 65535"),
        ("rules: [{sampling: maybe}]", "rules.0.sampling = 'maybe' ({file}): should be 'bypass', 'cache' or 'pool'"),
        ("rules: [{ttl: 5 fortnights}]", "rules.0.ttl = '5 fortnights' ({file}): is not a duration"),
        ("store: {memory: lots}", "store.memory = 'lots' ({file}): is not a size"),
        ("server: [1]", "server ({file}): should be a section"),
        ("upstreams: {name: x}", "upstreams ({file}): should be a list"),
        ("upstreams: []", "upstreams ({file}): is too short"),
        ("upstreams: [{name: a}, {name: a}]", "two are called a"),
        ("upstreams: [{base_url: ['http://a', 'http://a']}]", "names http://a twice"),
        ("upstreams: [{base_url: []}]", "upstreams.0.base_url ({file}): is too short"),
        ("upstreams: [{name: a, fallback: b}]", "a falls back on b, and none is called that"),
        ("upstreams: [{credential: own}]", "openai has credential: own and no api_key"),
        ("semantic: {mode: loud}", "semantic.mode = 'loud' ({file}): should be 'auto', 'off', 'shadow' or 'on'"),
        ("semantic: {embedder: {kind: openai}}", "kind openai needs base_url"),
        ("store: {url: 'valkey://r'}", "store.url = 'valkey://**********' ({file}): should be written redis://HOST"),
        (
            "store: {url: 'redis://r/x'}",
            "store.url = 'redis://**********' ({file}): should have nothing but the number",
        ),
        (
            "store: {url: '/y.db'}",
            "store.url = '/y.db' ({file}): should be sqlite:///absolute/path/cache.db, memory://",
        ),
        ("store: {redis: {poll: 2s}}", "store.redis.poll = 2.0 ({file}): should be less than or equal to 1"),
        ("store: {redis: {client_key_file: /k}}", "store.redis ({file}): client_cert_file and client_key_file belong"),
        ("store: {password: 1}", "unknown setting store.password in {file}: did you mean store.redis.password?"),
        ("store: 5", "store = 5 ({file}): should be a section"),
        ("store: {redis: 5}", "store.redis = 5 ({file}): should be a section"),
        ("server: {workers: 2}", "need Redis as their store (store.url: redis://HOST:6379/0)"),
        ("a: [1", "line 1 is not valid YAML"),
        ("store:\n  memory: 1\n  memory: 2", "line 3 is not valid YAML: a name is given twice"),
        ("- 1", "should hold sections such as `server:`"),
    ],
)
def test_what_cannot_be_used_is_said_with_its_value_and_source(file, text, said):
    config = file(text)
    assert said.format(file=config) in refusal(config)


def test_everything_that_is_wrong_is_said_at_once(file):
    config = file("server: {port: -1}\nrules: [{ttl: x}]")
    assert refusal(config, environ={"ASKONCE_STORE__MEMORY": "y"}).count("\n") == 2


@pytest.mark.parametrize("variable", ["ASKONCE_RULES", "ASKONCE_SERVER__ALLOW_PATHS", "ASKONCE_TELEMETRY__PRICES"])
def test_a_list_in_a_variable_is_json(variable):
    assert f"{variable} is not valid JSON" in refusal(environ={variable: "[{"})


def test_a_missing_file_is_said(tmp_path):
    assert "No such file" in refusal(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    "text",
    [f"upstreams: [{{api_key: {SECRET}}}]", f"admin: {{token: {SECRET}}}", f"server: {{secret: {SECRET}}}",
     f"store: {{redis: {{password: {SECRET}}}}}", f"store: {{redis: {{sentinel_password: {SECRET}}}}}",
     f"store: {{url: 'redis://:{SECRET}@r'}}", f"store: {{url: 'rediss+sentinel://ann:{SECRET}@a,b/main'}}"],
)  # fmt: skip
def test_a_secret_in_the_file_is_refused_and_not_repeated(file, text):
    said = refusal(file(text))
    assert re.search("a (secret|password) does not belong there", said)
    assert "_file" in said
    assert SECRET not in said


def test_a_secret_in_a_flag_is_refused():
    assert "ASKONCE_ADMIN_TOKEN" in refusal(flags={"admin.token": SECRET})
    said = refusal(flags={"store.url": f"redis://ann:{SECRET}@r"})
    assert said.startswith("store.url = 'redis://**********' (flag): a password does not belong there: set ")
    assert SECRET not in said


@pytest.mark.parametrize("variable", ["ASKONCE_STORE", "ASKONCE_STORE__URL"])
@pytest.mark.parametrize(
    ("given", "url", "password"),
    [("redis://:p%40ss%2F@r:6379/0", "redis://r:6379/0", "p@ss/"),
     ("rediss://ann:hunter2@r", "rediss://ann@r", "hunter2"),
     ("redis+sentinel://:hunter2@a,b/main/1", "redis+sentinel://a,b/main/1", "hunter2")],
)  # fmt: skip
def test_the_environment_may_give_redis_password_in_the_address(variable, given, url, password):
    loaded = load(None, {}, {variable: given})
    store = loaded.settings.store
    assert (store.url, store.redis.password.get_secret_value()) == (url, password)
    assert loaded.origins["store.url"] == loaded.origins["store.redis.password"] == "env"
    shown = [plain(field, value) for _, field, value in leaves(loaded.settings)]
    assert password not in f"{loaded!r} {store.redis_address} {store.redis_address!r} {shown}"


def test_a_user_without_a_password_stays_in_the_address():
    store = load(None, {}, {"ASKONCE_STORE": "redis://ann@r"}).settings.store
    assert (store.url, store.redis_address.username, store.redis.password) == ("redis://ann@r", "ann", None)


@pytest.mark.parametrize("name", ["ASKONCE_STORE__REDIS__PASSWORD", "ASKONCE_STORE__REDIS__PASSWORD_FILE"])
def test_a_password_set_by_itself_wins_over_that_of_the_address(tmp_path, name):
    (tmp_path / "password").write_text("own")
    environ = {"ASKONCE_STORE": f"redis://:{SECRET}@r", name: str(tmp_path / "password") if "FILE" in name else "own"}
    store = load(None, {}, environ).settings.store
    assert (store.url, store.redis.password.get_secret_value()) == ("redis://r", "own")


def test_the_password_of_an_address_goes_nowhere_else():
    environ = {"ASKONCE_STORE": f"redis://:{SECRET}@r"}
    assert load(None, {"store.url": "redis://other"}, environ).settings.store.redis.password is None
    assert load(None, {}, environ | {"ASKONCE_STORE__URL": "redis://other"}).settings.store.redis.password is None


@pytest.mark.parametrize(
    "environ",
    [
        {"ASKONCE_UPSTREAMS": f'[{{"api_key": ["{SECRET}"]}}]'},
        {"ASKONCE_UPSTREAMS": f'[{{"api_key": "{SECRET}", "name": "BAD"}}]'},
        {"ASKONCE_UPSTREAMS": f'[{{"api_key": "{SECRET}"'},
        {"ASKONCE_UPSTREAM": f"https://user:{SECRET}@models/v1"},
        {"ASKONCE_UPSTREAM": f"https://user:a/{SECRET}@models/v1"},
        {"ASKONCE_STORE": f"redis://:{SECRET}@redis:port/0"},
        {"ASKONCE_STORE": f"redis://:a/{SECRET}@redis/0"},
        {"ASKONCE_STORE": f"redis://:a?{SECRET}@redis/0"},
        {"ASKONCE_STORE": f"redis://:a#{SECRET}@redis/0"},
        {"ASKONCE_STORE": f"redis://:{SECRET}%ff@redis/0"},
        {"ASKONCE_STORE": f"redis://a@b:{SECRET}@redis/0"},
        {"ASKONCE_STORE": f"redis://:{SECRET}@"},
        {"ASKONCE_STORE": f"redis://:{SECRET}"},
        {"ASKONCE_STORE": f"redis://user:{SECRET}/0"},
        {"ASKONCE_STORE": f"redis://redis/0?password={SECRET}"},
        {"ASKONCE_STORE": f"redis:{SECRET}@redis"},
        {"ASKONCE_STORE": f"redis:/:{SECRET}"},
        {"ASKONCE_STORE": f"'redis://:{SECRET}@redis'"},
        {"ASKONCE_STORE": f"Redis://:{SECRET}@redis"},
        {"ASKONCE_STORE": f"redis-cluster://:{SECRET}@redis"},
        {"ASKONCE_STORE": f"valkey://:{SECRET}@redis"},
        {"ASKONCE_STORE": f"rdis://:{SECRET}@redis\nx@y"},
        {"ASKONCE_STORE": f"user:{SECRET}@redis:6379"},
        {"ASKONCE_STORE": f"redis://:{SECRET}@redis", "ASKONCE_STORE__REDIS__CLIENT_KEY_FILE": "k"},
        {"ASKONCE_STORE": f"redis://:{SECRET}@redis", "ASKONCE_STORE__REDIS__POLL": "x"},
        {"ASKONCE_SERVER__SECRET": SECRET[:9]},
    ],
)
def test_no_refusal_repeats_a_secret(environ):
    assert SECRET[:9] not in refusal(environ=environ)


@pytest.mark.parametrize(
    ("name", "read"),
    [("ASKONCE_ADMIN__TOKEN_FILE", lambda settings: settings.admin.token),
     ("ASKONCE_SERVER__SECRET_FILE", lambda settings: settings.server.secret),
     ("ASKONCE_STORE__REDIS__PASSWORD_FILE", lambda settings: settings.store.redis.password),
     ("ASKONCE_STORE__REDIS__SENTINEL_PASSWORD_FILE", lambda settings: settings.store.redis.sentinel_password),
     ("ASKONCE_UPSTREAMS__0__API_KEY_FILE", lambda settings: settings.upstreams[0].api_key)],
)  # fmt: skip
def test_a_secret_is_read_from_its_file(tmp_path, name, read):
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    assert read(load(None, {}, {name: str(tmp_path / "secret")}).settings).get_secret_value() == SECRET


def test_a_secret_of_the_environment_wins_over_its_file(tmp_path):
    environ = {"ASKONCE_ADMIN_TOKEN": SECRET, "ASKONCE_ADMIN__TOKEN_FILE": str(tmp_path / "not read")}
    assert load(None, {}, environ).settings.admin.token.get_secret_value() == SECRET


@pytest.mark.parametrize("content", [None, "", " \n", b"\xff\xfe"])
def test_an_unusable_secret_file_is_said(tmp_path, content):
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert f"admin.token_file = {path}" in refusal(environ={"ASKONCE_ADMIN__TOKEN_FILE": str(path)})


@pytest.mark.parametrize(
    ("environ", "directory"),
    [
        ({"HOME": "/home/a"}, "/home/a/.local/share/askonce"),
        ({"HOME": "/home/a", "XDG_DATA_HOME": "/data"}, "/data/askonce"),
        ({"HOME": "/home/a", "XDG_DATA_HOME": "relative"}, "/home/a/.local/share/askonce"),
        ({"HOME": "/home/a", "ASKONCE_DATA_DIR": "~/cache"}, "/home/a/cache"),
        ({}, "askonce-data"),
    ],
)
def test_the_data_directory_is_in_the_users_own_files(environ, directory):
    assert load(None, {}, environ).settings.store.data_dir == Path(directory)


def test_a_tilde_needs_a_home():
    assert "needs HOME to be set" in refusal(environ={"ASKONCE_DATA_DIR": "~/cache"})
