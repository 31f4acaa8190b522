"""What holds for every policy and for verdicts put together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.policies.live_data import hosted_tools, live_data, upstream_cache
from proxy.policies.modality import modality
from proxy.policies.opt_out import opt_out
from proxy.policies.sampling import sampling
from proxy.policies.server_state import server_state
from proxy.settings import Rule
from proxy.types import ALLOWED, Verdict
from tests.policies.asking import question

POLICIES = [opt_out, server_state, modality, live_data, hosted_tools, upstream_cache, sampling]
MEMBERS = [
    "audio", "ec_transfer_params", "kv_transfer_params", "messages", "modalities", "prompt_cache_options", "seed",
    "store", "stream_options", "temperature", "tools", "web_search_options",
]  # fmt: skip
NAMES = st.sampled_from(["audio", "content", "file", "file_id", "id", "image_url", "prewarm", "type", "url"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=12,
)
VERDICTS = st.builds(
    Verdict, st.booleans(), st.booleans(), st.sampled_from(["", "store", "no-cache"]), st.integers(0, 4)
)


@pytest.mark.parametrize("policy", POLICIES)
@given(members=st.dictionaries(st.sampled_from(MEMBERS), VALUES))
def test_whatever_the_members_hold_a_policy_has_a_verdict_and_a_reason(policy, members):
    verdict = policy(question(**members), Rule())
    assert verdict == ALLOWED or (verdict.reason and not (verdict.read and verdict.write))


@given(VERDICTS, VERDICTS)
def test_two_verdicts_together_allow_what_both_allow_in_either_order(one, other):
    both = one.narrow(other)
    assert (both.read, both.write) == (one.read and other.read, one.write and other.write)
    turned = other.narrow(one)
    assert (both.read, both.write, both.pool) == (turned.read, turned.write, turned.pool)


@given(VERDICTS)
def test_having_nothing_to_say_changes_nothing(verdict):
    assert ALLOWED.narrow(verdict) == verdict.narrow(ALLOWED) == verdict
