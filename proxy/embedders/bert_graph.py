"""From a BERT encoder's weights (`config.json`, `model.safetensors`) to an ONNX graph, in fp32 or int8.

Run as a program (`python -m proxy.embedders.bert_graph SOURCE TARGET PRECISION STEPS`): what it loads weighs hundreds
of megabytes, and is needed once. Nothing else imports it, so `onnx` and numpy stand at its top.

    input_ids, attention_mask   int32 [texts, pieces]
    vector                      float32 [texts, hidden], the mean over the mask, of length 1

int8: a weight matrix has one scale for each output. An activation has one for each word piece; where it comes from a
layer norm, whose outputs keep their size, it has one for all, found beforehand by looking at random word pieces, and
channels that stick out are shrunk there and their weights grown (SmoothQuant, arXiv 2211.10438). ONNX Runtime's own
dynamic quantisation has one scale for all that is embedded together: a text's vector would depend on its company, and
a piece that sticks out would cost all others their precision.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from proxy.embedders.runtime import open_session

Floats = NDArray[np.float32]
Ranges = tuple[Floats, Floats]
"""Least and most, by channel."""

_MICROSOFT: Final = "com.microsoft"
"""Operators that ONNX Runtime has beside the standard's."""

_STEPS: Final = 127
"""Of an int8 either side of zero."""

_SHIFTED: Final = 0.6
"""How much of a channel's size goes over into its weights: 0 nothing, 1 all. 0.5 to 0.7 come closest to fp32."""

_LOOKS: Final = ((16, 5), (16, 15), (16, 35))
"""Random texts that are looked at: how many, and of how many word pieces."""


class Unsupported(ValueError):
    """Not an encoder this file can build."""


def build(source: Path, target: Path, precision: str, weight_steps: int) -> None:
    """Write the graph. Raises Unsupported, OSError, and KeyError where a weight is missing.

    weight_steps: of an int8 weight either side of zero: 127, or 64 for processors whose int8 products overflow.
    """
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    _check(config)
    _check_pooling(source / "1_Pooling" / "config.json")
    weights = _weights(source / "model.safetensors")
    graph = _Graph()
    if precision == "int8":
        graph = _Int8Graph(weight_steps, _sizes(config, weights, source / "tokenizer.json"))
    output = _encoder(graph, config, weights)
    onnx.save_model(graph.model([output]), str(target))


def _sizes(config: dict[str, Any], weights: dict[str, Floats], tokenizer: Path) -> dict[str, Ranges]:
    """What each channel of each layer norm's output comes to, at the least and at the most."""
    graph = _Graph()
    _encoder(graph, config, weights)
    session = open_session(graph.model(graph.norms).SerializeToString())
    first, *last = Tokenizer.from_file(str(tokenizer)).encode("").ids
    dice = np.random.default_rng(0)
    found: dict[str, list[Floats]] = {name: [] for name in graph.norms}
    room = int(config["max_position_embeddings"]) - 1 - len(last)
    for texts, wished in _LOOKS:
        length = min(wished, room)
        words = dice.integers(0, config["vocab_size"], (texts, length))
        pieces = np.array([[first, *row, *last] for row in words], np.int32)
        outputs = session.run(graph.norms, {"input_ids": pieces, "attention_mask": np.ones_like(pieces)})
        for name, output in zip(graph.norms, outputs, strict=True):
            found[name].append(output.reshape(-1, output.shape[-1]))
    together = {name: np.concatenate(rows) for name, rows in found.items()}
    return {name: (rows.min(axis=0), rows.max(axis=0)) for name, rows in together.items()}


def _check(config: dict[str, Any]) -> None:
    wanted = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute"}
    for member, value in wanted.items():
        if config.get(member, value) != value:
            raise Unsupported(f"config.json: {member} is {config[member]!r}, and only {value!r} can be built")


def _check_pooling(path: Path) -> None:
    if path.is_file() and not json.loads(path.read_text(encoding="utf-8")).get("pooling_mode_mean_tokens", True):
        raise Unsupported(f"{path.parent.name}/{path.name}: only the mean of all word pieces can be built")


def _weights(path: Path) -> dict[str, Floats]:
    """By name, without the prefix that models saved with a head have."""
    return {name.removeprefix("bert."): weight.astype(np.float32) for name, weight in load_file(path).items()}


class _Graph:
    """Nodes and constants as they are added, in fp32. A tensor is its name."""

    def __init__(self) -> None:
        self.norms: list[str] = []
        """Outputs of layer norms, in order."""
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self.texts_axis = self.constant("texts_axis", np.array([1], np.int64))

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """One that is known now."""
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, kind: str, inputs: list[str], name: str, domain: str = "", **attributes: Any) -> str:
        """One with a single output, which has its name."""
        return self.split(kind, inputs, [name], domain, **attributes)[0]

    def split(self, kind: str, inputs: list[str], names: list[str], domain: str = "", **attributes: Any) -> list[str]:
        """One with several outputs."""
        self._nodes.append(helper.make_node(kind, inputs, names, name=names[0], domain=domain, **attributes))
        return names

    def lookup(self, indices: str, table: Floats, name: str) -> str:
        """Rows of a table."""
        return self.node("Gather", [self.constant(f"{name}.table", table), indices], name)

    def dense(self, values: str, weight: Floats, bias: Floats, name: str) -> str:
        """`values` times `weight` (outputs x inputs) and `bias`."""
        product = self.node("MatMul", [values, self.constant(f"{name}.weight", weight.T)], f"{name}.product")
        return self.node("Add", [product, self.constant(f"{name}.bias", bias)], name)

    def norm(self, values: str, weight: Floats, bias: Floats, epsilon: float, name: str) -> str:
        """Layer normalisation over the last axis."""
        self.norms.append(name)
        constants = [self.constant(f"{name}.weight", weight), self.constant(f"{name}.bias", bias)]
        return self.node("LayerNormalization", [values, *constants], name, axis=-1, epsilon=epsilon)

    def model(self, outputs: list[str]) -> onnx.ModelProto:
        """All of it."""
        given = [
            helper.make_tensor_value_info(name, TensorProto.INT32, ["texts", "pieces"])
            for name in ("input_ids", "attention_mask")
        ]
        results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
        graph = helper.make_graph(self._nodes, "bert", given, results, self._constants)
        # ReduceMax takes its axes as an attribute up to 17.
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid(_MICROSOFT, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)


class _Int8Graph(_Graph):
    """The same with products of bytes.

    weight_steps: of a weight either side of zero.
    sizes: of layer norms' outputs.
    """

    def __init__(self, weight_steps: int, sizes: dict[str, Ranges]) -> None:
        super().__init__()
        self._weight_steps = weight_steps
        self._sizes = sizes
        self._step = self.constant("step", np.array(1 / _STEPS, np.float32))
        self._middle = self.constant("middle", np.array(128, np.uint8))

    def lookup(self, indices: str, table: Floats, name: str) -> str:
        steps, worth = _quantise(table, _STEPS)
        rows = self.node("Gather", [self.constant(f"{name}.table", steps), indices], f"{name}.steps")
        scale = self.node("Gather", [self.constant(f"{name}.scales", worth[:, None]), indices], f"{name}.scale")
        return self.node("Mul", [self.node("Cast", [rows], f"{name}.rows", to=TensorProto.FLOAT), scale], name)

    def dense(self, values: str, weight: Floats, bias: Floats, name: str) -> str:
        if values in self._sizes:
            return self._steady(values, weight, bias, name)
        size = self.node("Abs", [values], f"{name}.size")
        largest = self.node("ReduceMax", [size], f"{name}.largest", axes=[-1], keepdims=1)
        shares = self.node("Div", [values, largest], f"{name}.shares")
        steps = self.node("QuantizeLinear", [shares, self._step, self._middle], f"{name}.steps")
        product = self._product(steps, self._step, self._middle, weight, [], name)
        scaled = self.node("Mul", [product, largest], f"{name}.scaled")
        return self.node("Add", [scaled, self.constant(f"{name}.bias", bias)], name)

    def _steady(self, values: str, weight: Floats, bias: Floats, name: str) -> str:
        low, high = self._sizes[values]
        size = np.maximum(np.maximum(-low, high), np.float32(1e-6))
        shrink = size**_SHIFTED / np.maximum(np.abs(weight).max(axis=0), np.float32(1e-6)) ** (1 - _SHIFTED)
        least, most = min(float((low / shrink).min()), 0.0), max(float((high / shrink).max()), 0.0)
        worth = (most - least) / 255
        step = self.constant(f"{name}.step", np.array(worth, np.float32))
        zero = self.constant(f"{name}.zero", np.array(round(-least / worth), np.uint8))
        shrunk = self.node("Mul", [values, self.constant(f"{name}.shrink", 1 / shrink)], f"{name}.shrunk")
        steps = self.node("QuantizeLinear", [shrunk, step, zero], f"{name}.steps")
        biased = ["", self.constant(f"{name}.bias", bias)]
        return self._product(steps, step, zero, weight * shrink, biased, name)

    def _product(self, steps: str, step: str, zero: str, weight: Floats, more: list[str], name: str) -> str:
        """more: the weight's zero, which is none, and a bias."""
        bytes_, worth = _quantise(weight, self._weight_steps)
        constants = [self.constant(f"{name}.weight", bytes_.T), step, self.constant(f"{name}.scales", worth), zero]
        output = name if more else f"{name}.product"
        return self.node("MatMulIntegerToFloat", [steps, *constants, *more], output, _MICROSOFT)


def _quantise(weight: Floats, most: int) -> tuple[NDArray[np.int8], Floats]:
    """Steps, and what one step is worth in each row."""
    largest = np.abs(weight).max(axis=1)
    worth = np.where(largest > 0, largest, 1).astype(np.float32) / np.float32(most)
    return np.rint(weight / worth[:, None]).astype(np.int8), worth


def _encoder(graph: _Graph, config: dict[str, Any], weights: dict[str, Floats]) -> str:
    epsilon = float(config["layer_norm_eps"])
    hidden = _embeddings(graph, weights, epsilon)
    for number in range(int(config["num_hidden_layers"])):
        layer = f"encoder.layer.{number}."
        own = {name.removeprefix(layer): weight for name, weight in weights.items() if name.startswith(layer)}
        hidden = _layer(graph, own, hidden, f"layer{number}", int(config["num_attention_heads"]), epsilon)
    return _mean(graph, hidden)


def _embeddings(graph: _Graph, weights: dict[str, Floats], epsilon: float) -> str:
    words = graph.lookup("input_ids", weights["embeddings.word_embeddings.weight"], "words")
    # Questions are of one segment, so its type is part of every place.
    places = weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
    start = graph.constant("start", np.array([0], np.int64))
    pieces = graph.node("Shape", ["input_ids"], "pieces", start=1, end=2)
    here = graph.node("Slice", [graph.constant("places.table", places), start, pieces], "places")
    both = graph.node("Add", [words, here], "embeddings")
    return graph.norm(
        both, weights["embeddings.LayerNorm.weight"], weights["embeddings.LayerNorm.bias"], epsilon, "embedded"
    )


def _layer(graph: _Graph, own: dict[str, Floats], hidden: str, name: str, heads: int, epsilon: float) -> str:
    attended = _attention(graph, own, hidden, name, heads)
    kept = _after(graph, own, attended, hidden, "attention.output", f"{name}.attended", epsilon)
    wide = graph.dense(kept, own["intermediate.dense.weight"], own["intermediate.dense.bias"], f"{name}.wide")
    active = graph.node("Gelu", [wide], f"{name}.active", _MICROSOFT)
    return _after(graph, own, active, kept, "output", f"{name}.output", epsilon)


def _attention(graph: _Graph, own: dict[str, Floats], hidden: str, name: str, heads: int) -> str:
    three = ("query", "key", "value")
    weight = np.concatenate([own[f"attention.self.{each}.weight"] for each in three])
    bias = np.concatenate([own[f"attention.self.{each}.bias"] for each in three])
    together = graph.dense(hidden, weight, bias, f"{name}.together")
    widths = graph.constant(f"{name}.widths", np.full(3, len(bias) // 3, np.int64))
    apart = graph.split("Split", [together, widths], [f"{name}.{each}" for each in three], axis=-1)
    return graph.node(
        "MultiHeadAttention", [*apart, "", "attention_mask"], f"{name}.heads", _MICROSOFT, num_heads=heads
    )


def _after(
    graph: _Graph, own: dict[str, Floats], values: str, hidden: str, part: str, name: str, epsilon: float
) -> str:
    """A block's last dense layer, what went into the block added to it, and the norm."""
    dense = graph.dense(values, own[f"{part}.dense.weight"], own[f"{part}.dense.bias"], f"{name}.dense")
    both = graph.node("Add", [dense, hidden], f"{name}.both")
    return graph.norm(both, own[f"{part}.LayerNorm.weight"], own[f"{part}.LayerNorm.bias"], epsilon, name)


def _mean(graph: _Graph, hidden: str) -> str:
    # The sum will do: to length 1 it comes out the same.
    mask = graph.node("Cast", ["attention_mask"], "mask", to=TensorProto.FLOAT)
    row = graph.node("Unsqueeze", [mask, graph.texts_axis], "mask.row")
    total = graph.node("Squeeze", [graph.node("MatMul", [row, hidden], "sum.row"), graph.texts_axis], "sum")
    return graph.node("LpNormalization", [total], "vector", axis=-1, p=2)


if __name__ == "__main__":
    build(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
