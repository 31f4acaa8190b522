"""ONNX Runtime, imported late and made quiet: no telemetry, no spinning threads, no arena that only grows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnxruntime import InferenceSession  # type: ignore[import-untyped]


def open_session(graph: Path | bytes, threads: int = 1) -> InferenceSession:
    """A graph, ready to run. Raises what ONNX Runtime raises, which has no common root but Exception."""
    # Said before it is imported, and so before its environment is made: its official builds otherwise report to their
    # maker and keep an identifier of this machine below HOME. Nothing is read here; the variable is for its C++ alone.
    os.putenv("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime  # noqa: PLC0415

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = False
    # Between two questions its threads sleep: the proxy has better use for the core.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(
        graph if isinstance(graph, bytes) else str(graph),
        options,
        providers=["CPUExecutionProvider"],
        # Fused, adding and normalising take twice the time.
        disabled_optimizers=["SkipLayerNormFusion"],
    )
