"""Whole files of texts: every format, every crash, and what is refused."""

import csv
import datetime
import errno
import io
import json
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from hpo.cli import main, progress
from pipelines.data import reading
from pipelines.errors import ConfigError, DataError, DiskFullError, ModelError, UserError
from pipelines.scoring import kept, score
from pipelines.scoring.cells import delimited_cell, harmless
from pipelines.scoring.score import Order, Scored, Told
from tests.serving import MadeUp

TEXTS = ["good", "bad, said he", '"quoted"\nand broken', " ", "good good"]
ROWS = 25
FORMATS = (".csv", ".tsv", ".jsonl", ".parquet")


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten rows a chunk."""
    monkeypatch.setattr(score, "CHUNK", 10)


def table(rows: int = ROWS) -> list[dict[str, str]]:
    return [{"id": str(number), "text": TEXTS[number % len(TEXTS)]} for number in range(rows)]


def write(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    return path


def read(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        return list(pq.read_table(path).to_pylist())
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))


def scored(
    file: Path,
    out: Path,
    *,
    column: str | None = None,
    overwrite: bool = False,
    model: MadeUp | None = None,
    identity: str = "sentiment-3",
    told: Told | None = None,
) -> Scored:
    order = Order(file, out, column, overwrite)
    return score.score_file(
        order, load=lambda: model or MadeUp(), model="sentiment/3", identity=identity, told=told or Told()
    )


def refusal(kind: type[UserError], action: Callable[[], Any]) -> str:
    with pytest.raises(kind) as caught:
        action()
    return str(caught.value)


class Killed(BaseException):
    """As good as a kill: nothing catches it."""


def killed_after(rows: int) -> Told:
    def progress(done: int, total: int) -> None:
        if done >= rows:
            raise Killed

    return Told(progress)


# --- formats


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


# --- crashes


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("rows", [0, 10, 20, 25])
def test_killed_between_two_chunks_it_goes_on_to_the_same_bytes(suffix: str, rows: int, tmp_path: Path) -> None:
    file, out, whole = write(tmp_path / "in.csv", table()), tmp_path / f"out{suffix}", tmp_path / f"whole{suffix}"
    scored(file, whole)
    with pytest.raises(Killed):
        scored(file, out, told=killed_after(rows))
    assert not out.exists()
    model, lines = MadeUp(), list[str]()
    scored(file, out, model=model, told=Told(say=lines.append))
    assert sum(map(len, model.asked)) == sum(row["text"] != " " for row in table()[rows:])
    assert lines == ([f"{file}: goes on after row {rows} of 25"] if rows else [])
    assert out.read_bytes() == whole.read_bytes()
    assert not (tmp_path / f".out{suffix}.scoring").exists()


def test_a_process_killed_at_work_is_gone_on_with(tmp_path: Path) -> None:
    file, out, whole = write(tmp_path / "in.csv", table(100)), tmp_path / "out.csv", tmp_path / "whole.csv"
    scored(file, whole)
    code = f"""
import os, signal
from pathlib import Path
from tests import test_scoring as here
here.score.CHUNK = 10
kill = lambda done, total: done < 40 or os.kill(os.getpid(), signal.SIGKILL)
here.scored(Path({str(file)!r}), Path({str(out)!r}), told=here.Told(kill))
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parent.parent)
    assert done.returncode == -signal.SIGKILL
    assert not out.exists()
    lines: list[str] = []
    scored(file, out, told=Told(say=lines.append))
    assert lines == [f"{file}: goes on after row 40 of 100"]
    assert out.read_bytes() == whole.read_bytes()


def test_answers_that_were_written_but_not_yet_counted_are_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, out, whole = write(tmp_path / "in.csv", table()), tmp_path / "out.csv", tmp_path / "whole.csv"
    scored(file, whole)
    commit = kept.write_json

    def die_at_the_second(path: Path, value: Any) -> None:
        if value["rows"] == 20:
            raise Killed
        commit(path, value)

    with monkeypatch.context() as patch:
        patch.setattr(kept, "write_json", die_at_the_second)
        with pytest.raises(Killed):
            scored(file, out)
    answers = tmp_path / ".out.csv.scoring" / "answers"
    assert answers.stat().st_size == 20 * 2 * 8
    answers.write_bytes(answers.read_bytes()[: 15 * 16] + b"torn")
    lines: list[str] = []
    scored(file, out, told=Told(say=lines.append))
    assert lines == [f"{file}: goes on after row 10 of 25"]
    assert out.read_bytes() == whole.read_bytes()


def test_a_crash_while_the_output_is_written_costs_no_forward_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, out = write(tmp_path / "in.csv", table()), tmp_path / "out.csv"
    with monkeypatch.context() as patch:
        patch.setattr(score, "write_rows", lambda path, *_: (path.write_text("half a li"), 1 / 0))
        with pytest.raises(ZeroDivisionError):
            scored(file, out)
    assert not out.exists()
    model = MadeUp()
    scored(file, out, model=model)
    assert model.asked == []
    assert len(read(out)) == ROWS


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"file": True}, "the file is not what it was; begun anew"),
        ({"column": "id"}, "the text column is not what it was; begun anew"),
        ({"identity": "sentiment-4"}, "the model's version is not what it was; begun anew"),
        ({"file": True, "identity": "x"}, "the file and the model's version are not what it was; begun anew"),
    ],
)
def test_with_another_file_column_or_version_it_begins_anew_and_says_so(
    changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    file, out = write(tmp_path / "in.csv", table()), tmp_path / "out.csv"
    with pytest.raises(Killed):
        scored(file, out, column="text", told=killed_after(20))
    if changes.pop("file", False):
        write(file, [{"id": "0", "text": "good"}, *table()[1:]][::-1])
    model, lines = MadeUp(), list[str]()
    scored(file, out, model=model, told=Told(say=lines.append), **{"column": "text"} | changes)
    assert lines == [f"{file}: {said}"]
    assert len(model.asked) == 3
    assert [row["id"] for row in read(out)] == [row["id"] for row in read(file)]


def test_two_at_once_do_not_write_one_output(tmp_path: Path) -> None:
    file, out = write(tmp_path / "in.csv", table()), tmp_path / "out.csv"
    said: list[str] = []

    def meanwhile(done: int, total: int) -> None:
        if done == 10:
            said.append(refusal(ConfigError, lambda: scored(file, out)))

    scored(file, out, told=Told(meanwhile))
    assert said == [f"{out}: another process is writing it; wait for it, or name another file"]


def test_a_file_that_changes_meanwhile_gives_no_output(tmp_path: Path) -> None:
    file, out = write(tmp_path / "in.csv", table()), tmp_path / "out.csv"

    def meanwhile(done: int, total: int) -> None:
        if done == total:
            write(file, table(30))

    said = refusal(DataError, lambda: scored(file, out, told=Told(meanwhile)))
    assert said == f"{file}: changed while it was being read; run again when nothing writes to it"
    assert not out.exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_line_and_loses_nothing(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, out = write(tmp_path / "in.csv", table()), tmp_path / "out.csv"
    with monkeypatch.context() as patch:
        patch.setattr(score, "write_rows", lambda *_: (_ for _ in ()).throw(OSError(number, "no room")))
        assert str(out) in refusal(DiskFullError, lambda: scored(file, out))
    model = MadeUp()
    scored(file, out, model=model)
    assert model.asked == []


# --- what is refused

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


# --- the command


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., int]]:
    """`hpo predict` with a made-up model, in a directory of its own; its exit code."""
    from types import SimpleNamespace

    version = SimpleNamespace(name="sentiment", version="3", tags={})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HPO_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("pipelines.connection.connect", lambda uri: None)
    monkeypatch.setattr(score, "find_version", lambda client, reference: version)
    monkeypatch.setattr(score, "pulled", lambda client, version, cache: cache)
    monkeypatch.setattr(score, "open_model", lambda directory: MadeUp())

    def run(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["hpo", "predict", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0)

    return run


def test_the_command_scores_a_file_and_counts_blank_texts(
    command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "in.csv", table())
    assert command("sentiment", "--file", "in.csv", "--text-column", "text", "--out", "out.jsonl") == 0
    out, err = capsys.readouterr()
    assert out == "out.jsonl: 25 rows, by sentiment/3\n5 of them have a blank text, and no label\n"
    assert err.splitlines()[-1].split("  ")[1].startswith("25/25 rows, ")
    assert len(read(tmp_path / "out.jsonl")) == ROWS
    assert command("sentiment", "--file", "in.csv", "--out", "out.csv", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"out": "out.csv", "rows": 25, "blank": 5, "model": "sentiment/3"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["a text", "--file", "in.csv", "--out", "o.csv"], "--file and TEXT contradict each other; give one of them"),
        (["--file", "in.csv"], "--file needs --out: the file that its rows go to with their answers"),
        (["a text", "--out", "o.csv"], "--out, --text-column, --prefix and --overwrite need --file"),
        (["--file", "in.csv", "--out", "in.csv"], "--out in.csv: is the file that is read; name another one"),
    ],
)
def test_contradicting_options_end_the_command_with_2(
    words: list[str], expected: str, command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("sentiment", *words) == 2
    assert capsys.readouterr().err == f"error: {expected}\n"


def test_a_log_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    written = io.StringIO()
    with progress.open_progress(Console(file=written), "rows") as shown:
        for done in (1_000, 2_000, 3_000, 5_000):
            shown.show(done, 5_000)
            now += 15
    first, second = written.getvalue().splitlines()
    assert first.split("  ")[1] == "3,000/5,000 rows, 67 a second, about 0.5 min left"
    assert second.split("  ")[1] == "5,000/5,000 rows, 89 a second"


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")  # a dumb one gets lines
    written = io.StringIO()
    with progress.open_progress(Console(file=written, force_terminal=True, width=100), "rows") as shown:
        shown.show(1_000, 5_000)
        shown.say("goes on after row 1,000")
    assert "goes on after row 1,000" in written.getvalue()
    assert "1000/5000" in written.getvalue()
