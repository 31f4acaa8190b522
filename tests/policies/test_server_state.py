from __future__ import annotations

import pytest

from proxy.policies.server_state import server_state
from proxy.settings import Rule
from proxy.types import ALLOWED, Verdict
from tests.policies.asking import question, said

URL = "https://example.com/a.png"
DATA = "data:image/png;base64,AAAA"

LEANS = {
    "kept at the provider": ("store", {"store": True}),
    "kept, as another type": ("store", {"store": "true"}),
    "kv transfer": ("kv_transfer", {"kv_transfer_params": {"do_remote_decode": True}}),
    "ec transfer": ("kv_transfer", {"ec_transfer_params": {}}),
    "audio of an earlier turn": ("audio_id", said(role="assistant", audio={"id": "audio_1"})),
    "uploaded file": ("file_id", said({"type": "file", "file": {"file_id": "file-1"}})),
    "file after text": ("file_id", said({"type": "text", "text": "see"}, {"type": "file", "file": {"file_id": "f"}})),
    "image by address": ("remote_image", said({"type": "image_url", "image_url": {"url": URL}})),
    "image by plain address": ("remote_image", said({"type": "image_url", "image_url": URL})),
    "image by an upper-case scheme": ("remote_image", said({"type": "image_url", "image_url": {"url": "HTTP://a/b"}})),
    "image by a file's address": ("remote_image", said({"type": "image_url", "image_url": {"url": "file:///a"}})),
    "video by address": ("remote_image", said({"type": "video_url", "video_url": {"url": URL}})),
    "audio by address": ("remote_image", said({"type": "audio_url", "audio_url": {"url": URL}})),
}

STANDS_ALONE = {
    "text": {},
    "not kept": {"store": False},
    "not said whether kept": {"store": None},
    "no transfer": {"kv_transfer_params": None, "ec_transfer_params": None},
    "image in place": said({"type": "image_url", "image_url": {"url": DATA}}),
    "file in place": said({"type": "file", "file": {"file_data": DATA}}),
    "audio in place": said({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}),
    "no audio": said(role="assistant", audio=None),
    "an address in words": said({"type": "text", "text": URL}),
    "bare words among parts": said("see", {"type": "text", "text": "this"}),
    "no messages": {"messages": None},
}


@pytest.mark.parametrize(("reason", "members"), LEANS.values(), ids=LEANS)
def test_a_question_that_leans_on_state_elsewhere_is_passed_by(reason, members):
    assert server_state(question(**members), Rule()) == Verdict(read=False, write=False, reason=reason)


@pytest.mark.parametrize("members", STANDS_ALONE.values(), ids=STANDS_ALONE)
def test_a_question_that_stands_alone_is_allowed(members):
    assert server_state(question(**members), Rule()) == ALLOWED


def test_an_operator_may_trust_what_is_behind_an_address():
    remote = said({"type": "image_url", "image_url": {"url": URL}})
    uploaded = said({"type": "image_url", "image_url": {"url": URL}}, {"type": "file", "file": {"file_id": "file-1"}})
    rule = Rule(remote_images="cache")
    assert server_state(question(**remote), rule) == ALLOWED
    assert server_state(question(**uploaded), rule).reason == "file_id"
