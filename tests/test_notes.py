"""What befell a trial is noted once, and lasts."""

from pathlib import Path

from pipelines.notes import Notes, add_note, read_notes


def test_trial_to_which_nothing_happened_has_no_notes(tmp_path: Path) -> None:
    assert read_notes(tmp_path) == Notes()


def test_notes_stand_in_order_and_once(tmp_path: Path) -> None:
    for text in ("first", "second", "first"):
        add_note(tmp_path, text)
    assert read_notes(tmp_path).texts == ("first", "second")


def test_change_of_arithmetic_outlasts_later_notes(tmp_path: Path) -> None:
    add_note(tmp_path, "diverged", precision="fp32")
    add_note(tmp_path, "memory ran out")
    assert read_notes(tmp_path) == Notes(("diverged", "memory ran out"), precision="fp32")
