"""The graph computes what the weights say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from proxy.embedders import bert_graph
from proxy.embedders.runtime import open_session
from tests.embedders.models import HIDDEN, tiny_model

HEADS = 2


def written_out(source, pieces: list[int]) -> np.ndarray:
    """A BERT as its paper says, one text, in float64."""
    weights = {name: weight.astype(np.float64) for name, weight in load_file(source / "model.safetensors").items()}

    def dense(values, name):
        return values @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(values, name):
        centred = values - values.mean(axis=-1, keepdims=True)
        spread = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-12)
        return centred / spread * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def heads(values):
        return values.reshape(len(pieces), HEADS, -1).transpose(1, 0, 2)

    e = "embeddings."
    hidden = (
        weights[f"{e}word_embeddings.weight"][pieces]
        + weights[f"{e}position_embeddings.weight"][: len(pieces)]
        + weights[f"{e}token_type_embeddings.weight"][0]
    )
    hidden = norm(hidden, f"{e}LayerNorm")
    for layer in ("encoder.layer.0.", "encoder.layer.1."):
        query, key, value = (heads(dense(hidden, f"{layer}attention.self.{n}")) for n in ("query", "key", "value"))
        scores = np.exp(query @ key.transpose(0, 2, 1) / math.sqrt(HIDDEN / HEADS))
        mixed = scores / scores.sum(axis=-1, keepdims=True) @ value
        mixed = mixed.transpose(1, 0, 2).reshape(len(pieces), HIDDEN)
        kept = norm(dense(mixed, f"{layer}attention.output.dense") + hidden, f"{layer}attention.output.LayerNorm")
        wide = dense(kept, f"{layer}intermediate.dense")
        active = wide * (1 + np.vectorize(math.erf)(wide / math.sqrt(2))) / 2
        hidden = norm(dense(active, f"{layer}output.dense") + kept, f"{layer}output.LayerNorm")
    mean = hidden.mean(axis=0)
    return mean / np.linalg.norm(mean)


def made(source, target, precision="fp32", steps=127):
    bert_graph.build(source, target, precision, steps)
    session = open_session(target)

    def run(*texts: list[int]) -> np.ndarray:
        ids = np.zeros((len(texts), max(map(len, texts))), np.int32)
        mask = np.zeros_like(ids)
        for row, pieces in enumerate(texts):
            ids[row, : len(pieces)], mask[row, : len(pieces)] = pieces, 1
        return session.run(["vector"], {"input_ids": ids, "attention_mask": mask})[0]

    return run


TEXTS = [[2, 8, 9, 6, 4, 11, 3], [2, 3], [2, *range(4, 12), 3]]


def test_in_fp32_it_is_the_model_as_it_is_written_down(tmp_path):
    source = tiny_model(tmp_path / "source")
    run = made(source, tmp_path / "model.onnx")
    for pieces in TEXTS:
        assert run(pieces)[0] == pytest.approx(written_out(source, pieces), abs=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_what_stands_beside_it_does_not_change_a_vector(tmp_path, precision):
    run = made(tiny_model(tmp_path / "source"), tmp_path / "model.onnx", precision)
    together = run(*TEXTS)
    for row, pieces in enumerate(TEXTS):
        assert together[row] == pytest.approx(run(pieces)[0], abs=1e-6)


@pytest.mark.parametrize(("steps", "least"), [(127, 0.999), (64, 0.998)])
def test_int8_stays_close_and_is_no_copy(tmp_path, steps, least):
    source = tiny_model(tmp_path / "source")
    exact, close = made(source, tmp_path / "a.onnx"), made(source, tmp_path / "b.onnx", "int8", steps)
    cosines = (exact(*TEXTS) * close(*TEXTS)).sum(axis=1)
    assert cosines.min() > least
    assert np.abs(exact(*TEXTS) - close(*TEXTS)).max() > 1e-5


def test_int8_weights_keep_to_the_steps_they_may_have(tmp_path):
    import onnx
    from onnx import numpy_helper

    bert_graph.build(tiny_model(tmp_path / "source"), tmp_path / "model.onnx", "int8", 64)
    constants = {
        each.name: numpy_helper.to_array(each) for each in onnx.load(tmp_path / "model.onnx").graph.initializer
    }
    weights = [value for name, value in constants.items() if name.endswith(".weight") and value.dtype == np.int8]
    assert len(weights) == 8
    assert {int(np.abs(weight.astype(int)).max()) for weight in weights} == {64}


def test_the_same_weights_make_the_same_graph(tmp_path):
    source = tiny_model(tmp_path / "source")
    for name in ("a.onnx", "b.onnx"):
        bert_graph.build(source, tmp_path / name, "int8", 127)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_weights_saved_below_a_head_are_found(tmp_path):
    source = tiny_model(tmp_path / "source")
    plain = made(source, tmp_path / "a.onnx")(TEXTS[0])
    weights = load_file(source / "model.safetensors")
    save_file({f"bert.{name}": weight for name, weight in weights.items()}, source / "model.safetensors")
    assert made(source, tmp_path / "b.onnx")(TEXTS[0]) == pytest.approx(plain)


@pytest.mark.parametrize(
    "other", [{"hidden_act": "relu"}, {"position_embedding_type": "relative_key"}, {"model_type": "mpnet"}]
)
def test_what_it_cannot_build_it_says(tmp_path, other):
    source = tiny_model(tmp_path / "source", **other)
    with pytest.raises(bert_graph.Unsupported, match=next(iter(other))):
        bert_graph.build(source, tmp_path / "model.onnx", "fp32", 127)


def test_a_model_that_does_not_take_the_mean_is_refused(tmp_path):
    source = tiny_model(tmp_path / "source")
    (source / "1_Pooling").mkdir()
    (source / "1_Pooling" / "config.json").write_text(
        '{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}'
    )
    with pytest.raises(bert_graph.Unsupported, match="mean"):
        bert_graph.build(source, tmp_path / "model.onnx", "fp32", 127)
