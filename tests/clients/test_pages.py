"""Every snippet of docs/clients, by the real client against a real `askonce`: misses, hits, directives, pass-through.

All snippets ask one question, and the provider's answers are numbered: the same number is the same answer, whichever
form it was asked for in and whichever it was read in.
"""

from __future__ import annotations

import json
import re

import pytest

from tests.clients.environments import packages_of, version
from tests.clients.pages import FENCE, FOLDER, MARKED, Page, read

UNRUN = {"README": "the index", "settings-only": "programs with a window: only read of in their documentation"}
"""Pages without a program to run, and why."""

PAGES = [read(file.stem) for file in sorted(FOLDER.glob("*.md")) if file.stem not in UNRUN]
PARTIAL = {"instructor": "a partial answer is asked for by another tool: two questions"}
"""Clients whose streamed question is not their plain one, and why."""

# The first test of a client makes its environment.
pytestmark = pytest.mark.timeout(900)

ANSWER = re.compile(r"Answer \d+")


def with_snippet(*names: str) -> pytest.MarkDecorator:
    """Every page that has these snippets."""
    pages = [page for page in PAGES if all(name in page.snippets for name in names)]
    assert pages
    return pytest.mark.parametrize("page", pages, ids=lambda page: page.name)


def said(output: str) -> str:
    """The numbered answer in what a client printed: as text, or as the frames of a stream."""
    frames = [json.loads(line[6:]) for line in output.splitlines() if line.startswith("data: {")]
    pieces = [choice["delta"].get("content") or "" for frame in frames for choice in frame.get("choices", ())]
    pieces += [frame["delta"] for frame in frames if frame.get("type") == "response.output_text.delta"]
    found = ANSWER.findall("".join(pieces) if frames else output)
    assert found, output
    return str(found[0])


FILLED = {"plain": ["plain", "plain", "streamed"], "streamed": ["streamed", "streamed", "plain"]}


@with_snippet("plain", "streamed")
@pytest.mark.parametrize("filled", FILLED)
async def test_the_second_time_is_a_hit_and_one_entry_serves_both_forms(page: Page, filled: str, desk):
    async with desk(page) as at:
        answers = [said(await at.run(name)) for name in FILLED[filled]]
    if page.name in PARTIAL:
        assert answers == ["Answer 1", "Answer 1", "Answer 2"]
        assert at.outcomes() == ["miss", "hit", "miss"]
    else:
        assert answers == ["Answer 1"] * 3
        assert at.outcomes() == ["miss", "hit", "hit"]
    assert at.provider.asked[0].streams == (filled == "streamed")


@with_snippet("fresh")
async def test_asked_anew_the_model_answers_and_that_answer_is_kept(page: Page, desk):
    form = "streamed" if page.name == "aider" else "plain"
    async with desk(page) as at:
        answers = [said(await at.run(name)) for name in (form, "fresh", form)]
    assert answers == ["Answer 1", "Answer 2", "Answer 2"]
    assert at.outcomes() == ["miss", "miss", "hit"]


@with_snippet("outcome")
async def test_the_client_sees_what_the_cache_did_and_says_how_long_to_keep(page: Page, desk):
    async with desk(page) as at:
        first, second = await at.run("outcome"), await at.run("outcome")
        lifetime = await at.lifetime()
    assert (said(first), said(second)) == ("Answer 1", "Answer 1")
    assert (first.splitlines()[-1], second.splitlines()[-1]) == ("miss", "hit")
    assert 0 < lifetime <= 60


@with_snippet("only-if-cached")
async def test_only_what_is_there_costs_one_request_and_no_call(page: Page, desk):
    async with desk(page) as at:
        first = await at.run("only-if-cached")
        calls = at.provider.calls
        filled = said(await at.run("plain"))
        second = said(await at.run("only-if-cached"))
    assert first.splitlines()[-1] == "not cached"
    assert calls == 0
    assert filled == second == "Answer 1"
    assert at.outcomes() == ["only_if_cached_miss", "miss", "hit"]


@with_snippet("responses")
async def test_a_response_is_passed_through_each_time(page: Page, desk):
    async with desk(page) as at:
        outputs = [await at.run("responses"), await at.run("responses")]
    assert [said(output) for output in outputs] == ["Answer 1", "Answer 2"]
    assert [output.splitlines()[-1] for output in outputs] == ["bypass", "bypass"]
    assert [asked.target for asked in at.provider.asked] == ["/v1/responses"] * 2


@with_snippet("responses-streamed")
async def test_a_streamed_response_is_passed_through_each_time(page: Page, desk):
    async with desk(page) as at:
        answers = [said(await at.run("responses-streamed")), said(await at.run("responses-streamed"))]
    assert answers == ["Answer 1", "Answer 2"]
    assert at.outcomes("other") == ["bypass", "bypass"]
    assert [(asked.target, asked.streams) for asked in at.provider.asked] == [("/v1/responses", True)] * 2


# --- the pages themselves


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_snippet_is_of_a_kind_that_is_run(page: Page):
    kinds = {"install", "configure", "plain", "streamed", "fresh", "outcome", "only-if-cached", "responses"}
    assert set(page.snippets) <= kinds | {"responses-streamed"}
    assert {"plain", "streamed"} <= set(page.snippets) or page.name == "codex"


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.md")), ids=lambda file: file.stem)
def test_every_block_says_whether_it_is_run(file):
    text = file.read_text()
    assert len(MARKED.findall(text)) == len(FENCE.findall(text))


@pytest.mark.parametrize("page", [page for page in PAGES if page.install], ids=lambda page: page.name)
def test_the_versions_on_a_page_are_those_it_was_run_with(page: Page):
    assert page.install
    for package in packages_of(page.name, page.install):
        assert f"`{package}` {version(page.name, package)}" in page.text


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.md")), ids=lambda file: file.stem)
def test_the_index_names_every_page(file):
    assert file.stem == "README" or f"({file.name})" in (FOLDER / "README.md").read_text()
