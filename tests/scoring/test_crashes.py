"""A file that was begun is gone on with, to the same bytes."""

import errno
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import ConfigError, DataError, DiskFullError
from pipelines.scoring import kept, score
from pipelines.scoring.score import Told
from tests.serving import MadeUp

from .rows import FORMATS, ROWS, Killed, killed_after, read, refusal, scored, table, write


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
from tests.scoring import rows as here
here.score.CHUNK = 10
kill = lambda done, total: done < 40 or os.kill(os.getpid(), signal.SIGKILL)
here.scored(Path({str(file)!r}), Path({str(out)!r}), told=here.Told(kill))
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2])
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
