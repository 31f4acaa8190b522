"""Each in turn."""

from __future__ import annotations

from dataclasses import replace

from proxy.upstream.balancing.round_robin import RoundRobin
from tests.upstream.balancing.asking import asked, chat, fleet

ASKING = chat(asked("a"))


def test_the_load_does_not_matter():
    balancer, loads = RoundRobin(), fleet(3, [9, 0, 5])
    assert [balancer.plan(ASKING, loads).order[0] for _ in range(6)] == [0, 1, 2, 0, 1, 2]


def test_one_that_is_full_is_passed_over_while_it_is():
    balancer, loads = RoundRobin(), fleet(3)
    full = [loads[0], replace(loads[1], full=True), loads[2]]
    assert [balancer.plan(ASKING, full).order[0] for _ in range(4)] == [0, 2, 0, 2]
    assert balancer.plan(ASKING, loads).order[0] == 1
