"""Files of labelled pairs."""

from __future__ import annotations

import json

import pytest

from proxy.cli.pairs import BadPairs, read_pairs


def written(tmp_path, text: str, name: str = "pairs.jsonl"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "names", [("a", "b", "equivalent"), ("question1", "question2", "is_duplicate"), ("text1", "text2", "label")]
)
@pytest.mark.parametrize(("label", "truth"), [(True, True), (False, False), (1, True), (0, False), ("yes", True)])
def test_the_usual_names_and_labels_are_known(tmp_path, names, label, truth):
    path = written(tmp_path, json.dumps(dict(zip(names, ("one?", "two?", label), strict=True))) + "\n\n")
    assert read_pairs(path) == [("one?", "two?", truth)]


def test_csv_may_quote_and_hold_other_columns(tmp_path):
    path = written(tmp_path, '\ufeffid,question1,question2,is_duplicate\n1,"a, or\nb?",c?,0\n2,d?,e?,1\n', "pairs.csv")
    assert read_pairs(path) == [("a, or\nb?", "c?", False), ("d?", "e?", True)]


GOOD = '{"a": "one?", "b": "two?", "equivalent": true}\n'


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("secret words", "not JSON"),
        ('["secret"]', "not a JSON object"),
        ('{"a": "secret"}', "expected"),
        ('{"a": "secret", "b": "", "equivalent": true}', "b has to be a text"),
        ('{"a": 1, "b": "secret", "equivalent": true}', "a has to be a text"),
        ('{"a": "secret", "b": "x", "equivalent": "perhaps"}', "equivalent has to be true or false"),
    ],
)
def test_an_error_names_the_line_and_what_is_expected_and_no_words(tmp_path, bad, said):
    with pytest.raises(BadPairs) as caught:
        read_pairs(written(tmp_path, GOOD + bad))
    assert "pairs.jsonl, line 2" in str(caught.value)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_csv_that_lacks_a_field_is_named_by_its_line(tmp_path):
    with pytest.raises(BadPairs, match="line 3: b has to be a text"):
        read_pairs(written(tmp_path, "a,b,equivalent\nx,y,1\nx\n", "pairs.csv"))


def test_a_file_that_cannot_be_read_is_said(tmp_path):
    with pytest.raises(BadPairs, match="cannot be read: No such file"):
        read_pairs(tmp_path / "none.jsonl")
    (tmp_path / "latin.jsonl").write_bytes(b'{"a": "\xe9"}')
    with pytest.raises(BadPairs, match="is not UTF-8"):
        read_pairs(tmp_path / "latin.jsonl")
