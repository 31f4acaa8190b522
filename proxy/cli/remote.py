"""Ask a running proxy's operator side, for the commands that need one."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proxy.cli.options import fail

if TYPE_CHECKING:
    import httpx

Url = Annotated[str, typer.Option("--url", metavar="URL", help="The running proxy.")]
TokenFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="File with the admin token. Also ASKONCE_ADMIN_TOKEN.")
]
TIMEOUT_S = 30.0


def ask(url: str, token_file: Path | None, method: str, path: str, body: Mapping[str, object] | None = None) -> Any:
    """The JSON object a running proxy answers; or say why there is none, and exit with code 1."""
    import httpx

    token = _token(token_file)
    headers = {"authorization": f"Bearer {token}"} if token else {}
    try:
        with httpx.Client(timeout=TIMEOUT_S, trust_env=not _is_loopback(httpx.URL(url).host)) as client:
            return _read(client.request(method, url.rstrip("/") + path, headers=headers, json=body), url)
    except httpx.ConnectError as error:
        fail(f"no proxy answers at {url} ({error}): start one with `askonce serve`, or name another with --url")
    except (httpx.InvalidURL, httpx.UnsupportedProtocol):
        fail(f"{url} is not an address such as http://127.0.0.1:8080")
    except httpx.HTTPError as error:
        fail(f"asking {url} failed: {str(error) or type(error).__name__}")


def _token(token_file: Path | None) -> str:
    import os

    if token_file is None:
        return os.environ.get("ASKONCE_ADMIN_TOKEN", "")
    try:
        return token_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        fail(f"cannot read {token_file}: {error}")


def _is_loopback(host: str) -> bool:
    # A proxy for the way out, set in the environment, cannot reach this machine's own address.
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _read(response: httpx.Response, url: str) -> Any:
    if response.status_code in (401, 403):
        fail(f"{url} wants its admin token: set ASKONCE_ADMIN_TOKEN or --token-file")
    try:
        answer = response.json()
    except ValueError:
        fail(f"what answers at {url} is not AskOnce (status {response.status_code}, no JSON)")
    if not isinstance(answer, dict) or not response.is_success:
        fail(f"{url} answered {response.status_code}: {_reason(answer)}")
    return answer


def _reason(answer: object) -> str:
    """What a problem (RFC 9457) or an error object in OpenAI's shape says."""
    match answer:
        case {"detail": str(detail)}:
            return detail
        case {"error": {"message": str(message)}}:
            return message
        case _:
            return "no reason given"
