"""ONNX Runtime keeps to itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.embedders import bert_graph
from tests.embedders.models import tiny_model

ROOT = Path(__file__).parents[2]

PROGRAM = """
import sys, numpy
from proxy.embedders.runtime import open_session
session = open_session(open(sys.argv[1], "rb").read())
one = numpy.ones((1, 3), numpy.int32)
print(session.run(None, {"input_ids": one, "attention_mask": one})[0].shape)
"""


@pytest.mark.parametrize("writable", [True, False])
def test_it_leaves_nothing_in_an_empty_home_and_needs_none(tmp_path, writable):
    graph = tmp_path / "tiny.onnx"
    bert_graph.build(tiny_model(tmp_path / "tiny"), graph, "fp32", 127)
    home = tmp_path / "home"
    home.mkdir(mode=0o700 if writable else 0o500)
    environ = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(graph)], env=environ, cwd=tmp_path, capture_output=True, text=True
    )
    assert ran.stdout == "(1, 16)\n", ran.stderr
    assert ran.stderr == ""
    assert list(home.rglob("*")) == []


def test_threads_sleep_and_are_as_many_as_asked(tmp_path):
    from proxy.embedders.runtime import open_session

    graph = tmp_path / "tiny.onnx"
    bert_graph.build(tiny_model(tmp_path / "tiny"), graph, "fp32", 127)
    options = open_session(graph, 2).get_session_options()
    assert options.intra_op_num_threads == 2
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
