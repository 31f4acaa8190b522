"""`/v1/chat/completions`: its questions, its two kinds of answers, and each kind made from the other."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, groupby
from typing import Final, TypeVar, cast

import orjson

from proxy import errors, strict_json
from proxy.endpoints.base import Folded
from proxy.streaming import chat_replay
from proxy.streaming.chat_fold import PER_DELIVERY, ChatFolder, Members, is_nothing, varying
from proxy.streaming.pattern import Pattern, Run, fill
from proxy.streaming.sse import Event, SseDecoder
from proxy.types import Asking, Form, Frame, Question, Usage

NOT_IN_KEY: Final[Mapping[str, str]] = {
    "stream": "transport: one answer serves both forms",
    "stream_options": "framing of a stream",
    "user": "the provider's abuse tracking",
    "safety_identifier": "the provider's abuse tracking",
    "metadata": "labels; an answer that repeats them gets the current request's",
    "service_tier": "speed and price",
    "prompt_cache_key": "routing to a prompt cache",
    "prompt_cache_options": "the provider's prompt cache",
    "prompt_cache_retention": "the provider's prompt cache",
}
"""Members of a request that cannot change the answer, each with the reason. Everything else is in the key. `store` is
left out only where it is false or null, which is to say absent: true has an effect, on the provider's side."""

_ECHO: Final = "metadata"
_NO_ECHO: Final[Mapping[str, bytes]] = {_ECHO: b"null"}
_BREAKPOINT: Final = "prompt_cache_breakpoint"
_BREAKPOINT_BYTES: Final = _BREAKPOINT.encode()
_MODEL_CHARS: Final = 256
_FINGERPRINT_CHARS: Final = 256
"""Of a longer one nothing is made: it is remembered for every endpoint and model. vLLM's has about 30."""
_WORDS: Final[Mapping[str, str]] = {"askonce": "words"}
"""Stands for the words in a shape. Content is a string or an array, never an object."""
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")

# Decisions of a policy or a fault about that one attempt, not the model's answer to the question.
_PASSING_FINISHES: Final = frozenset({"content_filter", "abort", "error", "repetition"})
_ID_PREFIX: Final = re.compile(r"[A-Za-z]+[-_]")
_USAGE_NULL: Final = b',"usage":null'
_VAIN: Final = 16
"""Patterns of a stream, one after the other, that its next event does not fit: no more are made."""
_PIECES: Final = 64
"""Of a text, before they are joined."""
_TYPE_WORDS: Final[Mapping[type, str]] = {
    dict: "an object",
    list: "an array",
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    type(None): "null",
}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ChatCompletions:
    """The endpoint (`endpoints.base.Endpoint`)."""

    path: str = "/v1/chat/completions"
    max_depth: int = strict_json.MAX_DEPTH
    """Levels of JSON, of requests and of answers."""
    max_line_bytes: int = 16 << 20
    max_event_bytes: int = 16 << 20
    """Of a stream's server-sent events; over it the answer is passed on and not kept."""
    text_run: int = 256
    """Code points of text in a replayed frame: small ones cost time, one huge one does not look like a stream."""

    def read(self, body: bytes, harmless: frozenset[str] = frozenset(), *, deployment: str = "") -> Question:
        """Raises `errors.BadRequest` for what is ambiguous and for what leaves open what was asked. Any other mistake
        is the upstream's to point out."""
        members = strict_json.object_of(body, max_depth=self.max_depth)
        _check_messages(members.get("messages"))
        options = _optional(members, "stream_options", dict) or {}
        return Question(
            endpoint=self.path,
            model=_model(deployment or members.get("model")),
            stream=_optional(members, "stream", bool) or False,
            include_usage=options.get("include_usage") is True,
            choices=_choices(members.get("n")),
            members=members,
            key=_key(members, harmless, has_breakpoints=_BREAKPOINT_BYTES in body),
            echoes={_ECHO: orjson.dumps(members[_ECHO])} if _ECHO in members else _NO_ECHO,
        )

    def asking(self, body: bytes, harmless: frozenset[str] = frozenset()) -> Asking:
        members = orjson.loads(body)
        words, rest = _taken_out(members["messages"])
        barred = "" if words else "no_words"
        shape = _key({**members, "messages": rest}, harmless, has_breakpoints=_BREAKPOINT_BYTES in body)
        return Asking(words, shape, members, barred)

    def said(self, form: Form, body: bytes) -> str | None:
        if form is not Form.WHOLE:
            return None
        choices: list[Members] = orjson.loads(body).get("choices") or []
        if len(choices) != 1 or choices[0].get("finish_reason") != "stop":
            return None
        message = choices[0]["message"]
        content = message.get("content")
        beside = any(not is_nothing(message.get(name)) for name in ("tool_calls", "function_call", "refusal", "audio"))
        return content if type(content) is str and content and not beside else None

    def ask_usage(self, body: bytes) -> bytes:
        """`body` has passed `read`."""
        members = orjson.loads(body)
        if "stream_options" in members:
            options = {**(members["stream_options"] or {}), "include_usage": True}
            return orjson.dumps({**members, "stream_options": options})
        # The last byte that is not white space closes the object, and `model` stands before it.
        return body.rstrip(b" \t\r\n")[:-1] + b',"stream_options":{"include_usage":true}}'

    def whole(self, body: bytes, choices: int) -> Folded:
        """The values stay as the upstream wrote them, byte for byte."""
        # DeepSeek sends empty lines while it thinks, before the answer.
        text = body.strip(b" \t\r\n")
        answer = _parse(text, self.max_depth)
        if _is_error(answer):
            raise _unstorable("error_event")
        reason = _judge(answer, choices)
        texts = strict_json.member_texts(text)
        stored = (orjson.dumps(name) + b":" + texts[name] for name in texts if name not in ("id", "created", _ECHO))
        return _folded(Form.WHOLE, b"{" + b",".join(stored) + b"}", answer, answer.get("id"), reason)

    def fold(self, choices: int) -> ChatFold:
        """For the stream of an answer with that many choices."""
        return ChatFold(self, choices)

    def plain(self, body: bytes) -> tuple[bytes, ...]:
        return (b"{", _after_stamp(body))

    def replay(self, form: Form, body: bytes, *, include_usage: bool) -> tuple[bytes, ...]:
        if form is Form.FRAMES:
            return _pieces(_replayed_frames(body, include_usage=include_usage))
        chunks = chat_replay.chunks(orjson.loads(body), include_usage=include_usage, text_run=self.text_run)
        return _pieces(map(orjson.dumps, chunks))

    def decoder(self) -> SseDecoder:
        """For one stream."""
        return SseDecoder(max_line_bytes=self.max_line_bytes, max_event_bytes=self.max_event_bytes)


@dataclass(frozen=True, slots=True)
class _Repeating:
    """An event that may come again with another text."""

    pattern: Pattern
    texts: list[str]
    """Where its text went."""
    quiet: tuple[bytes, ...]
    """The pattern's pieces for a caller who did not ask for usage; empty where there is nothing to take out."""


class _Again(Frame):
    """Events that came again, kept as what is in their gaps. A flight holds all of its answer for those who may join,
    and so takes the room of the text and not, twice, that of the events, which is thirty times as much."""

    __slots__ = ("_inside", "_repeating")
    _inside: bytes
    _repeating: _Repeating

    def __init__(self, repeating: _Repeating, run: Run) -> None:
        # No string of JSON has a line end in it.
        object.__setattr__(self, "_inside", b"\n".join(chain.from_iterable(run.gaps)))
        object.__setattr__(self, "_repeating", repeating)

    @property
    def raw(self) -> bytes:
        return self._filled(self._repeating.pattern.pieces)

    @property
    def quiet(self) -> bytes:
        return self._filled(self._repeating.quiet or self._repeating.pattern.pieces)

    @property
    def terminal(self) -> bool:
        return False

    def _filled(self, pieces: tuple[bytes, ...]) -> bytes:
        insides = self._inside.split(b"\n")
        count = len(insides) // (len(pieces) - 1)
        return fill(pieces, [insides[:count], insides[count:]] if len(pieces) > 2 else [insides])


class _Several(Frame):
    """Frames in a row, as one."""

    __slots__ = ("_frames",)
    _frames: tuple[Frame, ...]

    def __init__(self, frames: Iterable[Frame]) -> None:
        object.__setattr__(self, "_frames", tuple(frames))

    @property
    def raw(self) -> bytes:
        return b"".join([frame.raw for frame in self._frames])

    @property
    def quiet(self) -> bytes:
        return b"".join([frame.quiet for frame in self._frames])

    @property
    def terminal(self) -> bool:
        return False


class ChatFold:
    """One stream being folded while it is passed on (`endpoints.base.Fold`)."""

    __slots__ = ("_choices", "_decoder", "_done", "_endpoint", "_folder", "_kept", "_refusal", "_repeating", "_vain")

    def __init__(self, endpoint: ChatCompletions, choices: int) -> None:
        self._endpoint = endpoint
        self._choices = choices
        self._decoder = endpoint.decoder()
        self._folder = ChatFolder()
        self._kept: list[Frame] = []
        """What was given out, in case the answer has to be kept as frames."""
        self._repeating: _Repeating | None = None
        """What the next event probably is."""
        self._vain = 0
        """How often that was wrong, one time after the other."""
        self._refusal: str | None = None
        self._done = False

    @property
    def done(self) -> bool:
        return self._done

    def feed(self, chunk: bytes) -> list[Frame]:
        lines = self._decoder.lines(chunk)
        if lines is None:
            frames = _joined([self._frame(event) for event in self._decoder.decode(chunk)])
        else:
            frames = _joined(self._frames(lines))
        if self._refusal is None:
            self._kept += [frame for frame in frames if not frame.terminal]
        return frames

    def flush(self) -> list[Frame]:
        return _joined([self._frame(event) for event in self._decoder.flush()])

    def abandon(self) -> None:
        self._refuse("abandoned")

    def finish(self) -> Folded:
        self._check_whole()
        answer = self._folder.answer()
        reason = _judge(answer, self._choices)
        if not self._folder.lossless:
            return _folded(Form.FRAMES, self._frames_to_keep(), answer, self._folder.id, reason)
        body = orjson.dumps({name: value for name, value in answer.items() if name != _ECHO})
        return _folded(Form.WHOLE, body, answer, self._folder.id, reason)

    def _check_whole(self) -> None:
        if self._refusal is not None:
            raise _unstorable(self._refusal)
        if self._decoder.lost:
            raise _unstorable("too_large")
        if not self._done:
            raise _unstorable("no_terminal_marker")

    def _frames(self, lines: list[bytes]) -> list[Frame]:
        frames: list[Frame] = []
        at = 0
        while at < len(lines):
            run = self._run(lines, at)
            if run is not None:
                frames.append(self._again(run))
                at += 2 * run.events
            else:
                event, at = self._decoder.event(lines, at)
                frames.append(self._frame(event))
        return frames

    def _run(self, lines: list[bytes], at: int) -> Run | None:
        """The events from there on that are the last one again with other texts."""
        if self._repeating is None:
            return None
        run = self._repeating.pattern.run(lines, at)
        self._vain = self._vain + 1 if run is None else 0
        return run

    def _again(self, run: Run) -> Frame:
        repeating = cast("_Repeating", self._repeating)
        if self._refusal is None:
            if len(repeating.texts) >= _PIECES:
                repeating.texts[:] = ["".join(repeating.texts)]
            repeating.texts.append(run.text)
        return _Again(repeating, run)

    def _frame(self, event: Event) -> Frame:
        raw, data, name, torn = event
        if self._done:
            return Frame(raw, raw, terminal=True)
        if data is None:
            return Frame(raw, raw)
        if data.startswith(b"[DONE]"):
            # Said even without its closing blank line, for it can mean nothing else.
            self._done = True
            self._repeating = None
            return Frame(raw, raw, terminal=True)
        return Frame(raw, raw if torn else self._read(raw, data, name))

    def _read(self, raw: bytes, data: bytes, name: bytes) -> bytes:
        """Folds the event and gives it as a caller sees it who did not ask for usage."""
        try:
            chunk = _parse(data, self._endpoint.max_depth)
        except errors.Unstorable as refusal:
            self._refuse(refusal.reason)
            return raw
        if name == b"error" or _is_error(chunk):
            self._refuse("error_event")
        quiet = _quiet(raw, data, chunk) if "usage" in chunk else raw
        if self._refusal is None:
            self._repeating = self._add(raw, data, chunk, quiet)
        return quiet

    def _add(self, raw: bytes, data: bytes, chunk: Members, quiet: bytes) -> _Repeating | None:
        """Folds the event; gives what the next one probably is."""
        changing = varying(chunk) if self._vain < _VAIN and raw == b"data: %b\n\n" % data else None
        pattern = Pattern.of(raw[:-2], chunk, changing.places) if changing is not None else None
        self._folder.add(chunk)
        texts = self._folder.texts(changing) if changing is not None and pattern is not None else None
        if pattern is None or texts is None:
            return None
        pieces = _quiet_pieces(pattern.pieces, raw, quiet)
        return _Repeating(pattern, texts, pieces) if pieces is not None else None

    def _refuse(self, reason: str) -> None:
        """The first reason stays; nothing more is gathered."""
        self._refusal = self._refusal or reason
        self._folder = ChatFolder()
        self._kept = []

    def _frames_to_keep(self) -> bytes:
        decoder = self._endpoint.decoder()
        events = [event for frame in self._kept for event in decoder.decode(frame.raw)]
        return b"".join(_event(_cut(orjson.loads(event.data))) for event in events if event.data is not None)


def _check_messages(messages: object) -> None:
    if messages is None:
        raise errors.BadRequest("`messages` is missing", code="missing_required_parameter", param="messages")
    if type(messages) is not list:
        raise _wrong_type("messages", "an array of messages", messages)
    if not messages:
        raise errors.BadRequest("`messages` is empty: send at least one", code="invalid_value", param="messages")
    for index, message in enumerate(messages):
        if type(message) is not dict:
            raise _wrong_type(f"messages[{index}]", "an object", message)
        if type(message.get("role")) is not str:
            raise _wrong_type(f"messages[{index}].role", "a string", message.get("role"))
        content = message.get("content")
        if type(content) is not str and content is not None:
            _check_parts(f"messages[{index}].content", content)


def _check_parts(param: str, parts: object) -> None:
    if type(parts) is not list:
        raise _wrong_type(param, "a string, an array of parts or null", parts)
    for index, part in enumerate(parts):
        # vLLM takes bare strings too.
        if type(part) is not dict and type(part) is not str:
            raise _wrong_type(f"{param}[{index}]", "an object", part)


def _model(model: object) -> str:
    if model is None:
        raise errors.BadRequest("`model` is missing", code="missing_required_parameter", param="model")
    if type(model) is not str:
        raise _wrong_type("model", "a string", model)
    if not 0 < len(model) <= _MODEL_CHARS or (not model.isprintable() and _CONTROL.search(model)):
        message = f"`model` must be 1 to {_MODEL_CHARS} characters without control characters"
        raise errors.BadRequest(message, code="invalid_value", param="model")
    return model


def _choices(n: object) -> int:
    if n is None:
        return 1
    if type(n) is not int:
        raise _wrong_type("n", "a positive integer or null", n)
    if n < 1:
        raise errors.BadRequest(f"`n` must be at least 1, not {n}", code="invalid_value", param="n")
    return n


def _optional(members: Members, name: str, kind: type[T]) -> T | None:
    value = members.get(name)
    if value is None:
        return None
    if type(value) is not kind:
        raise _wrong_type(name, f"{_TYPE_WORDS[kind]} or null", value)
    return value


def _wrong_type(param: str, wanted: str, value: object) -> errors.BadRequest:
    message = f"`{param}` must be {wanted}, not {_TYPE_WORDS[type(value)]}"
    return errors.BadRequest(message, code="invalid_type", param=param)


def _key(members: Members, harmless: frozenset[str], *, has_breakpoints: bool) -> bytes:
    """Members by name, values in their own order (schemas and tools mean something by it), no defaults, no Unicode
    normalising; before it all its length."""
    asked = {name: members[name] for name in sorted(members) if name not in NOT_IN_KEY}
    if "store" in asked and (asked["store"] is None or asked["store"] is False):
        del asked["store"]
    for name in harmless:
        asked.pop(name, None)
    if "prompt_logprobs" in asked or "echo" in asked or "routed_experts_prompt_start" in asked:
        # vLLM answers these in the plain form only, and says nothing where the stream leaves them out.
        asked["stream"] = members.get("stream") is True
    if has_breakpoints:
        asked["messages"] = [_without_breakpoints(message) for message in asked["messages"]]
    text = orjson.dumps(asked)
    return b"%d:%b" % (len(text), text)


def _taken_out(messages: list[Members]) -> tuple[str, list[Members]]:
    """The last message's text, and the messages with a mark in its place that no text can be; "" where it is not the
    user's or has no text. Of several parts the last text is taken and the others stay."""
    last = messages[-1]
    content = last.get("content")
    if last["role"] != "user":
        return "", messages
    if type(content) is str:
        return content, [*messages[:-1], {**last, "content": _WORDS}]
    if type(content) is not list:
        return "", messages
    for index, part in reversed([*enumerate(content)]):
        if type(part) is dict and part.get("type") == "text" and type(part.get("text")) is str:
            parts = [*content[:index], {**part, "text": _WORDS}, *content[index + 1 :]]
            return part["text"], [*messages[:-1], {**last, "content": parts}]
    return "", messages


def _without_breakpoints(message: Members) -> Members:
    """Marks for the provider's prompt cache, on content parts."""
    content = message.get("content")
    if type(content) is not list:
        return message
    parts = [
        {name: value for name, value in part.items() if name != _BREAKPOINT} if type(part) is dict else part
        for part in content
    ]
    return {**message, "content": parts}


def _parse(text: bytes, max_depth: int) -> Members:
    """An object of the upstream's. Raises `errors.Unstorable`: `duplicate_member`, or `bad_json` for all else."""
    try:
        return strict_json.object_of(text, max_depth=max_depth)
    except errors.BadRequest as refusal:
        reason = refusal.reason if refusal.reason == "duplicate_member" else "bad_json"
        raise _unstorable(reason) from refusal


def _is_error(answer: Members) -> bool:
    return bool(answer.get("error")) or answer.get("object") == "error"


def _judge(answer: Members, choices: int) -> str | None:
    """Why a whole answer may not be kept; None if it may. Raises `errors.Unstorable` if it is not whole."""
    found = answer.get("choices")
    if type(found) is not list or len(found) != choices or not all(map(_is_choice, found)):
        raise _unstorable("missing_choice")
    if {choice["index"] for choice in found} != set(range(choices)):
        raise _unstorable("missing_choice")
    finishes = [choice.get("finish_reason") for choice in found]
    if any(type(finish) is not str or not finish for finish in finishes):
        raise _unstorable("no_finish_reason")
    passing = next((finish for finish in finishes if finish in _PASSING_FINISHES), None)
    return passing or (None if any(_speaks(choice["message"]) for choice in found) else "empty")


def _is_choice(choice: object) -> bool:
    return type(choice) is dict and type(choice.get("index")) is int and type(choice.get("message")) is dict


def _speaks(message: Members) -> bool:
    return any(not is_nothing(value) for name, value in message.items() if name != "role")


def _unstorable(reason: str) -> errors.Unstorable:
    return errors.Unstorable(f"not a whole, successful answer: {reason}", code=reason)


def _folded(form: Form, body: bytes, answer: Members, answer_id: object, reason: str | None) -> Folded:
    model = answer.get("model")
    return Folded(
        form=form,
        body=body,
        model=model if type(model) is str else "",
        id_prefix=_id_prefix(answer_id),
        usage=_usage(answer.get("usage")),
        echoes=(_ECHO,) if _ECHO in answer else (),
        fingerprint=_fingerprint(answer.get("system_fingerprint")),
        finishes=tuple(choice["finish_reason"] for choice in answer["choices"]),
        unstorable=reason,
    )


def _fingerprint(value: object) -> str:
    return value if type(value) is str and len(value) <= _FINGERPRINT_CHARS else ""


def _id_prefix(answer_id: object) -> str:
    """`chatcmpl-` of `chatcmpl-4f0c`; nothing of a bare UUID."""
    if type(answer_id) is not str or not answer_id:
        return "chatcmpl-"
    match = _ID_PREFIX.match(answer_id)
    return match.group() if match else ""


def _usage(usage: object) -> Usage:
    if type(usage) is not dict:
        return Usage()
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if type(details) is dict else None
    return Usage(
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
        # DeepSeek's older name.
        cached_tokens=_count(cached) or _count(usage.get("prompt_cache_hit_tokens")),
    )


def _count(tokens: object) -> int:
    return tokens if type(tokens) is int and tokens > 0 else 0


def _quiet(raw: bytes, data: bytes, chunk: Members) -> bytes:
    """An event with a `usage` member, for a caller who did not ask for one."""
    if chunk["usage"] is not None:
        # With choices it is usage that the upstream sends unasked, or per chunk as the caller wished.
        return raw if chunk.get("choices") else b""
    # Without `\u` the member can be spelled in one way only; where that stands in the text once, it is the member.
    spelled_once = data.count(b'"usage"') == 1 and b"\\u" not in data
    # The raw event may have comments too.
    if spelled_once and _USAGE_NULL in data and raw.count(_USAGE_NULL) == 1:
        return raw.replace(_USAGE_NULL, b"")
    return _event({name: value for name, value in chunk.items() if name != "usage"})


def _quiet_pieces(pieces: tuple[bytes, ...], raw: bytes, quiet: bytes) -> tuple[bytes, ...] | None:
    """The pieces of `raw` as they are in `quiet`, none where they are the same; None when they cannot be told."""
    if quiet is raw:
        return ()
    # Where the null is in the text too, or spelled otherwise, the event was written anew.
    cut = sum(piece.count(_USAGE_NULL) for piece in pieces) == 1 and quiet == raw.replace(_USAGE_NULL, b"")
    return tuple(piece.replace(_USAGE_NULL, b"") for piece in pieces) if cut else None


def _event(chunk: Members) -> bytes:
    return b"data: " + orjson.dumps(chunk) + b"\n\n"


def _cut(chunk: Members) -> Members:
    """A chunk as it is stored: without what belongs to one delivery or one caller."""
    if chunk.get("usage", chunk) is None:
        del chunk["usage"]
    return {name: value for name, value in chunk.items() if name not in PER_DELIVERY and name != _ECHO}


def _joined(frames: list[Frame]) -> list[Frame]:
    """What came in one chunk leaves in one, but for the end marker."""
    if len(frames) < 2:
        return frames
    runs = [list(run) for _, run in groupby(frames, key=lambda frame: frame.terminal)]
    return [_run(run) for run in runs]


def _run(frames: list[Frame]) -> Frame:
    if any(type(frame) is _Again for frame in frames):
        return _Several(frames)
    raw = b"".join([frame.raw for frame in frames])
    quiet = raw if all(frame.quiet is frame.raw for frame in frames) else b"".join([frame.quiet for frame in frames])
    return Frame(raw, quiet, terminal=frames[0].terminal)


def _replayed_frames(body: bytes, *, include_usage: bool) -> Iterator[bytes]:
    for event in body.split(b"\n\n")[:-1]:
        text = event.removeprefix(b"data: ")
        chunk = orjson.loads(text)
        if "usage" in chunk:
            if include_usage or chunk.get("choices"):
                yield text
        else:
            yield orjson.dumps({**chunk, "usage": None}) if include_usage else text


def _pieces(texts: Iterable[bytes]) -> tuple[bytes, ...]:
    """Objects as events, cut at the head of each object."""
    ends = [_after_stamp(text) + b"\n\n" for text in texts]
    return (b"data: {", *[end + b"data: {" for end in ends[:-1]], ends[-1] + b"data: [DONE]\n\n")


def _after_stamp(text: bytes) -> bytes:
    """An object's text from where the stamp ends."""
    return b"," + text[1:] if text != b"{}" else b"}"
