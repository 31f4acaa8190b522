"""An image, a sound or a file is part of the question, and words alone do not tell what is in it."""

from __future__ import annotations

from proxy.lexis.reading import Reading
from proxy.settings import Rule
from proxy.types import Asking


def media(asking: Asking, _reading: Reading, _rule: Rule) -> str:
    """`media`: somewhere in the messages is a part that is not text."""
    messages = asking.members.get("messages")
    return "media" if isinstance(messages, list) and any(map(_has_media, messages)) else ""


def _has_media(message: object) -> bool:
    if not isinstance(message, dict):
        return False
    parts = message.get("content")
    return bool(message.get("audio")) or (isinstance(parts, list) and not all(map(_is_text, parts)))


def _is_text(part: object) -> bool:
    # Answers of the model, among the earlier messages, may hold refusals.
    return isinstance(part, str) or (isinstance(part, dict) and part.get("type") in ("text", "refusal"))
