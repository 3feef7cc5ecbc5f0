import csv

import pytest

from pipelines.config import DataConfig
from pipelines.data import gather, load_data
from pipelines.errors import ConfigError

from .rows import Refused, Write, pairs, table


def _texts(source: str) -> dict[str, str]:
    """Text by row id over all splits."""
    splits = load_data(DataConfig(source=source)).splits.values()
    return {row: text for split in splits for row, text in zip(split.ids, split.texts, strict=True)}


def test_header_without_rows_is_refused(write: Write, refused: Refused) -> None:
    write("reviews.csv", "text,label\n")
    assert refused("reviews.csv") == "reviews.csv: has a header but no rows; add at least one row per example"


def test_blank_lines_only_are_refused(write: Write, refused: Refused) -> None:
    write("reviews.csv", "\n\n\n")
    assert refused("reviews.csv").startswith("reviews.csv: holds only blank lines;")


def test_missing_header_is_noticed(write: Write, refused: Refused) -> None:
    write("reviews.csv", "A fine film.,positive\nA bad one.,negative\n")
    assert refused("reviews.csv") == (
        "reviews.csv: has no header, its first line holds 'A fine film.' and 'positive'; add a first line such as "
        "text,label"
    )


def test_missing_header_is_noticed_when_the_columns_are_named(write: Write, refused: Refused) -> None:
    write("reviews.csv", "A fine film.,positive\nA bad one.,negative\n")
    rest = (
        "the columns are 'A fine film.' and 'positive' (its first line looks like an example: is the header missing?)"
    )
    assert refused("reviews.csv", text="text", label="label") == (
        f"reviews.csv: no column 'text' (data.text); {rest}\nreviews.csv: no column 'label' (data.label); {rest}"
    )


def test_semicolon_separated_file_is_refused_with_the_remedy(write: Write, refused: Refused) -> None:
    write("reviews.csv", table(pairs(20)).replace(",", ";"))
    assert refused("reviews.csv") == (
        "reviews.csv: is separated by semicolons, not by commas; save it again as 'CSV UTF-8 (comma delimited)', or "
        "replace them by tabs and name it .tsv"
    )


def test_tabs_in_a_csv_and_commas_in_a_tsv_are_refused_with_the_remedy(write: Write, refused: Refused) -> None:
    write("reviews.csv", table(pairs(20)).replace(",", "\t"))
    write("reviews.tsv", table(pairs(20)))
    assert refused("reviews.csv") == ("reviews.csv: is separated by tabs, not by commas; rename it to end in .tsv")
    assert refused("reviews.tsv") == ("reviews.tsv: is separated by commas, not by tabs; rename it to end in .csv")


def test_single_column_is_refused(write: Write, refused: Refused) -> None:
    write("reviews.csv", "text\nfine\n")
    assert refused("reviews.csv") == ("reviews.csv: has a single column, 'text'; it needs a text and a label column")


def test_ragged_rows_are_refused_with_their_lines(write: Write, refused: Refused) -> None:
    write("reviews.csv", "text,label\nfine, really,positive\nbad,negative\nodd\n" + "a,b,c\n" * 5)
    assert refused("reviews.csv") == (
        "reviews.csv, lines 2, 4, 5, 6, 7 and 2 more: the header names 2 columns, but there are more or fewer cells "
        "(3 cells in line 2); put texts that contain commas or line breaks in double quotes"
    )


def test_unclosed_quote_is_refused_at_the_line_where_it_opens(write: Write, refused: Refused) -> None:
    write("reviews.csv", 'text,label\nfine,positive\n"bad,negative\nfine too,positive\n')
    assert refused("reviews.csv") == (
        "reviews.csv, line 3: a quote that opens in this row is never closed (it goes on to line 4); close it, or "
        'write quotes inside a text twice ("")'
    )


def test_text_after_a_closing_quote_is_refused(write: Write, refused: Refused) -> None:
    write("reviews.csv", 'text,label\n"bad" film,negative\nfine,positive\n')
    assert refused("reviews.csv") == (
        'reviews.csv, line 2: a cell goes on after its closing quote; write quotes inside a text twice ("") and put '
        "the whole text in quotes"
    )


def test_cell_over_a_megabyte_is_refused(write: Write, refused: Refused) -> None:
    write("reviews.csv", table([*pairs(20), ("x" * 1_000_001, "positive")]))
    assert refused("reviews.csv") == (
        "reviews.csv, line 22: a cell is longer than 1 MB; close its quotes, or split the document into several rows"
    )


def test_text_over_a_megabyte_in_bytes_is_refused(write: Write, refused: Refused) -> None:
    write("reviews.csv", table([*pairs(20), ("é" * 600_000, "positive")]))
    assert refused("reviews.csv") == (
        "reviews.csv, line 22, column 'text': is longer than 1 MB; split the document into several rows"
    )


def test_reading_leaves_the_cell_limit_of_the_csv_module_as_it_was(write: Write) -> None:
    write("reviews.csv", table(pairs(20)))
    default = csv.field_size_limit(54_321)
    try:
        load_data(DataConfig(source="reviews.csv"))
        assert csv.field_size_limit() == 54_321
    finally:
        csv.field_size_limit(default)


def test_nul_in_a_text_is_refused_with_its_line(write: Write, refused: Refused) -> None:
    write("reviews.csv", table([*pairs(20), ("bro\0ken", "positive")]))
    assert refused("reviews.csv") == "reviews.csv, line 22, column 'text': holds a NUL character; remove it"


def test_too_many_rows_are_refused(write: Write, refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "MAX_ROWS", 19)
    write("reviews.csv", table(pairs(20)))
    assert refused("reviews.csv") == "reviews.csv: has more than 19 rows; take a sample of them first"


def test_duplicate_columns_are_refused(write: Write, refused: Refused) -> None:
    write("reviews.csv", table([("a", "b", "positive")], header=("text", "text", "label")))
    assert refused("reviews.csv") == (
        "reviews.csv: the columns 1 and 2 are all named 'text'; rename or delete all but one"
    )


def test_absent_text_and_label_columns_are_refused_together_with_suggestions(write: Write, refused: Refused) -> None:
    write("reviews.csv", table(pairs(20)))
    assert refused("reviews.csv", text="txt", label="labels") == (
        "reviews.csv: no column 'txt' (data.text); did you mean 'text'?; the columns are 'text' and 'label'\n"
        "reviews.csv: no column 'labels' (data.label); did you mean 'label'?; the columns are 'text' and 'label'"
    )


def test_columns_that_cannot_be_guessed_are_asked_for(write: Write, refused: Refused) -> None:
    write("reviews.csv", table([("a", "b", "c")], header=("x", "y", "z")))
    assert refused("reviews.csv") == (
        "reviews.csv: which column is the text and which the label? Set data.text and data.label; the columns are 'x', "
        "'y' and 'z'"
    )
    write("labelled.csv", table([("a", "b", "c")], header=("x", "y", "label")))
    assert refused("labelled.csv").startswith("labelled.csv: which column is the text? Set data.text;")


def test_ambiguous_columns_are_listed_with_the_key_to_set(write: Write, refused: Refused) -> None:
    write("reviews.csv", table([("a", "b", "c")], header=("text", "Review", "label")))
    assert refused("reviews.csv") == (
        "reviews.csv: the text may be any of the columns 'text' and 'Review'; name it in data.text"
    )
    assert refused("reviews.csv", text="Review").startswith("reviews.csv, column 'label': every row has the label 'c'")


@pytest.mark.parametrize("header", [("Review", "Stars"), ("phrase", "verdict"), ("wording", "sentiment")])
def test_columns_are_found_by_common_names_or_as_the_other_of_two(write: Write, header: tuple[str, str]) -> None:
    write("reviews.csv", table(pairs(20), header=header))
    dataset = load_data(DataConfig(source="reviews.csv"))
    assert dataset.labels == ("negative", "positive")


def test_one_column_in_two_roles_is_a_contradiction(write: Write) -> None:
    write("reviews.csv", table(pairs(20)))
    with pytest.raises(
        ConfigError, match=r"^data\.text and data\.label both name the column 'text'; they must differ$"
    ):
        load_data(DataConfig(source="reviews.csv", text="text", label="text"))


@pytest.mark.parametrize("text", ["NA", "null", "None", "NaN", "007", "1.0", "1e5", "true", "=1+1", "@SUM(A1)", "-"])
def test_text_stays_the_text_it_is(write: Write, text: str) -> None:
    write("reviews.csv", table([*pairs(20), (text, "positive")]))
    assert _texts("reviews.csv")["reviews.csv:22"] == text


def test_row_ids_count_lines_as_an_editor_does(write: Write) -> None:
    rows = [("two\nlines", "negative"), ("next", "positive"), *pairs(20)]
    write("reviews.csv", table(rows))
    texts = _texts("reviews.csv")
    assert (texts["reviews.csv:2"], texts["reviews.csv:4"]) == ("two\nlines", "next")


def test_empty_lines_are_skipped_and_still_counted(write: Write) -> None:
    write("reviews.csv", table(pairs(20)).replace("\r\n", "\n\n"))
    assert _texts("reviews.csv")["reviews.csv:3"] == "example number 0"


def test_tsv_is_read_with_commas_in_its_texts(write: Write) -> None:
    lines = [f"fine, really {row}\t{'positive' if row % 2 else 'negative'}" for row in range(20)]
    write("reviews.tsv", "\n".join(["text\tlabel", *lines]))
    assert _texts("reviews.tsv")["reviews.tsv:2"] == "fine, really 0"
