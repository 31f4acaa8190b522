"""Spoken answers carry server state: an audio id that expires and is referred to by the next turn."""

from __future__ import annotations

from proxy.settings import Rule
from proxy.types import ALLOWED, Question, Verdict


def modality(question: Question, _rule: Rule) -> Verdict:
    """`audio`: the answer may be spoken."""
    modalities = question.members.get("modalities")
    wants_audio = isinstance(modalities, list) and "audio" in modalities
    if wants_audio or question.members.get("audio") is not None:
        return Verdict.bypass("audio")
    return ALLOWED
