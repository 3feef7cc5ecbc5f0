"""Another data set is read as strictly as training data, and its rows stand in the model's classes."""

from pathlib import Path

import pytest

from pipelines.config import DataConfig
from pipelines.errors import DataError
from pipelines.generalize.external import External, load_external

OURS = ("negative", "positive")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(rows: list[str], *, most: int | None = None, **told: str) -> External:
    Path("d.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    return load_external(DataConfig(source="d.csv"), OURS, told=told, most=most)


def test_all_rows_are_tested_on_with_the_models_classes_in_its_order(home: Path) -> None:
    found = load(["fine,Pos", "dull,Neg", "bad,Neg"])
    labels = dict(zip(found.rows.texts, found.rows.labels.tolist(), strict=True))
    assert labels == {"fine": 1, "dull": 0, "bad": 0}
    assert (found.key, found.dataset.labels) == ("d.csv", OURS)
    assert found.dataset.notes == ("d.csv: 'Neg' is 'negative', 'Pos' is 'positive'.",)
    assert sorted(found.rows.ids) == ["d.csv:2", "d.csv:3", "d.csv:4"]


def test_the_digest_is_that_of_the_content_whatever_the_order_of_the_file(home: Path) -> None:
    one, other = load(["fine,pos", "dull,neg"]), load(["dull,neg", "fine,pos"])
    assert one.dataset.digest == other.dataset.digest
    assert load(["dull,pos", "fine,pos"]).dataset.digest != one.dataset.digest


def test_classes_that_it_lacks_and_rows_that_were_left_out_are_told(home: Path) -> None:
    found = load(["fine,positive", "so so,neutral", "good,positive"], neutral="")
    assert len(found.rows) == 2
    assert found.dataset.notes == (
        "d.csv: 1 row of 'neutral' left out.",
        "d.csv: has no row of the model's class 'negative'.",
    )


def test_a_sample_is_the_same_each_time_and_is_told(home: Path) -> None:
    rows = [f"text number {n},{'pos' if n % 2 else 'neg'}" for n in range(40)]
    found, again = load(rows, most=10), load(rows[::-1], most=10)
    assert list(found.rows.texts) == list(again.rows.texts)
    assert len(found.rows) == 10
    assert found.dataset.notes[-1] == "d.csv: 10 of 40 rows drawn."


def test_a_set_of_which_nothing_is_left_or_that_is_empty_is_refused_in_one_line(home: Path) -> None:
    with pytest.raises(DataError, match=r"^d.csv: no row is left to test on; map at least one label to a class"):
        load(["so so,neutral"], neutral="")
    with pytest.raises(DataError, match=r"^d.csv: has a header but no rows; add at least one row per example$"):
        load([])
    with pytest.raises(DataError, match=r"^d.csv, line 3, column 'text': is blank"):
        load(["fine,pos", " ,neg"])
