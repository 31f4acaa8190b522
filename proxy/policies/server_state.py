"""Requests that make, or lean on, state at the provider: an answer from elsewhere would not have it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from proxy.settings import Rule
from proxy.types import ALLOWED, Question, Verdict


def server_state(question: Question, rule: Rule) -> Verdict:
    """`store`, `kv_transfer`, `audio_id`, `file_id`, `remote_image`: what the question leans on."""
    members = question.members
    if members.get("store"):
        return Verdict.bypass("store")  # the client will GET the completion by its id, and a replayed id is not there
    if members.get("kv_transfer_params") is not None or members.get("ec_transfer_params") is not None:
        return Verdict.bypass("kv_transfer")  # vLLM: a handle to remote KV blocks
    for message in _mappings(members.get("messages")):
        verdict = _judge_message(message, rule)
        if verdict is not ALLOWED:
            return verdict
    return ALLOWED


def _judge_message(message: Mapping[str, object], rule: Rule) -> Verdict:
    audio = message.get("audio")
    if isinstance(audio, Mapping) and audio.get("id") is not None:
        return Verdict.bypass("audio_id")
    for part in _mappings(message.get("content")):
        file = part.get("file")
        if isinstance(file, Mapping) and file.get("file_id") is not None:
            return Verdict.bypass("file_id")
        if rule.remote_images == "bypass" and _is_remote(part):
            return Verdict.bypass("remote_image")
    return ALLOWED


def _is_remote(part: Mapping[str, object]) -> bool:
    """A part that is fetched by the provider: the bytes behind an address may change; `data:` addresses cannot."""
    for member in ("image_url", "video_url", "audio_url"):
        link = part.get(member)
        url = link.get("url") if isinstance(link, Mapping) else link
        if isinstance(url, str) and not url.startswith("data:"):
            return True
    return False


def _mappings(value: object) -> Iterator[Mapping[str, object]]:
    if isinstance(value, list):
        yield from (item for item in value if isinstance(item, Mapping))
