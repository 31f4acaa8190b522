"""One structured line for each request, and the program's own log. Users' words are in neither, at any level."""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Literal

import orjson

from proxy.telemetry.lines import Lines
from proxy.telemetry.records import Served

Format = Literal["text", "json"]

MAX_NAME = 128
"""Characters of a model's name that are shown: the client chose it."""


class AccessLog:
    """Lines go to `write`, whole and in order, from a thread of their own: `lines.Lines`.

    text, one field after another with `-` for what does not apply (times in microseconds, age in seconds):

        2026-11-21T09:10:11.123Z access method=POST endpoint=/v1/chat/completions outcome=hit stream=False
        model=gpt-4.1 tier=memory upstream=- reason=- status=200 micros=21 first_byte_micros=21 bytes=812
        prompt_tokens=10 completion_tokens=20 age=31 key=2f... scope=9c51d2aa request_id=...

    and `trace_id=...` at the end of it where the request is traced and its trace sampled. json has the same names.
    """

    def __init__(
        self, write: Callable[[bytes], None], log_format: Format, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._lines = Lines(write)
        self._render = _render_text if log_format == "text" else _render_json
        self._json = log_format == "json"
        self._clock = clock
        self._millisecond = -1
        self._shown_time = ""

    @property
    def dropped(self) -> int:
        """Lines that could not be written, for want of a reader."""
        return self._lines.dropped

    def open(self) -> None:
        """Begin to write."""
        self._lines.open()

    def close(self) -> None:
        """Write what waits, within a bound, and stop."""
        self._lines.close()

    def served(self, record: Served) -> None:
        """A request is over."""
        self._lines.put(self._render(self._time(), record))

    def line(self, fields: Mapping[str, str]) -> None:
        """Any other event, e.g. the audit log's; the time is added."""
        if self._json:
            shown = {name: _visible(value[:MAX_NAME]) for name, value in fields.items()}
            self._lines.put(orjson.dumps({"time": self._time()} | shown).decode() + "\n")
            return
        texts = " ".join(f"{name}={_shown(value[:MAX_NAME])}" for name, value in fields.items())
        self._lines.put(f"{self._time()} {texts}\n")

    def _time(self) -> str:
        millisecond = int(self._clock() * 1000)
        if millisecond != self._millisecond:
            self._millisecond = millisecond
            seconds, rest = divmod(millisecond, 1000)
            self._shown_time = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:03d}Z"
        return self._shown_time


def setup(level: str, log_format: Format) -> None:
    """The standard library's logging to stderr, for the program's own messages. Called once, by the application."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_TextFormatter() if log_format == "text" else _JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for chatty in ("httpx", "httpcore", "aiohttp.access", "uvicorn.access"):
        # They write the addresses of requests, and an address may carry a query.
        logging.getLogger(chatty).setLevel(logging.WARNING)


# The lines are put together by hand: at 40,000 a second their cost is felt. What many requests have in common is
# rendered once; times are whole microseconds, because an integer is written in a tenth of a float's time.


def _render_text(at: str, record: Served) -> str:
    kind = _kind_text(
        record.method, record.endpoint, record.outcome, record.stream, record.model[:MAX_NAME], record.tier,
        record.upstream, record.reason, record.status,
    )  # fmt: skip
    usage = record.usage
    return (
        f"{at} access {kind} micros={int(record.seconds * 1e6)}"
        f" first_byte_micros={int(record.first_byte_s * 1e6)} bytes={record.bytes_sent}"
        f" prompt_tokens={usage.prompt_tokens} completion_tokens={usage.completion_tokens} age={int(record.age_s)}"
        f" key={record.key or '-'} scope={record.scope or '-'} request_id={_token(record.request_id)}"
        f"{' trace_id=' + record.trace_id if record.trace_id else ''}\n"
    )


def _render_json(at: str, record: Served) -> str:
    kind = _kind_json(
        record.method, record.endpoint, record.outcome, record.stream, record.model[:MAX_NAME], record.tier,
        record.upstream, record.reason, record.status,
    )  # fmt: skip
    usage = record.usage
    return (
        f'{{"time":"{at}","logger":"askonce.access",{kind},"micros":{int(record.seconds * 1e6)}'
        f',"first_byte_micros":{int(record.first_byte_s * 1e6)}'
        f',"bytes":{record.bytes_sent},"prompt_tokens":{usage.prompt_tokens}'
        f',"completion_tokens":{usage.completion_tokens},"age":{int(record.age_s)},"key":"{record.key}"'
        f',"scope":"{record.scope}","request_id":"{_token(record.request_id)}"'
        f"{_TRACE_JSON % record.trace_id if record.trace_id else ''}}}\n"
    )


@lru_cache(maxsize=1024)
def _kind_text(*values: str | bool | int) -> str:
    return " ".join(f"{name}={_shown(str(value))}" for name, value in zip(KIND, values, strict=True))


@lru_cache(maxsize=1024)
def _kind_json(*values: str | bool | int) -> str:
    shown = (_visible(str(value)) if isinstance(value, str) else value for value in values)
    return orjson.dumps(dict(zip(KIND, shown, strict=True))).decode()[1:-1]


KIND = ("method", "endpoint", "outcome", "stream", "model", "tier", "upstream", "reason", "status")
"""What many requests have in common."""


def _token(value: str) -> str:
    """A request's id. The edge has checked it; had it not, a line would still be a line."""
    return value if (value.isalnum() and value.isascii()) or _TOKEN(value) else "-"


def _shown(value: str) -> str:
    """A value in a text line: as it is, or quoted where it would break the line or pass for another field."""
    if not value:
        return "-"
    return value if _UNQUOTED.fullmatch(value) else json.dumps(value)


def _visible(value: str) -> str:
    """A value in a JSON line, without characters that a terminal would obey."""
    return value if value.isprintable() else value.encode("unicode_escape").decode("ascii")


_TRACE_JSON = ',"trace_id":"%s"'

_TOKEN = re.compile(r"[A-Za-z0-9_-]+").fullmatch

_UNQUOTED = re.compile(r"[!#-<>-~]+")
"""What can be seen, but the quote and the equals sign."""


class _TextFormatter(logging.Formatter):
    """`2026-11-21T09:10:11.123Z WARNING askonce.store: message`; a traceback follows on lines of its own."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (the library's name)
        return _visible(super().formatMessage(record))


class _JsonFormatter(_TextFormatter):
    """One object a line, a traceback included."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": self.formatTime(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(fields).decode()
