"""What went wrong on the way to an upstream, in our words: aiohttp's exceptions translated, once."""

from __future__ import annotations

import logging
import os
import ssl
from dataclasses import dataclass

import aiohttp

from proxy.errors import (
    AskOnceError,
    UpstreamError,
    UpstreamInterrupted,
    UpstreamProtocolError,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from proxy.upstream.transport import TimeLimits

logger = logging.getLogger("askonce.upstream")

FAILURES = (aiohttp.ClientError, OSError)
"""All that aiohttp raises for what happens on the wire; a time-out is an OSError."""


class NoConnection(UpstreamTimeout):
    """Connecting took too long, waiting for a free connection included: the call never left."""


class NoFreeConnection(NoConnection):
    """All connections that may be open at once are in use: says nothing of the endpoint."""


def cannot_be_reached(error: UpstreamError) -> bool:
    """It was tried to connect, in vain."""
    return never_left(error) and not isinstance(error, NoFreeConnection)


def never_left(error: UpstreamError) -> bool:
    """No connection was made for it, so nobody has seen the call and it may be sent anywhere else."""
    return isinstance(error, UpstreamUnreachable | NoConnection)


@dataclass(frozen=True, slots=True)
class Faults:
    """Sentences about one endpoint of an upstream. Callers read them: they name the upstream as it is configured, never
    its host, a path, a query or a credential. The log has host and port."""

    upstream: str
    origin: str
    """`host:port`."""
    limits: TimeLimits
    total_setting: str = "total_timeout"
    """Which setting `limits.total_s` is."""

    def translate(self, error: BaseException, *, body_begun: bool = False, connected: bool = True) -> AskOnceError:
        """Ours for theirs. A failure of the client's own body, which we were sending on, comes back as it was.
        `connected`: a connection was at least begun."""
        cause = error.__cause__
        if isinstance(cause, AskOnceError):
            return cause
        ours = self._timeout(error, body_begun, connected) or self._connecting(error) or self._talking(error)
        logger.debug("%s: %s", self.origin, ours)
        return ours

    def why(self, error: UpstreamError) -> str:
        """Its sentence without the upstream's name before it, for where that is said already."""
        return error.message.removeprefix(f"upstream {self.upstream}: ")

    def _timeout(self, error: BaseException, body_begun: bool, connected: bool) -> UpstreamError | None:
        if not isinstance(error, TimeoutError) or isinstance(error, aiohttp.ClientConnectorError):
            return None
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            if not connected:
                what = "no connection became free (upstreams.max_connections), or its name was not found,"
                return self._too_slow(what, "connect_timeout", self.limits.connect_s, NoFreeConnection)
            return self._too_slow("no connection was made", "connect_timeout", self.limits.connect_s, NoConnection)
        if not isinstance(error, aiohttp.SocketTimeoutError):
            return self._too_slow("the answer was not complete", self.total_setting, self.limits.total_s)
        if body_begun:
            return self._too_slow("nothing more of the answer came", "idle_timeout", self.limits.idle_s)
        return self._too_slow("no answer began", "first_byte_timeout", self.limits.first_byte_s)

    def _too_slow(
        self, what: str, setting: str, seconds: float, kind: type[UpstreamTimeout] = UpstreamTimeout
    ) -> UpstreamTimeout:
        return kind(f"upstream {self.upstream}: {what} within {seconds:g} s (upstreams.{setting})")

    def _connecting(self, error: BaseException) -> UpstreamError | None:
        match error:
            case aiohttp.ClientConnectorCertificateError():
                return self._unreachable(
                    f"its certificate does not verify ({_reason(error.certificate_error)}). If a private authority "
                    "signed it, name the authority's file in upstreams.ca_file"
                )
            case aiohttp.ClientConnectorSSLError():
                return self._unreachable(
                    f"TLS failed ({_reason(error.os_error)}). Should upstreams.base_url begin with http:// instead?"
                )
            case aiohttp.ClientConnectorDNSError():
                return self._unreachable("the host name does not resolve. Check upstreams.base_url and the DNS")
            case aiohttp.ClientConnectorError(os_error=ConnectionRefusedError()):
                return self._unreachable("the connection was refused. Is it running? Check upstreams.base_url")
            case aiohttp.ClientConnectorError():
                return self._unreachable(
                    f"no connection ({_system_says(error.os_error)}). Check upstreams.base_url and the network"
                )
        return None

    def _unreachable(self, why: str) -> UpstreamUnreachable:
        return UpstreamUnreachable(f"upstream {self.upstream}: {why}")

    def _talking(self, error: BaseException) -> UpstreamError:
        who = f"upstream {self.upstream}"
        if isinstance(error, aiohttp.ClientResponseError) or _garbled(error):
            return UpstreamProtocolError(f"{who}: what it sent is not HTTP/1.1. Check upstreams.base_url")
        return UpstreamInterrupted(f"{who}: the connection was closed before the answer was complete")


def _garbled(error: BaseException) -> bool:
    """A body that breaks its framing, as against one that ends too early."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, aiohttp.http_exceptions.ContentLengthError):
            return False
        if isinstance(cause, aiohttp.http_exceptions.TransferEncodingError):
            return "Not enough data" not in str(cause)
        if isinstance(cause, aiohttp.http_exceptions.HttpProcessingError):
            return True
        cause = cause.__cause__
    return False


def _reason(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        # OpenSSL's own text of these names the host.
        return "it is for another host" if error.verify_code in _FOR_ANOTHER_HOST else error.verify_message
    if isinstance(error, ssl.SSLError):
        return error.reason or "handshake failure"
    return type(error).__name__


_FOR_ANOTHER_HOST = (62, 64)
"""OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH."""


def _system_says(error: OSError) -> str:
    """By its number: asyncio writes addresses into the text."""
    return os.strerror(error.errno) if error.errno is not None and error.errno > 0 else type(error).__name__
