"""Every format goes into every other one."""

import datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.scoring.cells import delimited_cell, harmless
from pipelines.scoring.score import Scored
from tests.serving import MadeUp

from .rows import FORMATS, ROWS, read, scored, table, write


@pytest.mark.parametrize("target", FORMATS)
@pytest.mark.parametrize("source", FORMATS)
def test_every_format_goes_into_every_other_one(source: str, target: str, tmp_path: Path) -> None:
    out = tmp_path / f"out{target}"
    assert scored(write(tmp_path / f"in{source}", table()), out) == Scored(ROWS, 5, "sentiment/3")
    found = read(out)
    assert [(row["id"], row["text"]) for row in found] == [(row["id"], row["text"]) for row in table()]
    assert list(found[0]) == ["id", "text", "label", "probability", "p.bad", "p.good"]
    assert (found[4]["label"], float(found[4]["p.good"])) == ("good", 0.833333)
    assert found[1]["label"] == "bad"
    assert float(found[1]["probability"]) == float(found[1]["p.bad"]) == 0.5
    empty = "" if target in (".csv", ".tsv") else None
    assert [found[3][name] for name in ("label", "probability", "p.bad", "p.good")] == [empty] * 4
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_values_of_json_lines_stay_as_they_were_written(tmp_path: Path) -> None:
    file = tmp_path / "in.jsonl"
    line = '{"text": "good \\u00e9", "a": 1.0, "b": 12345678901234567890123, "c": 1e400, "d": [null, {"x": true}]'
    file.write_text(f'{line}}}\n{{"text": 7, "e": null}}\n')
    scored(file, tmp_path / "out.jsonl")
    first, second = (tmp_path / "out.jsonl").read_text().splitlines()
    assert first.startswith(line.replace("\\u00e9", "é") + ', "label": "good"')
    assert second.startswith('{"text": 7, "e": null, "label": "bad"')
    scored(file, tmp_path / "out.csv")
    cells = read(tmp_path / "out.csv")
    assert [cells[0][name] for name in "abcde"] == [
        "1.0",
        "12345678901234567890123",
        "1e400",
        '[null, {"x": true}]',
        "",
    ]
    scored(file, tmp_path / "out.parquet")
    kinds = {field.name: field.type for field in pq.read_schema(tmp_path / "out.parquet")}
    assert [kinds[name] for name in "abcd"] == [pa.float64(), pa.float64(), pa.float64(), pa.string()]
    assert [row["text"] for row in read(tmp_path / "out.parquet")] == ["good é", "7"]


def test_columns_of_parquet_keep_their_types(tmp_path: Path) -> None:
    columns = {
        "text": pa.array(["good", None]).dictionary_encode(),
        "when": pa.array([datetime.datetime(2026, 1, 2, 3, 4, 5), None], pa.timestamp("us")),
        "price": pa.array([Decimal("1.50"), None], pa.decimal128(9, 2)),
        "small": pa.array([1, None], pa.int8()),
        "parts": pa.array([[1, 2], None], pa.list_(pa.int32())),
        "share": pa.array([float("nan"), 0.5]),
        "raw": pa.array([b"\x01\xff", None]),
    }
    pq.write_table(pa.table(columns), tmp_path / "in.parquet")
    scored(tmp_path / "in.parquet", tmp_path / "out.parquet")
    found = pq.read_table(tmp_path / "out.parquet")
    assert [found.schema.field(name).type for name in columns] == [column.type for column in columns.values()]
    assert found["when"].to_pylist() == columns["when"].to_pylist()
    scored(tmp_path / "in.parquet", tmp_path / "out.csv")
    cells = list(read(tmp_path / "out.csv")[0].values())
    assert cells[:7] == ["good", "2026-01-02T03:04:05", "1.50", "1", "[1, 2]", "", "01ff"]
    scored(tmp_path / "in.parquet", tmp_path / "out.jsonl")
    row = read(tmp_path / "out.jsonl")[0]
    assert (row["when"], row["price"], row["small"], row["share"]) == ("2026-01-02T03:04:05", "1.50", 1, None)


@pytest.mark.parametrize("text", ["=1+1", "+49 30 1", "-x", "@SUM(A1)", "\tx", "\r=1", " =1", "-1+2", "=-1"])
def test_what_a_spreadsheet_takes_for_a_formula_gets_an_apostrophe(text: str, tmp_path: Path) -> None:
    for suffix in (".csv", ".tsv"):
        out = tmp_path / f"out{suffix}"
        scored(write(tmp_path / "in.jsonl", [{text: "1", "text": text}]), out)
        (row,) = read(out)
        assert row["text"] == f"'{text}"
        assert row[f"'{text}"] == "1", "the column's name too"
    scored(tmp_path / "in.jsonl", tmp_path / "out.jsonl")
    assert read(tmp_path / "out.jsonl")[0]["text"] == text


@pytest.mark.parametrize("text", ["-1", "+1.5", "-1e-3", "-2,5", "a=b", "1", ""])
def test_numbers_and_plain_texts_stay_as_they_are(text: str) -> None:
    assert harmless(text) == text


def test_a_label_that_looks_like_a_formula_is_none_either(tmp_path: Path) -> None:
    scored(write(tmp_path / "in.csv", table(1)), tmp_path / "out.csv", model=MadeUp(("=a", "=b")))
    assert read(tmp_path / "out.csv")[0]["label"] == "'=b"
    assert delimited_cell(True) == "true"
    assert delimited_cell(-0.5) == "-0.5"
