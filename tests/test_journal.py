"""The journal holds each step exactly once, whatever was lost or repeated."""

import json
from pathlib import Path

import pytest

from pipelines.journal import Journal, read_journal


def lines(path: Path) -> list[tuple[str, int, float]]:
    records = [json.loads(line) for line in path.read_text().splitlines()]
    return [(record["kind"], record["step"], record["values"]["loss"]) for record in records]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal with steps 1 to 3."""
    journal = Journal(tmp_path / "progress.jsonl")
    for step in (1, 2, 3):
        journal.append("step", step=step, values={"loss": step / 10})
    journal.close()
    return journal.path


def test_records_come_back_in_order(path: Path) -> None:
    records = list(read_journal(path))
    assert [(record["kind"], record["step"], record["values"]) for record in records] == [
        ("step", step, {"loss": step / 10}) for step in (1, 2, 3)
    ]
    times = [record["time"] for record in records]
    assert times == sorted(times)
    assert times[0] > 1_700_000_000_000  # milliseconds


def test_repeated_steps_are_not_written_again(path: Path) -> None:
    journal = Journal(path)
    for step in (2, 3, 4):
        journal.append("step", step=step, values={"loss": 0.9})
    journal.close()
    assert lines(path) == [("step", 1, 0.1), ("step", 2, 0.2), ("step", 3, 0.3), ("step", 4, 0.9)]
    assert len(journal.records) == 4


def test_kinds_are_counted_apart(path: Path) -> None:
    journal = Journal(path)
    journal.append("evaluation", step=2, values={"loss": 0.5})
    journal.append("evaluation", step=2, values={"loss": 0.6})
    journal.append("system", step=1, values={"loss": 0.7})
    journal.close()
    assert lines(path)[3:] == [("evaluation", 2, 0.5), ("system", 1, 0.7)]
    assert [record["step"] for record in journal.of_kind("evaluation")] == [2]


@pytest.mark.parametrize("torn", ['{"kind": "step", "step": 4, "val', "{", '{"kind": "step", "step": 4, "time": 1}'])
def test_torn_last_line_is_cut_off_and_its_step_is_written_again(path: Path, torn: str) -> None:
    with path.open("a") as file:
        file.write(torn)
    assert [record["step"] for record in read_journal(path)] == [1, 2, 3]
    journal = Journal(path)
    journal.append("step", step=4, values={"loss": 0.4})
    journal.close()
    assert lines(path)[3:] == [("step", 4, 0.4)]


def test_whole_journal_is_not_touched_on_opening(path: Path) -> None:
    before = path.read_bytes()
    Journal(path).close()
    assert path.read_bytes() == before


def test_record_can_be_read_as_soon_as_it_is_appended(path: Path) -> None:
    journal = Journal(path)
    journal.append("step", step=4, values={"loss": 0.4})
    assert [record["step"] for record in read_journal(path)] == [1, 2, 3, 4]
    journal.close()


def test_absent_journal_is_empty(tmp_path: Path) -> None:
    assert list(read_journal(tmp_path / "absent.jsonl")) == []


def test_what_is_no_number_is_refused_and_not_half_written(path: Path) -> None:
    journal = Journal(path)
    with pytest.raises(ValueError, match="Out of range float values are not JSON compliant"):
        journal.append("step", step=4, values={"loss": float("nan")})
    journal.close()
    assert [record["step"] for record in read_journal(path)] == [1, 2, 3]
