"""`askonce kv-size`: how much memory does a model's KV cache take, and how many sequences fit into a GPU?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from proxy.cli.options import example, fail

if TYPE_CHECKING:
    from rich.table import Table

    from proxy.kv_size import Fit, Model

EXAMPLE = example(
    "askonce kv-size config.json --context 8192 --gpu-memory 80",
    "askonce kv-size --layers 80 --heads 64 --kv-heads 8 --head-dim 128 --dtype fp16 --batch 32",
)

MOST_GIB: Final = 1_000_000
"""More than any machine has; also keeps `inf` out."""

SUFFIXES: Final = {"K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
"""Of a number of parameters, as models are named: 70B."""


def kv_size(
    config: Annotated[Path | None, typer.Argument(metavar="CONFIG.json", help="A model's config.json.")] = None,
    context: Annotated[int, typer.Option(min=1, metavar="TOKENS", help="Length of a sequence.")] = 4096,
    batch: Annotated[int, typer.Option(min=1, metavar="N", help="Sequences at a time.")] = 1,
    dtype: Annotated[str, typer.Option(metavar="D", help="fp32, fp16, bf16, fp8; auto: the configuration's.")] = "auto",
    block_size: Annotated[int, typer.Option(min=1, metavar="TOKENS", help="Tokens in a block of the cache.")] = 16,
    gpu_memory: Annotated[
        float | None, typer.Option(min=0.01, max=MOST_GIB, metavar="GIB", help="Of one GPU: say what fits.")
    ] = None,
    gpus: Annotated[int, typer.Option(min=1, metavar="N", help="Tensor parallel over so many.")] = 1,
    utilization: Annotated[
        float, typer.Option(min=0.01, max=1.0, metavar="SHARE", help="Of the GPU, as vLLM's setting.")
    ] = 0.9,
    weights: Annotated[
        float | None, typer.Option(min=0, max=MOST_GIB, metavar="GIB", help="Of the whole model.")
    ] = None,
    parameters: Annotated[str | None, typer.Option(metavar="70B", help="Instead of --weights.")] = None,
    layers: Annotated[int | None, typer.Option(metavar="N", help="num_hidden_layers")] = None,
    heads: Annotated[int | None, typer.Option(metavar="N", help="num_attention_heads")] = None,
    kv_heads: Annotated[int | None, typer.Option(metavar="N", help="num_key_value_heads")] = None,
    head_dim: Annotated[int | None, typer.Option(metavar="N", help="Width of a head.")] = None,
    hidden_size: Annotated[int | None, typer.Option(metavar="N", help="hidden_size; over heads: head_dim")] = None,
    kv_lora_rank: Annotated[int | None, typer.Option(metavar="N", help="Latent attention (DeepSeek).")] = None,
    qk_rope_head_dim: Annotated[int | None, typer.Option(metavar="N", help="Latent attention (DeepSeek).")] = None,
    sliding_window: Annotated[int | None, typer.Option(metavar="TOKENS", help="Of layers that have one.")] = None,
    sliding_window_pattern: Annotated[
        int | None, typer.Option(metavar="N", help="Every N-th layer has no window (Gemma 3: 6).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON: one object, in bytes.")] = False,
) -> None:
    """Memory of a model's KV cache.

    In bytes a token, a sequence and a batch, from the model's config.json, from flags, or both (flags win). With
    --gpu-memory also how many sequences fit beside the weights. Exit code 2 if it cannot be computed.
    """
    from proxy.kv_size import GIB, NotComputable, check_split, fit, read

    given = {
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "hidden_size": hidden_size,
        "kv_lora_rank": kv_lora_rank,
        "qk_rope_head_dim": qk_rope_head_dim,
        "sliding_window": sliding_window,
        "sliding_window_pattern": sliding_window_pattern,
    }
    read_config = _read(config)
    try:
        model = read(read_config, {name: value for name, value in given.items() if value is not None}, dtype)
        check_split(model, gpus)
        fits, origin = None, ""
        if gpu_memory is not None:
            weight_bytes, origin = _weights(model, weights, parameters)
            fits = fit(
                model,
                tokens=context,
                gpu_bytes=int(gpu_memory * GIB),
                weight_bytes=weight_bytes,
                utilization=utilization,
                gpus=gpus,
                block_size=block_size,
            )
    except NotComputable as error:
        fail(str(error), 2)
    told = _told(model, context, batch, block_size, gpus)
    if as_json:
        _print_json(model, told, fits, origin)
    else:
        _print_table(model, told, fits, origin, utilization)


def _read(path: Path | None) -> dict[str, Any]:
    import json

    if path is None:
        return {}
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        fail(f"{path} cannot be read: {error.strerror}", 2)
    except (ValueError, RecursionError):
        fail(f"{path} is not JSON: expected a model's config.json", 2)
    if not isinstance(found, dict):
        fail(f"{path} is not a JSON object: expected a model's config.json", 2)
    return found


def _weights(model: Model, weights: float | None, parameters: str | None) -> tuple[int, str]:
    """Bytes of the whole model's weights, and where that is from. Raises NotComputable."""
    from proxy.kv_size import GIB, NotComputable

    if weights is not None:
        return int(weights * GIB), "--weights"
    bits = model.weight_bits
    if parameters is not None:
        # Without a configuration the cache's dtype is the best that is known; weights are seldom in fp8 when it is.
        width = bits or 8 * max(2, model.element_bytes)
        return int(_number(parameters) * width / 8), f"--parameters at {width:g} bits"
    if model.parameters is None:
        raise NotComputable("the weights are not known: give --weights in GiB, or --parameters, for example 70B")
    if bits is None:
        raise NotComputable("the width of the weights is not known (quantization_config): give --weights in GiB")
    return int(model.parameters * bits / 8), f"estimate: {model.parameters / 1e9:,.2f}B parameters at {bits:g} bits"


def _number(parameters: str) -> float:
    """Of parameters. Raises NotComputable."""
    from proxy.kv_size import NotComputable

    word = parameters.strip().upper()
    factor = SUFFIXES.get(word[-1:], 1)
    try:
        number = float(word.rstrip("".join(SUFFIXES))) * factor
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise NotComputable(f"--parameters {parameters!r}: expected a number such as 7B or 70e9")
    return number


def _told(model: Model, tokens: int, batch: int, block_size: int, gpus: int) -> dict[str, int]:
    """Bytes on one GPU, and what they are for."""
    sequence = model.sequence_bytes(tokens, block_size=block_size, gpus=gpus)
    return {
        "gpus": gpus,
        "context": tokens,
        "batch": batch,
        "block_size": block_size,
        "bytes_per_token": model.token_bytes(gpus=gpus),
        "bytes_per_token_beyond_windows": model.token_bytes_beyond(gpus=gpus),
        "bytes_per_block": model.block_bytes(block_size=block_size, gpus=gpus),
        "bytes_per_sequence": sequence,
        "bytes_per_batch": sequence * batch,
    }


def _print_json(model: Model, told: dict[str, int], fits: Fit | None, origin: str) -> None:
    import json
    from dataclasses import asdict

    report: dict[str, Any] = {
        "attention": model.attention,
        "dtype": model.dtype,
        "layers": len(model.layers),
        "layers_with_window": sum(layer.window is not None for layer in model.layers),
        "kv_heads": model.layers[0].kv_heads,
        **told,
        "notes": list(model.notes),
    }
    if fits is not None:
        report["fit"] = {**asdict(fits), "weights_from": origin}
    typer.echo(json.dumps(report))


def _print_table(model: Model, told: dict[str, int], fits: Fit | None, origin: str, utilization: float) -> None:
    from rich.console import Console

    Console(highlight=False).print(_table(model, told, fits, utilization))
    for line in _notes(model, told, fits, origin):
        typer.echo(line)


def _table(model: Model, told: dict[str, int], fits: Fit | None, utilization: float) -> Table:
    from rich.table import Table

    each = "" if told["gpus"] == 1 else f", on each of {told['gpus']} GPUs"
    table = Table(title=f"KV cache{each}", show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    for section in _sections(model, told, fits, utilization):
        for name, value in section:
            table.add_row(name, value)
        table.add_section()
    return table


def _sections(
    model: Model, told: dict[str, int], fits: Fit | None, utilization: float
) -> Iterator[list[tuple[str, str]]]:
    layer = model.layers[0]
    kind = f"{model.attention}, latent vector of {layer.width}"
    if not layer.latent:
        kind = f"{model.attention}, {layer.kv_heads} KV heads of {layer.width // 2}"
    windows = sorted({each.window for each in model.layers if each.window is not None})
    windowed = sum(each.window is not None for each in model.layers)
    yield [("attention", kind), ("layers", str(len(model.layers))), ("dtype", model.dtype)] + [
        (f"layers with a window of {window:,}", f"{windowed} of {len(model.layers)}") for window in windows
    ]
    beyond = [("a token beyond the window", _size(told["bytes_per_token_beyond_windows"]))] if windows else []
    yield [
        ("a token", _size(told["bytes_per_token"])),
        *beyond,
        (f"a block of {told['block_size']} tokens", _size(told["bytes_per_block"])),
        (f"a sequence of {told['context']:,} tokens", _size(told["bytes_per_sequence"])),
        (f"a batch of {told['batch']:,}", _size(told["bytes_per_batch"])),
    ]
    if fits is not None:
        yield [
            ("weights", _size(fits.weights)),
            (f"left for the cache, of {utilization:g} of the GPU", _size(fits.cache)),
            ("blocks that fit", f"{fits.blocks:,}"),
            (f"sequences of {told['context']:,} tokens that fit", f"{fits.sequences:,}"),
        ]


def _notes(model: Model, told: dict[str, int], fits: Fit | None, origin: str) -> Iterator[str]:
    yield from (f"Note: {note}." for note in model.notes)
    if fits is None:
        return
    yield f"Weights: {origin}."
    yield "Activations and CUDA graphs take a part of what is left; vLLM's start-up log says how much."
    if not fits.cache:
        yield "The weights alone do not fit: take more --gpus, a bigger GPU, or quantized weights."
    elif fits.sequences < told["batch"]:
        yield f"A batch of {told['batch']:,} does not fit at once: {fits.sequences:,} of its sequences do."


def _size(number: int) -> str:
    value = float(number)
    for unit in ("bytes", "KiB", "MiB"):
        if value < 1024:
            return f"{value:,.0f} {unit}" if unit == "bytes" else f"{value:,.4g} {unit} ({number:,})"
        value /= 1024
    return f"{value:,.2f} GiB ({number:,})"
