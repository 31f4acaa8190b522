"""How much of a log is shared, why it is not more, and what that would gain."""

from __future__ import annotations

import pytest

from proxy.prefixes.differing import Kind
from proxy.prefixes.entry import Entry
from proxy.prefixes.families import Families
from proxy.prefixes.prompt import parts, stream
from proxy.prefixes.study import PrefixStudy, Shared
from proxy.prefixes.trie import PrefixTrie
from proxy.telemetry.prices import Price, Prices

PRICES = Prices({"priced": Price(2.0, 8.0, 0.5)})
RULES = "Answer in the words of the customer and never promise a date. " * 100  # 6,200 bytes: 1,550 tokens


def entry(line, system, user="Hi", *, model="priced", **named):
    body = {"messages": [{"role": "system", "content": system}, {"role": "user", "content": user}]}
    return Entry(line, model, named.pop("tenant", None), parts(body), **named)


def report(*entries, **settings):
    study = PrefixStudy(PRICES, **settings)
    for each in entries:
        study.add(each)
    return study.report()


def test_tokens_are_a_quarter_of_the_bytes_and_whole_blocks_are_shared():
    found = report(entry(1, RULES, "one"), entry(2, RULES, "two"))
    size = len(stream(entry(1, RULES, "one").prompt))
    assert found.prompt_tokens == 2 * round(size / 4)
    common = len("\x1esystem\n" + RULES + "\x1euser\n")
    assert found.shared.tokens == common // 64 * 16
    assert found.shared.from_minimum == found.shared.tokens


def test_below_the_minimum_a_provider_shares_nothing():
    short = RULES[:2000]
    found = report(entry(1, short, "one"), entry(2, short, "two"))
    assert found.shared.tokens > 400
    assert found.shared.from_minimum == 0
    assert report(entry(1, short, "one"), entry(2, short, "two"), minimum=100).shared.from_minimum > 400


def test_the_last_token_is_always_computed():
    text = "x" * (64 * 4 - len("\x1esystem\n\x1euser\n"))
    found = report(entry(1, text, ""), entry(2, text, ""))
    assert found.prompt_tokens == 2 * 64
    assert found.shared.tokens == 48


def test_the_providers_count_is_spread_over_the_prompt():
    counted = [entry(line, RULES, str(line), prompt_tokens=3150, cached_tokens=10 * line) for line in (1, 2)]
    found = report(*counted)
    estimated = report(*(entry(line, RULES, str(line)) for line in (1, 2)))
    assert (found.prompt_tokens, found.counted_requests) == (6300, 2)
    assert found.shared.tokens == pytest.approx(estimated.shared.tokens * 6300 / estimated.prompt_tokens, rel=0.01)
    assert (found.cached_requests, found.cached_prompt_tokens, found.cached_tokens) == (2, 6300, 30)


def test_a_request_whose_provider_did_not_tell_of_cached_tokens_is_not_taken_for_one_without():
    found = report(entry(1, RULES, prompt_tokens=100), entry(2, RULES, prompt_tokens=100, cached_tokens=50))
    assert (found.counted_requests, found.cached_requests, found.cached_prompt_tokens) == (2, 1, 100)


def test_a_stamp_at_the_beginning_is_found_with_its_price():
    entries = [entry(line, f"Now: 2026-03-0{line} 09:30. {RULES}", f"Question {line}?") for line in range(1, 5)]
    found = report(*entries)
    assert found.shared.tokens == 0
    (family,) = found.families
    stamp, words = family.causes
    assert (stamp.place, stamp.role, stamp.offset, stamp.kind) == ("messages[0]", "system", 5, Kind.TIME)
    assert (stamp.shape, stamp.requests, stamp.lines, stamp.movable) == ("####-##-## ##:##", 3, (1, 2), True)
    assert (words.place, words.movable, words.gain) == ("messages[1]", False, Shared())
    # Three requests share what is behind the stamp: 6,200 bytes of rules and a little, in whole blocks.
    assert stamp.gain.tokens == pytest.approx(3 * 1550, rel=0.02)
    assert stamp.gain == found.would_share - found.shared
    assert stamp.usd == pytest.approx(stamp.gain.from_minimum * 1.5 / 1e6)
    assert found.usd == family.usd == stamp.usd


def test_a_gain_is_only_what_no_earlier_request_shared_already():
    """Each day's first request is compared with the family's first, the others share with their own day's."""
    days = [f"Now: 2026-03-0{day}. {RULES}" for day in (1, 1, 2, 2, 2)]
    found = report(*(entry(line, text, f"Question {line}?") for line, text in enumerate(days)))
    stamp = found.families[0].causes[0]
    assert stamp.requests == 3
    assert stamp.gain.tokens == pytest.approx(1550, rel=0.02)
    assert found.would_share.tokens == pytest.approx(4 * 1550, rel=0.02)


def test_what_is_shared_already_is_never_taken_away():
    """The second and the third are alike for longer than either is like the first."""
    ends = ["and ends in its own way. " * 50, "then something else follows, " * 100]
    texts = [f"Day {day}. {RULES[:640]} {ends[day > 1]}" for day in (1, 2, 2)]
    found = report(*(entry(line, text, f"Question {line}?") for line, text in enumerate(texts)))
    stamp = next(cause for cause in found.families[0].causes if cause.kind is Kind.NUMBER)
    assert (stamp.requests, stamp.gain.tokens) == (2, 160)  # of the second request: 640 bytes; of the third nothing
    assert found.would_share.tokens == found.shared.tokens + 160


def test_what_users_say_is_one_cause_wherever_it_begins_to_differ():
    questions = ["Where is my order?", "Where are my shoes?", "When will it come?", "Thanks"]
    found = report(*(entry(line, RULES, question) for line, question in enumerate(questions)))
    (cause,) = found.families[0].causes
    assert (cause.place, cause.offset, cause.requests, cause.movable) == ("messages[1]", 0, 3, False)


def test_gains_are_counted_in_order_and_add_up():
    texts = [f"For {name}. {RULES[:3100]} Session {line}77{line}. {RULES[3100:]}" for line, name in enumerate("AB")]
    found = report(*(entry(line, text) for line, text in enumerate(texts)))
    (family,) = found.families
    first, second = sorted(family.causes, key=lambda cause: cause.offset)
    assert first.gain.tokens == pytest.approx(775, rel=0.03)
    assert second.gain.tokens == pytest.approx(775, rel=0.03)
    # With the minimum nothing is shared before both are moved.
    assert (first.gain.from_minimum, second.gain.from_minimum) == (0, found.would_share.from_minimum)
    assert first.gain + second.gain == family.would_share - family.shared


def test_one_place_is_one_cause_however_long_what_is_before_it():
    names = ["Ann", "Bob Jones", "Chen"]
    texts = [f"For {name} Miller. {RULES} Session {line}77{line}. {RULES}" for line, name in enumerate(names)]
    causes = report(*(entry(line, text) for line, text in enumerate(texts))).families[0].causes
    assert sorted((cause.kind, cause.requests) for cause in causes) == [(Kind.NUMBER, 2), (Kind.TEXT, 2)]


def test_a_shuffled_list_of_tools_is_one_cause_wherever_it_begins():
    def shuffled(line, names):
        tools = [{"type": "function", "function": {"name": name, "description": RULES[:1500]}} for name in names]
        body = {"tools": tools, "messages": [{"role": "system", "content": "Plan."}, {"role": "user", "content": "Hi"}]}
        return Entry(line, "priced", None, parts(body))

    found = report(shuffled(1, "abcd"), shuffled(2, "abdc"), shuffled(3, "dcba"))
    (family,) = found.families
    assert [(cause.place, cause.kind, cause.requests) for cause in family.causes] == [("tools", Kind.TOOL_ORDER, 2)]
    assert family.causes[0].gain.tokens > 1500


def test_models_and_tenants_share_nothing_unless_it_is_wanted():
    entries = [entry(1, RULES, tenant="a"), entry(2, RULES, tenant="b"), entry(3, RULES, model="other", tenant="a")]
    assert report(*entries).shared.tokens == 0
    assert report(*entries, across_tenants=True).shared.tokens > 1500


def test_moving_something_shares_nothing_between_tenants():
    texts = [f"Now: 2026-03-0{line} 09:30. {RULES}" for line in range(1, 6)]
    tenants = ["a", "b", "b", "c", "c"]
    entries = [entry(line, text, tenant=tenant) for line, (text, tenant) in enumerate(zip(texts, tenants, strict=True))]
    # The second request of b and that of c.
    assert report(*entries).would_share.tokens == pytest.approx(2 * 1550, rel=0.02)
    assert report(*entries, across_tenants=True).would_share.tokens == pytest.approx(4 * 1550, rel=0.02)


def test_without_a_price_nothing_is_said_of_money():
    found = report(entry(1, RULES, model="mine"), entry(2, RULES, model="mine"))
    assert (found.usd, found.families[0].usd) == (None, None)


def test_samples_are_kept_on_demand_only():
    entries = [entry(line, f"For {name}. {RULES}") for line, name in enumerate(("Ann Miller", "Bob Jones"))]
    assert report(*entries).families[0].causes[0].samples == ("", "")
    assert report(*entries, samples=True).families[0].causes[0].samples == ("Ann Miller", "Bob Jones")


def test_requests_that_look_like_no_other_are_counted():
    found = report(entry(1, RULES), entry(2, "Something else entirely, in few words."), families=Families(most=1))
    assert (found.requests, found.alone, found.families) == (2, 2, ())


def test_families_that_made_room_are_forgotten_but_their_tokens_are_not():
    texts = [" ".join(word + "x" * line for word in RULES.split()[:40]) for line in range(40)]
    study = PrefixStudy(PRICES, families=Families(most=2))
    for line, text in enumerate(texts):
        study.add(entry(line, text))
    assert len(study._families) <= 4
    found = study.report()
    assert (found.requests, found.alone) == (40, 40)
    assert found.prompt_tokens > 40 * 40


def test_what_could_not_be_remembered_is_said():
    found = report(entry(1, RULES), trie=PrefixTrie(64, most_blocks=10))
    assert found.forgotten_blocks > 80


def test_the_block_says_how_finely_prompts_are_compared():
    entries = [entry(line, RULES[:1000] + str(line), "Hi") for line in (1, 2)]
    assert report(*entries, block=128).shared.tokens == 128
    assert report(*entries, block=1).shared.tokens == (len("\x1esystem\n") + 1000) // 4


def test_of_many_places_a_family_tells_some_and_counts_the_rest():
    turns = [{"role": "assistant" if index % 2 else "user", "content": f"turn {index}"} for index in range(200)]
    study = PrefixStudy(PRICES)
    system = {"role": "system", "content": RULES}
    for line in range(100):
        changed = [dict(turn) for turn in turns]
        if line:
            changed[line] = {"role": changed[line]["role"], "content": f"other {line}x"}
        study.add(Entry(line, "priced", None, parts({"messages": [system, *changed]})))
    (family,) = study.report().families
    assert len(family.causes) == 64
    assert family.uncounted_causes == 99 - 64
