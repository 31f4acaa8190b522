"""Which upstream paths may be reached at all."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.edge.paths import ALLOWED, Paths
from proxy.errors import NotFound
from proxy.settings.closed_paths import CLOSED

PATHS = Paths([])

OPEN = {
    "/v1/chat/completions": "/chat/completions",
    "/v1/chat/completions/chatcmpl-1/messages": "/chat/completions/chatcmpl-1/messages",
    "/v1/completions": "/completions",
    "/v1/embeddings": "/embeddings",
    "/v1/models/gpt-4o": "/models/gpt-4o",
    "/v1/models/meta-llama/Llama-3.1-8B": "/models/meta-llama/Llama-3.1-8B",
    "/v1/models/ft:gpt-4o:acme::abc123": "/models/ft:gpt-4o:acme::abc123",
    "/v1/files/file-1/content": "/files/file-1/content",
    "/v1/files/a%20b": "/files/a%20b",
    "/v1/files/..a/b..": "/files/..a/b..",
    "/v1/responses/resp_1/cancel": "/responses/resp_1/cancel",
    "/v1/messages/count_tokens": "/messages/count_tokens",
    "/v1/rerank": "/rerank",
    "/v1/models/": "/models/",
}
AZURE = [
    "/openai/deployments/my-gpt/chat/completions",
    "/openai/deployments/my-gpt/embeddings",
    "/openai/deployments/my.gpt_4o/images/generations",
    "/openai/v1/responses",
    "/openai/models",
    "/openai/files/file-1",
    "/openai/fine_tuning/jobs",
    "/openai/batches",
]
# vLLM's administration (protocol 1.1), below every prefix that is let through.
ADMINISTRATION = [
    "abort_requests", "adapters", "collective_rpc", "fault_tolerance", "finish_weight_update", "get_world_size",
    "init_weight_transfer_engine", "invocations", "is_paused", "is_scaling_elastic_ep", "is_sleeping",
    "kv_event_sources", "load_lora_adapter", "pause", "release_kv_cache_memory", "reset_encoder_cache",
    "reset_mm_cache", "reset_prefix_cache", "resume", "scale_elastic_ep", "server_info",
    "shutdown_weight_transfer_engine", "sleep", "start_draft_weight_update", "start_profile", "start_weight_update",
    "stop_profile", "unload_lora_adapter", "update_weight_version", "update_weights", "version", "wake_up",
    "weight_checker", "weight_info",
]  # fmt: skip
PREFIXES = ["/", "/v1/", "/openai/", "/openai/v1/", "/openai/deployments/x/", "/v2/", "/inference/v1/"]
ODD = [
    "", "/", "/v1", "/v1/", "/v1//models", "//v1/models", "/v1/nothing", "/V1/models", "/v1/MODELS", "/v1/modelsx",
    "/v1/models;x", "/v1/models;/../../sleep", "/openai", "/openai/", "/openai/deployments", "/openai/deployments/x",
    "/openai/deployments/x/", "/openai/deployments//chat/completions", "/openai/models_admin", "/openai/modelsleep",
    "/other/v1/models", "v1/models", "models", "*", "http://inside/v1/models",
]  # fmt: skip
CLIMBING = [
    "/v1/../sleep", "/v1/models/../../sleep", "/v1/models/..", "/v1/./models", "/v1/models/.", "/v1/models/./x",
    "/openai/../sleep", "/openai/deployments/../../sleep", "/openai/deployments/x/chat/../../../../sleep",
    "/openai/deployments/../chat/completions", "/v1/models/..;/..;/sleep", "/v1/models/..;x=1/sleep",
    "/v1/models/.;/x", "/v1/models//x", "/openai/deployments/x/chat//completions",
]  # fmt: skip
ESCAPED = [
    "/v1/models%2f..%2f..%2fsleep", "/v1/models/..%2f..%2fsleep", "/v1/models/%2e%2e/%2e%2e/sleep", "/v1/%2E%2E/sleep",
    "/v1/models/%2e./sleep", "/v1/models/a%5c..%5csleep", "/v1/files/a%00b", "/v1/models/%252e%252e/sleep",
    "/v1/models/%252fsleep", "/v1/%6dodels", "/openai/deployments/x%2fy/chat/completions",
]  # fmt: skip
NOT_PLAIN = [
    "/v1/models\\..\\sleep", "/v1/models/a b", "/v1/models/a\r\nb", "/v1/models/\x00", "/v1/models/é", "/v1/models#x",
    "/v1/models?x", "/v1/models/<x>", '/v1/models/"x"',
]  # fmt: skip


@pytest.mark.parametrize(("path", "target"), OPEN.items())
def test_a_path_on_the_list_goes_below_the_upstreams_base(path, target):
    assert PATHS.target(path.encode(), b"") == target


@pytest.mark.parametrize("path", AZURE)
def test_an_azure_path_stays_whole(path):
    assert PATHS.target(path.encode(), b"api-version=2024-10-21") == f"{path}?api-version=2024-10-21"


@pytest.mark.parametrize("name", sorted(ALLOWED))
def test_everything_on_the_list_can_be_reached(name):
    assert PATHS.target(f"/v1/{name}".encode(), b"") == f"/{name}"


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("name", ADMINISTRATION)
def test_administration_cannot_be_reached(prefix, name):
    with pytest.raises(NotFound):
        PATHS.target(f"{prefix}{name}".encode(), b"")


@pytest.mark.parametrize("path", [*ODD, *CLIMBING, *ESCAPED, *NOT_PLAIN])
def test_what_is_not_plainly_on_the_list_is_refused(path):
    with pytest.raises(NotFound) as refused:
        PATHS.target(path.encode("latin-1"), b"")
    assert (refused.value.status, refused.value.reason) == (404, "unknown_path")
    assert refused.value.message.isprintable()
    assert "server.allow_paths" in refused.value.message


def test_a_refusal_does_not_repeat_a_path_without_end():
    with pytest.raises(NotFound) as refused:
        PATHS.target(b"/v1/" + b"x" * 100_000, b"")
    assert len(refused.value.message) < 500


def test_an_operator_can_open_further_paths():
    paths = Paths(["tokenize"])
    assert paths.target(b"/v1/tokenize", b"") == "/tokenize"
    assert paths.target(b"/v1/models", b"") == "/models"
    with pytest.raises(NotFound):
        paths.target(b"/v1/detokenize", b"")


@pytest.mark.parametrize("name", sorted(CLOSED))
def test_what_administers_a_server_is_opened_by_no_setting(name):
    paths = Paths([name, "tokenize"], often=[b"/v1/tokenize"])
    for path in (f"/v1/{name}", f"/v1/{name}/x", f"/openai/{name}", f"/openai/deployments/x/{name}"):
        with pytest.raises(NotFound):
            paths.target(path.encode(), b"")
    assert paths.target(b"/v1/tokenize", b"") == "/tokenize"


def test_what_administers_a_server_is_open_to_nobody_from_the_start():
    assert not CLOSED & ALLOWED
    assert {name for name in ADMINISTRATION if name != "version"} <= CLOSED


def test_a_query_is_kept_as_it_was_written():
    assert PATHS.target(b"/v1/files", b"purpose=x%2Fy&after=%C3%A9&after=2&../..") == (
        "/files?purpose=x%2Fy&after=%C3%A9&after=2&../.."
    )


def test_a_query_in_other_bytes_than_ascii_cannot_break_out():
    target = PATHS.target(b"/v1/files", "q=é".encode())
    assert target.isascii()
    assert target.startswith("/files?q=")


SEGMENTS = st.one_of(
    st.sampled_from(["chat", "models", "sleep", "v1", "..", ".", "", "..;", "%2e%2e", "%2F", "%25", "a%20b"]),
    st.text(st.sampled_from("ab./%2eEfF;\\:@ \0é"), max_size=6),
)
PREFIX = st.sampled_from(["", "/v1", "/openai", "/openai/v1", "/openai/deployments/x"])
PATH = st.builds("{}/{}".format, PREFIX, st.lists(SEGMENTS, max_size=5).map("/".join))
AZURE_PREFIX = re.compile(r"/openai(/v1|/deployments/[^/]+)?(?=/)")


@given(PATH)
@example("/v1/models/..")
@example("/v1/models/%252e%252e/x")
@example("/openai/deployments/../chat/x")
def test_no_target_climbs_or_leaves_what_is_on_the_list(path):
    try:
        target = PATHS.target(path.encode("latin-1"), b"")
    except NotFound:
        return
    assert path in (target, f"/v1{target}")
    segments = target.split("/")
    assert not {"..", "."} & {segment.partition(";")[0] for segment in segments}
    assert "" not in segments[1:-1]
    assert not re.search(r"\\|%2e|%2f|%5c|%00|%25", target, re.IGNORECASE)
    operation = AZURE_PREFIX.sub("", target, count=1) if path == target else target
    assert operation.split("/")[1] in ALLOWED


@given(st.binary(max_size=30), st.binary(max_size=10))
def test_whatever_bytes_come_a_path_is_a_target_or_refused(path, query):
    for prefix in (b"", b"/v1/", b"/v1/models/", b"/openai/"):
        try:
            assert PATHS.target(prefix + path, query).isascii()
        except NotFound:
            continue
