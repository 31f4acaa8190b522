"""The default embedder: a BERT encoder on ONNX Runtime, with `tokenizers`, in this process. No torch.

Chosen lazily by the composition root, so numpy stands at its top; ONNX Runtime is imported when it is opened.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from proxy.embedders.base import Embedding
from proxy.embedders.local import LocalEmbedder, check_size, pieces_within
from proxy.embedders.model_files import ModelFiles, dimensions_of, prepare, short_name
from proxy.embedders.runtime import open_session
from proxy.errors import CacheFailure

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnxruntime import InferenceSession  # type: ignore[import-untyped]
    from tokenizers import Tokenizer


class OnnxEmbedder(LocalEmbedder):
    """BERT encoders with mean pooling, as sentence-transformers has them.

    model: name, of which the identity is made; without `directory` also where it is looked for.
    directory: of the model's files; a model.onnx in it is used as it is.
    data_dir: what is fetched and built is kept below it.
    dimensions: numbers in a vector, of a model that is yet to be fetched; the files in `directory` say it themselves.
    threads: of one embedding.
    max_pieces: word pieces of a text, the model's own first and last left out; a longer one is not embedded.
    batch, queue, noted: see `LocalEmbedder`.
    """

    kind = "onnx"

    def __init__(
        self,
        *,
        model: str,
        data_dir: Path,
        directory: Path | None = None,
        precision: Literal["int8", "fp32"] = "int8",
        dimensions: int = 384,
        threads: int = 1,
        batch: int = 8,
        queue: int = 64,
        max_pieces: int = 200,
        noted: Callable[[int], None] = lambda _size: None,
    ) -> None:
        super().__init__(batch=batch, queue=queue, noted=noted)
        self._model, self._precision = model, precision
        self._data_dir = data_dir.expanduser()
        self._directory = directory.expanduser() if directory is not None else None
        self._expected = dimensions
        self._threads, self._max_pieces = threads, max_pieces

    @property
    def identity(self) -> str:
        """E.g. `all-MiniLM-L6-v2/onnx/int8/mean`."""
        return f"{short_name(self._model)}/onnx/{self._precision}/mean"

    @cached_property
    def dimensions(self) -> int:
        """As the directory's config.json says, or as given."""
        if self._directory is not None:
            with suppress(CacheFailure):
                return dimensions_of(self._directory)
        return self._expected

    async def _load(self) -> OnnxEngine:
        files = await prepare(self._model, self._directory, self._data_dir, self.identity, self._precision)
        return await asyncio.to_thread(OnnxEngine, files, self._threads, self._max_pieces, self.dimensions)


class OnnxEngine:
    """A graph in memory, with its tokenizer.

    Raises CacheFailure when the files cannot be used, or make vectors of another size than they should.
    """

    def __init__(self, files: ModelFiles, threads: int, max_pieces: int, dimensions: int) -> None:
        self._session = _session(files.graph, threads)
        self._tokenizer = _tokenizer(files.tokenizer)
        framing = self._tokenizer.num_special_tokens_to_add(is_pair=False)
        self._most = min(max_pieces + framing, files.window)
        self._inputs = {
            each.name: np.int64 if "int64" in each.type else np.int32 for each in self._session.get_inputs()
        }
        output = self._session.get_outputs()[0]
        self._output, self._pooled = output.name, output.name == "vector" or len(output.shape) == 2
        self._nothing = np.zeros(dimensions, np.float32)
        self._nothing.flags.writeable = False
        check_size(self, dimensions, f"in {files.graph.parent}")

    def embed(self, texts: list[str]) -> list[Embedding]:
        """See `Engine`. One that is not whole has zeros for a vector: it is no use, and would cost the most."""
        read = [pieces_within(self._pieces, text, self._most) for text in texts]
        whole = [pieces for pieces in read if pieces is not None]
        vectors = iter(self._vectors(whole) if whole else ())
        return [
            Embedding(self._nothing, whole=False) if pieces is None else Embedding(next(vectors), whole=True)
            for pieces in read
        ]

    def _pieces(self, text: str) -> list[int]:
        # Not `encode_batch`: it hands a few short texts to threads of its own.
        pieces: list[int] = self._tokenizer.encode(text).ids
        return pieces

    def _vectors(self, pieces: list[list[int]]) -> NDArray[np.float32]:
        longest = max(map(len, pieces))
        ids = np.zeros((len(pieces), longest), np.int32)
        mask = np.zeros((len(pieces), longest), np.int32)
        for row, each in enumerate(pieces):
            ids[row, : len(each)] = each
            mask[row, : len(each)] = 1
        given = {"input_ids": ids, "attention_mask": mask}
        feed = {
            # What other graphs ask for besides is the segment of each piece, which is the first.
            name: given[name].astype(kind, copy=False) if name in given else np.zeros(ids.shape, kind)
            for name, kind in self._inputs.items()
        }
        try:
            (output,) = self._session.run([self._output], feed)
        except Exception as failure:
            raise CacheFailure("the model failed", code="failed") from failure
        return _of_length_1(output if self._pooled else _total(output, mask))


def _total(output: NDArray[np.float32], mask: NDArray[np.int32]) -> NDArray[np.float32]:
    """Of each text's pieces. At length 1 the mean would come out the same."""
    total: NDArray[np.float32] = np.matmul(mask[:, None, :].astype(np.float32), output)[:, 0, :]
    return total


def _of_length_1(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths: NDArray[np.float32] = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))[:, None]
    return vectors / lengths


def _session(graph: Path, threads: int) -> InferenceSession:
    try:
        return open_session(graph, threads)
    except Exception as failure:
        raise CacheFailure(f"{graph} cannot be loaded: {type(failure).__name__}", code="not_ready") from failure


def _tokenizer(path: Path) -> Tokenizer:
    from tokenizers import Tokenizer  # noqa: PLC0415

    try:
        tokenizer: Tokenizer = Tokenizer.from_file(str(path))
    except Exception as failure:
        raise CacheFailure(f"{path} cannot be read: {failure}", code="not_ready") from failure
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer
