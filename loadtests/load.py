"""Putting load on a server and reading off what it did: wrk for throughput, a small asyncio client for the rest."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import re
import shutil
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import proc

HERE = Path(__file__).parent
HEADERS = {"content-type": "application/json", "authorization": "Bearer sk-bench"}
NONE: Mapping[str, str] = {}
PATH = "/v1/chat/completions"
NUMBER = "@" * 10
"""Stands in a question's text where numbered.lua and `numbered` put a number."""


class RunError(Exception):
    """A run that cannot be counted: errors under load, or an answer that is not what the row is about."""


def question(text: str, *, stream: bool = False) -> bytes:
    """A request that every proxy compared here is willing to keep: temperature 0, one user turn. Written as OpenAI's
    Python SDK writes it, without spaces."""
    members: dict[str, object] = {
        "model": "gpt-4o-mini",
        "messages": [
            {"role": "system", "content": "Answer in one paragraph."},
            {"role": "user", "content": text},
        ],
        "temperature": 0,
    }
    whole = {**members, "stream": True} if stream else members
    return json.dumps(whole, separators=(",", ":")).encode()


SAME = question("Why is the sky blue at noon and red in the evening?")
SAME_STREAM = question("Why is the sky blue at noon and red in the evening?", stream=True)
NUMBERED = question(f"What is there to say about the number {NUMBER}?")


def numbered(number: int) -> bytes:
    """The question numbered.lua asks for this number."""
    return NUMBERED.replace(NUMBER.encode(), b"%010d" % number)


@dataclass(frozen=True, slots=True)
class Recording:
    """One answer as it came. Field names are lower case; the body is without chunked coding."""

    status: int
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes

    def field(self, name: str) -> str:
        """The value of a header field, empty when there is none."""
        return dict(self.fields).get(name.encode(), b"").decode("latin-1")

    def save(self, path: Path) -> None:
        fields = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in self.fields]
        kept = {"status": self.status, "fields": fields, "body": base64.b64encode(self.body).decode()}
        path.write_text(json.dumps(kept))

    @staticmethod
    def load(path: Path) -> Recording:
        kept = json.loads(path.read_text())
        fields = tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in kept["fields"])
        return Recording(kept["status"], fields, base64.b64decode(kept["body"]))


def ask(port: int, body: bytes | None = None, path: str = PATH) -> Recording:
    """One request over a connection of its own: POST with a body, GET without. Raises OSError when nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET" if body is None else "POST", path, body=body, headers=HEADERS)
        response = connection.getresponse()
        fields = tuple((name.lower().encode(), value.encode("latin-1")) for name, value in response.getheaders())
        return Recording(response.status, fields, response.read())
    finally:
        connection.close()


def calls(upstream_port: int) -> int:
    """How many answers the fake upstream has been asked for."""
    counted: int = json.loads(ask(upstream_port, path="/calls").body)["calls"]
    return counted


@dataclass(frozen=True, slots=True)
class Target:
    """A server to put load on."""

    port: int
    pid: int


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk is to send: a script of this folder with its arguments."""

    target: Target
    script: str
    arguments: tuple[str, ...]
    connections: int = 16


def same(target: Target, body_file: Path) -> Load:
    """One question, again and again."""
    return Load(target, "same.lua", (str(body_file),))


def spread(target: Target, body_file: Path, count: int) -> Load:
    """Questions 0 .. count - 1 of a numbered body, drawn evenly."""
    return Load(target, "numbered.lua", (str(body_file), "random", "0", str(count)))


def fresh(target: Target, body_file: Path, first: int) -> Load:
    """Questions never asked before: from `first` on, each once."""
    return Load(target, "numbered.lua", (str(body_file), "next", str(first), "1000000000"))


def walk(target: Target, bodies_file: Path, first: int = 0) -> Load:
    """The bodies of a file, a line each, from `first` on."""
    return Load(target, "walk.lua", (str(bodies_file), str(first)))


@dataclass(frozen=True, slots=True)
class Run:
    """One run of wrk: requests a second, the server's processor time for each request in microseconds, and the 99th
    percentile of what a request took in milliseconds."""

    rate: float
    cpu_us: float
    worst_ms: float = 0.0


def wrk_command(load: Load, seconds: float) -> list[str]:
    """One wrk thread. Raises `RunError` where there is no wrk."""
    if shutil.which("wrk") is None:
        raise RunError("wrk is not installed (apt install wrk)")
    command = ["wrk", "--threads", "1", "--connections", str(load.connections), "--duration", f"{seconds:g}s"]
    command += ["--latency", "--timeout", "30s", "--script", str(HERE / load.script)]
    return [*command, f"http://127.0.0.1:{load.target.port}{PATH}", "--", *load.arguments]


def wrk(load: Load, seconds: float) -> Run:
    """One run of one wrk thread. Raises `RunError` on any error or status other than 2xx."""
    command = wrk_command(load, seconds)
    before = proc.cpu_seconds(load.target.pid)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    used = proc.cpu_seconds(load.target.pid) - before
    wrong = re.search(r"(Socket errors|Non-2xx).*", done.stdout)
    if wrong:
        raise RunError(f"under load: {wrong.group(0).strip()}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    requests = re.search(r"(\d+) requests in", done.stdout)
    if rate is None or requests is None or requests.group(1) == "0":
        raise RunError("wrk made no request")
    return Run(float(rate.group(1)), used / int(requests.group(1)) * 1e6, worst_ms(done.stdout))


def worst_ms(said: str) -> float:
    """The 99th percentile in wrk's report."""
    found = re.search(r"99%\s+([\d.]+)(us|ms|s|m)\b", said)
    return float(found.group(1)) * {"us": 1e-3, "ms": 1, "s": 1e3, "m": 6e4}[found.group(2)] if found else 0.0


@dataclass(frozen=True, slots=True)
class Series:
    """Runs of two sides, taken in turns."""

    subject: tuple[Run, ...]
    reference: tuple[Run, ...]

    @property
    def ratios(self) -> tuple[float, ...]:
        """Requests a second: each run of the subject by the run of the reference that followed it."""
        return tuple(one.rate / other.rate for one, other in zip(self.subject, self.reference, strict=True))

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)


def in_turns(subject: Load, reference: Load, *, pairs: int, seconds: float) -> Series:
    """Subject, reference, subject, reference ... so that what else the machine does falls on both alike."""
    for load in (subject, reference):
        wrk(load, min(seconds, 2))
    runs = [(wrk(subject, seconds), wrk(reference, seconds)) for _ in range(pairs)]
    return Series(tuple(run for run, _ in runs), tuple(run for _, run in runs))


class Caller:
    """A client with one connection that is kept open. `read_timeout_s` bounds the wait for one answer; `more` are
    header fields beside the usual ones."""

    def __init__(self, port: int, read_timeout_s: float = 60, more: Mapping[str, str] = NONE) -> None:
        self.port = port
        self.read_timeout_s = read_timeout_s
        self.fields = "".join(f"{name}: {value}\r\n" for name, value in {**HEADERS, **more}.items())

    async def open(self) -> None:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()

    async def ask(self, body: bytes) -> tuple[bytes, bytes]:
        """Send a question and read the whole answer: its head, and its body still in chunked coding if it came so."""
        head = f"POST {PATH} HTTP/1.1\r\nhost: 127.0.0.1\r\n{self.fields}content-length: {len(body)}\r\n\r\n"
        self.writer.write(head.encode() + body)
        async with asyncio.timeout(self.read_timeout_s):
            return await self.answer()

    async def answer(self) -> tuple[bytes, bytes]:
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
        if length:
            return head, await self.reader.readexactly(int(length.group(1)))
        pieces = [await self.chunk()]
        while pieces[-1]:
            pieces.append(await self.chunk())
        return head, b"".join(pieces)

    async def chunk(self) -> bytes:
        """One chunk's data, empty at the end of the body."""
        size = int((await self.reader.readuntil(b"\r\n")).partition(b";")[0], 16)
        data = await self.reader.readexactly(size + 2)
        return data[:-2]


async def latencies(
    ports: tuple[int, int], first: int, count: int, pause_s: float = 0
) -> tuple[list[float], list[float]]:
    """Seconds for new questions, one at a time, each asked of both ports in turn, with a pause after each answer."""
    callers = [Caller(port) for port in ports]
    taken: tuple[list[float], list[float]] = ([], [])
    for caller in callers:
        await caller.open()
    for number in range(first, first + count):
        for caller, seconds in zip(callers, taken, strict=True):
            began = time.perf_counter()
            head, _ = await caller.ask(numbered(number))
            seconds.append(time.perf_counter() - began)
            expect_ok(head)
            if pause_s:
                await asyncio.sleep(pause_s)
    for caller in callers:
        await caller.close()
    return taken


async def herd(ports: Sequence[int], callers: int, body: bytes) -> list[tuple[bytes, bytes]]:
    """The same question from so many connections to each port at once, asked when all of them are open."""
    crowd = [Caller(port) for _ in range(callers) for port in ports]
    for caller in crowd:
        await caller.open()
    answers = await asyncio.gather(*(caller.ask(body) for caller in crowd))
    for caller in crowd:
        await caller.close()
    for head, _ in answers:
        expect_ok(head)
    return answers


def told(stream: bytes) -> str:
    """The text that a chat stream brought."""
    events = [line.removeprefix(b"data: ") for line in stream.split(b"\n") if line.startswith(b"data: {")]
    choices = [choice for event in events for choice in json.loads(event)["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


def expect_ok(head: bytes) -> None:
    status = head.partition(b"\r\n")[0].decode("latin-1")
    if " 200" not in status:
        raise RunError(f"expected 200, got {status!r}")
