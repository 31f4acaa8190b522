"""What is written by programs, or about them, is what the programs say."""

from __future__ import annotations

import importlib.util
import re
import sys

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.docs.pages import ROOT, pages
from tests.docs.tokens import barred, codes, guards, reasons

DOCS = ROOT / "docs"


def _page(name):
    return (DOCS / name).read_text(encoding="utf-8")


def _section(text, heading):
    """From a heading to the next one of its rank."""
    rank = heading.partition(" ")[0]
    return text.partition(f"\n{heading}\n")[2].partition(f"\n{rank} ")[0]


def _first_cells(text):
    """What stands between backticks in the first cell of each row of a table."""
    rows = re.findall(r"^\| ([^|]*`[^|]*) \|", text, re.MULTILINE)
    return {token for cell in rows for token in re.findall(r"`([^`]+)`", cell)}


@pytest.fixture(scope="module")
def generate():
    """`docs/generate.py`, which is no part of a package."""
    found = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_the_generated_pages_are_in_step_with_the_program(generate):
    behind = list(generate.differing())
    assert not behind, "run `make docs`:\n" + "\n".join(behind)[:4000]


def test_a_check_changes_nothing_and_says_what_is_behind(generate, tmp_path, monkeypatch, capsys):
    for name in generate.PAGES:
        (tmp_path / name).write_text(f"# A page\n\n{generate.MARK}\n\nwhat stood there\n")
    monkeypatch.setattr(generate, "HERE", tmp_path)
    monkeypatch.setattr(sys, "argv", ["generate.py", "--check"])
    assert generate.main() == 1
    assert "-what stood there" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["generate.py"])
    assert generate.main() == 0
    assert (tmp_path / "cli.md").read_text().startswith("# A page\n")
    assert not list(generate.differing())


def test_a_page_that_lost_the_line_that_parts_it_is_not_overwritten(generate, tmp_path, monkeypatch):
    (tmp_path / "cli.md").write_text("# All by hand\n")
    monkeypatch.setattr(generate, "HERE", tmp_path)
    with pytest.raises(ValueError, match=r"docs/cli\.md has no line"):
        generate.page("cli.md")


async def test_every_metric_of_a_running_proxy_is_described(default_proxy):
    text = (await default_proxy.http.get("/metrics")).text
    shown = {family.name + "_total" * (family.type == "counter") for family in text_string_to_metric_families(text)}
    assert shown <= _first_cells(_page("metrics.md"))
    assert len(shown) > 20


async def test_every_path_of_the_operators_side_is_described(default_proxy):
    paths = (await default_proxy.http.get("/admin/openapi.json")).json()["paths"]
    described = set(re.findall(r"^## [A-Z]+ (\S+)$", _page("admin-api.md"), re.MULTILINE))
    assert described == set(paths)


def test_every_reason_that_the_program_can_give_is_explained():
    explained = _first_cells(_section(_page("operating.md"), "### Every reason"))
    assert explained == reasons()


def test_every_error_that_the_program_can_answer_with_is_listed():
    section = _section(_page("operating.md"), "## Errors of its own")
    assert (
        set(re.findall(r"`([a-z_]+)`", "\n".join(re.findall(r"^\| \d+ \| ([^|]+) \|", section, re.MULTILINE))))
        == codes()
    )


def test_everything_that_bars_a_question_or_tells_two_apart_is_explained():
    section = _section(_page("semantic.md"), "## Why was it not matched?")
    assert barred() <= _first_cells(section)
    assert guards() <= set(re.findall(r"`([a-z_]+)`", section))


# -- figures

NUMBER = re.compile(r"(?<![\w.,])\d[\d,]*(?:\.\d+)?(?![\w]|\.\d)")
FIGURES = re.compile(r"<!-- figures: (.+?) -->(.*?)<!-- end of figures -->", re.DOTALL)


def _figures():
    for page in pages():
        for files, text in FIGURES.findall(page.read_text(encoding="utf-8")):
            yield page, files.split(), text


@pytest.mark.parametrize(("page", "files", "text"), list(_figures()), ids=lambda value: getattr(value, "name", ""))
def test_a_figure_that_is_quoted_is_in_the_result_it_is_quoted_from(page, files, text):
    measured = "\n".join((ROOT / file).read_text(encoding="utf-8") for file in files)
    prose = re.sub(r"`[^`]*`|\]\([^)]*\)", "", text)
    missing = [number for number in NUMBER.findall(prose) if number not in set(NUMBER.findall(measured))]
    assert not missing, f"{page.name} quotes {missing}, which {files} do not have"


def test_figures_are_quoted_at_all():
    assert {page.name for page, _, _ in _figures()} >= {"semantic.md", "operating.md"}


def test_a_region_of_figures_has_an_end():
    for page in pages():
        text = page.read_text(encoding="utf-8")
        assert text.count("<!-- figures: ") == text.count("<!-- end of figures -->"), page
