"""The house keeps its rules: imports go down, sources have tests, the environment is read in one place."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "proxy").rglob("*.py"))

TESTED_ELSEWHERE = {
    "__main__.py": "tests/cli/test_cli.py starts it",
    "case.py": "tests/path/ walks it from end to end, tests/edge/ makes cases of its own",
    "errors.py": "plain values; every refusal in tests/ is one of them",
    "types.py": "plain values; every test uses them",
    "cli/__init__.py": "tests/cli/test_cli.py",
    "cli/options.py": "every test of a command goes through it",
    "feedback.py": "tests/path/test_meaning.py gives it over HTTP",
    "meaning/learning.py": "tests/path/test_learning.py: labels come in over HTTP",
    "meaning/matching.py": "tests/path/test_meaning.py",
    "meaning/off.py": "tests/path/test_meaning.py switches it off",
    "meaning/remembering.py": "tests/path/test_learning.py and tests/path/test_meaning.py",
    "edge/feedback_body.py": "tests/path/test_meaning.py",
    "telemetry/semantic.py": "tests/path/test_learning.py scrapes it",
    "pipeline.py": "tests/path/ walks it from end to end",
    "replicas.py": "tests/path/test_replicas.py",
    "settings/part.py": "tests/settings/test_upstream.py and test_tree.py: what branches are made of",
    "upstream/base.py": "worth_another in tests/upstream/test_routes.py",
    "upstream/gauges.py": "tests/path/test_upstreams.py scrapes it",
    "upstreams.py": "tests/path/test_upstreams.py",
    "admin/operations.py": "tests/path/test_seen.py asks for it over HTTP",
    "admin/routes.py": "tests/path/test_seen.py",
    "edge/asgi.py": "tests/path/",
    "edge/exchange.py": "tests/path/test_bad_input.py",
    "edge/guard.py": "tests/path/test_bad_input.py, on the wire",
    "edge/observer.py": "tests/path/test_seen.py",
    "stores/sqlite_file.py": "tests/stores/test_sqlite.py",
    "stores/sqlite_rows.py": "tests/stores/test_sqlite.py",
    "telemetry/audit.py": "tests/telemetry/test_logs.py and tests/path/test_seen.py",
    "telemetry/tallies.py": "tests/telemetry/test_metrics.py",
    "upstream/transport.py": "tests/upstream/test_openai_http.py",
}
"""Sources with logic and without a test file of their name."""


def name(source: Path) -> str:
    return source.relative_to(ROOT / "proxy").as_posix()


def has_logic(source: Path) -> bool:
    """Whether there is a function in it that does something. A room's question (`base.py`) has none."""
    nodes = ast.walk(ast.parse(source.read_text(encoding="utf-8")))
    functions = [each for each in nodes if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
    return any(not isinstance(statement, ast.Expr) for each in functions for statement in each.body)


def test_imports_go_down_the_path_and_never_up():
    program = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    kept = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert kept.returncode == 0, kept.stdout + kept.stderr


@pytest.mark.parametrize("source", [source for source in SOURCES if has_logic(source)], ids=name)
def test_a_source_has_a_test_file_of_its_name(source):
    assert name(source) in TESTED_ELSEWHERE or list((ROOT / "tests").rglob(f"test_{source.stem}.py"))


@pytest.mark.parametrize("listed", TESTED_ELSEWHERE)
def test_the_list_of_exceptions_names_sources_that_are_there(listed):
    assert (ROOT / "proxy" / listed).is_file()


@pytest.mark.parametrize("source", [source for source in SOURCES if source.parent.name != "cli"], ids=name)
def test_only_the_command_line_reads_the_environment(source):
    read = [
        each
        for each in ast.walk(ast.parse(source.read_text(encoding="utf-8")))
        if isinstance(each, ast.Attribute) and each.attr in ("environ", "getenv", "environb")
    ]
    assert read == []


@pytest.mark.parametrize("source", SOURCES, ids=name)
def test_a_source_says_what_it_is_for(source):
    text = source.read_text(encoding="utf-8")
    assert not text or ast.get_docstring(ast.parse(text))
