"""Models for tests: the default one, built once for all of them, and a tiny one that is built in no time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

BUILT = Path(__file__).parents[2] / ".cache" / "embedders-for-tests"
"""Data directory of the default model: it is checked at each use, so it may stay."""

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "card", "lost", "my", "new", "where", "is", "##s", "?"]

HIDDEN = 16


def tiny_model(folder: Path, *, seed: int = 0, **config: object) -> Path:
    """A BERT of two layers with random weights."""
    folder.mkdir(parents=True, exist_ok=True)
    shape = {
        "model_type": "bert",
        "hidden_act": "gelu",
        "hidden_size": HIDDEN,
        "intermediate_size": 4 * HIDDEN,
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": 12,
        "vocab_size": len(WORDS),
    }
    (folder / "config.json").write_text(json.dumps(shape | config))
    save_file(_weights(np.random.default_rng(seed)), folder / "model.safetensors")
    _tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def _weights(dice: np.random.Generator) -> dict[str, np.ndarray]:
    def some(*shape: int) -> np.ndarray:
        return dice.normal(0, 0.3, shape).astype(np.float32)

    weights = {
        "embeddings.word_embeddings.weight": some(len(WORDS), HIDDEN),
        "embeddings.position_embeddings.weight": some(12, HIDDEN),
        "embeddings.token_type_embeddings.weight": some(2, HIDDEN),
        "embeddings.LayerNorm.weight": 1 + some(HIDDEN),
        "embeddings.LayerNorm.bias": some(HIDDEN),
    }
    wide = 4 * HIDDEN
    shapes = dict.fromkeys(
        ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"),
        (HIDDEN, HIDDEN),
    ) | {"intermediate.dense": (wide, HIDDEN), "output.dense": (HIDDEN, wide)}
    for layer in ("encoder.layer.0.", "encoder.layer.1."):
        for name, (outputs, inputs) in shapes.items():
            weights |= {f"{layer}{name}.weight": some(outputs, inputs), f"{layer}{name}.bias": some(outputs)}
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            weights |= {f"{layer}{name}.weight": 1 + some(HIDDEN), f"{layer}{name}.bias": some(HIDDEN)}
    return weights


def _tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(WordPiece({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return tokenizer
