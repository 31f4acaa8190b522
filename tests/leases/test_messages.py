"""A sealed message is what its leader said, in its place, or it is nothing."""

from __future__ import annotations

import pytest

from proxy.errors import (
    AskOnceError,
    BadRequest,
    Overloaded,
    Unreadable,
    UpstreamError,
    UpstreamInterrupted,
    UpstreamProtocolError,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from proxy.leases import messages
from proxy.leases.messages import Kind, Message, Seal

SECRET = b"a secret of this test installation"
ABOUT = "lease:question a.1"
HEAD = messages.head(200, ((b"content-type", b"text/event-stream"), (b"x-name", b"caf\xe9")), streaming=True)


@pytest.fixture
def seal() -> Seal:
    return Seal(SECRET)


def sealed(seal: Seal, message: Message, number: int = 0, about: str = ABOUT) -> list[bytes]:
    """A stream entry's fields as Redis gives them back."""
    return list(seal.fields(about, number, message))


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_comes_back_as_it_was_sealed(seal: Seal, kind: Kind) -> None:
    message = Message(kind, b"any bytes \x00\xff")
    assert Seal(SECRET).opened(ABOUT, 7, sealed(seal, message, 7)) == message


def test_a_message_without_content_comes_back(seal: Seal) -> None:
    assert seal.opened(ABOUT, 0, sealed(seal, Message(Kind.GONE))) == Message(Kind.GONE)


def test_the_order_of_an_entrys_fields_is_of_no_matter(seal: Seal) -> None:
    pairs = sealed(seal, HEAD)
    assert seal.opened(ABOUT, 0, [*pairs[4:], *pairs[2:4], *pairs[:2]]) == HEAD


def changed(pairs: list[bytes], field: bytes, value: bytes) -> list[bytes]:
    at = pairs.index(field) + 1
    return [*pairs[:at], value, *pairs[at + 1 :]]


FORGED = {
    "content changed": lambda pairs: changed(pairs, b"content", b"other words"),
    "content emptied": lambda pairs: changed(pairs, b"content", b""),
    "kind changed": lambda pairs: changed(pairs, b"kind", b"data"),
    "tag changed": lambda pairs: changed(pairs, b"tag", bytes(16)),
    "tag cut": lambda pairs: changed(pairs, b"tag", pairs[pairs.index(b"tag") + 1][:8]),
    "tag emptied": lambda pairs: changed(pairs, b"tag", b""),
    "no tag": lambda pairs: pairs[:4],
    "only a tag": lambda pairs: pairs[4:],
    "a field without a value": lambda pairs: pairs[:5],
    "nothing": lambda pairs: [],
    "kind not text": lambda pairs: changed(pairs, b"kind", b"\xff"),
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
def test_what_was_changed_is_not_readable(seal: Seal, forge) -> None:
    with pytest.raises(Unreadable) as refused:
        seal.opened(ABOUT, 0, forge(sealed(seal, HEAD)))
    assert refused.value.reason == "tag"


def test_a_message_of_another_secret_is_not_readable(seal: Seal) -> None:
    with pytest.raises(Unreadable):
        Seal(b"the secret of another installation").opened(ABOUT, 0, sealed(seal, HEAD))


def test_a_message_of_another_call_or_question_is_not_readable(seal: Seal) -> None:
    for about in ("lease:question a.2", "lease:another a.1", "lease:question  a.1", ""):
        with pytest.raises(Unreadable):
            seal.opened(about, 0, sealed(seal, HEAD))


def test_a_message_in_another_place_is_not_readable(seal: Seal) -> None:
    second = sealed(seal, Message(Kind.DATA, b"two"), 1)
    for number in (0, 2):
        with pytest.raises(Unreadable):
            seal.opened(ABOUT, number, second)


def test_kind_and_content_cannot_be_shifted_into_each_other(seal: Seal) -> None:
    pairs = sealed(seal, Message(Kind.DATA, b"alive"))
    with pytest.raises(Unreadable):
        seal.opened(ABOUT, 0, changed(changed(pairs, b"kind", b"dataalive"), b"content", b""))


def test_a_sealed_message_of_a_kind_of_tomorrow_is_not_readable(seal: Seal) -> None:
    class Unknown:
        kind, content = "trailer", b"of a newer version"

    with pytest.raises(Unreadable) as refused:
        seal.opened(ABOUT, 0, sealed(seal, Unknown))  # type: ignore[arg-type]
    assert refused.value.reason == "version"


def test_a_seal_that_takes_another_secret_over_seals_with_that(seal: Seal) -> None:
    seal.rekey(b"the secret all agreed on")
    assert Seal(b"the secret all agreed on").opened(ABOUT, 0, sealed(seal, HEAD)) == HEAD
    with pytest.raises(Unreadable):
        Seal(SECRET).opened(ABOUT, 0, sealed(seal, HEAD))


# --- what is in them


@pytest.mark.parametrize("streaming", [True, False])
def test_a_head_keeps_its_status_its_bytes_and_their_order(streaming: bool) -> None:
    headers = ((b"x-two", b"1"), (b"x-one", b"caf\xe9 \x80"), (b"x-two", b"2"))
    head = messages.head(429, headers, streaming=streaming)
    assert messages.read_head(head) == (429, headers, streaming)


@pytest.mark.parametrize(("stored", "reason"), [(True, ""), (False, "content_filter")])
def test_an_end_says_whether_the_answer_is_stored_and_why_not(stored: bool, reason: str) -> None:
    assert messages.read_end(messages.end(stored=stored, reason=reason)) == (stored, reason)


KINDS = (UpstreamInterrupted, UpstreamProtocolError, UpstreamTimeout, UpstreamUnreachable, Overloaded)


@pytest.mark.parametrize("kind", KINDS)
def test_a_failure_comes_back_as_the_same_error(kind: type[AskOnceError]) -> None:
    for error in (kind("what was wrong: caf\xe9"), kind("in other words", code="a_reason_of_its_own")):
        again = messages.read_failure(messages.failure(error))
        assert (type(again), again.message, again.reason) == (kind, error.message, error.reason)
        assert (again.status, again.type, again.headers) == (error.status, error.type, error.headers)


def test_every_way_an_upstream_fails_is_among_them() -> None:
    assert set(UpstreamError.__subclasses__()) < set(KINDS)


def test_any_other_failure_comes_back_as_an_upstreams_with_its_words() -> None:
    again = messages.read_failure(messages.failure(BadRequest("never seen there", code="invalid")))
    assert (type(again), again.message, again.reason) == (UpstreamError, "never seen there", "invalid")
