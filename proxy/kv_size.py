"""How much memory a model's KV cache takes: bytes for each token and sequence, and what fits beside the weights.

Attention keeps a key and a value for each token, layer and KV head: 2 x width numbers (multi-head, grouped-query and
multi-query attention differ in the number of KV heads only; PagedAttention, arXiv 2309.06180, section 3, counts the
same). Multi-head latent attention (DeepSeek) keeps one vector of `kv_lora_rank + qk_rope_head_dim` numbers instead,
from which keys and values of all heads are made. A layer with a sliding window needs the last `sliding_window` tokens
only. Memory is given out in blocks of tokens (vLLM: 16), so a sequence takes whole blocks.

Members of a Hugging Face `config.json` are read as vLLM 0.32 and transformers 5 read them
(`model_arch_config_convertor.py`, `configuration_*.py`). What keeps another kind of state is refused, never guessed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

Config = Mapping[str, Any]

BLOCK_SIZE: Final = 16
"""Tokens in a block; vLLM's default."""

UTILIZATION: Final = 0.9
"""Share of a GPU that vLLM takes for itself (`--gpu-memory-utilization`)."""

GIB: Final = 1 << 30

DTYPES: Final[Mapping[str, int]] = {
    "float32": 4,
    "fp32": 4,
    "float": 4,
    "float16": 2,
    "fp16": 2,
    "half": 2,
    "bfloat16": 2,
    "bf16": 2,
    "fp8": 1,
    "fp8_e4m3": 1,
    "fp8_e5m2": 1,
    "float8_e4m3fn": 1,
    "float8_e5m2": 1,
}
"""Bytes of a number, by the names that configurations and vLLM's `--kv-cache-dtype` use."""


class NotComputable(Exception):
    """A model or a size that this arithmetic does not hold for. Says the value and what to do."""


@dataclass(frozen=True, slots=True)
class Layer:
    """What one layer keeps of a token."""

    kv_heads: int
    """1 with latent attention."""
    width: int
    """Numbers for each KV head: key and value together, or the latent vector."""
    window: int | None = None
    """Tokens that are kept; None: all."""
    latent: bool = False

    def kept(self, tokens: int) -> int:
        """How many of a sequence's tokens attention can still reach, the newest included."""
        return tokens if self.window is None else min(tokens, self.window)

    def blocks(self, tokens: int, block_size: int) -> int:
        """Blocks that a sequence of `tokens` holds: those before the window are given back, whole ones only."""
        return -(-tokens // block_size) - (tokens - self.kept(tokens)) // block_size

    def token_bytes(self, element_bytes: int, gpus: int) -> int:
        """Bytes of a token on one of `gpus`: KV heads are split, at least one each; a latent vector is on all."""
        return max(1, self.kv_heads // gpus) * self.width * element_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model's KV cache: its layers in order, without those that keep nothing of their own."""

    layers: tuple[Layer, ...]
    dtype: str
    heads: int | None = None
    """Query heads; None where nobody said."""
    parameters: int | None = None
    """Estimated from the configuration: embeddings, attention, MLP and experts; None where members are missing."""
    weight_bits: float | None = None
    """Bits of a parameter, by `quantization_config` or `torch_dtype`; None: unknown."""
    notes: tuple[str, ...] = ()
    """What the reader has to know about these figures."""

    @property
    def element_bytes(self) -> int:
        """Bytes of one number in the cache."""
        return DTYPES[self.dtype]

    @property
    def attention(self) -> str:
        """`MHA`, `GQA`, `MQA` or `MLA`; `KV` where the number of query heads is not known."""
        layer = self.layers[0]
        if layer.latent:
            return "MLA"
        if layer.kv_heads == 1:
            return "MQA"
        if self.heads is None:
            return "KV"
        return "MHA" if layer.kv_heads == self.heads else "GQA"

    def token_bytes(self, *, gpus: int = 1) -> int:
        """Bytes of one more token on one GPU, while no window is full."""
        return sum(layer.token_bytes(self.element_bytes, gpus) for layer in self.layers)

    def token_bytes_beyond(self, *, gpus: int = 1) -> int:
        """Bytes of one more token on one GPU once every window is full."""
        return sum(layer.token_bytes(self.element_bytes, gpus) for layer in self.layers if layer.window is None)

    def sequence_bytes(self, tokens: int, *, block_size: int = BLOCK_SIZE, gpus: int = 1) -> int:
        """Bytes of a sequence of `tokens` on one GPU, in whole blocks.

        While a long prompt is read, vLLM holds the tokens of a step beside the windows: this is the state after it.
        """
        return sum(
            layer.blocks(tokens, block_size) * block_size * layer.token_bytes(self.element_bytes, gpus)
            for layer in self.layers
        )

    def block_bytes(self, *, block_size: int = BLOCK_SIZE, gpus: int = 1) -> int:
        """Bytes of a block over all layers, on one GPU."""
        return block_size * self.token_bytes(gpus=gpus)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What fits into GPUs beside the weights. Bytes are those of one GPU."""

    weights: int
    cache: int
    """What is left for the KV cache; 0 where the weights take all."""
    blocks: int
    sequences: int


def blocks_that_fit(model: Model, available: int, *, block_size: int = BLOCK_SIZE, gpus: int = 1) -> int:
    """Blocks over all layers that `available` bytes of one GPU hold: vLLM's `num_gpu_blocks`.

    That is `vllm:cache_config_info{num_gpu_blocks=…}` for a model whose layers are alike. Where only some have a
    window, vLLM makes groups of layers that take blocks from one pool, and counts those smaller blocks.
    """
    return available // model.block_bytes(block_size=block_size, gpus=gpus)


def fit(
    model: Model,
    *,
    tokens: int,
    gpu_bytes: int,
    weight_bytes: int,
    utilization: float = UTILIZATION,
    gpus: int = 1,
    block_size: int = BLOCK_SIZE,
) -> Fit:
    """How many sequences of `tokens` fit into `gpus` of `gpu_bytes`; weights are split evenly (tensor parallel).

    Activations, CUDA graphs and whatever else runs there are not counted. Raises NotComputable.
    """
    check_split(model, gpus)
    weights = -(-weight_bytes // gpus)
    cache = max(0, int(gpu_bytes * utilization) - weights)
    return Fit(
        weights=weights,
        cache=cache,
        blocks=blocks_that_fit(model, cache, block_size=block_size, gpus=gpus),
        sequences=cache // model.sequence_bytes(tokens, block_size=block_size, gpus=gpus),
    )


def check_split(model: Model, gpus: int) -> None:
    """Whether tensor parallelism over so many GPUs exists for the model. Raises NotComputable."""
    if model.heads is not None and model.heads % gpus:
        raise NotComputable(f"{model.heads} heads cannot be split over {gpus} GPUs: choose a number that divides them")
    for layer in model.layers:
        if not layer.latent and layer.kv_heads % gpus and gpus % layer.kv_heads:
            raise NotComputable(
                f"{layer.kv_heads} KV heads cannot be split over {gpus} GPUs: "
                "choose a number that divides them, or a multiple of them"
            )


def read(config: Config, given: Config | None = None, dtype: str = "auto") -> Model:
    """The model of a `config.json`, with members of `given` in place of its own. Raises NotComputable.

    `dtype` is that of the cache; `auto` takes the configuration's `torch_dtype` or `dtype`.
    """
    text = _text_config(config)
    root = {name: value for name, value in config.items() if not isinstance(value, Mapping)}
    quantization = config.get("quantization_config", text.get("quantization_config"))
    # The text model's own members win over those of the whole, flags over both.
    merged = {**root, **text, **(given or {})}
    _refuse_other_state(merged)
    layers, notes = _layers(merged, given or {})
    own = merged.get("dtype") or merged.get("torch_dtype")
    return Model(
        layers=layers,
        dtype=_dtype(own if dtype == "auto" else dtype),
        heads=_optional(merged, *_HEADS),
        parameters=_parameters(merged, layers),
        weight_bits=_weight_bits(quantization, own),
        notes=notes,
    )


_NESTED: Final = ("text_config", "llm_config", "language_config", "thinker_config")
_LAYERS: Final = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_HEADS: Final = ("num_attention_heads", "n_head", "n_heads")
_KV_HEADS: Final = ("num_key_value_heads", "n_head_kv", "num_kv_heads", "multi_query_group_num")
_HIDDEN: Final = ("hidden_size", "n_embd", "d_model", "n_embed")
_HEAD_DIM: Final = ("head_dim", "kv_channels", "hidden_size_per_head")
_INTERMEDIATE: Final = ("intermediate_size", "ffn_hidden_size", "ffn_dim", "n_inner")
_EXPERTS: Final = ("n_routed_experts", "num_local_experts", "num_experts", "moe_num_experts")

_OTHER_STATE: Final[Mapping[str, str]] = {
    "hybrid_override_pattern": "Mamba layers",
    "mamba_d_state": "Mamba layers",
    "mamba_d_ssm": "Mamba layers",
    "ssm_cfg": "Mamba layers",
    "state_size": "a state space model",
    "attn_layer_period": "Mamba layers",
    "linear_attn_config": "linear attention",
    "full_attention_interval": "linear attention",
    "linear_num_value_heads": "linear attention",
    "lru_width": "recurrent layers",
    "conv_L_cache": "convolution layers",
    "attention_hidden_size": "RWKV's recurrent state",
    "compress_ratios": "compressed attention",
    "index_topk": "an index for sparse attention, kept beside the latent vectors",
    "use_cla": "keys and values shared between layers (cross-layer attention)",
    "block_configs": "layers that differ in their KV heads",
    "per_layer_config": "layers that differ in their KV heads",
    "global_head_dim": "layers that differ in their width",
}
"""Members that tell of something else than a KV cache of equal layers, and what."""

_OTHER_MODELS: Final = ("mamba", "rwkv", "recurrent_gemma", "falcon_mamba", "bert", "roberta", "xlm-roberta")

_FULL: Final = frozenset(["full_attention", "attention", "global_attention", "full", "global"])
_SLIDING: Final = frozenset(["sliding_attention", "local_attention", "sliding_window_attention", "sliding", "local"])

_PATTERNS: Final[Mapping[str, int]] = {
    "gemma2": 2,
    "gpt_oss": 2,
    "cohere2": 4,
    "gemma3n": 5,
    "gemma3n_text": 5,
    "gemma3": 6,
    "gemma3_text": 6,
}
"""Every so many-th layer sees everything, the others a window, where no `layer_types` say it (transformers 5)."""

_OFF_UNLESS_SAID: Final = ("qwen2", "qwen3")
"""Model types whose `sliding_window` counts only with `use_sliding_window`."""


def _text_config(config: Config) -> Config:
    """The language model's part of a configuration: that of a model for images too is nested."""
    for name in _NESTED:
        if isinstance(nested := config.get(name), Mapping):
            return _text_config(nested)
    return config


def _refuse_other_state(config: Config) -> None:
    kind = str(config.get("model_type", ""))
    advice = "the KV cache of such a model is not computed here; vLLM's start-up log says what it takes"
    if config.get("is_encoder_decoder"):
        raise NotComputable(f"is_encoder_decoder is true: cross-attention keeps the encoder's tokens too; {advice}")
    if kind in _OTHER_MODELS:
        raise NotComputable(f"model_type {kind!r} has no KV cache that grows with tokens; {advice}")
    for name, what in _OTHER_STATE.items():
        if config.get(name):
            raise NotComputable(f"{name} is set, so this model has {what}; {advice}")


def _layers(config: Config, given: Config) -> tuple[tuple[Layer, ...], tuple[str, ...]]:
    """Layers that keep something, and notes."""
    number = _whole(config, "number of layers", "--layers", *_LAYERS)
    windows, notes = _windows(config, number)
    shared = _maybe(config, "num_kv_shared_layers") or 0
    if shared >= number:
        raise NotComputable(f"num_kv_shared_layers {shared} leaves none of {number} layers with keys and values")
    if shared:
        notes += (f"{shared} of {number} layers use the keys and values of others and keep none",)
    kv_heads, width, latent = _kept(config, given)
    layers = tuple(Layer(kv_heads, width, window, latent) for window in windows[: number - shared])
    return layers, notes


def _kept(config: Config, given: Config) -> tuple[int, int, bool]:
    """KV heads, numbers for each, and whether they are a latent vector."""
    if config.get("kv_lora_rank") is not None:
        rank = _whole(config, "rank of the latent vector", "--kv-lora-rank", "kv_lora_rank")
        rope = _whole(config, "width of its rotary part", "--qk-rope-head-dim", "qk_rope_head_dim")
        return 1, rank + rope, True
    kv_heads = _kv_heads(config, given)
    heads = _optional(config, *_HEADS)
    if heads is not None and heads % kv_heads:
        raise NotComputable(f"{heads} heads are not divisible by {kv_heads} KV heads: each KV head serves as many")
    return kv_heads, 2 * _head_dim(config, heads), False


def _kv_heads(config: Config, given: Config) -> int:
    if "num_key_value_heads" not in given:
        if config.get("multi_query") and not config.get("new_decoder_architecture"):
            return 1  # Falcon-7B, GPT-BigCode; Falcon's num_kv_heads is not looked at then
        nested = config.get("attn_config")
        if isinstance(nested, Mapping) and "kv_n_heads" in nested:
            return _whole(nested, "number of KV heads", "--kv-heads", "kv_n_heads")
    names = _KV_HEADS if config.get("multi_query_attention", True) else _KV_HEADS[:-1]
    if any(config.get(name) is not None for name in names):
        return _whole(config, "number of KV heads", "--kv-heads", *names)
    return _whole(config, "number of KV heads (or of heads)", "--kv-heads", *_HEADS)


def _head_dim(config: Config, heads: int | None) -> int:
    if any(config.get(name) is not None for name in _HEAD_DIM):
        return _whole(config, "width of a head", "--head-dim", *_HEAD_DIM)
    hidden = _optional(config, *_HIDDEN)
    if hidden is None or heads is None:
        raise NotComputable("the width of a head is not known: give --head-dim, or --hidden-size and --heads")
    if hidden % heads:
        raise NotComputable(f"hidden size {hidden} is not divisible by {heads} heads: give --head-dim")
    return hidden // heads


def _windows(config: Config, number: int) -> tuple[list[int | None], tuple[str, ...]]:
    """Each layer's window, and notes."""
    kinds = config.get("layer_types") or config.get("layers_block_type") or config.get("block_types")
    kind = str(config.get("model_type", ""))
    window = config.get("sliding_window")
    off = not config.get("use_sliding_window", not kind.startswith(_OFF_UNLESS_SAID))
    if kinds is not None:
        return _windows_of(kinds, config, number)
    if config.get("attention_chunk_size"):
        return [None] * number, (_CHUNKED,)
    if window is None or off:
        return [None] * number, ()
    size = _whole(config, "sliding window", "--sliding-window", "sliding_window")
    if (first := _maybe(config, "max_window_layers")) is not None and config.get("use_sliding_window"):
        return [size if index >= first else None for index in range(number)], ()
    pattern = config.get("sliding_window_pattern") or config.get("_sliding_window_pattern") or _PATTERNS.get(kind)
    if isinstance(pattern, str):  # EXAONE 4: "LLLG", L for local
        return [size if pattern[index % len(pattern)] == "L" else None for index in range(number)], ()
    if pattern is not None and (not isinstance(pattern, int) or pattern < 1):
        raise NotComputable(f"sliding_window_pattern {pattern!r}: expected a whole number above 0, or letters L and G")
    return [None if pattern and not (index + 1) % pattern else size for index in range(number)], ()


_CHUNKED: Final = "layers with chunked attention are counted in full, as vLLM keeps them unless told otherwise"


def _windows_of(kinds: object, config: Config, number: int) -> tuple[list[int | None], tuple[str, ...]]:
    if not isinstance(kinds, Sequence) or len(kinds) != number:
        told = len(kinds) if isinstance(kinds, Sequence) else kinds
        raise NotComputable(f"the list of layer types has {told!r} entries for {number} layers: leave --layers away")
    counted = Counter(map(str, kinds))
    for name, times in counted.items():
        if name not in _FULL | _SLIDING and name != "chunked_attention":
            raise NotComputable(
                f"{times} of {number} layers are {name!r}, which keep another state than keys and values for each "
                "token: such a hybrid model is not computed here; vLLM's start-up log says what it takes"
            )
    size = None
    if counted.keys() & _SLIDING:
        size = _whole(config, "sliding window", "--sliding-window", "sliding_window", "attention_window_size")
    windows = [size if str(name) in _SLIDING else None for name in kinds]
    return windows, (_CHUNKED,) if "chunked_attention" in counted else ()


def _dtype(name: object) -> str:
    if name is None:
        raise NotComputable("the configuration names no torch_dtype: give --dtype, for example bfloat16")
    if (word := str(name).removeprefix("torch.")) not in DTYPES:
        raise NotComputable(f"dtype {word!r} is not known: expected auto or one of {', '.join(DTYPES)}")
    return word


_TIED: Final = ("gemma", "falcon", "gpt2", "gpt_bigcode", "bloom", "opt", "mpt", "cohere")
"""Model types whose input embedding is the output's too, unless they say otherwise."""

_NO_GATE: Final = frozenset([
    "falcon", "gpt2", "gpt_bigcode", "gpt_neox", "bloom", "opt", "mpt", "phi", "starcoder2", "gptj"
])  # fmt: skip
"""Model types whose MLP has two matrices and not three."""


def _parameters(config: Config, layers: tuple[Layer, ...]) -> int | None:
    """Matrices only: biases and norms are below a thousandth of them. None where a member is missing."""
    vocabulary, hidden = _maybe(config, "vocab_size"), _maybe(config, *_HIDDEN)
    heads, number = _maybe(config, *_HEADS), _maybe(config, *_LAYERS)
    if not vocabulary or not hidden or not heads or not number:
        return None
    kind = str(config.get("model_type", ""))
    tied = config.get("tie_word_embeddings", kind.startswith(_TIED))
    attention = _attention_parameters(config, layers[0], hidden, heads)
    mlp = _mlp_parameters(config, kind, hidden, number)
    if attention is None or mlp is None:
        return None
    return vocabulary * hidden * (1 if tied else 2) + number * attention + mlp


def _attention_parameters(config: Config, layer: Layer, hidden: int, heads: int) -> int | None:
    """Of one layer."""
    if not layer.latent:
        width = layer.width // 2
        return 2 * hidden * width * (heads + layer.kv_heads)
    nope, value = _maybe(config, "qk_nope_head_dim"), _maybe(config, "v_head_dim")
    rank, rope = _maybe(config, "kv_lora_rank"), _maybe(config, "qk_rope_head_dim")
    if nope is None or value is None or rank is None or rope is None:
        return None
    query_rank = _maybe(config, "q_lora_rank")
    wide = heads * (nope + rope)
    query = hidden * wide if query_rank is None else query_rank * (hidden + wide)
    return query + hidden * layer.width + rank * heads * (nope + value) + heads * value * hidden


def _mlp_parameters(config: Config, kind: str, hidden: int, number: int) -> int | None:
    """Of all layers: dense ones, and experts with their router."""
    plain = kind in _NO_GATE
    matrices = 2 if plain else 3
    dense_width = _maybe(config, *_INTERMEDIATE) or (4 * hidden if plain else None)
    if dense_width is None:
        return None
    experts = _maybe(config, *_EXPERTS) or 0
    if experts < 2:
        return number * matrices * hidden * dense_width
    sparse = number - (_maybe(config, "first_k_dense_replace") or 0)
    if (step := _maybe(config, "decoder_sparse_step")) is not None:
        sparse //= step
    expert_width = _maybe(config, "moe_intermediate_size", "expert_intermediate_size") or dense_width
    shared = _maybe(config, "shared_expert_intermediate_size") or (
        (_maybe(config, "n_shared_experts", "num_shared_experts") or 0) * expert_width
    )
    moe = matrices * hidden * (experts * expert_width + shared) + hidden * experts
    return sparse * moe + (number - sparse) * matrices * hidden * dense_width


_MXFP4_BITS: Final = 4.25
"""Four bits a number, and eight for each 32 of them (OCP Microscaling Formats)."""


def _weight_bits(quantization: object, dtype: object) -> float | None:
    """None where the method or the dtype is not known."""
    if not isinstance(quantization, Mapping):
        width = DTYPES.get(str(dtype).removeprefix("torch."))
        return None if width is None else 8 * width
    method, bits = str(quantization.get("quant_method", "")), quantization.get("bits")
    if method in ("gptq", "awq", "gptq_marlin", "awq_marlin") and isinstance(bits, int):
        return bits
    if method == "bitsandbytes":
        return 4 if quantization.get("load_in_4bit") else 8
    return {"fp8": 8.0, "fbgemm_fp8": 8.0, "mxfp4": _MXFP4_BITS}.get(method)


def _maybe(config: Config, *names: str) -> int | None:
    """The first of these members that is a whole number; 0 is one."""
    found = (config.get(name) for name in names)
    return next((value for value in found if isinstance(value, int) and not isinstance(value, bool)), None)


def _optional(config: Config, *names: str) -> int | None:
    """None where none of these members is there; one that is has to be a whole number above 0."""
    return None if all(config.get(name) is None for name in names) else _whole(config, "", "", *names)


def _whole(config: Config, what: str, flag: str, *names: str) -> int:
    """The first of these members that is there, which has to be a whole number above 0."""
    for name in names:
        if (value := config.get(name)) is not None:
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise NotComputable(f"{name} is {value!r}: expected a whole number above 0")
            return value
    raise NotComputable(f"the {what} is not known: the configuration has no {names[0]}; give {flag}")
