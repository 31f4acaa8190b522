"""`askonce prefix`: a log in, shared prefixes and what breaks them out."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from proxy.cli import app, prefix

RULES = "Answer in the words of the customer and never promise a date. " * 100


@pytest.fixture(autouse=True)
def _wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")


def run(*arguments):
    return CliRunner().invoke(app, ["prefix", *map(str, arguments)])


def chat(system, user="Hi", model="gpt-4o", **members):
    messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    return {"model": model, "messages": messages, **members}


def written(tmp_path, lines):
    path = tmp_path / "log.jsonl"
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


@pytest.fixture
def stamped(tmp_path):
    """A stamp at the beginning of a long system text, and secrets in what users say."""
    return written(
        tmp_path,
        [{"body": chat(f"Now: 2026-03-0{day} 09:30. {RULES}", f"My secret is hunter{day}")} for day in range(1, 5)],
    )


def test_it_says_how_much_is_shared_where_it_stops_and_what_that_costs(stamped):
    shown = run(stamped)
    assert shown.exit_code == 0
    assert "4 requests, 6,2" in shown.output
    assert "estimate: UTF-8 bytes / 4" in shown.output
    assert "0.0% (0 tokens) by a cache without a minimum" in shown.output
    assert (
        "messages[0] (system), character 5: date or time ####-##-## ##:##, in 3 requests (lines 1, 2)" in shown.output
    )
    assert "moved to the end: 4,656 tokens" in shown.output
    # 4,656 tokens at 2.5 - 1.25 USD a million.
    assert "USD 0.0058" in shown.output
    # Of what users say only the place and the kind: not even how it looks.
    assert "messages[1] (user), from character 13: id, in 3 requests" in shown.output


def test_no_word_of_a_prompt_is_shown_unless_it_is_asked_for(stamped):
    for arguments in ([], ["--json"]):
        shown = run(stamped, *arguments).output
        assert not any(word in shown for word in ("2026", "secret", "hunter", "Answer", "09:30"))
    assert "'2026-03-01 09:30' / '2026-03-02 09:30'" in run(stamped, "--show").output


def test_what_is_shown_is_no_longer_than_40_characters(tmp_path):
    names = [letter * 60 for letter in "ab"]
    log = written(tmp_path, [chat(f"For {name}. {RULES}") for name in names])
    shown = run(log, "--show").output
    assert f"'{'a' * 40}' / '{'b' * 40}'" in shown
    assert "a" * 41 not in shown


def test_json_has_every_figure(stamped):
    report = json.loads(run(stamped, "--json").output)
    assert report["shared"] == {"tokens": 0, "from_minimum": 0}
    assert report["would_share"]["tokens"] == report["would_share"]["from_minimum"] == 4656
    (family,) = report["families"]
    assert family["requests"] == 4
    assert family["causes"][0]["kind"] == "date or time"
    assert family["causes"][0]["samples"] == ["", ""]
    assert "estimated" in report["tokens_are"]


def test_lines_that_cannot_be_read_are_counted_and_named(tmp_path):
    lines = [chat(RULES), *["{"] * 7, "", json.dumps({"a": 1}), chat(RULES)]
    shown = run(written(tmp_path, lines)).output
    assert "Not read: 7 lines (2, 3, 4, 5, 6, …): not JSON; 1 line (10): no request" in shown
    assert "2 requests, " in shown
    report = json.loads(run(written(tmp_path, lines), "--json").output)
    assert report["unread"][0] == {"reason": "not JSON", "lines": 7, "first": [2, 3, 4, 5, 6]}


def test_a_byte_order_mark_is_no_trouble(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(chat(RULES)).encode())
    assert "1 request, " in run(path).output


def test_a_line_without_end_is_not_read_into_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(prefix, "MOST_LINE_BYTES", 1 << 20)
    long = chat("x" * (3 << 20))
    shown = run(written(tmp_path, [long, chat(RULES), long])).output
    assert "Not read: 2 lines (1, 3): longer than 1 MiB" in shown
    assert "1 request, " in shown


def test_a_model_can_be_chosen(tmp_path):
    log = written(tmp_path, [chat(RULES), chat(RULES, model="llama"), chat(RULES, model="gpt-4.1")])
    shown = run(log, "--model", "gpt-*").output
    assert "2 requests, " in shown
    assert "Left out, to other models: 1 request" in shown


def test_the_providers_own_count_and_hits_are_said(tmp_path):
    usage = {"prompt_tokens": 2000, "prompt_tokens_details": {"cached_tokens": 500}}
    lines = [{"request": chat(RULES, str(turn)), "response": {"usage": usage}} for turn in range(2)]
    shown = run(written(tmp_path, lines)).output
    assert "2 requests, 4,000 prompt tokens" in shown
    assert "for 2 requests the provider's own count" in shown
    assert "25.0% is what the provider did have, in the 2 requests that tell" in shown


def test_prices_of_the_configuration_are_looked_at_first(tmp_path, stamped):
    config = tmp_path / "askonce.yaml"
    config.write_text("telemetry: {prices: {gpt-4o: {input: 1000, output: 1, cached_input: 0}}}\n")
    assert "USD 4.66 less" in run(stamped, "--config", config).output


def test_tenants_share_only_if_told_so(tmp_path):
    log = written(tmp_path, [{"tenant": name, "body": chat(RULES)} for name in "ab"])
    assert json.loads(run(log, "--json").output)["shared"]["tokens"] == 0
    assert json.loads(run(log, "--json", "--across-tenants").output)["shared"]["tokens"] > 1500


def test_a_list_of_tools_in_another_order_is_told_without_the_names_of_the_tools(tmp_path):
    def tools(names):
        return [{"type": "function", "function": {"name": f"tool_{name}", "description": RULES}} for name in names]

    shown = run(written(tmp_path, [chat("Plan.", tools=tools("abc")), chat("Plan.", tools=tools("cab"))])).output
    assert "tools: order of tools, in 1 request (lines 1, 2)" in shown
    assert "always in one order: " in shown
    assert "tool_" not in shown


def test_a_picture_is_drawn(tmp_path, stamped):
    plot = tmp_path / "out.svg"
    assert run(stamped, "--plot", plot).exit_code == 0
    assert plot.read_text().startswith("<svg ")


@pytest.mark.parametrize(
    ("name", "words"), [("out.png", "only .svg can be drawn"), ("nowhere/out.svg", "cannot be written")]
)
def test_a_picture_that_cannot_be_drawn_is_refused(tmp_path, stamped, name, words):
    shown = run(stamped, "--plot", tmp_path / name)
    assert (shown.exit_code, words in shown.output) == (2, True)


@pytest.mark.parametrize(
    ("lines", "arguments", "words"),
    [
        ([], [], "holds no request that could be used"),
        (["{"], [], "1 line (1): not JSON"),
        ([chat("x")], ["--model", "llama*"], "none is to a model like llama*"),
    ],
)
def test_a_log_without_requests_is_refused(tmp_path, lines, arguments, words):
    shown = run(written(tmp_path, lines), *arguments)
    assert (shown.exit_code, words in shown.output) == (2, True)


def test_a_log_that_is_not_there_is_refused(tmp_path):
    shown = run(tmp_path / "nowhere.jsonl")
    assert (shown.exit_code, "cannot be read" in shown.output) == (2, True)


def test_smaller_families_and_further_places_are_counted(tmp_path):
    texts = [" ".join(word + "x" * family for word in RULES.split()[:40]) for family in range(3)]
    log = written(tmp_path, [chat(text) for text in texts for _ in range(2)])
    assert "2 smaller families are not shown" in run(log, "--families", 1).output
    assert "3 smaller families are not shown" in run(log, "--families", 0).output


def test_a_models_name_cannot_write_on_the_terminal(tmp_path):
    log = written(tmp_path, [chat(RULES, model="\x1b[31m[bold]" + "m" * 99) for _ in range(2)])
    shown = run(log).output
    assert "\x1b" not in shown
    assert "?[31m[bold]mmm" in shown
    assert "m" * 60 not in shown
