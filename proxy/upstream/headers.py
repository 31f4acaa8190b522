"""Which header fields pass, in each direction. Pure functions on pairs; the tables say why.

What is not named passes: an endpoint or an SDK we have never heard of keeps working. What may be *stored* is another
matter, decided by an allow-list elsewhere.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from proxy.errors import BadRequest
from proxy.types import Pairs

HOP_BY_HOP = frozenset(
    {
        # RFC 9110 section 7.6.1: about this connection, not about the message.
        b"connection",
        b"proxy-connection",
        b"keep-alive",
        b"te",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
        # RFC 9110 sections 6.6.2 and 11.7: trailers are not kept; proxy authentication is between neighbours.
        b"trailer",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-authentication-info",
        # Computed anew by whoever sends: the body may have been decoded or rewritten.
        b"content-length",
    }
)

CREDENTIALS = frozenset({b"authorization", b"api-key", b"x-api-key"})

ACCOUNT = frozenset({b"openai-organization", b"openai-project"})
"""Whose account it is: means something only together with the credential it came with."""

_SECRET = re.compile(
    r"auth|token|secret|credential|passw|signature|jwt|cookie|apikey|(?:^|[-_])(?:keys?|vk|sig)(?:$|[-_])"
)
"""Words in a name that make what it holds a credential, of whichever gateway or provider. A field too many that does
not go to a host it was not meant for costs little."""

_GATEWAYS = re.compile(r"(?:x-portkey|x-bf|helicone|x-litellm|cf-aig|x-openrouter|x-goog|x-amz|ocp-apim)-")
"""Fields of other gateways and clouds: settings for a host that is not asked, keys among them."""

_NO_SECRET = frozenset({"idempotency-key"})

NOT_UPSTREAM = HOP_BY_HOP | {
    b"host",  # the upstream's own
    b"expect",  # answered by our server; the body is sent without asking
    # About the client's side: the upstream has no use for it, and trusting it would be a mistake.
    b"cookie",
    b"forwarded",
    b"x-real-ip",
    b"baggage",  # W3C Baggage section 4: may carry what must not leave the organisation
    # Would reach another path or method than the one that was allowed.
    b"x-http-method",
    b"x-http-method-override",
    b"x-method-override",
    b"x-original-url",
    b"x-rewrite-url",
    b"x-data-parallel-rank",  # vLLM: lets a client pin itself to one engine
    # Said to this cache, in its own words or in another gateway's.
    b"cache-control",
    b"pragma",
    b"x-cache",
    b"x-vsr-cache-control",
    b"x-higress-skip-ai-cache",
    b"x-omniroute-no-cache",
    b"x-no-cache",
    b"x-freellm-cache",
    b"x-lunargate-no-cache",
    b"op-cache",
    b"x-openrouter-cache",
    b"cf-aig-skip-cache",
}

NOT_UPSTREAM_PREFIXES = (
    b"x-forwarded-",
    b"x-cache-",
    b"x-portkey-cache-",
    b"cf-aig-cache-",
    b"helicone-cache-",
    b"x-openrouter-cache-",
    b"x-bf-cache-",
)

NOT_TO_CLIENT = HOP_BY_HOP | {
    # The server that answers the client sets these itself.
    b"date",
    b"server",
    # Would be believed of our origin.
    b"set-cookie",
    b"alt-svc",
    b"strict-transport-security",
    b"endpoint-load-metrics",  # ORCA: for load balancers, tells of the machine's inside
    # Ours to say: another cache's words about itself would be read as ours.
    b"age",
    b"cache-status",
    b"x-cache",
    b"x-upstream",
}

NOT_TO_CLIENT_PREFIXES = (b"x-cache-",)

CALLERS_OWN_PREFIXES = (b"x-ratelimit-",)
"""True of the credential that asked upstream; a caller who shares it would throttle on someone else's account."""

DEPENDED_ON = CREDENTIALS | {b"content-type", b"content-length", b"content-encoding", b"host", b"cache-control"}
DEPENDED_ON_PREFIXES = (b"x-cache-", b"openai-")

VIA = (b"via", b"1.1 askonce")
"""RFC 9110 section 7.6.3: a gateway must add itself to each request it sends on."""

_REQUEST_ID = re.compile(rb"[A-Za-z0-9_-]{1,128}")


def to_upstream(headers: Pairs) -> Pairs:
    """A client's fields as an upstream may see them, its credential among them: whether that goes on is for the
    endpoint to say (`without_credential`)."""
    dropped = NOT_UPSTREAM | connection_names(headers)
    kept = (
        pair
        for pair in headers
        if pair[0] not in dropped
        and not pair[0].startswith(NOT_UPSTREAM_PREFIXES)
        and (pair[0] != b"x-request-id" or _REQUEST_ID.fullmatch(pair[1]))
    )
    return (*kept, VIA)


def without_credential(headers: Pairs) -> Pairs:
    """The same without the caller's credential, in whichever field it stands, and without the account that it would be
    for: for a host that it is not meant for."""
    return tuple(pair for pair in headers if pair[0] not in ACCOUNT and not _names_secret(pair[0].decode("latin-1")))


def target_without_credential(target: str) -> str:
    """The same for members of a query (`api-key`, `subscription-key`, `key`). What is left stays as it was written."""
    path, mark, query = target.partition("?")
    members = query.split("&")
    kept = [member for member in members if not _names_secret(unquote(member.partition("=")[0]))]
    return target if len(kept) == len(members) else path + (mark + "&".join(kept) if kept else "")


def _names_secret(name: str) -> bool:
    name = name.lower()
    return (_SECRET.search(name) is not None and name not in _NO_SECRET) or _GATEWAYS.match(name) is not None


def to_client(headers: Pairs, *, passthrough_credential: bool) -> Pairs:
    """An upstream's fields as the client may see them. `x-request-id` is ours to set: the upstream's is renamed.

    `passthrough_credential`: the client's own credential was used, so what is said of the account is about the client.
    """
    dropped = NOT_TO_CLIENT | connection_names(headers)
    prefixes: tuple[bytes, ...] = NOT_TO_CLIENT_PREFIXES
    if not passthrough_credential:
        dropped |= ACCOUNT
        prefixes += CALLERS_OWN_PREFIXES
    return tuple(
        (b"x-upstream-request-id", value) if name == b"x-request-id" else (name, value)
        for name, value in headers
        if name not in dropped and not name.startswith(prefixes)
    )


def connection_names(headers: Pairs) -> frozenset[bytes]:
    """Fields that `Connection` declares to be hop-by-hop, in lower case."""
    values = [value for name, value in headers if name == b"connection"]
    if not values:
        return frozenset()
    return frozenset(token.strip().lower() for value in values for token in value.split(b","))


def refuse_connection_tricks(headers: Pairs) -> None:
    """A field we decide by must not be made to vanish on the way. Raises `errors.BadRequest`."""
    for name in connection_names(headers):
        if name in DEPENDED_ON or name.startswith(DEPENDED_ON_PREFIXES):
            raise BadRequest(
                "Connection names an end-to-end field that this proxy depends on; send it without",
                code="invalid_header",
            )
