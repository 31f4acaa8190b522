"""Durations and sizes as people write them."""

from __future__ import annotations

import pytest

from proxy.settings.units import duration_text, seconds, size, size_text


@pytest.mark.parametrize(
    ("written", "meant"),
    [("30s", 30), ("5m", 300), ("24h", 86400), ("7d", 604800), ("250ms", 0.25), ("1h30m", 5400), ("1.5s", 1.5),
     ("90", 90), (90, 90), (0.25, 0.25), ("0", 0), (" 2 h ", 7200)],
)  # fmt: skip
def test_a_duration_is_seconds(written, meant):
    assert seconds(written) == meant


@pytest.mark.parametrize(
    "written", ["", "s", "5 fortnights", "-1s", -1, True, None, [], float("nan"), float("inf"), "1e9"]
)
def test_what_is_no_duration_is_refused(written):
    with pytest.raises(ValueError, match=r"duration|number"):
        seconds(written)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("256MiB", 2**28),
        ("1GB", 10**9),
        ("64kib", 2**16),
        ("1.5KiB", 1536),
        ("12B", 12),
        ("0", 0),
        (0, 0),
        (4096, 4096),
    ],
)
def test_a_size_is_bytes(written, meant):
    assert size(written) == meant


@pytest.mark.parametrize("written", ["", "5 elephants", "-1", -1, False, None, "1MM"])
def test_what_is_no_size_is_refused(written):
    with pytest.raises(ValueError, match=r"size|number"):
        size(written)


@pytest.mark.parametrize("written", ["1d", "12h", "90s", "250ms", "0s", "1m"])
def test_a_duration_reads_back_as_it_is_shown(written):
    assert duration_text(seconds(written)) == written


@pytest.mark.parametrize("written", ["4GiB", "256MiB", "1KiB", "1000", "0"])
def test_a_size_reads_back_as_it_is_shown(written):
    assert size_text(size(written)) == written
