"""The installation's secret: what keys the names of questions, scopes and integrity tags.

Configured, or made once and kept in the data directory. Without either the process makes one for itself: it works, and
finds nothing that an earlier process stored.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
from pathlib import Path

from proxy.errors import SettingsError

logger = logging.getLogger("askonce")

SIZE = 32
"""Bytes of a secret that we make."""

FILE = "secret"


def installation_secret(configured: str | None, data_dir: Path | None) -> bytes:
    """`data_dir` None: nothing is kept, so the secret need not be. Raises `errors.SettingsError` for a damaged file."""
    if configured is not None:
        return configured.encode()
    if data_dir is None:
        return secrets.token_bytes(SIZE)
    path = data_dir / FILE
    try:
        return _read(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        logger.warning("the secret cannot be read, so nothing stored before will be found: %s", error)
        return secrets.token_bytes(SIZE)
    return _make(path)


def _read(path: Path) -> bytes:
    secret = path.read_bytes()
    if len(secret) != SIZE:
        raise SettingsError(
            f"{path} has {len(secret)} bytes instead of {SIZE}: restore it, or remove it and lose what is stored"
        )
    return secret


def _make(path: Path) -> bytes:
    """Two processes may start at once: both write a file of their own, one link wins, both read the winner's."""
    draft = path.with_name(f"{FILE}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(draft)
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        return _read(path)
    except OSError as error:
        logger.warning("no secret can be kept, so a restart will find nothing that is stored now: %s", error)
        return secrets.token_bytes(SIZE)
    finally:
        with contextlib.suppress(OSError):  # it was never made, or cannot be removed: harmless either way
            draft.unlink()


def _write(draft: Path) -> None:
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(secrets.token_bytes(SIZE))
        file.flush()
        os.fsync(file.fileno())
