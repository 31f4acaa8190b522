"""`askonce kv-size`: a configuration or flags in, bytes out."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from proxy.cli import app
from tests.test_kv_size import DEEPSEEK_V3, LLAMA_2_70B, LLAMA_3_8B, MISTRAL_7B

LLAMA_FLAGS = ["--layers", 80, "--heads", 64, "--kv-heads", 8, "--head-dim", 128, "--dtype", "fp16"]


@pytest.fixture(autouse=True)
def _wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


def run(*arguments):
    return CliRunner().invoke(app, ["kv-size", *map(str, arguments)])


def written(tmp_path, config):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    return path


def test_a_configuration_gives_a_table(tmp_path):
    shown = run(written(tmp_path, LLAMA_2_70B), "--context", 8192, "--batch", 4)
    assert shown.exit_code == 0
    assert "GQA, 8 KV heads of 128" in shown.output
    assert "320 KiB (327,680)" in shown.output
    assert "2.50 GiB (2,684,354,560)" in shown.output
    assert "10.00 GiB (10,737,418,240)" in shown.output


def test_flags_do_for_a_configuration_and_json_is_one_object():
    report = json.loads(run(*LLAMA_FLAGS, "--batch", 2, "--json").output)
    assert report["bytes_per_token"] == 327_680
    assert report["bytes_per_sequence"] * 2 == report["bytes_per_batch"] == 2_684_354_560
    assert (report["attention"], report["layers"], report["context"]) == ("GQA", 80, 4096)
    assert "fit" not in report


def test_what_fits_beside_estimated_weights_is_said_to_be_estimated(tmp_path):
    shown = run(written(tmp_path, LLAMA_3_8B), "--gpu-memory", 80)
    assert "Weights: estimate: 8.03B parameters at 16 bits." in shown.output
    assert "Activations" in shown.output
    found = json.loads(run(written(tmp_path, LLAMA_3_8B), "--gpu-memory", 80, "--json").output)["fit"]
    # (80 GiB x 0.9 - 8.03e9 x 2 bytes) / (4,096 tokens x 128 KiB)
    assert found["sequences"] == 114
    assert "estimate" in found["weights_from"]


@pytest.mark.parametrize(
    ("arguments", "sequences"),
    [
        (["--weights", 32, "--utilization", 1], 96),
        (["--parameters", "16B", "--utilization", 1], 100),
        (["--parameters", "16000M", "--utilization", 1], 100),
        (["--weights", 32, "--utilization", 0.5], 16),
    ],
)
def test_weights_can_be_given(tmp_path, arguments, sequences):
    shown = run(written(tmp_path, LLAMA_3_8B), "--gpu-memory", 80, "--json", *arguments)
    assert json.loads(shown.output)["fit"]["sequences"] == sequences


def test_weights_that_do_not_fit_say_what_to_do(tmp_path):
    shown = run(written(tmp_path, DEEPSEEK_V3), "--gpu-memory", 80, "--gpus", 8)
    assert "The weights alone do not fit: take more --gpus" in shown.output
    assert "on each of 8 GPUs" in shown.output


def test_a_batch_that_does_not_fit_is_said(tmp_path):
    shown = run(written(tmp_path, LLAMA_3_8B), "--gpu-memory", 24, "--batch", 64)
    assert "A batch of 64 does not fit at once" in shown.output


def test_a_window_is_shown(tmp_path):
    shown = run(written(tmp_path, MISTRAL_7B)).output
    assert "layers with a window of 4,096" in shown
    assert "32 of 32" in shown
    assert "a token beyond the window" in shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give --layers"),
        ([*LLAMA_FLAGS, "--layers", 0], "num_hidden_layers is 0"),
        ([*LLAMA_FLAGS, "--gpus", 3], "64 heads cannot be split over 3 GPUs"),
        ([*LLAMA_FLAGS, "--dtype", "int3"], "dtype 'int3' is not known"),
        ([*LLAMA_FLAGS, "--gpu-memory", 80], "give --weights in GiB, or --parameters"),
        ([*LLAMA_FLAGS, "--gpu-memory", 80, "--parameters", "many"], "--parameters 'many'"),
        ([*LLAMA_FLAGS, "--gpu-memory", 80, "--parameters", "-7B"], "--parameters '-7B'"),
        (["nowhere.json"], "nowhere.json cannot be read"),
    ],
)
def test_nonsense_is_refused_with_a_sentence(arguments, words):
    shown = run(*arguments)
    assert shown.exit_code == 2
    assert words in shown.output
    assert "Traceback" not in shown.output


@pytest.mark.parametrize(("text", "words"), [("{", "is not JSON"), ("[]", "is not a JSON object")])
def test_a_file_that_is_no_configuration_is_refused(tmp_path, text, words):
    path = tmp_path / "config.json"
    path.write_text(text)
    shown = run(path)
    assert (shown.exit_code, words in shown.output) == (2, True)


def test_no_memory_without_end_is_taken():
    assert run(*LLAMA_FLAGS, "--gpu-memory", "inf", "--weights", 1).exit_code == 2
