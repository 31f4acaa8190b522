"""Makes reference.json: what sentence-transformers itself says of a few texts. Run in the environment of
`make test-torch`: `.cache/torch-env/bin/python -m tests.embedders.make_reference`."""

from __future__ import annotations

import json
from pathlib import Path

from proxy.embedders.model_files import installed

REFERENCE = Path(__file__).with_name("reference.json")

TEXTS = [
    "How do I reset my password?",
    "how can i change my password",
    "What is the capital of France?",
    "I have been waiting over a week. Is the card still coming?",
    "Ärger mit dem Konto: 3 Überweisungen fehlen!",
    "日本の首都はどこですか",
    "SELECT count(*) FROM orders WHERE total > 1000;",
    (
        "Why does my train from Paris to Lyon on Tuesday at 7 p.m. cost more than the one at 9 p.m., and can I still "
        "change my ticket if I booked it with a discount card that has expired in the meantime?"
    ),
    "x",
    "🙂",
]


def main() -> None:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(installed()), device="cpu")
    vectors = model.encode(TEXTS, normalize_embeddings=True)
    made = [
        {"text": text, "first": [round(float(number), 7) for number in vector[:8]]}
        for text, vector in zip(TEXTS, vectors, strict=True)
    ]
    REFERENCE.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
