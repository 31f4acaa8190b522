"""A running proxy's operator side, as far as the commands need one: it notes what it is asked and answers the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

REPORT: dict[str, Any] = {
    "version": "0.1.0",
    "uptime_s": 93784.5,
    "requests": {"hit": 1200, "miss": 300},
    "hit_ratio": 0.8,
    "saved": {"tokens": 45000, "usd": 1.25},
    "upstream": {
        "errors": 7,
        "retries": 2,
        "fallbacks": 1,
        "prompt_tokens": {"local": 4000},
        "cached_tokens": {"local": 3000},
    },
    "endpoints": [
        {
            "upstream": "local",
            "address": "gpu-a:8000",
            "state": "well",
            "detail": "",
            "in_flight": 3,
            "waiting": 2,
            "kv_usage": 0.25,
            "openings": 0,
        },
        {
            "upstream": "local",
            "address": "gpu-b:8000",
            "state": "failing",
            "detail": "the connection was refused",
            "in_flight": 0,
            "waiting": 0,
            "kv_usage": 0.0,
            "openings": 1,
        },
    ],
    "store": {"kind": "sqlite", "degraded": None, "bytes": {"memory": 1536}, "entries": {"memory": 12}},
    "flights": 3,
}


@dataclass
class Operator:
    url: str
    status: int = 200
    answer: bytes = b""
    asked: list[tuple[str, str, str | None, Any]] = field(default_factory=list)
    """Method, path, Authorization, body."""


@contextmanager
def listening(answer: object, status: int = 200) -> Iterator[Operator]:
    """Answers everything with one status and body, on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            told = (self.command, self.path, self.headers.get("authorization"), json.loads(body) if body else None)
            operator.asked.append(told)
            self.send_response(operator.status)
            self.send_header("content-length", str(len(operator.answer)))
            self.end_headers()
            self.wfile.write(operator.answer)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        text = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        operator = Operator(f"http://127.0.0.1:{server.server_port}", status, text)
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield operator
        finally:
            server.shutdown()
            thread.join()
