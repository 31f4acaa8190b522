"""Equal requests are considered once, and only equal ones."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.case import Case, Request
from proxy.edge.reception import CASE_BYTES, Key, Memo, Reception, weigh_case
from proxy.errors import BadRequest, Unauthenticated
from proxy.tenancy.credential import CREDENTIALS
from proxy.types import Directives, Pairs, Verdict
from tests.edge.cases import Small, case

BODY = b'{"model":"m"}'
ALICE: Pairs = ((b"host", b"a"), (b"authorization", b"Bearer alice"), (b"user-agent", b"one"))
TARGET = "/small"


class Path:
    """Considers requests, remembers what it was given, and can be told to refuse."""

    def __init__(self, refuse: Exception | None = None) -> None:
        self.considered: list[Request] = []
        self.refuse = refuse

    def consider(self, request: Request) -> Case:
        self.considered.append(request)
        if self.refuse is not None:
            raise self.refuse
        return case(directives=request.directives)

    def recall(self, asked: Case) -> Any:
        return ("recalled", asked)


def reception(path: Path, *, memory: int = 1 << 20) -> Reception:
    return Reception(path, relevant=CREDENTIALS | {b"x-variant"}, memory=memory)


@pytest.fixture
def path() -> Path:
    return Path()


def consider(reception: Reception, headers: Pairs = ALICE, body: bytes = BODY, target: str = TARGET) -> Case:
    return reception.consider(Small(), target, headers, body).case


# --- once for each distinct request


def test_equal_requests_share_a_case(path):
    desk = reception(path)
    first = desk.consider(Small(), TARGET, ALICE, BODY)
    second = desk.consider(Small(), TARGET, ALICE, bytes(bytearray(BODY)))
    assert second.case is first.case
    assert first.request is path.considered[0]
    assert second.request is None
    assert len(path.considered) == 1


def test_the_fast_lane_finds_what_the_other_has_considered(path):
    desk = reception(path)
    assert desk.remembered(TARGET, list(ALICE), BODY) is None
    considered = consider(desk)
    assert desk.remembered(TARGET, list(ALICE), BODY) is considered
    assert desk.recall(considered) == ("recalled", considered)
    assert len(path.considered) == 1


@pytest.mark.parametrize(
    "headers",
    [
        (*ALICE[:2], (b"user-agent", b"two")),
        (*ALICE, (b"x-request-id", b"1"), (b"traceparent", b"2")),
        (ALICE[2], ALICE[1]),
    ],
    ids=["another client", "ids and traces", "another order"],
)
def test_fields_that_take_no_part_make_no_difference(path, headers):
    desk = reception(path)
    assert consider(desk, headers) is consider(desk)


DIFFERENT = {
    "another credential": {"headers": (ALICE[0], (b"authorization", b"Bearer bob"))},
    "no credential": {"headers": ALICE[:1]},
    "a further credential": {"headers": (*ALICE, (b"openai-project", b"p"))},
    "the credential in another field": {"headers": (ALICE[0], (b"api-key", b"Bearer alice"))},
    "the credential twice": {"headers": (*ALICE, ALICE[1])},
    "a varying field": {"headers": (*ALICE, (b"x-variant", b"b"))},
    "a directive": {"headers": (*ALICE, (b"cache-control", b"no-cache"))},
    "a directive of another gateway": {"headers": (*ALICE, (b"cf-aig-skip-cache", b"false"))},
    "pragma": {"headers": (*ALICE, (b"pragma", b"no-cache"))},
    "tags": {"headers": (*ALICE, (b"x-cache-tags", b"a"))},
    "another body": {"body": b'{"model":"n"}'},
    "white space in the body": {"body": b'{"model": "m"}'},
    "another target": {"target": "/small?api-version=1"},
}


@pytest.mark.parametrize("difference", DIFFERENT.values(), ids=DIFFERENT)
def test_a_request_that_differs_in_what_takes_part_never_shares_a_case(path, difference):
    desk = reception(path)
    first = consider(desk)
    assert consider(desk, **difference) is not first
    assert consider(desk, **difference) is not first
    assert consider(desk) is first
    assert len(path.considered) == 2


@pytest.mark.parametrize("refusal", [Unauthenticated("who?"), BadRequest("what?")])
def test_a_refusal_is_never_remembered(refusal):
    path = Path(refusal)
    desk = reception(path)
    for _ in range(2):
        with pytest.raises(type(refusal)):
            consider(desk)
    path.refuse = None
    consider(desk)
    assert len(path.considered) == 3


def test_without_memory_every_request_is_considered(path):
    desk = reception(path, memory=0)
    consider(desk)
    consider(desk)
    assert len(path.considered) == 2


# --- the request as the path wants it


def test_directives_are_read_and_other_gateways_controls_are_taken_out(path):
    headers = (*ALICE, (b"cache-control", b"max-age=5"), (b"x-cache-tags", b"t"), (b"x-variant", b"b"))
    consider(reception(path), headers, b'{"model":"m","cache":{"no-store":true}}')
    (request,) = path.considered
    narrowed = Verdict(write=False, reason="no-store")
    assert request.directives == Directives(verdict=narrowed, max_age_s=5, tags=("t",))
    assert request.body == BODY
    assert request.headers == headers


def test_what_may_go_upstream_goes_and_nothing_else(path):
    headers = (
        *ALICE,
        (b"accept-encoding", b"gzip"),
        (b"content-encoding", b"zstd"),
        (b"content-length", b"13"),
        (b"cache-control", b"no-cache"),
        (b"x-cache-tags", b"t"),
        (b"openai-beta", b"x"),
    )
    consider(reception(path), headers)
    sent = dict(path.considered[0].onward)
    assert sent.keys() == {b"authorization", b"user-agent", b"openai-beta", b"via"}


# --- the memo

LIMIT = 64 * (CASE_BYTES + 500)
CASE = case()


def key(number: int, size: int = 500, field: int = 0, target: int = 0) -> Key:
    return ("/" * (target + 1), ((b"authorization", b"x" * field),), b"%d" % number + b" " * size)


def weight(key: Key) -> int:
    target, fields, body = key
    return CASE_BYTES + len(target) + len(body) + sum(len(name) + len(value) for name, value in fields)


def remembered(memo: Memo, keys: Iterable[Key]) -> list[Key]:
    """Those that are still there. A copy is asked each time, since asking changes what is kept."""
    return [each for each in keys if copy.deepcopy(memo, {id(CASE): CASE}).get(each) is not None]


def held(memo: Memo, keys: Iterable[Key]) -> int:
    return sum(map(weight, remembered(memo, keys)))


@pytest.mark.parametrize(
    "shape",
    [{"size": 3000}, {"field": 3000, "size": 0}, {"target": 3000, "size": 0}],
    ids=["bodies", "headers", "targets"],
)
def test_whatever_part_is_long_the_memo_stays_within_its_bytes(shape):
    memo = Memo(LIMIT, weigh_case)
    keys = [key(number, **shape) for number in range(120)]
    for count, each in enumerate(keys):
        memo.put(each, CASE)
        assert count % 10 or held(memo, keys) <= LIMIT
    assert memo.get(keys[-1]) is not None
    assert memo.get(keys[0]) is None


def test_what_a_case_repeats_of_its_request_counts():
    memo = Memo(LIMIT, weigh_case)
    keys = [key(number) for number in range(200)]
    echoing = case(echoes={"metadata": b"x" * 3000})
    for each in keys:
        memo.put(each, echoing)
    assert len(remembered(memo, keys)) * (weight(keys[0]) + 3000) <= LIMIT


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 60), st.sampled_from([0, 500, 5000, 50_000])), max_size=150))
def test_in_any_order_of_use_the_memo_stays_within_its_bytes_and_gives_back_only_what_was_put(uses):
    memo = Memo(LIMIT, weigh_case)
    keys = set()
    for puts, number, size in uses:
        each = key(number, size)
        if puts:
            keys.add(each)
            memo.put(each, CASE)
        else:
            assert memo.get(each) is None or each in keys
    assert held(memo, keys) <= LIMIT


def test_what_is_asked_for_again_outlives_a_flood():
    memo = Memo(LIMIT, weigh_case)
    memo.put(key(0), CASE)
    for number in range(1, 1000):
        memo.put(key(number), CASE)
        assert memo.get(key(0)) is not None


def test_what_alone_would_fill_it_is_not_remembered():
    memo = Memo(LIMIT, weigh_case)
    memo.put(key(1), CASE)
    memo.put(key(2, LIMIT // 4), CASE)
    assert memo.get(key(2, LIMIT // 4)) is None
    assert memo.get(key(1)) is not None
