"""The default engine: equal to sentence-transformers in fp32, close to it in int8, at home with other graphs."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from proxy.embedders import bert_graph
from proxy.embedders.model_files import ModelFiles
from proxy.embedders.onnx import OnnxEmbedder, OnnxEngine
from proxy.errors import CacheFailure
from tests.embedders.make_reference import REFERENCE
from tests.embedders.models import BUILT, HIDDEN, tiny_model


async def opened(**arguments):
    embedder = OnnxEmbedder(**arguments)
    await embedder.open()
    await embedder.ready()
    return embedder


async def of_default(precision):
    return await opened(model="sentence-transformers/all-MiniLM-L6-v2", data_dir=BUILT, precision=precision)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
async def test_vectors_are_those_of_sentence_transformers(precision):
    embedder = await of_default(precision)
    for line in json.loads(REFERENCE.read_text()):
        vector, whole = await embedder.embed(line["text"])
        assert whole
        off = np.abs(vector[:8] - np.array(line["first"])).max()
        assert off < (1e-4 if precision == "fp32" else 0.02), line["text"]
    await embedder.close()


async def test_int8_is_close_to_fp32_alone_and_in_company():
    texts = [line["text"] for line in json.loads(REFERENCE.read_text())]
    exact, close = await of_default("fp32"), await of_default("int8")
    together = await asyncio.gather(*map(close.embed, texts))
    for text, (in_company, _) in zip(texts, together, strict=True):
        one, other = (await exact.embed(text)).vector, (await close.embed(text)).vector
        assert float(one @ other) > 0.99, text
        assert np.abs(other - in_company).max() < 1e-5, text
    await exact.close()
    await close.close()


@pytest.fixture
def source(tmp_path):
    return tiny_model(tmp_path / "source")


async def test_a_model_in_a_directory_says_its_size_itself(tmp_path, source):
    embedder = OnnxEmbedder(model="tiny", data_dir=tmp_path / "data", directory=source)
    assert embedder.dimensions == HIDDEN
    assert embedder.identity == "tiny/onnx/int8/mean"
    await embedder.open()
    await embedder.ready()
    assert len((await embedder.embed("where is my card ?")).vector) == HIDDEN
    await embedder.close()


def plain_graph(path):
    """A graph as the hub has them: three inputs in int64, a vector for each piece."""
    names = ("input_ids", "attention_mask", "token_type_ids")
    given = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"]) for name in names]
    result = helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["batch", "sequence", 2])
    nodes = [
        helper.make_node("Add", ["input_ids", "token_type_ids"], ["pieces"]),
        helper.make_node("Cast", ["pieces"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["numbers", "numbers"], ["squares"]),
        helper.make_node("Unsqueeze", ["numbers", "last"], ["a"]),
        helper.make_node("Unsqueeze", ["squares", "last"], ["b"]),
        helper.make_node("Concat", ["a", "b"], ["last_hidden_state"], axis=-1),
    ]
    last = helper.make_tensor("last", TensorProto.INT64, [1], [2])
    graph = helper.make_graph(nodes, "plain", given, [result], [last])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))


async def test_a_ready_graph_in_the_directory_is_used_and_pooled(tmp_path, source):
    plain_graph(source / "model.onnx")
    (source / "config.json").write_text(json.dumps({"hidden_size": 2}))
    embedder = await opened(model="plain", data_dir=tmp_path / "data", directory=source)
    (vector, _), (longer, _) = await asyncio.gather(embedder.embed("card"), embedder.embed("card lost my new"))
    # [CLS] card [SEP] are pieces 2, 4, 3.
    total = np.array([2 + 4 + 3, 4 + 16 + 9])
    assert vector == pytest.approx(total / np.linalg.norm(total))
    assert longer != pytest.approx(vector)
    await embedder.close()


async def test_vectors_of_another_size_than_said_are_refused(tmp_path, source):
    plain_graph(source / "model.onnx")
    embedder = OnnxEmbedder(model="plain", data_dir=tmp_path / "data", directory=source)
    await embedder.open()
    with pytest.raises(CacheFailure, match="vectors of 2 numbers, not of 16"):
        await embedder.ready()
    assert "not of 16" in (embedder.report().degraded or "")
    with pytest.raises(CacheFailure) as refused:
        await embedder.embed("card")
    assert refused.value.reason == "not_ready"
    await embedder.close()


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
async def test_files_that_are_not_what_they_should_be_are_refused(tmp_path, source, name):
    plain_graph(source / "model.onnx")
    (source / name).write_bytes(b"nonsense")
    embedder = OnnxEmbedder(model="plain", data_dir=tmp_path / "data", directory=source)
    await embedder.open()
    with pytest.raises(CacheFailure, match=name):
        await embedder.ready()
    await embedder.close()


def engine(tmp_path, source, max_pieces):
    bert_graph.build(source, tmp_path / "model.onnx", "fp32", 127)
    files = ModelFiles(tmp_path / "model.onnx", source / "tokenizer.json", 12)
    return OnnxEngine(files, 1, max_pieces, HIDDEN)


@pytest.mark.parametrize(("words", "whole"), [(4, True), (5, False)])
def test_its_own_first_and_last_piece_do_not_count(tmp_path, source, words, whole):
    (embedding,) = engine(tmp_path, source, 4).embed(["card " * words])
    assert embedding.whole is whole


@pytest.mark.parametrize(("words", "whole"), [(10, True), (11, False)])
def test_the_models_own_window_bounds_too(tmp_path, source, words, whole):
    (embedding,) = engine(tmp_path, source, 1000).embed(["card " * words])
    assert embedding.whole is whole


def test_of_a_text_of_megabytes_only_the_beginning_is_read(tmp_path, source):
    made = engine(tmp_path, source, 4)
    read: list[int] = []
    made._pieces = lambda text: read.append(len(text)) or [0] * len(text.split())  # type: ignore[method-assign]
    (embedding,) = made.embed(["card " * 1_000_000])
    assert not embedding.whole
    assert sum(read) < 1000


async def test_what_is_damaged_in_the_data_directory_is_built_anew(tmp_path, source):
    arguments = {"model": "tiny", "data_dir": tmp_path / "data", "directory": source}
    embedder = await opened(**arguments)
    before = (await embedder.embed("lost")).vector
    await embedder.close()
    (graph,) = (tmp_path / "data").rglob("model.onnx")
    graph.write_bytes(b"damaged")
    embedder = await opened(**arguments)
    assert (await embedder.embed("lost")).vector == pytest.approx(before)
    await embedder.close()
