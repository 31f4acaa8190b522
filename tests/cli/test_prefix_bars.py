"""The picture of the biggest families."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from proxy.cli.prefix_bars import drawn
from proxy.prefixes.study import Family, Shared

SVG = "{http://www.w3.org/2000/svg}"


def family(number, tokens, shared, moved, model="gpt-4o"):
    return Family(
        number=number,
        model=model,
        requests=2,
        prompt_tokens=tokens,
        shared=Shared(shared, 0),
        would_share=Shared(moved, 0),
        usd=None,
        causes=(),
        uncounted_causes=0,
    )


def bars(svg):
    """Widths of the three pieces of each family."""
    pieces = [float(each.attrib["width"]) for each in ET.fromstring(svg).iter(f"{SVG}rect")][1:]
    return [tuple(pieces[start : start + 3]) for start in range(0, len(pieces), 3)]


def test_a_bar_is_as_long_as_its_tokens_and_its_pieces_are_what_they_say():
    one, other = bars(drawn([family(1, 1000, 250, 750), family(2, 500, 0, 500)], "t"))
    assert sum(one) == pytest.approx(2 * sum(other), abs=0.5)
    assert one == pytest.approx((one[1] / 2, one[1], one[0]), abs=0.2)
    assert (other[0], other[2]) == (0, 0)


def test_names_are_escaped_cut_and_without_what_xml_cannot_hold():
    svg = drawn([family(1, 10, 1, 1, "<a&b>\x00" + "m" * 99)], "a <title> & more")
    texts = [each.text for each in ET.fromstring(svg).iter(f"{SVG}text")]
    assert texts[0] == "a <title> & more"
    (label,) = [text for text in texts if text.startswith("1: <a&b>?m")]
    assert len(label) == 26


def test_without_families_there_is_still_a_picture():
    assert bars(drawn([], "t")) == []
