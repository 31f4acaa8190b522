"""`askonce stats`: the figures of a running proxy."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from proxy.cli import app
from tests.cli.operator import REPORT, listening


def stats(*arguments: str):
    return CliRunner().invoke(app, ["stats", *arguments])


def test_the_figures_are_shown_as_a_table():
    with listening(REPORT) as operator:
        shown = stats("--url", operator.url)
    assert shown.exit_code == 0
    for words in (
        "AskOnce 0.1.0, up 1d 02:03:04",
        "1,200",
        "80.0%",
        "45,000",
        "1.25",
        "sqlite",
        "1.5 KiB",
        "upstream errors",
        "3,000 of 4,000 (75.0%)",
        "3 in flight, 2 waiting, KV cache 25%",
        "failing: the connection was refused",
    ):
        assert words in shown.output
    assert operator.asked == [("GET", "/admin/stats", None, None)]


def test_of_an_endpoint_that_tells_nothing_of_its_load_nothing_is_made_up():
    silent = {**REPORT["endpoints"][0], "waiting": 0, "kv_usage": 0.0}
    with listening({**REPORT, "endpoints": [silent]}) as operator:
        shown = stats("--url", operator.url).output
    assert "3 in flight" in shown
    assert "waiting" not in shown
    assert "KV" not in shown


def test_a_degraded_store_and_no_request_yet_are_said():
    store = {**REPORT["store"], "degraded": "the disk is full"}
    with listening({**REPORT, "hit_ratio": None, "requests": {}, "store": store}) as operator:
        shown = stats("--url", operator.url)
    assert "degraded: the disk is full" in shown.output
    assert "none yet" in shown.output


def test_the_figures_as_json():
    with listening(REPORT) as operator:
        assert json.loads(stats("--json", "--url", operator.url).stdout) == REPORT


def test_watching_asks_again_until_it_is_stopped(monkeypatch):
    def stopped_in_the_second_pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            raise KeyboardInterrupt

    pauses: list[float] = []
    with listening(REPORT) as operator:
        monkeypatch.setattr("time.sleep", stopped_in_the_second_pause)
        shown = stats("--watch", "--interval", "3", "--json", "--url", operator.url)
    assert (shown.exit_code, pauses) == (0, [3.0, 3.0])
    assert [json.loads(line) for line in shown.stdout.splitlines()] == [REPORT, REPORT]
