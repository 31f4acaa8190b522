"""Texts in languages that the model does not know are barred; English ones with foreign words in them are not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.eligibility.language import language
from tests.eligibility import barred

ENGLISH = language(("en",))

FOREIGN = [
    "Làm thế nào để mở cửa sổ?",
    "lam the nao de mo cua so",
    "Как открыть окно?",
    "如何打开窗户",
    "窓を開けるには",
    "창문을 어떻게 여나요",
    "كيف أفتح النافذة؟",
    "איך פותחים חלון",
    "खिड़की कैसे खोलें",
    "หน้าต่างเปิดอย่างไร",
    "Πώς ανοίγω το παράθυρο;",
    "¿Dónde está la ventana?",
    "donde esta la ventana",
    "Escribe un cuento corto",
    "Où est la fenêtre ?",
    "Comment ouvrir une fenêtre ?",
    "Quelle heure est-il ?",
    "Wo ist das Fenster?",
    "Wie öffne ich mein Fenster?",
    "Schreibe ein Gedicht",
    "Qual é a capital do país?",
    "Dove si trova la finestra?",
    "Hoe open ik het raam?",
    "Jak otworzyć okno?",
    "Pencereyi nas\u0131l a\u00e7ar\u0131m?",
    "Bagaimana cara membuka jendela ini?",
    "Hur öppnar jag mitt fönster?",
    "What does 窗户 mean?",
]
ORDINARY = [
    "How do I open the window?",
    "window stuck",
    "fees",
    "Who is Beyoncé?",
    "what is a café au lait",
    "who directed la vie en rose",
    "el nino effects",
    "Is π rational?",
    "How many µm are in an inch",
    "die cast cars",
    "was bedeutet",
    "hotels in são paulo",
    "play despacito",
    "den of thieves cast",
    "10 + 10",
    "",
]


@pytest.mark.parametrize("text", FOREIGN)
def test_other_languages_are_barred(text):
    assert barred(ENGLISH, text) == "language"


@pytest.mark.parametrize("text", ORDINARY)
def test_english_is_not(text):
    assert barred(ENGLISH, text) == ""


@pytest.mark.parametrize("text", FOREIGN)
def test_with_no_languages_given_all_are_welcome(text):
    assert barred(language(()), text) == ""


def test_a_language_that_is_given_is_welcome():
    assert barred(language(("en", "de")), "Wo ist das Fenster?") == ""
    assert barred(language(("en", "ru")), "Как открыть окно?") == ""
    assert barred(language(("zh",)), "如何打开窗户") == ""
    assert barred(language(("de",)), "How do I open the window?") == "language"


def test_a_language_without_a_table_does_not_bar_its_own_speakers():
    assert barred(language(("en", "eo")), "Kie estas la fenestro, ĉu ĝi fermiĝas?") == ""


@given(st.text())
def test_any_text_is_judged(text):
    assert barred(ENGLISH, text) in ("", "language")


def test_long_texts_are_judged_by_their_heads():
    assert barred(ENGLISH, "wo ist das " * 10_000) == "language"
    assert barred(ENGLISH, "x" * 100_000) == ""
