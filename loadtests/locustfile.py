"""Locust users who ask what `traffic.py` asks, plainly and as streams.

    loadtests/.envs/tools/bin/locust -f loadtests/locustfile.py --host http://127.0.0.1:8080
    ... --headless --users 20 --spawn-rate 5 --run-time 60s --tags streamed

Requests are named by what answered them (`chat hit`, `chat miss`, ...), since a mean of hits and misses says nothing.
Locust's own time of a streamed request ends with the response's head; so two more events are fired for each stream:
`TTFT`, from the request to the first token, and `stream`, to the last. Tags: `plain`, `streamed`.

Settings come from the environment: ASKONCE_LOAD_MODEL, ASKONCE_LOAD_CATALOGUE, ASKONCE_LOAD_SEED, ASKONCE_LOAD_KEY (a
credential for everybody, in place of the traffic's own), ASKONCE_LOAD_COUNT (requests after which it ends, all
answers read).
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gevent
from locust import HttpUser, between, events, tag, task
from locust.exception import StopUser

sys.path.append(str(Path(__file__).parent))

from events_of_streams import Events, delta_of
from traffic import Asked, Mix, Traffic, made

MODEL = os.environ.get("ASKONCE_LOAD_MODEL", "gpt-4o-mini")
SEED = int(os.environ.get("ASKONCE_LOAD_SEED", "1"))
KEY = os.environ.get("ASKONCE_LOAD_KEY")
COUNT = int(os.environ.get("ASKONCE_LOAD_COUNT", "0")) or None
PATH = "/v1/chat/completions"
READ_BYTES = 64 * 1024


@events.test_start.add_listener
def on_start(environment: Any, **_: Any) -> None:
    """All users of a process take their questions from one series, as in the driver. Each worker of a distributed run
    has one of its own, by its number."""
    worker = getattr(environment.runner, "worker_index", 0)
    catalogue = made(int(os.environ.get("ASKONCE_LOAD_CATALOGUE", "500")))
    traffic = Traffic(Mix(seed=SEED + worker), catalogue, where=f"{worker}.")
    environment.callers = 0
    environment.questions = itertools.islice(traffic, COUNT)


class Caller(HttpUser):
    """Somebody who asks, reads the answer, and thinks for a moment."""

    wait_time = between(0.05, 0.2)

    def on_start(self) -> None:
        self.environment.callers += 1

    @tag("plain")
    @task
    def plain(self) -> None:
        """A whole answer at once."""
        asked = self.next(stream=False)
        with self.client.post(
            PATH, data=asked.body(MODEL), headers=headers(asked), name="chat", catch_response=True
        ) as response:
            response.request_meta["name"] = f"chat {outcome(response)}"
            if response.status_code == 200 and not response.json()["choices"]:
                response.failure("an answer without a choice")

    @tag("streamed")
    @task
    def streamed(self) -> None:
        """An answer as it is written."""
        asked = self.next(stream=True)
        began = time.perf_counter()
        request = self.client.post(
            PATH, data=asked.body(MODEL), headers=headers(asked), name="chat", stream=True, catch_response=True
        )
        with request as response:
            name = outcome(response)
            response.request_meta["name"] = f"chat {name} (head of a stream)"
            if response.status_code != 200:
                return
            first, whole, received = self.read(response, began)
            if not whole:
                response.failure("the stream broke off before [DONE]")
        if first is not None:
            self.fire("TTFT", name, first, 0)
        if whole:
            self.fire("stream", name, (time.perf_counter() - began) * 1000, received)

    def next(self, *, stream: bool) -> Asked:
        asked: Asked | None = next(self.environment.questions, None)
        if asked is None:
            self.environment.callers -= 1
            if not self.environment.callers:  # the last one: all answers have been read
                gevent.spawn(self.environment.runner.quit)  # from outside, since it waits for this user too
            raise StopUser
        return replace(asked, stream=stream)

    def read(self, response: Any, began: float) -> tuple[float | None, bool, int]:
        """Milliseconds to the first token, whether the end marker came, and bytes."""
        reading, first, whole, received = Events(), None, False, 0
        for piece in pieces(response):
            received += len(piece)
            for data in reading.feed(piece):
                whole = whole or data == b"[DONE]"
                if first is None and data != b"[DONE]" and delta_of(data):
                    first = (time.perf_counter() - began) * 1000
        return first, whole, received

    def fire(self, kind: str, name: str, milliseconds: float, length: int) -> None:
        self.environment.events.request.fire(
            request_type=kind,
            name=f"chat {name}",
            response_time=milliseconds,
            response_length=length,
            exception=None,
            context={},
        )


def pieces(response: Any) -> Iterator[bytes]:
    """Bytes as they come. `iter_content` of requests would wait until a whole piece is full."""
    return itertools.takewhile(bool, iter(lambda: response.raw.read1(READ_BYTES), None))


def headers(asked: Asked) -> dict[str, str]:
    credential = f"Bearer {KEY}" if KEY else asked.credential
    return {"authorization": credential, "content-type": "application/json", "accept-encoding": "identity"}


def outcome(response: Any) -> str:
    """What the proxy's X-Cache says."""
    found: str = (response.headers or {}).get("x-cache", "without X-Cache")
    return found
