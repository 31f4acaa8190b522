"""Ids: unique, short, plain."""

from __future__ import annotations

import re

from proxy.telemetry.ids import Ids


def test_ids_are_unique_within_and_across_processes() -> None:
    one, other = Ids(), Ids()
    names = [ids.next() for ids in (one, other) for _ in range(1000)]
    assert len(set(names)) == 2000


def test_an_id_needs_no_quoting_anywhere() -> None:
    assert re.fullmatch(rb"[0-9a-f]{24}", Ids().next())
