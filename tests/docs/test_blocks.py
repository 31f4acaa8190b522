"""Every fenced block of the documentation does what it says, or says why it is not run; and then it at least parses."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess

import pytest
import yaml

from proxy import settings
from tests.docs.pages import ROOT, Block, blocks_of, pages
from tests.docs.running import Reader, expected, follow
from tests.embedding_model import lend

ELSEWHERE = {
    "docs/clients/": "tests/clients runs each in an environment of its own",
    "docs/runbook.md": "its commands are for a cluster that burns; tests/production looks at its headings",
    "docs/tracing.md": "about collectors that are not here",
    "helm/": "tests/production renders the chart",
    "loadtests/": "its commands take minutes to an hour",
    ".github/": "forms, not pages",
}
"""Pages, by how their path begins, whose blocks are looked at elsewhere or not at all, and why."""

PAGES = [page for page in pages() if not str(page.relative_to(ROOT)).startswith(tuple(ELSEWHERE))]
BLOCKS = [block for page in PAGES for block in blocks_of(page)]
RUN = ("run", "file", "output")
FOLLOWED = [page for page in PAGES if any(block.kind == "run" for block in blocks_of(page))]

_PROXY = re.compile(r"<!-- proxy: (.+?) -->")
_GIVEN = re.compile(r"<!-- given: (\S+) from (\S+) -->")
_TOOLS = {"curl"}


def ids(block: Block) -> str:
    return block.place


@pytest.mark.parametrize("block", BLOCKS, ids=ids)
def test_a_block_says_what_becomes_of_it(block):
    assert block.kind, f"{block.place}: put <!-- run: … --> or <!-- not run: reason --> on the line above it"
    assert block.words or block.kind == "output", f"{block.place}: <!-- {block.kind}: … --> wants words"


@pytest.mark.parametrize("page", FOLLOWED, ids=lambda page: str(page.relative_to(ROOT)))
async def test_a_page_can_be_followed_from_top_to_bottom(page, askonce_process, provider, tmp_path):
    blocks = [block for block in blocks_of(page) if block.kind in RUN]
    lacking = {tool for tool in _TOOLS if any(tool in block.code for block in blocks)} - {
        tool for tool in _TOOLS if shutil.which(tool)
    }
    if lacking:
        pytest.skip(f"{page.name} uses {', '.join(sorted(lacking))}, which is not installed here")
    wanted = _PROXY.search(page.read_text())
    environ = dict(word.split("=", 1) for word in shlex.split(wanted[1])) if wanted else {}
    if "ASKONCE_SEMANTIC__MODE" in environ:
        lend(tmp_path / "data")
    home = tmp_path / "home"
    home.mkdir()
    for name, source in _GIVEN.findall(page.read_text()):
        shutil.copy(ROOT / source, home / name)
    async with askonce_process(environ=environ) as process:
        await follow(Reader(process.url, home, provider.url), blocks)


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.kind == "settings"], ids=ids)
def test_settings_that_are_shown_are_read_by_the_product(block, tmp_path):
    (tmp_path / "secrets").mkdir()
    for name in re.findall(r"/run/secrets/([\w-]+)", block.code):
        (tmp_path / "secrets" / name).write_text("a-secret-of-some-length")
    file = tmp_path / "askonce.yaml"
    file.write_text(block.code.replace("/run/secrets", str(tmp_path / "secrets")))
    environ = dict(word.split("=", 1) for word in shlex.split(block.words) if re.match(r"ASKONCE_\w+=", word))
    settings.load(file, {}, environ)


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.kind == "not run"], ids=ids)
def test_what_is_not_run_is_well_formed(block, tmp_path):
    match block.language:
        case "sh":
            subprocess.run(["bash", "-n", "-c", block.code], check=True)
            named = re.findall(r"(?:-f|--values|-c) ([\w./-]+\.(?:ya?ml|toml))", block.code)
            missing = [name for name in named if name not in block.words and not (ROOT / name).exists()]
            assert not missing, f"{block.place} names {missing}, which are not there"
        case "yaml":
            assert list(yaml.safe_load_all(block.code))
        case "json":
            for document in block.code.splitlines() if block.code.count("\n{") else [block.code]:
                json.loads(document)
        case "ini":
            _verify_unit(block, tmp_path)
        case "text" | "":
            assert block.code.strip()
        case _:
            pytest.fail(f"{block.place}: nobody knows how to look at a block in {block.language!r}")


def _verify_unit(block, folder):
    """A systemd unit: by systemd itself where it is there, else by its form."""
    sections = re.findall(r"^\[(\w+)\]$", block.code, re.MULTILINE)
    assert "Service" in sections
    assert all(re.fullmatch(r"(\[\w+\]|[A-Z]\w+=.*|#.*|)", line) for line in block.code.splitlines()), block.place
    if shutil.which("systemd-analyze") is None:
        return
    unit = folder / "askonce.service"
    # What it starts is not installed here, and it must not say so.
    unit.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/sh", block.code, flags=re.MULTILINE))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "SYSTEMD_LOG_LEVEL": "warning"},
    )
    said = [line for line in done.stderr.splitlines() if "askonce.service" in line]
    assert not said, "\n".join(said)


def test_a_block_that_does_not_print_what_is_said_is_found_out(tmp_path):
    reader = Reader("http://127.0.0.1:1", tmp_path, "http://127.0.0.1:1")
    page = tmp_path / "page.md"
    reader.run(Block(page, 1, "sh", "echo x-cache: hit\n", "run", "says"))
    reader.run(Block(page, 2, "text", "x-cache: …\n", "output", ""))
    with pytest.raises(AssertionError, match="it printed"):
        reader.run(Block(page, 3, "text", "x-cache: miss\n", "output", ""))
    with pytest.raises(AssertionError):
        reader.run(Block(page, 4, "sh", "false\n", "run", "fails"))


def test_an_ellipsis_stands_for_a_piece_of_a_line_or_for_lines():
    assert re.fullmatch(expected("a … z\n…\nend\n"), "a b c z\n1\n2\nend\n")
    assert not re.fullmatch(expected("a … z\n"), "a b\nc z\n")


def test_a_block_without_an_end_is_found_out(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```sh\ntrue\n")
    with pytest.raises(ValueError, match="does not end"):
        list(blocks_of(page))
