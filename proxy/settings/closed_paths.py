"""First path segments that no configuration opens: behind them a server is administered, not asked."""

from __future__ import annotations

from typing import Final

CLOSED: Final = frozenset(
    {
        # vLLM 0.32, below /v1: adapters come and go, and with them what a model's name means
        "load_lora_adapter", "unload_lora_adapter",
        # the same server's other roots, for an upstream whose base address has no /v1
        "abort_requests", "adapters", "collective_rpc", "fault_tolerance", "finish_weight_update", "get_world_size",
        "inference", "init_weight_transfer_engine", "invocations", "is_paused", "is_scaling_elastic_ep", "is_sleeping",
        "kv_event_sources", "pause", "release_kv_cache_memory", "reset_encoder_cache", "reset_mm_cache",
        "reset_prefix_cache", "resume", "scale_elastic_ep", "server_info", "shutdown_weight_transfer_engine", "sleep",
        "start_draft_weight_update", "start_profile", "start_weight_update", "stop_profile", "update_weight_version",
        "update_weights", "v1", "v2", "wake_up", "weight_checker", "weight_info",
    }
)  # fmt: skip
"""`inference`, `v1` and `v2` are no administration themselves but lead to some; `invocations` takes any request there
is. What only tells (`/health`, `/load`, `/metrics`, `/version`) an operator may open."""
