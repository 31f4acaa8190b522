"""The driver as a program, against a real proxy: what it counts is what the proxy and the provider count."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import servers

from tests.loadtests.programs import ROOT, run


def test_a_quick_run_counts_what_the_proxy_and_the_provider_count(tmp_path):
    provider = "--ttft-ms 20 --itl-ms 1 --tokens 8"
    mix = ("--catalogue", "40", "--tenants", "2", "--connections", "6")
    said = run("drive.py", "--quick", *mix, "--provider", provider, "--out", str(tmp_path), "--name", "try")
    found = json.loads((tmp_path / "try.json").read_text())
    proxy, direct = found["sides"]

    assert proxy["whole"] == proxy["asked"] == sum(proxy["outcomes"].values())
    assert proxy["failures"] == direct["failures"] == {}
    # The proxy's own counters, the driver's and the provider's, to the last request.
    metrics = {name: count for name, count in found["counted_by_others"]["metrics"].items() if count}
    assert metrics == proxy["outcomes"] == proxy["x_cache"]
    assert found["counted_by_others"]["provider"]["calls"] == proxy["outcomes"]["miss"]
    saved = proxy["outcomes"].get("hit", 0) + proxy["outcomes"].get("collapsed", 0)
    # Nothing but what was asked before in the same words can be a hit, and on this quiet path all of it is one.
    assert saved == proxy["repeats"]["text"]
    assert proxy["hit_ratio"] == saved / proxy["asked"]
    assert set(proxy["answers"]) == {"right"}
    assert direct["outcomes"] == {"first": direct["asked"]}

    assert proxy["first_token_ms"]["miss"]["p50"] >= 20
    assert direct["first_token_ms"]["first"]["p50"] >= 20
    assert found["usage"]["resident_mb_highest"] > 20
    for kind in ("waiting", "hits", "memory"):
        ET.parse(tmp_path / f"try-{kind}.svg")
        assert f"try-{kind}.svg" in said
    assert said.startswith("# try")


def test_it_asks_a_proxy_that_runs_already_and_counts_a_wrong_answer_that_is_planted(tmp_path):
    """A cache that takes every question for the same one: nginx would need to be misconfigured to do so, ten lines of
    Python do it on purpose."""
    port = servers.free_port()
    script = tmp_path / "careless.py"
    script.write_text(CARELESS)
    with servers.Bench(tmp_path / ".") as bench:
        provider = bench.start(servers.Provider(("--ttft-ms", "0", "--itl-ms", "0", "--tokens", "3")))
        base = f"http://127.0.0.1:{provider.port}/v1"
        command = servers.Command((servers.sys.executable, str(script), str(port), base), tmp_path)
        with servers.run(command, port, bench.scratch) as careless:
            servers.wait_for_port(careless, "careless")
            target = ("--url", f"http://127.0.0.1:{port}/v1", "--count", "60", "--turns", "1", "--seconds", "20")
            mix = ("--streamed", "0", "--tenants", "2", "--connections", "1")
            # It leaks across tenants too, so the driver ends with 1.
            run("drive.py", *target, *mix, "--out", str(tmp_path), "--name", "try", expected=1)
    proxy = json.loads((tmp_path / "try.json").read_text())["sides"][0]
    assert proxy["asked"] == 60
    answers = proxy["answers"]
    assert answers["wrong"] > 10
    assert answers["leaked"] > 10
    assert sum(answers.values()) == 60
    assert proxy["outcomes"] == {"first": 1, "again": 59}
    assert proxy["wrong_by"]


CARELESS = '''
"""Gives its first answer to everybody."""
import sys, urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer

first = []

class Careless(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if not first:
            fields = {"content-type": "application/json", "authorization": self.headers["authorization"]}
            url = sys.argv[2] + "/chat/completions"
            first.append(urllib.request.urlopen(urllib.request.Request(url, body, fields)).read())
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(first[0])))
        self.end_headers()
        self.wfile.write(first[0])

    def log_message(self, *_):
        pass

HTTPServer(("127.0.0.1", int(sys.argv[1])), Careless).serve_forever()
'''


def test_labelled_questions_can_be_asked(tmp_path):
    questions = tmp_path / "set.jsonl"
    lines = [{"text": f"what about {thing}?", "intent": thing} for thing in ("tea", "rice", "salt")]
    lines += [{"text": f"tell me of {thing}", "intent": thing} for thing in ("tea", "rice")]
    questions.write_text("\n".join(map(json.dumps, lines)))
    run(
        "drive.py",
        *("--quick", "--count", "60", "--no-direct", "--questions", str(questions), "--unique", "0"),
        *("--provider", "--ttft-ms 1 --itl-ms 0 --tokens 3", "--out", str(tmp_path), "--name", "try"),
    )
    proxy = json.loads((tmp_path / "try.json").read_text())["sides"][0]
    assert proxy["asked"] == 60
    assert proxy["answers"] == {"right": 60}
    assert proxy["outcomes"]["miss"] <= 2 * 5  # five texts, plain and streamed answered from one another


def test_what_cannot_be_run_is_said_in_a_line(tmp_path):
    said = run("drive.py", "--unique", "0.9", "--slot", "0.9", "--out", str(tmp_path), expected=2)
    assert "together they are over 1" in said
    assert "Traceback" not in said


def test_everything_it_needs_is_in_the_repository():
    assert (ROOT / "loadtests" / "requirements.txt").is_file()
