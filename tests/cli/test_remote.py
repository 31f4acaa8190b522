"""Asking a running proxy: its token, and a sentence for everything that goes wrong."""

from __future__ import annotations

import socket

import pytest
from typer.testing import CliRunner

from proxy.cli import app
from tests.cli.operator import REPORT, listening


def ask(url: str, *options: str):
    return CliRunner().invoke(app, ["stats", "--json", "--url", url, *options])


def test_the_token_of_the_environment_is_sent(monkeypatch):
    monkeypatch.setenv("ASKONCE_ADMIN_TOKEN", "word")
    with listening(REPORT) as operator:
        ask(operator.url)
    assert operator.asked[0][2] == "Bearer word"


def test_the_token_of_a_file_is_sent(monkeypatch, tmp_path):
    monkeypatch.setenv("ASKONCE_ADMIN_TOKEN", "other")
    (tmp_path / "token").write_text("word\n")
    with listening(REPORT) as operator:
        ask(operator.url, "--token-file", str(tmp_path / "token"))
    assert operator.asked[0][2] == "Bearer word"


def test_a_proxy_of_the_environment_is_not_used_for_this_machine(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with listening(REPORT) as operator:
        assert ask(operator.url).exit_code == 0


def test_where_nothing_listens_it_says_how_to_start():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused, and nobody else gets the port
        ended = ask(f"http://127.0.0.1:{taken.getsockname()[1]}")
    assert ended.exit_code == 1
    assert "`askonce serve`" in ended.stderr


@pytest.mark.parametrize(
    ("status", "answer", "said"),
    [
        (401, {}, "set ASKONCE_ADMIN_TOKEN or --token-file"),
        (403, {}, "set ASKONCE_ADMIN_TOKEN or --token-file"),
        (400, {"error": {"message": "no such key"}}, "answered 400: no such key"),
        (500, {}, "answered 500: no reason given"),
        (404, {"title": "no_such_entry", "detail": "no answer is stored under ab"}, "no answer is stored under ab"),
        (200, [], "answered 200: no reason given"),
        (200, b"<html>", "is not AskOnce"),
    ],
)
def test_an_answer_that_is_of_no_use_is_said(status, answer, said):
    with listening(answer, status) as operator:
        ended = ask(operator.url)
    assert (ended.exit_code, ended.stdout) == (1, "")
    assert said in ended.stderr


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "http://a:b", "ftp://a"])
def test_what_is_no_address_is_said(url):
    ended = ask(url)
    assert ended.exit_code == 1
    assert "is not an address" in ended.stderr


def test_a_token_file_that_cannot_be_read_is_said(tmp_path):
    ended = ask("http://127.0.0.1:1", "--token-file", str(tmp_path / "none"))
    assert ended.exit_code == 1
    assert "cannot read" in ended.stderr
