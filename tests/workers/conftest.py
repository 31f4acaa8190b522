"""A directory whose path is short enough for a socket."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def directory() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="askonce-test-", dir="/tmp"))
    yield made
    shutil.rmtree(made)
