"""The pages of docs/clients as the tests see them: named snippets, each a program to run."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.clients import environments
from tests.clients.environments import Environment
from tests.conftest import ROOT

FOLDER = ROOT / "docs" / "clients"
FENCE = re.compile(r"^```(\w*)\n.*?^```$", re.DOTALL | re.MULTILINE)
MARKED = re.compile(r"<!-- (snippet|not run): ([^\n]+) -->\n```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
ADDRESS = "http://127.0.0.1:8080"
KEY = "sk-of-a-client"

SECONDS = 240
"""How long a snippet may take: a first start in a fresh environment, on two slow cores."""


@dataclass(frozen=True)
class Snippet:
    """A program in `python`, `js` or `sh`."""

    language: str
    code: str


@dataclass(frozen=True)
class Place:
    """Where a client runs: its environment, a home directory of its own, and nowhere else to go.

    elsewhere: the address of a proxy that connections to other hosts are sent to.
    """

    environment: Environment
    home: Path
    elsewhere: str

    def environ(self) -> dict[str, str]:
        """Nothing of this machine's but what programs need to start: a client must not find other settings."""
        kept = {name: os.environ[name] for name in ("SSL_CERT_FILE", "LD_LIBRARY_PATH") if name in os.environ}
        names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
        return (
            kept
            | dict.fromkeys(names, self.elsewhere)
            | {
                "NO_PROXY": "127.0.0.1",
                "no_proxy": "127.0.0.1",
                "OPENAI_API_KEY": KEY,
                "HOME": str(self.home),
                "PATH": f"{self.environment.bin}:{os.environ['PATH']}",
                "LANG": "C.UTF-8",
                "TERM": "dumb",
            }
        )


@dataclass(frozen=True)
class Page:
    """One client: what its page says to type."""

    name: str
    text: str
    snippets: dict[str, Snippet]

    @property
    def install(self) -> str | None:
        """The install line; None for what every machine has."""
        snippet = self.snippets.get("install")
        return snippet.code.strip() if snippet else None

    def environment(self) -> Environment:
        """The client's environment, made where it is not there yet. Raises `environments.NotToBeHad`."""
        return environments.environment(self.name, self.install) if self.install else Environment(Path("/usr/bin"))

    def run(self, name: str, url: str, place: Place) -> str:
        """What a snippet prints with the proxy at this address. Fails where the program does."""
        snippet = self.snippets[name]
        done = subprocess.run(
            _command(snippet.language, snippet.code.replace(ADDRESS, url), place),
            env=place.environ(),
            cwd=place.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{self.name} {name} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done.stdout.strip()


def read(name: str) -> Page:
    """The page of a client."""
    text = (FOLDER / f"{name}.md").read_text()
    marked = MARKED.findall(text)
    snippets = {name: Snippet(language, code) for kind, name, language, code in marked if kind == "snippet"}
    return Page(name, text, snippets)


def _command(language: str, code: str, place: Place) -> list[str]:
    if language == "python":
        return [str(place.environment.bin / "python"), "-c", code]
    if language == "js":
        modules = place.home / "node_modules"
        if not modules.exists():
            assert place.environment.modules is not None
            modules.symlink_to(place.environment.modules)
        (place.home / "snippet.mjs").write_text(code)
        return ["node", "snippet.mjs"]
    return ["bash", "-euc", code]
