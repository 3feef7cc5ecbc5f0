from pipelines.config import DataConfig
from pipelines.data import load_data

from .rows import Refused, Write, pairs, table

BLANK = [("", "positive"), (" \t ", "negative"), ("\u200b\ufeff", "positive"), ("\u00a0", "negative")]


def test_blank_texts_are_refused_with_their_lines(write: Write, refused: Refused) -> None:
    write("reviews.csv", table([*pairs(20), *BLANK]))
    assert refused("reviews.csv") == (
        "reviews.csv, lines 22, 23, 24 and 25, column 'text': is blank; fill it in, delete the row, or set data.blank: "
        "drop"
    )


def test_blank_texts_are_left_out_and_noted_on_request(write: Write) -> None:
    write("reviews.csv", table([*pairs(20), *BLANK]))
    write("clean.csv", table(pairs(20)))
    dataset = load_data(DataConfig(source="reviews.csv", blank="drop"))
    assert dataset.notes == ("reviews.csv: 4 rows with blank text left out (lines 22, 23, 24 and 25).",)
    assert dataset.digest == load_data(DataConfig(source="clean.csv")).digest


def test_blank_rows_may_lack_their_label_when_they_are_left_out(write: Write) -> None:
    write("reviews.csv", table([*pairs(20), ("", "")]))
    assert load_data(DataConfig(source="reviews.csv", blank="drop")).labels == ("negative", "positive")


def test_column_that_is_blank_everywhere_is_refused(write: Write, refused: Refused) -> None:
    write("reviews.csv", table([("", "positive"), (" ", "negative")]))
    assert refused("reviews.csv", blank="drop") == (
        "reviews.csv, column 'text': is blank in every row; name another data.text"
    )


def test_all_faults_of_a_file_are_told_at_once(write: Write, refused: Refused) -> None:
    write("reviews.csv", table([*pairs(20), ("", "positive"), ("fine", " "), ("a\0b", "negative")]))
    assert refused("reviews.csv") == (
        "reviews.csv, line 22, column 'text': is blank; fill it in, delete the row, or set data.blank: drop\n"
        "reviews.csv, line 24, column 'text': holds a NUL character; remove it\n"
        "reviews.csv, line 23, column 'label': is empty; fill in the label or delete the row"
    )


def test_many_faulty_rows_are_counted_after_the_first_five(write: Write, refused: Refused) -> None:
    write("reviews.csv", table([*pairs(20), *((f"unlabelled {row}", "") for row in range(8))]))
    assert refused("reviews.csv") == (
        "reviews.csv, lines 22, 23, 24, 25, 26 and 3 more, column 'label': is empty; fill in the label or delete "
        "the row"
    )


def test_rows_without_a_group_are_refused(write: Write, refused: Refused) -> None:
    rows = [(text, label, "" if row == 3 else "a") for row, (text, label) in enumerate(pairs(20))]
    write("reviews.csv", table(rows, header=("text", "label", "author")))
    assert refused("reviews.csv", group="author") == (
        "reviews.csv, line 5, column 'author': is empty; give every row its group"
    )
