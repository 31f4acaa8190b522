"""A collector of traces on a real socket: OTLP over HTTP, as protobuf, and the ways it can be of no use."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Encoded

KINDS = {1: "internal", 2: "server", 3: "client"}


@dataclass(frozen=True)
class Seen:
    """A span as it arrived."""

    name: str
    kind: str
    trace: str
    id: str
    parent: str
    """Empty for the first of a trace."""
    began: int
    ended: int
    notes: dict[str, Any]
    events: list[tuple[str, dict[str, Any]]]
    links: list[tuple[str, str]]
    failed: bool

    def __getitem__(self, name: str) -> Any:
        return self.notes[name]


class Collector:
    """Takes spans. Everything it was sent is in `bodies`, as it came."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.resources: list[dict[str, Any]] = []
        self.spans: list[Seen] = []
        self.status = 200
        self.came = threading.Event()
        """A batch arrived."""
        self.hold: threading.Event | None = None
        """Until this is set nothing is answered."""
        self.url = ""

    def took(self, path: str, headers: dict[str, str], body: bytes) -> int:
        self.bodies.append(body)
        self.headers.append(headers)
        self.paths.append(path)
        self.came.set()
        if self.hold is not None:
            self.hold.wait()
        if self.status == 200:
            self._read(body)
        return self.status

    def _read(self, body: bytes) -> None:
        for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resources.append(notes(of_resource.resource.attributes))
            for of_scope in of_resource.scope_spans:
                self.spans += [seen(span) for span in of_scope.spans]

    # -- looking through them

    def named(self, name: str) -> list[Seen]:
        return [span for span in self.spans if span.name == name]

    def one(self, name: str) -> Seen:
        """The only span of that name."""
        found = self.named(name)
        assert len(found) == 1, f"{name}: {len(found)} of {sorted(span.name for span in self.spans)}"
        return found[0]

    def requests(self) -> list[Seen]:
        return sorted((span for span in self.spans if span.kind == "server"), key=lambda span: span.began)

    def children(self, parent: Seen) -> list[Seen]:
        found = [span for span in self.spans if (span.trace, span.parent) == (parent.trace, parent.id)]
        return sorted(found, key=lambda span: span.began)

    async def until(self, count: int) -> None:
        """Until so many spans have come."""
        while len(self.spans) < count:
            await asyncio.sleep(0.01)


def notes(attributes: Any) -> dict[str, Any]:
    return {each.key: value(each.value) for each in attributes}


def value(encoded: AnyValue) -> Any:
    kind = encoded.WhichOneof("value")
    if kind == "array_value":
        return [value(each) for each in encoded.array_value.values]
    return getattr(encoded, str(kind))


def seen(span: Encoded) -> Seen:
    return Seen(
        name=span.name,
        kind=KINDS[span.kind],
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        began=span.start_time_unix_nano,
        ended=span.end_time_unix_nano,
        notes=notes(span.attributes),
        events=[(event.name, notes(event.attributes)) for event in span.events],
        links=[(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
        failed=span.status.code == 2,
    )


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector that listens, in threads of its own."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status = collector.took(self.path, dict(self.headers), body)
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    collector.url = f"http://127.0.0.1:{server.server_port}"
    listening = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    listening.start()
    try:
        yield collector
    finally:
        if collector.hold is not None:
            collector.hold.set()
        server.shutdown()
        server.server_close()
        listening.join()
