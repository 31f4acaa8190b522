"""Every link and picture of every page leads somewhere."""

from __future__ import annotations

from urllib.parse import unquote

import pytest

from tests.docs.pages import ROOT, anchors_of, links_of, pages

PAGES = pages()


def _dead(page, link):
    """Why a link leads nowhere; empty where it is fine, or leads out of the project."""
    target, _, anchor = unquote(link).partition("#")
    if target.startswith(("http://", "https://", "mailto:")):
        return ""
    where = (page.parent / target).resolve() if target else page
    if not where.is_relative_to(ROOT):
        return f"{link} leads out of the project"
    if not where.exists():
        return f"{link}: there is no {where.relative_to(ROOT)}"
    if anchor and where.suffix == ".md" and anchor not in anchors_of(where):
        return f"{link}: {where.relative_to(ROOT)} has no heading for #{anchor}"
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page):
    dead = [why for link in links_of(page) if (why := _dead(page, link))]
    assert not dead, f"{page.relative_to(ROOT)}: " + "; ".join(dead)


def test_the_index_leads_to_every_page_of_the_documentation():
    docs = ROOT / "docs"
    indexes = [docs / "README.md", docs / "clients" / "README.md"]
    reached = {(index.parent / link.partition("#")[0]).resolve() for index in indexes for link in links_of(index)}
    missing = {page for page in PAGES if page.is_relative_to(docs)} - reached - {docs / "README.md"}
    assert not missing


def test_every_picture_is_shown_somewhere_and_is_small():
    shown = {(page.parent / link).resolve() for page in PAGES for link in links_of(page) if link.endswith(".svg")}
    for picture in (ROOT / "docs" / "pictures").glob("*.svg"):
        assert picture in shown
        assert picture.stat().st_size < 15_000
