"""Memory of the KV cache, against figures that others published.

Configurations are those of the models' `config.json`; where the file was not at hand, the defaults of transformers 5
(`models/*/configuration_*.py`), which are those of the model that is named.
"""

from __future__ import annotations

import pytest

from proxy.kv_size import GIB, NotComputable, blocks_that_fit, check_split, fit, read

MIB, KIB = 1 << 20, 1 << 10

LLAMA_2_7B = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 32,
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
    "vocab_size": 32000,
}
LLAMA_2_70B = LLAMA_2_7B | {
    "hidden_size": 8192,
    "intermediate_size": 28672,
    "num_attention_heads": 64,
    "num_hidden_layers": 80,
    "num_key_value_heads": 8,
}
LLAMA_3_8B = LLAMA_2_7B | {
    "intermediate_size": 14336,
    "num_key_value_heads": 8,
    "torch_dtype": "bfloat16",
    "vocab_size": 128256,
}
OPT_13B = {
    "model_type": "opt",
    "ffn_dim": 20480,
    "hidden_size": 5120,
    "num_attention_heads": 40,
    "num_hidden_layers": 40,
    "torch_dtype": "float16",
    "vocab_size": 50272,
}
FALCON_7B = {
    "model_type": "falcon",
    "hidden_size": 4544,
    "multi_query": True,
    "n_head": 71,
    "n_layer": 32,
    "num_kv_heads": 71,  # present in the file, and not what the model does
    "new_decoder_architecture": False,
    "torch_dtype": "bfloat16",
    "vocab_size": 65024,
}
DEEPSEEK_V3 = {
    "model_type": "deepseek_v3",
    "first_k_dense_replace": 3,
    "hidden_size": 7168,
    "intermediate_size": 18432,
    "kv_lora_rank": 512,
    "moe_intermediate_size": 2048,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "num_attention_heads": 128,
    "num_hidden_layers": 61,
    "num_key_value_heads": 128,
    "q_lora_rank": 1536,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "v_head_dim": 128,
    "vocab_size": 129280,
}
MISTRAL_7B = {
    "model_type": "mistral",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "sliding_window": 4096,
    "torch_dtype": "bfloat16",
    "vocab_size": 32000,
}
MIXTRAL_8X7B = MISTRAL_7B | {"model_type": "mixtral", "sliding_window": None, "num_local_experts": 8}
GEMMA_2_2B = {
    "model_type": "gemma2",
    "head_dim": 256,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_attention_heads": 8,
    "num_hidden_layers": 26,
    "num_key_value_heads": 4,
    "sliding_window": 4096,
    "torch_dtype": "bfloat16",
    "vocab_size": 256000,
}
GEMMA_3_4B = {
    "model_type": "gemma3",
    "torch_dtype": "bfloat16",
    "vision_config": {"hidden_size": 1152, "num_hidden_layers": 27},
    "text_config": {
        "model_type": "gemma3_text",
        "head_dim": 256,
        "hidden_size": 2560,
        "intermediate_size": 10240,
        "num_attention_heads": 8,
        "num_hidden_layers": 34,
        "num_key_value_heads": 4,
        "sliding_window": 1024,
        "vocab_size": 262208,
    },
}
GPT_OSS_20B = {
    "model_type": "gpt_oss",
    "head_dim": 64,
    "hidden_size": 2880,
    "intermediate_size": 2880,
    "layer_types": ["sliding_attention", "full_attention"] * 12,
    "num_attention_heads": 64,
    "num_hidden_layers": 24,
    "num_key_value_heads": 8,
    "num_local_experts": 32,
    "quantization_config": {"quant_method": "mxfp4"},
    "sliding_window": 128,
    "tie_word_embeddings": False,
    "vocab_size": 201088,
}
SMALL = {"num_hidden_layers": 2, "num_key_value_heads": 2, "head_dim": 64}


@pytest.mark.parametrize(
    ("config", "attention", "expected"),
    [
        # Kwon et al., PagedAttention (arXiv 2309.06180), section 3: 2 x 5120 x 40 x 2 bytes = 800 KB.
        (OPT_13B, "MHA", 800 * KIB),
        # 2 x 32 layers x 32 heads x 128 x 2 bytes: "approximately 0.5 MB for Llama 2 7B", as texts on sizing say.
        (LLAMA_2_7B, "MHA", MIB // 2),
        # 80 layers, 8 KV heads (Llama 2, arXiv 2307.09288, appendix A.2.1), width 128: 0.3125 MiB.
        (LLAMA_2_70B, "GQA", 320 * KIB),
        # 128 KiB: docs.rs/kv-cache-size shows the same sum for Llama 3.1 8B.
        (LLAMA_3_8B, "GQA", 128 * KIB),
        # DeepSeek-AI, Insights into DeepSeek-V3 (arXiv 2505.09343), table 1: 70.272 KB a token.
        (DEEPSEEK_V3, "MLA", 70_272),
        # Its other rows: LLaMA-3.1 405B 516.096 KB, Qwen-2.5 72B 327.680 KB.
        (
            {"num_hidden_layers": 126, "num_key_value_heads": 8, "head_dim": 128, "torch_dtype": "bfloat16"},
            "KV",
            516_096,
        ),
        (
            {"num_hidden_layers": 80, "num_key_value_heads": 8, "head_dim": 128, "torch_dtype": "bfloat16"},
            "KV",
            327_680,
        ),
        # One head of 4544 / 71 = 64 in each of 32 layers (transformers, configuration_falcon.py: multi_query).
        (FALCON_7B, "MQA", 8 * KIB),
    ],
)
def test_bytes_a_token_are_those_that_were_published(config, attention, expected):
    model = read(config)
    assert (model.token_bytes(), model.attention) == (expected, attention)


def test_a_70b_model_takes_what_it_is_known_to_take_at_4096_and_8192_tokens():
    model = read(LLAMA_2_70B)
    assert model.sequence_bytes(4096) == 1.25 * GIB
    assert model.sequence_bytes(8192) == 2.5 * GIB


def test_a_sequence_takes_whole_blocks():
    model = read(SMALL, dtype="fp32")
    assert model.sequence_bytes(1) == model.sequence_bytes(16) == model.block_bytes() == 32 * KIB
    assert model.sequence_bytes(17) == 2 * model.block_bytes()
    assert model.sequence_bytes(17, block_size=1) == 17 * model.token_bytes()


def test_the_blocks_of_a_small_model_are_those_that_a_gibibyte_holds():
    # 2 (key, value) x 2 layers x 2 KV heads x 64 x 4 bytes = 2 KiB a token.
    model = read(SMALL, dtype="float32")
    assert blocks_that_fit(model, GIB) == 32768
    assert blocks_that_fit(model, GIB, block_size=128) == 4096
    assert blocks_that_fit(model, 32 * KIB - 1) == 0


@pytest.mark.parametrize(("dtype", "width"), [("fp32", 4), ("half", 2), ("bfloat16", 2), ("fp8", 1), ("fp8_e5m2", 1)])
def test_a_dtype_says_how_wide_a_number_is(dtype, width):
    assert read(LLAMA_3_8B, dtype=dtype).token_bytes() == 64 * KIB * width


@pytest.mark.parametrize("name", ["torch_dtype", "dtype"])
def test_auto_follows_the_configuration_which_may_be_nested(name):
    assert read({**SMALL, name: "torch.float16"}).dtype == "float16"
    assert read({"text_config": SMALL, name: "float32"}).dtype == "float32"
    assert read({"text_config": {**SMALL, name: "bfloat16"}, name: "float32"}).dtype == "bfloat16"


def test_no_more_than_the_window_is_kept():
    # Mistral 7B (arXiv 2310.06825): a window of 4,096, at 128 KiB a token.
    model = read(MISTRAL_7B)
    assert model.sequence_bytes(2048) == 256 * MIB
    assert model.sequence_bytes(4096) == model.sequence_bytes(32768) == 512 * MIB
    assert (model.token_bytes(), model.token_bytes_beyond()) == (128 * KIB, 0)


def test_a_window_that_starts_inside_a_block_keeps_that_block():
    model = read({**SMALL, "sliding_window": 32}, dtype="fp32")
    assert [model.sequence_bytes(tokens) // model.block_bytes() for tokens in (32, 33, 47, 48, 49)] == [2, 3, 3, 2, 3]


@pytest.mark.parametrize(
    ("config", "windowed", "first"),
    [
        (GEMMA_2_2B, 13, [4096, None, 4096]),
        (GEMMA_3_4B, 29, [1024, 1024, 1024, 1024, 1024, None]),
        (GPT_OSS_20B | {"torch_dtype": "bfloat16"}, 12, [128, None]),
        (
            {**SMALL, "num_hidden_layers": 8, "sliding_window": 64, "sliding_window_pattern": "LLLG"},
            6,
            [64, 64, 64, None],
        ),
        (
            {**SMALL, "num_hidden_layers": 4, "sliding_window": 64, "use_sliding_window": True, "max_window_layers": 2},
            2,
            [None, None, 64, 64],
        ),
        ({**SMALL, "sliding_window": 64, "use_sliding_window": False}, 0, [None, None]),
        ({**SMALL, "model_type": "qwen2", "sliding_window": 64}, 0, [None, None]),
        ({**SMALL, "layer_types": ["full_attention"] * 2, "sliding_window": 64}, 0, [None, None]),
    ],
)
def test_windows_are_in_the_layers_that_have_one(config, windowed, first):
    model = read(config, dtype="bf16")
    windows = [layer.window for layer in model.layers]
    assert windows[: len(first)] == first
    assert sum(window is not None for window in windows) == windowed


def test_alternating_layers_grow_with_the_full_ones_only():
    model = read(GEMMA_3_4B)
    layer = 2 * 4 * 256 * 2
    assert model.token_bytes() == 34 * layer
    assert model.token_bytes_beyond() == 5 * layer
    assert model.sequence_bytes(32768) == (29 * 1024 + 5 * 32768) * layer


def test_layers_that_share_keys_and_values_keep_none_and_it_is_said():
    model = read({**SMALL, "num_hidden_layers": 30, "num_kv_shared_layers": 10}, dtype="fp32")
    assert len(model.layers) == 20
    assert "10 of 30" in model.notes[0]


def test_chunked_attention_is_counted_in_full_and_it_is_said():
    for config in ({"layer_types": ["chunked_attention", "full_attention"]}, {"attention_chunk_size": 64}):
        model = read({**SMALL, **config}, dtype="fp32")
        assert [layer.window for layer in model.layers] == [None, None]
        assert "chunked" in model.notes[0]


def test_a_flag_wins_over_the_configuration():
    assert read(FALCON_7B, {"num_key_value_heads": 71}).attention == "MHA"
    assert read(LLAMA_2_7B, {"num_hidden_layers": 16}).token_bytes() == MIB // 4


@pytest.mark.parametrize(
    ("config", "billions"),
    [
        (LLAMA_2_7B, 6.74),  # Llama 2, arXiv 2307.09288: the files hold 6,738,415,616
        (LLAMA_2_70B, 68.98),
        (LLAMA_3_8B, 8.03),
        (DEEPSEEK_V3, 671),  # deepseek-ai/DeepSeek-V3, README_WEIGHTS.md, without the MTP module
        (MIXTRAL_8X7B, 46.7),  # Mixtral of Experts, arXiv 2401.04088: 47B
        (GPT_OSS_20B | {"torch_dtype": "bfloat16"}, 20.9),  # gpt-oss model card: 20.9B
        (FALCON_7B, 6.92),
        (GEMMA_2_2B, 2.61),
        (OPT_13B, 12.85),
    ],
)
def test_the_estimate_of_parameters_is_within_a_hundredth_of_what_is_published(config, billions):
    assert read(config).parameters == pytest.approx(billions * 1e9, rel=0.01)


@pytest.mark.parametrize(
    ("config", "bits"),
    [
        (LLAMA_3_8B, 16),
        (GPT_OSS_20B | {"torch_dtype": "bfloat16"}, 4.25),
        (LLAMA_3_8B | {"quantization_config": {"quant_method": "awq", "bits": 4}}, 4),
        (LLAMA_3_8B | {"quantization_config": {"quant_method": "fp8"}}, 8),
        (LLAMA_3_8B | {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}, 4),
        (LLAMA_3_8B | {"quantization_config": {"quant_method": "of tomorrow"}}, None),
    ],
)
def test_weights_are_as_wide_as_the_configuration_says(config, bits):
    assert read(config).weight_bits == bits


def test_what_fits_is_what_the_weights_leave():
    model = read(LLAMA_2_70B)
    found = fit(model, tokens=4096, gpu_bytes=80 * GIB, weight_bytes=60 * GIB, utilization=1.0)
    assert (found.weights, found.cache, found.sequences) == (60 * GIB, 20 * GIB, 16)
    assert found.blocks == 20 * GIB // (16 * 320 * KIB)
    assert fit(model, tokens=4096, gpu_bytes=40 * GIB, weight_bytes=60 * GIB).sequences == 0


def test_gpus_split_weights_and_kv_heads_down_to_one_each():
    model = read(LLAMA_2_70B)
    assert model.token_bytes(gpus=4) == model.token_bytes() // 4
    assert model.token_bytes(gpus=16) == model.token_bytes(gpus=8) == model.token_bytes() // 8
    found = fit(model, tokens=4096, gpu_bytes=80 * GIB, weight_bytes=128 * GIB, utilization=1.0, gpus=4)
    assert (found.weights, found.cache, found.sequences) == (32 * GIB, 48 * GIB, 153)


def test_a_latent_vector_is_on_every_gpu():
    model = read(DEEPSEEK_V3)
    assert model.token_bytes(gpus=8) == model.token_bytes() == 70_272


@pytest.mark.parametrize(("gpus", "words"), [(3, "64 heads"), (128, "64 heads"), (7, "64 heads")])
def test_a_split_that_does_not_exist_is_refused(gpus, words):
    with pytest.raises(NotComputable, match=words):
        check_split(read(LLAMA_2_70B), gpus)


def test_kv_heads_that_do_not_split_evenly_are_refused():
    with pytest.raises(NotComputable, match="6 KV heads cannot be split over 4 GPUs"):
        check_split(read({**SMALL, "num_key_value_heads": 6}, dtype="fp16"), 4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0: expected a whole number above 0"),
        ({"num_hidden_layers": None}, "give --layers"),
        ({"num_hidden_layers": True}, "num_hidden_layers is True"),
        ({"num_key_value_heads": -8}, "num_key_value_heads is -8"),
        ({"num_key_value_heads": 5}, "32 heads are not divisible by 5 KV heads"),
        ({"num_attention_heads": 0}, "num_attention_heads is 0"),
        ({"hidden_size": 4095}, "4095 is not divisible by 32 heads: give --head-dim"),
        ({"hidden_size": None}, "give --head-dim"),
        ({"head_dim": 1.5}, "head_dim is 1.5"),
        ({"torch_dtype": "int3"}, "dtype 'int3' is not known"),
        ({"torch_dtype": None}, "give --dtype"),
        ({"sliding_window": -1}, "sliding_window is -1"),
        ({"sliding_window": 64, "sliding_window_pattern": 0.5}, "sliding_window_pattern 0.5"),
        ({"layer_types": ["full_attention"] * 3}, "3 entries for 32 layers"),
        ({"layer_types": 7}, "7 entries for 32 layers"),
        ({"layer_types": ["full_attention"] * 8 + ["linear_attention"] * 24}, "24 of 32 layers are 'linear_attention'"),
        ({"layer_types": ["mamba"] * 32}, "'mamba'"),
        ({"hybrid_override_pattern": "M-M*-"}, "hybrid_override_pattern is set, so this model has Mamba layers"),
        ({"model_type": "mamba", "state_size": 16}, "no KV cache"),
        ({"is_encoder_decoder": True}, "cross-attention"),
        ({"index_topk": 2048}, "index for sparse attention"),
        ({"kv_lora_rank": 512}, "give --qk-rope-head-dim"),
        ({"kv_lora_rank": 0}, "kv_lora_rank is 0"),
        ({"num_kv_shared_layers": 32}, "leaves none of 32 layers"),
    ],
)
def test_what_cannot_be_computed_is_refused_with_the_value_and_what_to_do(change, words):
    with pytest.raises(NotComputable) as refused:
        read(LLAMA_2_7B | change)
    assert words in str(refused.value)
