"""The fault matrix itself."""

import pytest

from tests import faults
from tests.faults import EXCEPTIONS, MATRIX, PHASES, cells, shown_cells, shows, table


def test_every_cell_of_the_short_run_has_a_test_or_a_reason() -> None:
    wanted = cells("P")
    assert len(wanted) == 83
    assert sorted(wanted - shown_cells(short=True) - EXCEPTIONS.keys()) == []


def test_no_cell_is_excused_that_has_a_test_or_needs_none() -> None:
    assert not EXCEPTIONS.keys() & shown_cells(short=True)
    assert EXCEPTIONS.keys() <= cells("P")
    assert all(EXCEPTIONS.values())


def test_the_matrix_has_a_letter_for_each_phase() -> None:
    assert {len(row) for row in MATRIX.values()} == {len(PHASES)}
    assert set("".join(MATRIX.values())) == set("PN-")


def test_a_fault_or_a_phase_that_the_matrix_does_not_know_is_refused() -> None:
    for fault, phases in (("SIGKILL wroker", "B"), ("SIGKILL worker", "Z")):
        with pytest.raises(KeyError):
            shows(fault, phases)


def test_the_table_says_what_became_of_each_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "shown_cells", lambda: {("SIGKILL worker", phase) for phase in "BCDE"})
    worst = {"B": {"passed"}, "C": {"passed", "failed"}, "D": {"skipped"}}
    header, row, *rest = table({("SIGKILL worker", phase): outcomes for phase, outcomes in worst.items()})
    assert header.split() == list(PHASES)
    assert row.split() == ["SIGKILL", "worker", "-", "P+", "P!", "P~", "P.", *["P?"] * 5, "-"]
    assert len([line for line in rest if line.startswith(tuple(MATRIX))]) == len(MATRIX) - 1
