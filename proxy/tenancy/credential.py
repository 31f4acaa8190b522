"""A caller is its credential: a hit never reaches someone whom the upstream would have refused."""

from __future__ import annotations

from operator import itemgetter

from proxy.fingerprint import Namer
from proxy.types import Pairs, Scope

CREDENTIALS = frozenset(
    {
        b"authorization",
        b"api-key",  # Azure OpenAI
        b"x-api-key",  # gateways, Anthropic's dialect
        b"x-goog-api-key",  # Gemini
        b"ocp-apim-subscription-key",  # Azure API Management
        # Gateways behind us that tell callers apart, or pick the provider, by a field of their own.
        b"cf-access-client-id",
        b"cf-access-client-secret",
        b"cf-access-token",
        b"cf-aig-authorization",
        b"helicone-auth",
        b"x-auth-token",
        b"x-litellm-api-key",
        b"x-portkey-api-key",
        b"x-portkey-config",
        b"x-portkey-provider",
        b"x-portkey-virtual-key",
        # One key may be used for several organisations and projects, which may differ in what they are allowed.
        b"openai-organization",
        b"openai-project",
    }
)


class CredentialTenancy:
    """The scope is a MAC of all credential fields. Callers without any share a scope: to the upstream they are one."""

    def __init__(self, namer: Namer) -> None:
        self._namer = namer

    @property
    def headers(self) -> frozenset[bytes]:
        return CREDENTIALS

    def identify(self, headers: Pairs) -> Scope:
        credentials = [pair for pair in headers if pair[0] in CREDENTIALS]
        # By name only: of two fields of one name an upstream takes the first or the last, so their order counts.
        credentials.sort(key=itemgetter(0))
        return self._namer.scope(b"credential", *(part for pair in credentials for part in pair))
