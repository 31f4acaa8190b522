"""Who may use the operator's side: the bearer of the token; where none is set, this machine and nobody else."""

from __future__ import annotations

import hmac
import re
from ipaddress import IPv6Address, ip_address

from fastapi import Request

from proxy.errors import Forbidden, Unauthenticated

BY_PROXY = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")
"""A reverse proxy on this machine makes the whole world look like loopback."""

_LOCAL_NAME = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]+)?", re.IGNORECASE)


class Access:
    """A FastAPI dependency. Raises `errors.Unauthenticated` or `errors.Forbidden`."""

    def __init__(self, token: str | None) -> None:
        self._token = token

    def __call__(self, request: Request) -> None:
        if self._token is not None:
            self._check_token(request.headers.get("authorization", ""))
        else:
            self._check_local(request)

    def _check_token(self, header: str) -> None:
        kind, _, given = header.partition(" ")
        # compare_digest takes the same time wherever the difference is.
        # Starlette reads fields as Latin-1, which gives back the bytes that came.
        right = hmac.compare_digest(given.strip().encode("latin-1"), (self._token or "").encode())
        if kind.lower() != "bearer" or not right:
            raise Unauthenticated("send the operator's token: Authorization: Bearer $ASKONCE_ADMIN_TOKEN")

    def _check_local(self, request: Request) -> None:
        host = request.client.host if request.client else ""
        local = _is_loopback(host) and not any(name in request.headers for name in BY_PROXY)
        # A page open in a browser on this machine comes from loopback too: it has an Origin, or another's Host.
        named = _LOCAL_NAME.fullmatch(request.headers.get("host", "")) is not None
        if not local or not named or "origin" in request.headers:
            raise Forbidden(
                "without a token the operator's side answers only to this machine; set ASKONCE_ADMIN_TOKEN to use it "
                "from elsewhere",
                code="admin_is_local",
            )


def _is_loopback(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return False
    # A socket that listens on both families gives IPv4 callers in this form.
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback
