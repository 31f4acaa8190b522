from __future__ import annotations

from proxy.policies.opt_out import opt_out
from proxy.settings import Rule
from proxy.types import ALLOWED, Verdict
from tests.policies.asking import question


def test_a_rule_without_cache_neither_reads_nor_writes():
    assert opt_out(question(), Rule(cache=False)) == Verdict(read=False, write=False, reason="rule")


def test_any_other_rule_has_nothing_to_say():
    assert opt_out(question(), Rule()) == ALLOWED
