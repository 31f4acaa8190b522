"""The files of a model, ready to run: found, fetched if need be, built, checked. No heavy library is imported here.

    <data_dir>/models/<model>/files/              what was fetched, where nothing was found on this machine
    <data_dir>/models/<model>/onnx/int8/mean/     what was built of it: model.onnx, tokenizer.json, made_of.json

What is built is made in a folder of its own and renamed into place whole, so that two processes at once are harmless.
It is checked each time it is used: against the sums of its own bytes, and of the weights it was made of.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import platform
import shutil
import sys
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from proxy.embedders.model_fetch import DEFAULT_MODEL, DEFAULT_PACKAGE, fetch
from proxy.errors import CacheFailure

BUILD: Final = 1
"""Goes up when `bert_graph.py` makes something else of the same weights."""

_WINDOW: Final = 512
"""Word pieces a BERT reads where no file says less."""


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """What an engine needs."""

    graph: Path
    tokenizer: Path
    window: int
    """Word pieces the model reads, its own first and last included."""


@dataclass(frozen=True, slots=True)
class _MadeOf:
    """What a built graph was made of; `made_of.json` beside it. Sums are SHA-256."""

    build: int
    weights: str
    """Of config.json and model.safetensors."""
    graph: str
    tokenizer: str
    window: int
    weight_steps: int


async def prepare(model: str, directory: Path | None, data_dir: Path, identity: str, precision: str) -> ModelFiles:
    """Files for an engine. May take as long as a download. Raises CacheFailure, which says what to do."""
    if directory is None and short_name(model) == DEFAULT_MODEL:
        directory = shipped(precision)
    if directory is not None and (directory / "model.onnx").is_file():
        return await asyncio.to_thread(_as_it_is, directory)
    models = data_dir / "models"
    fetched = models / short_name(model) / "files"
    source = directory or await asyncio.to_thread(_nearby, model, fetched)
    weights = None if source is None else await asyncio.to_thread(_weights_sum, source)
    files = await asyncio.to_thread(_verified, models / identity, weights)
    if files is not None:
        return files
    if source is None:
        await fetch(model, fetched)
    return await _build(source or fetched, models / identity, precision)


def short_name(model: str) -> str:
    """`sentence-transformers/all-MiniLM-L6-v2` and `all-MiniLM-L6-v2` are one model."""
    return model.removeprefix("sentence-transformers/")


def dimensions_of(directory: Path) -> int:
    """Numbers in a vector of the model in this directory. Raises CacheFailure when its config.json does not say."""
    size = _read_json(directory / "config.json").get("hidden_size")
    if not isinstance(size, int):
        raise CacheFailure(f"{directory / 'config.json'} has no hidden_size", code="not_ready")
    return size


def installed() -> Path | None:
    """The default model's folder in its PyPI package, which is not imported: that would bring torch."""
    spec = find_spec(DEFAULT_PACKAGE)
    for place in (spec.submodule_search_locations or ()) if spec is not None else ():
        if (Path(place) / "model" / "model.safetensors").is_file():
            return Path(place) / "model"
    return None


def shipped(precision: str) -> Path | None:
    """The default model's folder beside the libraries, where an image has it: a graph, which is int8, or weights."""
    folder = Path(sys.prefix) / "model"
    if precision == "int8" and (folder / "model.onnx").is_file():
        return folder
    return folder if (folder / "model.safetensors").is_file() else None


def weight_steps() -> int:
    """Steps of an int8 weight either side of zero on this processor: x86 without VNNI adds two products in 16 bits,
    which 127 overflows."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return 127
    try:
        return 127 if "vnni" in Path("/proc/cpuinfo").read_text(encoding="utf-8") else 64
    except OSError:
        return 64


def _as_it_is(directory: Path) -> ModelFiles:
    return ModelFiles(directory / "model.onnx", directory / "tokenizer.json", _window(directory))


def _nearby(model: str, fetched: Path) -> Path | None:
    if short_name(model) == DEFAULT_MODEL and (found := installed()) is not None:
        return found
    return fetched if (fetched / "model.safetensors").is_file() else None


async def _build(source: Path, target: Path, precision: str) -> ModelFiles:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".building-", dir=target.parent))
    except OSError as failure:
        raise CacheFailure(f"the model cannot be built: {failure}", code="not_ready") from failure
    try:
        await _run_builder(source, folder / "model.onnx", precision)
        return await asyncio.to_thread(_put_in_place, source, folder, target)
    except OSError as failure:
        raise CacheFailure(f"the model cannot be built: {failure}", code="not_ready") from failure
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _run_builder(source: Path, graph: Path, precision: str) -> None:
    # A process of its own: building takes hundreds of megabytes that this one would never give back.
    arguments = ("-m", "proxy.embedders.bert_graph", str(source), str(graph), precision, str(weight_steps()))
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    try:
        _, stderr = await process.communicate()
    except BaseException:
        with suppress(ProcessLookupError):
            process.kill()
        raise
    if process.returncode != 0:
        last = stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise CacheFailure(f"the model in {source} cannot be built into a graph: {last}", code="not_ready")


def _put_in_place(source: Path, folder: Path, target: Path) -> ModelFiles:
    """What was built in `folder` becomes `target`, unless another process was quicker. Raises OSError."""
    shutil.copyfile(source / "tokenizer.json", folder / "tokenizer.json")
    sums = (_weights_sum(source), _sum(folder / "model.onnx"), _sum(folder / "tokenizer.json"))
    made_of = _MadeOf(BUILD, *sums, _window(source), weight_steps())
    (folder / "made_of.json").write_text(json.dumps(asdict(made_of)), encoding="utf-8")
    if _verified(target, made_of.weights) is None:
        _exchange(folder, target)
    files = _verified(target, made_of.weights)
    if files is None:
        raise OSError(f"{target} could not be replaced")
    return files


def _exchange(folder: Path, target: Path) -> None:
    old = folder.with_name(f"{folder.name}-old")
    with suppress(FileNotFoundError):
        target.rename(old)
    # Another process may be doing the same at this moment, and its work is as good.
    with suppress(OSError):
        folder.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def _verified(target: Path, weights: str | None) -> ModelFiles | None:
    """What is built, if it is whole, fit for this processor, and of these weights (None: of any)."""
    try:
        made_of = _MadeOf(**_read_json(target / "made_of.json"))
        sums = (_sum(target / "model.onnx"), _sum(target / "tokenizer.json"))
    except (CacheFailure, TypeError):
        return None
    if made_of.build != BUILD or made_of.weight_steps > weight_steps() or sums != (made_of.graph, made_of.tokenizer):
        return None
    if weights is not None and made_of.weights != weights:
        return None
    return ModelFiles(target / "model.onnx", target / "tokenizer.json", made_of.window)


def _weights_sum(source: Path) -> str:
    return _sum(source / "config.json", source / "model.safetensors")


def _sum(*paths: Path) -> str:
    """SHA-256 over the files' bytes. Raises CacheFailure for one that cannot be read."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            with path.open("rb") as file:
                while piece := file.read(1 << 20):
                    digest.update(piece)
        except OSError as failure:
            raise CacheFailure(f"the model's files cannot be read: {failure}", code="not_ready") from failure
    return digest.hexdigest()


def _window(source: Path) -> int:
    """The least that any of the model's files says."""
    said = [_WINDOW]
    for name, member in (("config.json", "max_position_embeddings"), ("sentence_bert_config.json", "max_seq_length")):
        with suppress(CacheFailure):
            value = _read_json(source / name).get(member)
            if isinstance(value, int) and value > 0:
                said.append(value)
    return min(said)


def _read_json(path: Path) -> dict[str, Any]:
    """Raises CacheFailure."""
    try:
        read = json.loads(path.read_bytes())
    except (OSError, ValueError) as failure:
        raise CacheFailure(f"{path} cannot be read: {failure}", code="not_ready") from failure
    if not isinstance(read, dict):
        raise CacheFailure(f"{path} is not a JSON object", code="not_ready")
    return read
