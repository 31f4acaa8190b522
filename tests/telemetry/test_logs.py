"""The access log, the audit log and the program's own log."""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from proxy.telemetry.audit import Audit
from proxy.telemetry.logs import AccessLog, Format, setup
from proxy.telemetry.records import Served
from proxy.types import Outcome, Usage

RECORD = Served(
    endpoint="/v1/chat/completions", method="POST", model="gpt-4.1", outcome=Outcome.HIT, status=200, seconds=0.000_021,
    first_byte_s=0.000_020, request_id="abc-DEF_1", key="2f" * 16, scope="9c51d2aa", tier="memory", age_s=31.9,
    usage=Usage(10, 20), bytes_sent=812,
)  # fmt: skip
NOW = 1_795_252_211.1239


def written(log_format: Format, *records: Served) -> str:
    """What is written for them."""
    out: list[bytes] = []
    log = AccessLog(out.append, log_format, clock=lambda: NOW)
    log.open()
    for record in records:
        log.served(record)
    log.close()
    return b"".join(out).decode()


def test_a_text_line_says_it_all() -> None:
    assert written("text", RECORD) == (
        "2026-11-21T09:10:11.123Z access method=POST endpoint=/v1/chat/completions outcome=hit stream=False"
        " model=gpt-4.1 tier=memory upstream=- reason=- status=200 micros=21 first_byte_micros=20 bytes=812"
        f" prompt_tokens=10 completion_tokens=20 age=31 key={'2f' * 16} scope=9c51d2aa request_id=abc-DEF_1\n"
    )


def test_a_json_line_says_the_same() -> None:
    text, fields = written("text", RECORD), json.loads(written("json", RECORD))
    assert set(re.findall(r"(\w+)=", text)) == set(fields) - {"time", "logger"}
    assert fields["logger"] == "askonce.access"
    assert (fields["outcome"], fields["micros"], fields["stream"], fields["reason"]) == ("hit", 21, False, "")


HOSTILE = [
    "a\nb=c",
    "a\r\nHTTP",
    'x" outcome="hit',
    "a b",
    "\x1b[2J",
    "\x9b2J",
    "\u2028",
    "\ud800",
    "\u202eevil",
    "=",
    "\\",
]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_name_cannot_break_out_of_its_line(log_format: Format, name: str) -> None:
    record = replace(RECORD, model=name, method=name, request_id=name, reason=name, endpoint=name)
    lines = written(log_format, record, RECORD)
    assert len(lines.splitlines()) == 2
    assert all(character.isprintable() for character in lines.replace("\n", ""))
    if log_format == "json":
        assert json.loads(lines.splitlines()[0])["outcome"] == "hit"
    else:
        unquoted = re.sub(r'"(\\.|[^"\\])*"', "quoted", lines.splitlines()[0])
        assert re.findall(r" (\w+)=", unquoted) == re.findall(r" (\w+)=", lines.splitlines()[1])


def test_a_long_name_is_cut() -> None:
    assert "m" * 128 + " " in written("text", replace(RECORD, model="m" * 1_000_000))


def test_lines_come_in_order() -> None:
    lines = written("json", *(replace(RECORD, status=number) for number in range(1000))).splitlines()
    assert [json.loads(line)["status"] for line in lines] == list(range(1000))


def test_a_line_does_not_wait_for_the_log_to_close() -> None:
    arrived = threading.Event()
    log = AccessLog(lambda _: arrived.set(), "text")
    log.open()
    for _ in range(3):
        log.served(RECORD)
        assert arrived.wait(30)
        arrived.clear()
    log.close()


def test_a_use_of_bypass_is_audited_beside_the_access_lines() -> None:
    for log_format in ("text", "json"):
        out: list[bytes] = []
        log = AccessLog(out.append, log_format, clock=lambda: NOW)  # type: ignore[arg-type]
        log.open()
        Audit(log).bypassed(request_id="r1", scope="9c51d2aa", client="10.0.0.1", model="a\nb", endpoint="/v1/x")
        log.close()
        line = b"".join(out).decode()
        if log_format == "text":
            assert line == (
                "2026-11-21T09:10:11.123Z logger=askonce.audit event=bypass request_id=r1 scope=9c51d2aa"
                ' client=10.0.0.1 model="a\\nb" endpoint=/v1/x\n'
            )
        else:
            fields = json.loads(line)
            assert (fields["logger"], fields["scope"], fields["model"]) == ("askonce.audit", "9c51d2aa", "a\\nb")


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    logger = logging.getLogger()
    before, level = logger.handlers[:], logger.level
    yield logger
    logger.handlers[:] = before
    logger.setLevel(level)


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_the_programs_own_messages_go_to_stderr(
    root: logging.Logger, capsys: pytest.CaptureFixture[str], log_format: Format
) -> None:
    setup("warning", log_format)
    logger = logging.getLogger("askonce.test")
    logger.info("too little")
    logger.warning("two\nlines %s", 1)
    try:
        raise ValueError("why")  # noqa: TRY301
    except ValueError:
        logger.exception("failed")
    out, err = capsys.readouterr()
    assert out == ""
    first, second, *traceback = err.splitlines()
    if log_format == "text":
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z WARNING askonce\.test: two\\nlines 1", first)
        assert traceback[-1] == "ValueError: why"
    else:
        assert json.loads(first) | {"time": ""} == {
            "time": "", "level": "WARNING", "logger": "askonce.test", "message": "two\nlines 1",
        }  # fmt: skip
        assert json.loads(second)["exception"].endswith("ValueError: why")
        assert not traceback
