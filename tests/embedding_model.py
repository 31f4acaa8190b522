"""The default embedding model, built once for all tests, as each of their data directories has it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from proxy.embedders.onnx import OnnxEmbedder

KEPT = Path(__file__).parent.parent / ".cache" / "test-models"


async def _build() -> None:
    embedder = OnnxEmbedder(model="all-MiniLM-L6-v2", data_dir=KEPT)
    await embedder.open()
    try:
        await embedder.ready()
    finally:
        await embedder.close()


def lend(data_dir: Path) -> None:
    """Put the built model into a data directory. Several processes at once are harmless."""
    if not (KEPT / "models").is_dir():
        KEPT.mkdir(parents=True, exist_ok=True)
        asyncio.run(_build())
    data_dir.mkdir(parents=True, exist_ok=True)
    (data_dir / "models").symlink_to(KEPT / "models", target_is_directory=True)
