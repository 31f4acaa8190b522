"""The branch of the settings that says where questions go, and what must hold between several upstreams."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field

from proxy.settings.part import Addresses, Part, Secret
from proxy.settings.units import HOUR, MINUTE, SECOND, Duration, KiB, Size

Credential = Literal["own", "caller", "none"]


def _label(value: object) -> object:
    # YAML reads 2 as a number and 2026-11-21 as a date.
    return str(value) if isinstance(value, int | float | date) and not isinstance(value, bool) else value


Label = Annotated[str, Field(max_length=64)] | int | float
"""What a file may hold where a text of its owner's making is wanted: for the schema."""


class Upstream(Part):
    """Somewhere that answers OpenAI-compatible calls. The first whose `models` match a request's model serves it."""

    name: str = Field(default="openai", pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")
    """Its name in answers' keys, metrics, logs and `X-Upstream`: lower-case letters, digits and hyphens."""
    kind: Literal["openai", "vllm"] = "openai"
    """What answers there. openai fits every OpenAI-compatible API, Azure's too. vllm: a vLLM of your own, whose load,
    health, version and models are watched and whose prefix cache is kept warm."""
    base_url: Addresses = Field(default=("https://api.openai.com/v1",), min_length=1, max_length=64)
    """Its address up to and with /v1, or several, in brackets, of endpoints that answer alike. Answers belong to the
    first: put new ones behind it and what is stored stays good."""
    api_key: Secret = Field(default=None, min_length=1)
    """Credential sent in place of the caller's. Unset: the caller's own is passed on, which is the safer start."""
    api_key_file: Path | None = None
    """File that holds `api_key`."""
    credential: Literal["own", "caller", "none"] | None = None
    """Whose credential goes there: own (`api_key`), the caller's, or none. Unset: own where there is one, else the
    caller's; but none to a vllm beside other upstreams, for a caller's key is meant for one host only."""
    models: tuple[str, ...] = Field(default=("*",), min_length=1)
    """Names of models it serves, as globs; for Azure's paths the deployment is the model."""
    model_map: dict[str, str] = Field(default_factory=dict)
    """What a model that callers name is called there, by glob: {"gpt-4o*": llama-3.3-70b} moves their traffic. The
    answer names the model that answered."""
    fallback: str | None = None
    """Name of another upstream to ask where this one cannot serve. Its answers are kept as its own. It needs an
    `api_key`, or `credential: none`: a caller's key goes to no second host."""
    fallback_for: Literal["anyone", "known"] = "anyone"
    """Who may be answered by the fallback. A fallback's own key is spent for callers whom this upstream, being down,
    cannot check. known: only for those whom it has answered within a day, if their credentials go to it; after a
    restart that is nobody. Take it where strangers can reach the port."""
    balance: Literal["prefix", "least_loaded", "round_robin"] | None = None
    """Which of several endpoints is asked. prefix: prompts that begin alike go to the same one, as long as it has room.
    Unset: prefix for vllm, else least_loaded."""
    balance_bound: float = Field(default=1.25, gt=1)
    """prefix: how many times the mean load an endpoint may have before calls go on to the next. 1.25 as in the paper
    on consistent hashing with bounded loads: closer to 1 balances better and scatters prefixes."""
    balance_slack: int = Field(default=4, ge=1)
    """prefix: calls an endpoint may have whatever the mean is. With one or two calls in the air the bound would scatter
    what one vLLM answers together at no cost; 4 is far below what fills a batch."""
    prefix_bytes: Size = Field(default=4 * KiB, ge=64)
    """prefix: how much of a prompt's beginning (tools, then messages up to the first of the user's) makes its home.
    4KiB is some thousand tokens: longer beginnings that differ later go to one endpoint and share what is equal."""
    conversations: int = Field(default=65_536, ge=0)
    """prefix: conversations whose endpoint is remembered, so that the next turn goes where the last one was, also when
    that was not its home. 65536 take about 12MiB."""
    retry_after: Duration = Field(default=2 * SECOND, ge=0)
    """A 429 that asks for a pause up to this long is tried elsewhere at once; one that asks for more, or does not say,
    is the caller's to know. 2s is a passing peak; a longer one is a quota that is used up."""
    breaker_failures: int = Field(default=3, ge=1)
    """Failures in a row (no connection, or a look that goes wrong) after which an endpoint is left alone until a look
    finds it well. 3 forgives a hiccup."""
    health_interval: Duration = Field(default=2 * SECOND, gt=0)
    """How often an endpoint is looked at: a vllm always, others where there is a choice between endpoints or a
    fallback. 2s: a dead one is found before many have met it."""
    health_timeout: Duration = Field(default=1 * SECOND, gt=0)
    """How long a look may take; calls that wait for an endpoint's first byte go elsewhere when `breaker_failures` looks
    in a row fail. 1s is a hundred times what /health takes on a busy machine."""
    follow_model: bool = True
    """vllm: stop serving old answers when the version, a model's or adapter's weights or the `system_fingerprint`
    change, or the weights were put away (sleep of level 2). false where replicas differ on purpose."""
    share_prefix_cache: bool = False
    """vllm: true lets callers of different scopes share KV blocks. false sends a `cache_salt` for each: otherwise one
    can find out by the time it takes whether another asked something that begins alike."""
    prompt_cache_key: bool = False
    """openai: fill in `prompt_cache_key` from the prompt's beginning where the caller sent none, so that prompts that
    begin alike meet in the provider's cache. It changes the request, so it is off until asked for."""
    connect_timeout: Duration = Field(default=5 * SECOND, gt=0)
    """How long connecting may take, TLS included. 5s: a host that is up answers in well under one."""
    first_byte_timeout: Duration = Field(default=10 * MINUTE, gt=0)
    """How long the response's header section may take. 10m as in OpenAI's SDKs: reasoning models think for minutes."""
    idle_timeout: Duration = Field(default=2 * MINUTE, gt=0)
    """Longest silence inside a response."""
    total_timeout: Duration = Field(default=HOUR, gt=0)
    """Longest response from first to last byte; ends a stream that never does."""
    max_connections: int = Field(default=1000, ge=1)
    """Connections open at once to each endpoint; further calls wait for one."""
    keepalive_expiry: Duration = Field(default=MINUTE, ge=0)
    """How long an idle connection is kept for reuse. Keep it below the upstream's own limit."""
    stream_usage: bool = True
    """Ask for token usage on streams when the caller did not, and leave it out of what the caller gets. Without it
    a stored stream cannot tell a later caller its usage."""
    epoch: Annotated[str, BeforeValidator(_label, json_schema_input_type=Label)] = Field(default="", max_length=64)
    """Part of every answer's name: change it when the model behind the address changes, and nothing old is served."""
    ca_file: Path | None = None
    """Certificates (PEM) to trust for these addresses. Unset: those the system trusts."""

    def sends(self, *, alone: bool) -> Credential:
        """Whose credential goes there. `alone`: no other upstream is configured."""
        if self.credential is not None:
            return self.credential
        if self.api_key is not None:
            return "own"
        return "caller" if self.kind == "openai" or alone else "none"


def check_together(upstreams: Sequence[Upstream]) -> None:
    """Raises ValueError where they contradict each other."""
    names = [upstream.name for upstream in upstreams]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"upstreams: two are called {twice}: give each a name of its own")
    for upstream in upstreams:
        _check_credential(upstream)
        _check_fallback(upstream, upstreams)
    _check_one_host_for_callers(upstreams)


def _check_credential(upstream: Upstream) -> None:
    if upstream.credential == "own" and upstream.api_key is None:
        raise ValueError(f"upstreams: {upstream.name} has credential: own and no api_key: set one, or api_key_file")
    if upstream.credential in ("caller", "none") and upstream.api_key is not None:
        raise ValueError(
            f"upstreams: {upstream.name} has an api_key and credential: {upstream.credential}: two credentials never "
            "go out together, so take one of them out"
        )


def _check_fallback(upstream: Upstream, upstreams: Sequence[Upstream]) -> None:
    named = {each.name: each for each in upstreams}
    passed, each = [upstream.name], upstream
    while each.fallback is not None:
        following = named.get(each.fallback)
        if following is None:
            raise ValueError(f"upstreams: {each.name} falls back on {each.fallback}, and none is called that")
        if following.name in passed:
            raise ValueError(f"upstreams: falling back from {each.name} on {following.name} leads round in a circle")
        if following.sends(alone=False) == "caller":
            raise ValueError(
                f"upstreams: {each.name} falls back on {following.name}, which would get the caller's credential for "
                f"{each.name}: set api_key or api_key_file for {following.name}, or credential: none"
            )
        passed.append(following.name)
        each = following


def _check_one_host_for_callers(upstreams: Sequence[Upstream]) -> None:
    alone = len(upstreams) == 1
    callers = [each for each in upstreams if each.sends(alone=alone) == "caller"]
    first = next(iter(callers), None)
    for each in callers[1:]:
        assumed = each.credential is None or first is None or first.credential is None
        if first is not None and assumed and _host(first) != _host(each):
            raise ValueError(
                f"upstreams: {first.name} and {each.name} would both be sent the callers' credentials, and a caller's "
                "key is meant for one host: set api_key or credential: none for one of them, or credential: caller "
                "for both if their callers' keys are good for both"
            )


def _host(upstream: Upstream) -> str:
    return urlsplit(upstream.base_url[0]).netloc
