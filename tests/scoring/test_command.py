"""`hpo predict --file`."""

import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.console import Console

from hpo.cli import main, progress
from pipelines.scoring import score
from tests.serving import MadeUp

from .rows import ROWS, read, table, write


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
