"""Every way AskOnce itself says no.

    AskOnceError
    +-- RequestError               the caller must change something
    |   +-- BadRequest             400  the body or a header cannot be used
    |   +-- Unauthenticated        401  no usable credential
    |   +-- Forbidden              403  the caller may not do this
    |   +-- NotFound               404  no such path, or not one that may be reached
    |   +-- RequestTimeout         408  the request did not arrive in time
    |   +-- BodyTooLarge           413  over `server.max_body`
    |   +-- HeadersTooLarge        431  over `server.max_header_bytes`, or too many fields
    |   +-- UnsupportedEncoding    415  a content coding we cannot undo
    |   +-- NotImplementedHere     501  WebSocket paths
    |   +-- NotCached              504  `only-if-cached`, and it is not
    +-- UpstreamError              the model's side failed before or while answering
    |   +-- UpstreamUnreachable    502  refused, no such host, TLS failed
    |   +-- UpstreamInterrupted    502  the connection broke while answering
    |   +-- UpstreamProtocolError  502  what came is not HTTP, or not decodable
    |   +-- UpstreamTimeout        504  connect, first byte, idle or total time-out
    +-- Overloaded                 503  a bound of ours is reached, or shutting down
    +-- CacheFailure               never shown to a caller: a store failed, which is a miss
    |   +-- Unreadable             an entry of another version, or with a bad tag
    +-- Unstorable                 never shown to a caller: this answer may be served but not kept
    +-- SettingsError              the configuration cannot be used; said before serving

Each class knows its HTTP status, OpenAI's `type` and `code`, and the label it is counted under. Messages say what was
wrong, with the value, and what to do; they never repeat a user's words or a credential.
"""

from __future__ import annotations

from typing import ClassVar


class AskOnceError(Exception):
    """Root of the tree. Raised only as one of its kinds."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.reason = code or self.code
        """The `code` of OpenAI's error object and the metric label."""
        self.param = param

    headers: ClassVar[tuple[tuple[bytes, bytes], ...]] = ()
    """Fields that belong to this kind, e.g. `retry-after`."""


class RequestError(AskOnceError):
    """The caller must change something before trying again."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_request"


class BadRequest(RequestError):
    """The body or a header cannot be used: not JSON, ambiguous, of the wrong type."""


class Unauthenticated(RequestError):
    """No credential, or one we do not know."""

    status = 401
    type = "authentication_error"
    code = "invalid_api_key"


class Forbidden(RequestError):
    """The caller is known and may not do this."""

    status = 403
    type = "permission_error"
    code = "forbidden"


class NotFound(RequestError):
    """No such path, or one that may not be reached through the proxy."""

    status = 404
    type = "not_found_error"
    code = "unknown_path"


class RequestTimeout(RequestError):
    """The request's body did not arrive within `server.body_timeout`."""

    status = 408
    code = "request_timeout"
    headers = ((b"connection", b"close"),)


class BodyTooLarge(RequestError):
    """The body is over `server.max_body`, as sent or after decoding."""

    status = 413
    code = "body_too_large"
    # What is left of the body is not read, so the connection cannot be used again.
    headers = ((b"connection", b"close"),)


class HeadersTooLarge(RequestError):
    """The header section is over `server.max_header_bytes`, or has too many fields."""

    status = 431
    code = "headers_too_large"


class UnsupportedEncoding(RequestError):
    """A `Content-Encoding` that we cannot undo."""

    status = 415
    code = "unsupported_content_encoding"


class NotImplementedHere(RequestError):
    """A WebSocket path: AskOnce speaks plain HTTP only."""

    status = 501
    code = "websocket_not_supported"
    headers = ((b"x-should-retry", b"false"),)


class NotCached(RequestError):
    """`Cache-Control: only-if-cached` and nothing stored may answer (RFC 9111 section 5.2.1.7)."""

    status = 504
    type = "cache_error"
    code = "only_if_cached_miss"
    # OpenAI's SDKs retry every 5xx unless told not to.
    headers = ((b"x-should-retry", b"false"),)


class UpstreamError(AskOnceError):
    """The upstream failed before or while answering. `reason` is the `kind` of `askonce_upstream_errors_total`."""

    status = 502
    type = "upstream_error"
    code = "upstream_error"


class UpstreamUnreachable(UpstreamError):
    """No connection: refused, no such host, TLS failed."""

    code = "upstream_unreachable"


class UpstreamInterrupted(UpstreamError):
    """The connection broke while the answer was coming."""

    code = "upstream_interrupted"


class UpstreamProtocolError(UpstreamError):
    """What came is not HTTP, or in a content coding that does not decode."""

    code = "upstream_protocol_error"


class UpstreamTimeout(UpstreamError):
    """Connecting, the first byte, the next byte or the whole answer took too long."""

    status = 504
    code = "upstream_timeout"


class Overloaded(AskOnceError):
    """A bound of ours is reached, or the process is shutting down."""

    status = 503
    code = "overloaded"
    headers = ((b"retry-after", b"1"),)


class CacheFailure(AskOnceError):
    """A store failed or was too slow. The path treats it as a miss; it never reaches a caller."""

    code = "cache_failure"


class Unreadable(CacheFailure):
    """A stored frame of another version, torn, or with a bad tag: counted by `reason`, served as a miss."""

    code = "unreadable"


class Unstorable(AskOnceError):
    """The answer is served and not kept; `reason` is the label of `askonce_store_skipped_total`."""

    code = "unstorable"


class SettingsError(AskOnceError):
    """The configuration cannot be used. Raised before serving, never on the path."""

    code = "settings"
