"""What is not text bars a question."""

from __future__ import annotations

import pytest

from proxy.eligibility.media import media
from tests.eligibility import barred

TEXT = {"type": "text", "text": "What is it?"}


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
        {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
        {"type": "file", "file": {"file_id": "1"}},
        {"type": "video_url", "video_url": {"url": "https://example.org/v"}},
        {"no": "type"},
        7,
    ],
)
def test_a_part_that_is_not_text_bars_wherever_it_stands(part):
    first, last = {"role": "user", "content": [part, TEXT]}, {"role": "user", "content": "And now?"}
    assert barred(media, messages=[first, {"role": "assistant", "content": "So."}, last]) == "media"


def test_a_spoken_turn_bars():
    spoken = {"role": "assistant", "audio": {"id": "audio_1"}}
    assert barred(media, messages=[spoken, {"role": "user", "content": "And now?"}]) == "media"


@pytest.mark.parametrize(
    "content", ["What is it?", None, [TEXT], ["bare text"], [{"type": "refusal", "refusal": "No."}]]
)
def test_text_is_not_barred(content):
    assert barred(media, messages=[{"role": "user", "content": content}, "odd"]) == ""
