"""The provider does what its flags say, on the wire: pace, errors, cuts, and an echo of who asked what."""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
from collections import Counter
from itertools import islice

import load
import provider
import pytest
import servers
from asking import Asker, Target
from driving import Pace, drive
from names import named
from provider import Books, Manner, fate
from traffic import Mix, Traffic, made

from tests.loadtests.programs import calls


@pytest.fixture
def bench(tmp_path):
    with servers.Bench(tmp_path) as bench:
        yield bench


def asked(count, **mix):
    return list(islice(Traffic(Mix(**mix), made(50)), count))


def samples(bench, flags, questions, leave_after=None):
    """What became of them, in order, and the provider."""
    running = bench.start(servers.Provider(tuple(flags.split())))

    async def go():
        found = []
        async with Asker(Target(base=f"http://127.0.0.1:{running.port}/v1")) as asker:

            async def ask(one, due):
                return await asker.ask(one, due, leave_after)

            await drive(ask, iter(questions), Pace(connections=8, count=len(questions)), found.append)
        return sorted(found, key=lambda one: one.asked.number)

    return asyncio.run(go()), running


def test_an_answer_echoes_question_credential_and_call(bench):
    found, running = samples(bench, "--ttft-ms 1 --itl-ms 0 --tokens 5", asked(40, tenants=3))
    assert [one.failure for one in found] == [""] * 40
    assert [one.echo.question for one in found] == [one.asked.name for one in found]
    assert [one.echo.credential for one in found] == [named(one.asked.credential) for one in found]
    assert sorted(one.echo.call for one in found) == list(range(1, 41))
    assert calls(running) == {
        **dict.fromkeys(("failed", "throttled", "cut", "left", "open"), 0),
        "calls": 40,
        "answered": 40,
    }


def test_the_first_token_comes_no_earlier_than_it_should_and_tokens_are_spaced(bench):
    found, _ = samples(bench, "--ttft-ms 40 --itl-ms 10 --tokens 6", asked(12, streamed=1))
    assert min(one.first - one.due for one in found) >= 0.039
    assert {one.tokens for one in found} == {6}
    # From the first to the last, since one that is read late makes the next gap short.
    assert min(sum(one.gaps) for one in found) >= 0.035


def test_a_plain_answer_takes_as_long_as_its_stream(bench):
    found, _ = samples(bench, "--ttft-ms 30 --itl-ms 10 --tokens 5", asked(8, streamed=0))
    assert min(one.ended - one.began for one in found) >= 0.069


def test_errors_come_at_their_rate_with_their_status_and_openais_shape(bench):
    found, running = samples(
        bench, "--ttft-ms 0 --itl-ms 0 --tokens 1 --errors 500=0.2,503=0.1", asked(600, unique=1, reworded=0, slot=0)
    )
    statuses = Counter(one.status for one in found)
    assert statuses[500] / 600 == pytest.approx(0.2, abs=0.06)
    assert statuses[503] / 600 == pytest.approx(0.1, abs=0.05)
    assert calls(running)["failed"] == statuses[500] + statuses[503]


def test_over_its_rate_it_says_429_with_a_retry_after(bench):
    running = bench.start(servers.Provider(("--ttft-ms", "0", "--throttle", "1", "--retry-after-s", "7")))
    answers = [load.ask(running.port, load.question(f"why {n}?")) for n in range(6)]
    refused = [one for one in answers if one.status == 429]
    assert refused
    assert {one.field("retry-after") for one in refused} == {"7"}
    assert json.loads(refused[0].body)["error"]["type"] == "rate_limit_error"
    assert calls(running)["throttled"] == len(refused)


def test_cut_answers_break_off_plain_and_streamed(bench):
    found, running = samples(bench, "--ttft-ms 0 --itl-ms 0 --tokens 9 --cut 1", asked(40))
    assert {one.failure for one in found} <= {"cut", "connect"}
    assert calls(running)["cut"] == 40
    assert calls(running)["answered"] == 0


def test_who_goes_away_is_counted(bench):
    found, running = samples(bench, "--ttft-ms 1 --itl-ms 20 --tokens 200", asked(8, streamed=1), leave_after=2)
    assert {one.failure for one in found} == {"left"}
    while calls(running)["open"]:
        pass
    assert calls(running)["left"] == 8


def test_usage_tells_of_cached_tokens_once_a_beginning_came_before(bench):
    running = bench.start(servers.Provider(("--ttft-ms", "0", "--itl-ms", "0", "--cached", "1")))
    long = "word " * 4000

    def cached(user):
        messages = [{"role": "system", "content": long}, {"role": "user", "content": user}]
        answer = load.ask(running.port, json.dumps({"model": "m", "messages": messages}).encode())
        return json.loads(answer.body)["usage"]["prompt_tokens_details"]["cached_tokens"]

    assert cached("one") == 0
    assert cached("two") == 4992  # 5,000 tokens in whole steps of 128


def test_a_fate_follows_from_the_seed_the_question_and_how_often_it_came():
    manner = Manner(errors={500: 0.2}, cut=0.2, ttft_sigma=0.5, itl_sigma=0.5, tokens_sigma=0.5, seed=3)
    fates = [fate(manner, "why?", n) for n in range(50)]
    assert fates == [fate(manner, "why?", n) for n in range(50)]
    assert len(set(fates)) > 40
    assert fates != [fate(Manner(errors={500: 0.2}, cut=0.2, seed=4), "why?", n) for n in range(50)]


def test_a_lognormals_median_is_the_time_that_was_given():
    manner = Manner(ttft_ms=100, ttft_sigma=0.5)
    firsts = [fate(manner, f"q{n}", 1).gaps_s[0] for n in range(4000)]
    assert statistics.median(firsts) == pytest.approx(0.1, rel=0.05)
    assert max(firsts) > 0.3


def test_after_its_start_it_is_slower_and_less_and_less():
    now = [100.0]
    books = Books(Manner(slow_start_s=10, slow_start_factor=5), clock=lambda: now[0])
    assert books.slowness() == 5
    now[0] = 105.0
    assert books.slowness() == 3
    now[0] = 120.0
    assert books.slowness() == 1


@pytest.mark.parametrize("text", ["500", "500=x", "200=0.1", "500=0.7,503=0.7"])
def test_errors_that_cannot_be_are_refused(text):
    with pytest.raises(argparse.ArgumentTypeError):
        provider.errors(text)


def test_what_is_no_chat_request_is_told_so(bench):
    running = bench.start(servers.Provider())
    answer = load.ask(running.port, b'{"messages": []}')
    assert answer.status == 400
