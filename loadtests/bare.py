"""The yardstick: an ASGI callable that sends one recorded answer and does nothing else.

It does not read the request's body, parses nothing and looks nothing up, so it is the most that an application on
uvicorn can do. It sends the header fields and the body of a recorded AskOnce hit; `date` and `server` are written by
uvicorn itself where the recording has them.
"""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvicorn
from load import Recording

Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]
WRITTEN_BY_UVICORN = (b"date", b"server")


class Bare:
    """Sends the recorded answer to every request."""

    def __init__(self, recording: Recording) -> None:
        fields = [field for field in recording.fields if field[0] not in (*WRITTEN_BY_UVICORN, b"transfer-encoding")]
        self.start = {"type": "http.response.start", "status": 200, "headers": fields}
        self.body = {"type": "http.response.body", "body": recording.body}

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await send(self.start)
        await send(self.body)


class BareReading(Bare):
    """The same, but takes the request's body first, as any application that needs it must."""

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        await super().__call__(scope, receive, send)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--recording", type=Path, required=True)
    parser.add_argument("--access-log", action="store_true")
    parser.add_argument("--read-body", action="store_true")
    options = parser.parse_args()
    recording = Recording.load(options.recording)
    names = {name for name, _ in recording.fields}
    uvicorn.run(
        BareReading(recording) if options.read_body else Bare(recording),
        host="127.0.0.1",
        port=options.port,
        http="httptools",
        loop="uvloop",
        lifespan="off",
        access_log=options.access_log,
        log_level="info" if options.access_log else "warning",
        date_header=b"date" in names,
        server_header=b"server" in names,
    )


if __name__ == "__main__":
    main()
