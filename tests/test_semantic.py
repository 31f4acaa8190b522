"""What `semantic.mode` comes to, and what it costs to leave it off."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from proxy import semantic
from proxy.errors import SettingsError
from proxy.semantic import mode_of, probe_semantic
from proxy.settings import Settings, load

HEAVY = ("numpy", "onnxruntime", "tokenizers", "usearch", "redisvl", "onnx", "safetensors", "torch")


def settings(**flags: Any) -> Settings:
    return load(None, {name.replace("__", "."): value for name, value in flags.items()}, {}).settings


@pytest.fixture
def lacks(monkeypatch: pytest.MonkeyPatch) -> Any:
    """As if this library were not installed."""

    def without(library: str) -> None:
        found = semantic.find_spec
        monkeypatch.setattr(semantic, "find_spec", lambda name: None if name == library else found(name))

    return without


def test_it_is_on_by_itself_where_everything_is_installed():
    assert mode_of(settings()) == ("on", "")
    assert mode_of(settings(semantic__mode="shadow")).mode == "shadow"
    assert mode_of(settings(semantic__mode="off")).mode == "off"


def test_without_the_extra_it_is_off_and_says_what_to_install(lacks: Any):
    lacks("tokenizers")
    mode, reason = mode_of(settings())
    assert mode == "off"
    assert "tokenizers" in reason
    assert "askonce[semantic]" in reason


def test_what_was_asked_for_and_cannot_be_had_stops_the_start(lacks: Any):
    lacks("onnxruntime")
    with pytest.raises(SettingsError, match="with onnxruntime not installed"):
        mode_of(settings(semantic__mode="on"))


def test_with_redis_its_own_library_is_needed_too(lacks: Any):
    lacks("redisvl")
    assert mode_of(settings()).mode == "on"
    assert "redisvl" in mode_of(settings(store__url="redis://r:6379/0")).reason


def test_a_store_that_keeps_nothing_has_nothing_to_match():
    assert mode_of(settings(store__url="off://")) == ("off", "the store is off")
    with pytest.raises(SettingsError, match="nothing is kept"):
        mode_of(settings(store__url="off://", semantic__mode="on"))


async def test_check_says_why_it_is_off_and_warns_where_nobody_wished_it(lacks: Any):
    lacks("onnxruntime")
    assert [probe.warns async for probe in probe_semantic(settings())] == [True]
    assert [probe.warns async for probe in probe_semantic(settings(semantic__mode="off"))] == [False]


async def test_check_says_what_to_do_about_a_model_that_cannot_be_had(tmp_path: Path):
    [probe] = [each async for each in probe_semantic(settings(semantic__embedder__directory=str(tmp_path)))]
    assert not probe.ok
    assert str(tmp_path) in probe.detail


@pytest.mark.parametrize("store", ["memory://", "redis://127.0.0.1:1/0"])
def test_off_imports_nothing_heavy(store: str):
    program = (
        "import sys; from proxy import app, settings; "
        f"app.build(settings.load(None, {{'semantic.mode': 'off', 'store.url': {store!r}}}, {{}}).settings); "
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert ran.stdout.strip() == "[]", ran.stderr
