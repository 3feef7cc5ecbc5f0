"""`notes.json` in a trial's directory: what befell it on the way and lasts, such as a change of arithmetic."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pipelines.files import read_json, write_json


@dataclass(frozen=True)
class Notes:
    """What a trial's later attempts and its reader must know."""

    texts: tuple[str, ...] = ()
    """In words, oldest first."""
    precision: str | None = None
    """The arithmetic that the trial fell back to; None where it keeps what it was given."""


def read_notes(directory: Path) -> Notes:
    """A trial's notes; empty where there are none."""
    found = read_json(directory / "notes.json")
    return Notes(texts=tuple(found["texts"]), precision=found["precision"]) if found else Notes()


def add_note(directory: Path, text: str, *, precision: str | None = None) -> None:
    """Add a note, once and durably; `precision` changes the arithmetic of all that follows."""
    notes = read_notes(directory)
    texts = notes.texts if text in notes.texts else (*notes.texts, text)
    write_json(directory / "notes.json", asdict(replace(notes, texts=texts, precision=precision or notes.precision)))
