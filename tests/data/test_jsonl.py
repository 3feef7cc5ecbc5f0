import json

import pytest

from pipelines.config import DataConfig
from pipelines.data import load_data

from .rows import Refused, Write, pairs, table


def _lines(*more: str) -> str:
    return "\n".join([*(json.dumps({"text": text, "label": label}) for text, label in pairs(20)), *more])


def test_jsonl_gives_the_same_data_set_as_csv(write: Write) -> None:
    write("reviews.jsonl", _lines())
    write("reviews.csv", table(pairs(20)))
    digests = {load_data(DataConfig(source=name)).digest for name in ("reviews.jsonl", "reviews.csv")}
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('{"text": "a"', "is not JSON: Expecting ',' delimiter at character 13; each line must be one complete object"),
        ('{"text": "a", "label": "b",}', "is not JSON: Illegal trailing comma before end of object at character 27"),
        ('{"text": "a", "label": NaN}', "NaN is no JSON value; write null or a number"),
        ('{"text": {"en": "a"}, "label": "b"}', "column 'text' holds an object, not text; write plain text"),
        ('{"text": ["a"], "label": "b"}', "column 'text' holds a list, not text; write plain text"),
        ('{"text": "a"}', "has no 'label'; every line needs it"),
        ('"text"', 'is no JSON object; write one like {"text": "...", "label": "..."}'),
        ('{"text": "a", "text": "b", "label": "c"}', "has the key 'text' twice; keep one"),
        ("[" * 100_000, "is nested too deeply; write plain texts and numbers"),
    ],
)
def test_faulty_line_is_refused_with_its_number(write: Write, refused: Refused, line: str, fault: str) -> None:
    write("reviews.jsonl", _lines(line))
    message = refused("reviews.jsonl")
    if "trailing comma" in fault:  # newer versions of Python word it so, older ones expect a property name
        assert message.startswith("reviews.jsonl, line 21: is not JSON: ")
    else:
        assert message == f"reviews.jsonl, line 21: {fault}"


def test_all_faulty_lines_are_told_at_once(write: Write, refused: Refused) -> None:
    write("reviews.jsonl", _lines("{", *['{"text": "a"}'] * 6))
    lines = refused("reviews.jsonl").splitlines()
    assert lines[1] == "reviews.jsonl, line 22: has no 'label'; every line needs it"
    assert lines[5:] == ["reviews.jsonl: 2 more faulty lines"]


def test_empty_lines_are_skipped_and_still_counted(write: Write, refused: Refused) -> None:
    write("reviews.jsonl", "\n" + _lines().replace("\n", "\n\n") + "\nnothing")
    assert refused("reviews.jsonl").startswith("reviews.jsonl, line 41: is not JSON: ")
    write("blank.jsonl", "\n \n")
    assert refused("blank.jsonl") == "blank.jsonl: holds only blank lines; it needs one JSON object per line"


@pytest.mark.parametrize("content", ["[\n", json.dumps([{"text": "a", "label": "b"}])])
def test_one_json_array_is_refused_with_the_remedy(write: Write, refused: Refused, content: str) -> None:
    write("reviews.jsonl", content)
    assert refused("reviews.jsonl") == (
        "reviews.jsonl: is one JSON array, not JSON Lines; write one object per line, for instance with `jq -c '.[]'`"
    )


def test_half_a_surrogate_pair_is_refused_with_its_line(write: Write, refused: Refused) -> None:
    write("reviews.jsonl", _lines('{"text": "half \\ud83d", "label": "positive"}'))
    assert refused("reviews.jsonl") == (
        "reviews.jsonl, line 21: holds half of a surrogate pair, which is no character; remove or mend it"
    )


def test_nul_escape_is_refused_with_its_line(write: Write, refused: Refused) -> None:
    write("reviews.jsonl", _lines('{"text": "\\u0000", "label": "positive"}'))
    assert refused("reviews.jsonl") == "reviews.jsonl, line 21, column 'text': holds a NUL character; remove it"


def test_null_counts_as_empty(write: Write, refused: Refused) -> None:
    write("reviews.jsonl", _lines('{"text": null, "label": null}'))
    assert refused("reviews.jsonl") == (
        "reviews.jsonl, line 21, column 'text': is blank; fill it in, delete the row, or set data.blank: drop\n"
        "reviews.jsonl, line 21, column 'label': is empty; fill in the label or delete the row"
    )


def test_numbers_keep_their_spelling_and_booleans_are_words(write: Write) -> None:
    rows = [f'{{"text": 1.{row:03}0, "label": {"true" if row % 2 else "false"}}}' for row in range(20)]
    write("reviews.ndjson", "\n".join(rows))
    dataset = load_data(DataConfig(source="reviews.ndjson"))
    assert dataset.labels == ("false", "true")
    assert "1.0070" in {text for split in dataset.splits.values() for text in split.texts}
