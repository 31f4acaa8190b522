"""The ideal prefix cache."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.prefixes.trie import PrefixTrie

ALL = ("m",)


def test_blocks_are_shared_up_to_the_first_that_differs():
    trie = PrefixTrie(4)
    assert trie.share(ALL, b"aaaabbbbcccc") == 0
    assert trie.share(ALL, b"aaaabbbbdddd") == 2
    assert trie.share(ALL, b"aaaabbbbddddeeee") == 3
    assert trie.share(ALL, b"aaaabbbbccccffff") == 3
    assert trie.share(ALL, b"xaaabbbbcccc") == 0


def test_a_block_counts_only_behind_the_same_blocks():
    trie = PrefixTrie(4)
    trie.share(ALL, b"aaaabbbb")
    assert trie.share(ALL, b"bbbbaaaa") == 0


def test_what_fills_no_block_is_not_shared():
    trie = PrefixTrie(4)
    assert [trie.share(ALL, b"aaaabbb") for _ in range(2)] == [0, 1]
    assert [trie.share(ALL, b"aaa") for _ in range(2)] == [0, 0]
    assert trie.blocks == 1


def test_scopes_share_nothing():
    trie = PrefixTrie(4)
    trie.share(("m", "one"), b"aaaa")
    assert trie.share(("m", "other"), b"aaaa") == 0


def test_what_there_is_no_room_for_is_counted_and_never_found():
    trie = PrefixTrie(4, most_blocks=3)
    trie.share(ALL, b"aaaabbbb")
    trie.share(ALL, b"aaaaccccdddd")
    assert (trie.blocks, trie.forgotten) == (3, 1)
    assert trie.share(ALL, b"aaaaccccdddd") == 2
    assert trie.share(ALL, b"eeee") == trie.share(ALL, b"eeee") == 0


@given(st.lists(st.text("ab", max_size=14), max_size=14), st.integers(1, 3))
def test_it_finds_what_comparing_with_every_earlier_text_finds(texts, size):
    trie = PrefixTrie(size)
    earlier: list[list[str]] = []
    for text in texts:
        blocks = [text[start : start + size] for start in range(0, len(text) - size + 1, size)]
        expected = max((_equal(blocks, other) for other in earlier), default=0)
        assert trie.share(ALL, text.encode()) == expected
        earlier.append(blocks)


def _equal(one: list[str], other: list[str]) -> int:
    for count, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return count
    return min(len(one), len(other))
