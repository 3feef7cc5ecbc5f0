"""What is refused, with file and row, and files of any size."""

import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.data import reading
from pipelines.errors import ConfigError, DataError, ModelError
from pipelines.scoring import score
from pipelines.scoring.score import Order, Told
from tests.serving import MadeUp

from .rows import ROWS, Killed, killed_after, read, refusal, scored, table, write

BAD = {
    "ragged.csv": (b"id,text\n1,a\n2,b,c\n", "line 3: the header names 2 columns, but there are more or fewer cells"),
    "quote.csv": (b'id,text\n1,a\n2,"b\n', "line 3: a quote that opens in this row is never closed"),
    "latin.csv": (b"id,text\n1,caf\xe9\n", "line 2: byte 0xE9 is not UTF-8"),
    "nul.csv": (b"id,text\n1,a\n2,b\0\n", "line 3, column 'text': holds a NUL character; remove it"),
    "long.csv": (b"id,text\n1," + b"a" * 1_000_001 + b"\n", "line 2: a cell is longer than 1 MB"),
    "header.csv": (b"id,text\n", "has a header but no rows; add at least one row per example"),
    "twice.csv": (b"text,text\na,b\n", "the columns 1 and 2 are all named 'text'; rename or delete all but one"),
    "nameless.csv": (b",,text\n1,2,a\n", "several columns have no name; name all of them in the first line"),
    "empty.csv": (b"", "is empty; it needs a header"),
    "other.csv": (b"id,body,text\n1,a,b\n", "may be any of the columns 'body' and 'text'; name it: --text-column"),
    "which.csv": (b"id,opinion\n1,a\n", "which column is the text? Name it: --text-column; the columns are 'id' and"),
    "bad.jsonl": (b'{"text": "a"}\n{"text": }\n', "line 2: is not JSON: "),
    "nested.jsonl": (b'{"text": "a"}\n{"text": ["b"]}\n', "line 2: column 'text' holds a list, not text; write plain"),
    "lacks.jsonl": (b'{"text": "a"}\n{"txt": "b"}\n', "line 2: has no 'text'; every line needs it"),
    "half.jsonl": (b'{"text": "a", "b": "\\ud83d"}\n', "line 1: holds half of a surrogate pair, which is no character"),
    "nul.jsonl": (b'{"text": "a\\u0000"}\n', "line 1, column 'text': holds a NUL character; remove it"),
    "broken.parquet": (b"PAR1 and no more", "is no complete Parquet file"),
    "notes.txt": (b"a\n", "the name must end in .csv, .tsv, .jsonl, .ndjson or .parquet; rename it to .csv or .tsv"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_with_file_and_row_before_the_model_is_loaded(name: str, tmp_path: Path) -> None:
    content, expected = BAD[name]
    (tmp_path / name).write_bytes(content)
    order = Order(tmp_path / name, tmp_path / "out.csv")
    said = refusal(
        DataError,
        lambda: score.score_file(order, load=lambda: pytest.fail("loaded"), model="m", identity="m", told=Told()),
    )
    assert said.startswith(str(tmp_path / name))
    assert expected in said
    assert [path.name for path in tmp_path.iterdir()] == [name], "nothing is written"


def test_columns_named_like_ours_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "in.jsonl", [{"text": "a"}, {"text": "b", "label": "x", "p.good": 1}])
    said = refusal(DataError, lambda: scored(file, tmp_path / "out.csv"))
    assert said == (
        f"{file}: has columns of its own named 'label' and 'p.good', which the output adds; "
        "rename them, or give the added ones another name: --prefix predicted_"
    )


def test_a_prefix_keeps_the_files_own_label_beside_the_answer(tmp_path: Path) -> None:
    file = write(tmp_path / "in.csv", [{"text": "good", "label": "x"}])
    order = Order(file, tmp_path / "out.csv", prefix="predicted_")
    score.score_file(order, load=MadeUp, model="m/1", identity="m", told=Told())
    header, row = (tmp_path / "out.csv").read_text().splitlines()
    assert header.startswith("text,label,predicted_label,predicted_probability,predicted_p.")
    assert row.startswith("good,x,")


def test_an_unknown_text_column_is_refused_with_a_suggestion(tmp_path: Path) -> None:
    file = write(tmp_path / "in.csv", [{"review": "a", "id": "1"}])
    said = refusal(DataError, lambda: scored(file, tmp_path / "out.csv", column="reviw"))
    assert said == f"{file}: no column 'reviw'; did you mean 'review'?; the columns are 'review' and 'id'"


def test_an_output_that_exists_is_kept_unless_overwrite_is_given(tmp_path: Path) -> None:
    file, out = write(tmp_path / "in.csv", table()), tmp_path / "out.csv"
    out.write_text("mine")
    said = refusal(ConfigError, lambda: scored(file, out))
    assert said == f"--out {out}: exists; name another file, or give --overwrite"
    with pytest.raises(Killed):
        scored(file, out, overwrite=True, told=killed_after(20))
    assert out.read_text() == "mine"
    scored(file, out, overwrite=True)
    assert len(read(out)) == ROWS


def test_an_output_that_cannot_be_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "in.csv", table())
    (tmp_path / "d.csv").mkdir()
    for out, expected in {
        file: "is the file that is read; name another one",
        tmp_path / "out.xlsx": "the name must end in .csv, .tsv, .jsonl, .ndjson or .parquet",
        tmp_path / "d.csv": "is a directory",
        tmp_path / "none" / "out.csv": "its directory does not exist",
    }.items():
        said = refusal(ConfigError, lambda out=out: scored(file, out, overwrite=True))
        assert said == f"--out {out}: {expected}"


def test_a_model_without_an_answer_is_refused_with_the_row(tmp_path: Path) -> None:
    file = write(tmp_path / "in.csv", [*table(12), {"id": "x", "text": "NaN"}])
    said = refusal(ModelError, lambda: scored(file, tmp_path / "out.csv"))
    where = f"{file}, line {2 + 12 + 2}"  # two texts before it have two lines
    assert said == f"{where}: sentiment/3 gives no probabilities for this text; use another version"


# --- size


def test_a_file_larger_than_those_of_studies_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(reading.opened.__wrapped__.__kwdefaults__, "limit", 10)  # type: ignore[attr-defined]
    monkeypatch.setattr("pipelines.data.gather.MAX_ROWS", 3)
    assert scored(write(tmp_path / "in.csv", table()), tmp_path / "out.csv").rows == ROWS


def test_memory_does_not_grow_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score, "CHUNK", 100)

    class Forgetful(MadeUp):
        def probabilities(self, texts: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float64]]:
            return np.full((len(texts), 2), 0.5)

    def peak(rows: int) -> int:
        file = tmp_path / f"in{rows}.csv"
        file.write_text("text\n" + "".join(f"{number} {'good ' * 40}\n" for number in range(rows)))
        tracemalloc.start()
        try:
            scored(file, tmp_path / f"out{rows}.csv", model=Forgetful())
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(100)  # what is imported once
    small, large = peak(1_000), peak(10_000)
    assert (tmp_path / "in10000.csv").stat().st_size > 2_000_000
    assert large < small + 500_000


def test_long_texts_end_a_chunk_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score, "_CHARACTERS", 100)
    model = MadeUp()
    scored(write(tmp_path / "in.csv", [{"text": "a" * 60}] * 5), tmp_path / "out.csv", model=model)
    assert [len(texts) for texts in model.asked] == [2, 2, 1]
