"""A study's directory: journals, checkpoints, models, and what should not be there."""

import json
from collections.abc import Iterator
from pathlib import Path

from hpo.doctor.case import Case, Which, readable, training_directories
from hpo.doctor.finding import Cure, Finding, Remedy
from pipelines.errors import ModelError
from pipelines.loader import verify

_MOST = 2  # checkpoints of a trial that is not over
_OURS = ("trial.json", "mirror.json", "result.json", "notes.json", "provenance.json")


def check(case: Case) -> Iterator[Finding]:
    """What is wrong with a study's files. While it is being run, only its journals tell."""
    for number, directory in training_directories(case.home).items():
        yield from _journal(case, number, directory / "progress.jsonl")
        if not case.live:
            yield from _json(case, number, directory)
            yield from _checkpoints(case, number, directory / "checkpoints")
    if not case.live:
        yield from _models(case)
        for leftover in sorted(case.home.rglob(".*.tmp")):
            what = f"{leftover} is left of a write that was cut short"
            yield Finding("I9", case.name, None, what, Remedy(Cure.REMOVE, str(leftover)))


def count_checkpoints(case: Case) -> int:
    """How many checkpoints a study's trials have."""
    return sum(len(_committed(directory / "checkpoints")) for directory in training_directories(case.home).values())


def _journal(case: Case, number: Which, file: Path) -> Iterator[Finding]:
    """Whole lines, each kind's steps rising, and training steps at even distances: a gap is a step that was lost."""
    content = file.read_bytes() if file.is_file() else b""
    whole, _, torn = content.rpartition(b"\n")
    if torn and not case.live:
        what = f"the last line of {file} is torn"
        yield Finding("I9", case.name, number, what, Remedy(Cure.CUT, str(file)))
    last: dict[str, int] = {}
    trained: list[int] = []
    for line, text in enumerate(whole.splitlines(), start=1):
        try:
            record = json.loads(text)
            kind, step = record["kind"], record["step"]
        except (ValueError, KeyError, TypeError):
            what = f"{file}: line {line} is damaged"
            yield Finding("I9", case.name, number, what, advice="restore the file from a backup, or delete that line")
            return
        if step <= last.get(kind, -1):
            what = f"{file}: line {line}: {kind} {step} comes after {kind} {last[kind]}"
            yield Finding("I5", case.name, number, what, advice="delete the line that is one too many")
            return
        last[kind] = step
        trained += [step] if kind == "step" else []
    yield from _gap(case, number, file, trained)


def _gap(case: Case, number: Which, file: Path, trained: list[int]) -> Iterator[Finding]:
    every = trained[0] if trained else 1
    lost = [step for step in range(every, max(trained, default=0), every) if step not in {*trained}]
    if lost:
        more = f" (and {len(lost) - 1} more)" if len(lost) > 1 else ""
        advice = "restore the file from a backup; the model is not touched by it"
        yield Finding("I5", case.name, number, f"{file}: step {lost[0]}{more} is missing", advice=advice)


def _json(case: Case, number: Which, directory: Path) -> Iterator[Finding]:
    for file in [directory / name for name in _OURS]:
        if file.exists() and readable(file) is None:
            remedy = Remedy(Cure.REMOVE, str(file)) if file.name == "mirror.json" else None
            advice = "restore it from a backup, or move the trial's directory away"
            yield Finding("I9", case.name, number, f"{file} is damaged", remedy, advice=advice)


def _checkpoints(case: Case, number: Which, home: Path) -> Iterator[Finding]:
    committed = _committed(home)
    if number in case.finished:
        if home.exists():
            what = f"{home} is kept, and the trial is finished"
            yield Finding("I9", case.name, number, what, Remedy(Cure.REMOVE, str(home)))
        return
    for directory in committed:
        if not _is_sound(directory):
            what = f"checkpoint {directory} is not what its manifest says"
            yield Finding("I9", case.name, number, what, Remedy(Cure.REMOVE, str(directory)))
    for directory in committed[:-_MOST]:
        what = f"{len(committed)} checkpoints are kept, {_MOST} are enough; {directory} is too old"
        yield Finding("I9", case.name, number, what, Remedy(Cure.REMOVE, str(directory)))


def _committed(home: Path) -> list[Path]:
    """A trial's checkpoints, oldest first."""
    return sorted(home.glob("step-*"))


def _is_sound(directory: Path) -> bool:
    from pipelines.checkpoint import read_sound_manifest  # imports torch

    try:
        return read_sound_manifest(directory) is not None
    except (KeyError, TypeError, AttributeError, OSError):  # a manifest of another shape, or no directory
        return False


def _models(case: Case) -> Iterator[Finding]:
    """What is delivered whole; else of the finished trials the best one's model alone is kept, of the others none."""
    best, delivered = case.best, case.delivered
    keepers = {case.directory(best.number)} if best else set()
    keepers |= {delivered[1]} if delivered else set()
    for number in [*case.finished, *sorted(case.beside, key=str)]:
        kept = case.directory(number) in keepers or not _is_decided(case, number)
        for model in [] if kept else _there(case.directory(number) / "model", case.directory(number) / "final"):
            what = f"{model} is kept, and the best trial is {'none' if best is None else best.number}"
            yield Finding("I9", case.name, number, what, Remedy(Cure.REMOVE, str(model)))
    for directory in sorted(keepers):
        try:
            verify(directory / "model")
        except ModelError as error:
            advice = "hpo pull gets it back if it was registered; else train it again in a new study"
            what = f"the best model is not whole: {str(error).partition('; ')[0]}"
            yield Finding("I9", case.name, _which(directory), what, advice=advice)


def _there(*paths: Path) -> list[Path]:
    return [path for path in paths if path.exists()]


def _is_decided(case: Case, which: Which) -> bool:
    """Fresh trainings keep their models until the study has decided which one it delivers."""
    return isinstance(which, int) or (case.home / "report" / "selection.json").exists()


def _which(directory: Path) -> Which:
    number = directory.name.removeprefix("trial-")
    return int(number) if number.isdigit() else directory.name
