"""locust, k6 and wrk, with our scripts, against a real proxy: they measure what they say.

locust and k6 are installed from loadtests/requirements.txt into an environment of their own; where they cannot be, the
tests say so and are skipped.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess

import pytest
import servers

from tests.loadtests.programs import ROOT, calls

TTFT_MS = 60
HERE = ROOT / "loadtests"


@pytest.fixture(scope="session")
def tools():
    """The folder of their programs."""
    servers.ENVIRONMENTS.mkdir(exist_ok=True)
    with (servers.ENVIRONMENTS / "tools.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another test process may be installing them
        try:
            return servers.tools()
        except servers.MissingError as why:
            pytest.skip(str(why))


@pytest.fixture
def pair(tmp_path):
    """A proxy with its provider."""
    with servers.Bench(tmp_path) as bench:
        flags = ("--ttft-ms", str(TTFT_MS), "--itl-ms", "2", "--tokens", "20")
        provider = bench.start(servers.Provider(flags))
        yield bench.start(servers.AskOnce(provider.port)), provider


def address(running):
    return f"http://127.0.0.1:{running.port}"


def locust(tools, folder, host, *options, **environ):
    """A headless run to its end; gives its table by type and name. Not from `--csv`, which lacks the last second."""
    command = [tools / "locust", "-f", HERE / "locustfile.py", "--host", host, "--headless", "--json", *options]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=folder, timeout=90, env={**os.environ, **environ}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {(row["method"], row["name"]): row for row in json.loads(done.stdout)}


def test_locust_tells_first_tokens_of_hits_and_misses_apart(tools, pair, tmp_path):
    askonce, provider = pair
    users = ("--users", "6", "--spawn-rate", "6", "--run-time", "80s", "--stop-timeout", "20")
    some = {"ASKONCE_LOAD_COUNT": "120", "ASKONCE_LOAD_CATALOGUE": "40"}
    rows = locust(tools, tmp_path, address(askonce), *users, **some)
    miss, hit = rows["TTFT", "chat miss"], rows["TTFT", "chat hit"]
    assert miss["min_response_time"] >= TTFT_MS - 1
    assert hit["min_response_time"] < TTFT_MS
    assert miss["num_requests"] == rows["stream", "chat miss"]["num_requests"]
    # The head of a stream may come long before its first token: that is why there is an event of our own.
    assert rows["stream", "chat miss"]["min_response_time"] >= TTFT_MS + 19 * 2 - 2
    posts = {name: row["num_requests"] for (kind, name), row in rows.items() if kind == "POST"}
    assert sum(posts.values()) == 120
    assert sum(count for name, count in posts.items() if "miss" in name) == calls(provider)["calls"]


def test_locust_users_can_be_chosen_by_tag(tools, pair, tmp_path):
    rows = locust(tools, tmp_path, address(pair[0]), "--users", "2", "--tags", "plain", ASKONCE_LOAD_COUNT="20")
    assert {kind for kind, _ in rows} == {"POST"}
    assert not any("stream" in name for _, name in rows)


def test_k6_holds_hits_and_misses_against_thresholds(tools, pair, tmp_path):
    askonce, provider = pair
    program = [tools / "k6", "run", "--quiet", "--summary-export", tmp_path / "summary.json"]
    settings = ["-e", f"BASE={address(askonce)}/v1", "-e", "DURATION=2s", "-e", "VUS=4", "-e", "CATALOGUE=20"]
    settings += ["-e", "HIT_RATIO=0", "-e", "HIT_P95_MS=60000", "-e", "MISS_P95_MS=60000"]  # a busy machine is no fault
    done = subprocess.run(
        [*program, *settings, HERE / "k6.js"], capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    metrics = json.loads((tmp_path / "summary.json").read_text())["metrics"]
    assert metrics["miss_duration"]["min"] >= TTFT_MS
    assert metrics["hit_duration"]["min"] < TTFT_MS
    counted = metrics["cache_hits"]
    assert counted["passes"] + counted["fails"] == metrics["http_reqs"]["count"]
    assert 0 <= calls(provider)["calls"] - counted["fails"] <= 4


def test_k6_ends_with_99_when_a_threshold_is_crossed(tools, pair, tmp_path):
    settings = ["-e", f"BASE={address(pair[0])}/v1", "-e", "DURATION=1s", "-e", "VUS=1", "-e", "MISS_P95_MS=5"]
    command = [tools / "k6", "run", "--quiet", *settings, HERE / "k6.js"]
    assert subprocess.run(command, capture_output=True, cwd=tmp_path, timeout=60).returncode == 99


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed (apt install wrk)")
def test_wrk_times_hits_and_says_what_they_were(pair):
    askonce, provider = pair
    command = ["wrk", "-t1", "-c4", "-d1s", "--latency", "-s", HERE / "wrk" / "hits.lua", address(askonce), "--", "10"]
    subprocess.run(command, capture_output=True, check=True, timeout=30)
    before = calls(provider)["calls"]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    assert before == calls(provider)["calls"] == 10
    outcomes = re.search(r"x-cache in the sample: (.*)", said)[1].split()
    assert [one.partition("=")[0] for one in outcomes] == ["hit"]
    assert "Non-2xx" not in said
