"""Troubles are said once when they begin and once when they are over."""

from __future__ import annotations

import logging

import pytest

from proxy.stores.troubles import OFTEN, WITHIN_S, Troubles
from tests.stores import Clock


@pytest.fixture
def steady() -> Clock:
    return Clock()


@pytest.fixture
def troubles(steady: Clock, caplog: pytest.LogCaptureFixture) -> Troubles:
    caplog.set_level("INFO", "askonce.store")
    return Troubles(logging.getLogger("askonce.store"), steady)


def levels(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.levelname for record in caplog.records]


def test_what_lasts_is_said_once_and_its_end_too(troubles: Troubles, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        troubles.begin("writing", "Redis is full")
    assert (troubles.first, troubles.about("writing")) == ("Redis is full", True)
    for _ in range(3):
        troubles.end("writing")
    assert (troubles.first, troubles.about("writing")) == (None, False)
    assert levels(caplog) == ["WARNING", "INFO"]


def test_what_comes_and_goes_is_said_now_and_then(
    troubles: Troubles, steady: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(100):
        troubles.begin("hearing", "gone")
        troubles.end("hearing")
    assert levels(caplog) == ["WARNING", "INFO"] * OFTEN
    steady.now += WITHIN_S
    troubles.begin("hearing", "gone")
    assert levels(caplog) == ["WARNING", "INFO"] * OFTEN + ["WARNING"]


def test_several_are_told_apart_and_the_oldest_is_told_first(
    troubles: Troubles, caplog: pytest.LogCaptureFixture
) -> None:
    troubles.begin("reading", "no permission")
    troubles.begin("writing", "full")
    assert troubles.first == "no permission"
    troubles.end("reading")
    assert troubles.first == "full"
    assert levels(caplog) == ["WARNING", "WARNING", "INFO"]


def test_what_somebody_else_says_is_not_said_twice(troubles: Troubles, caplog: pytest.LogCaptureFixture) -> None:
    troubles.begin("hearing", "not there", aloud=False)
    troubles.begin("hearing", "not there")
    assert levels(caplog) == []
    troubles.end("hearing")
    assert levels(caplog) == ["INFO"]
