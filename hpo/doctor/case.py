"""All that is looked at of one study, read once: checks judge it and read no database themselves."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from hpo.budget import Progress, spent
from hpo.ledger import StudyRow
from hpo.places import Places
from hpo.spec import StudySpec
from hpo.storage import best_trial, own_trials
from pipelines.files import read_json
from pipelines.journal import Record, read_journal

AGAIN = "run the same command again"

Which = int | str
"""A trial by its number, or a training beside the trials by its directory's name: `confirm-00003-1`."""


@dataclass(frozen=True)
class RunFacts:
    """One run of MLflow, with all points of its metrics."""

    id: str
    status: str
    started: int
    params: dict[str, str]
    tags: dict[str, str]
    points: dict[str, list[tuple[int, float]]]
    """(step, value) by metric, in no order."""

    @property
    def is_parent(self) -> bool:
        """It is the run of a study, not of a trial."""
        return self.tags.get("hpo.kind") == "study"


@dataclass(frozen=True)
class Case:
    """One study."""

    spec: StudySpec
    row: StudyRow
    places: Places
    live: bool
    """It is being run: what is only unfinished is not wrong."""
    study: optuna.Study | None
    """None: Optuna's storage does not know it."""
    trials: dict[int, FrozenTrial]
    """By number, without those that were imported."""
    records: dict[Which, dict[str, Any]]
    """Each trial.json that can be read, of trials and of trainings beside them."""
    runs: list[RunFacts] | None
    """None: MLflow did not answer."""

    @property
    def name(self) -> str:
        """The study's name."""
        return self.spec.name

    @property
    def home(self) -> Path:
        """The study's directory."""
        return self.places.study(self.name)

    def directory(self, which: Which) -> Path:
        """A trial's directory, or that of a training beside the trials."""
        return self.home / which if isinstance(which, str) else self.places.trial(self.name, which)

    @property
    def beside(self) -> set[Which]:
        """The trainings beside the trials: of the confirmation and of baselines."""
        return {which for which in self.records if isinstance(which, str)}

    @property
    def delivered(self) -> tuple[int, Path] | None:
        """The trial that the study delivers, and the directory that holds its model; None where there is none yet."""
        found = readable(self.home / "report" / "selection.json")
        if found is not None and isinstance(found.get("name"), str):
            return int(found["trial"]), self.home / found["name"]
        return (self.best.number, self.directory(self.best.number)) if self.best else None

    @property
    def finished(self) -> dict[int, FrozenTrial]:
        """The trials that are over."""
        return {number: trial for number, trial in self.trials.items() if trial.state.is_finished()}

    @property
    def unfinished(self) -> dict[int, FrozenTrial]:
        """The trials that began and are not over."""
        return {number: trial for number, trial in self.trials.items() if trial.state == TrialState.RUNNING}

    @property
    def best(self) -> FrozenTrial | None:
        """The best COMPLETE trial."""
        return best_trial(self.study) if self.study else None

    @property
    def parents(self) -> list[RunFacts]:
        """The runs of the study itself; there should be one."""
        return [run for run in self.runs or [] if run.is_parent and run.tags.get("hpo.study") == self.name]

    @property
    def runs_by_training(self) -> dict[Which, list[RunFacts]]:
        """The runs of each trial, and of each training beside them; there should be one of each."""
        found: dict[Which, list[RunFacts]] = {}
        for run in self.runs or []:
            number, name = run.tags.get("hpo.trial", ""), run.tags.get("hpo.run", "")
            if run.tags.get("hpo.study") == self.name and (number.isdigit() or name):
                found.setdefault(int(number) if number.isdigit() else name, []).append(run)
        return found

    @property
    def has_all(self) -> bool:
        """As many trials are finished as the study should have."""
        return len(self.finished) >= self.spec.budget.trials

    @property
    def spent(self) -> str | None:
        """Why the budget is spent, as far as it can be told from outside; None where it may go on."""
        progress = Progress(len(self.finished), minutes=self.row.seconds / 60)
        return spent(self.spec.budget, progress, kept=self.spec.kept_for_confirmation if self.best else 0.0)

    @property
    def is_over(self) -> bool:
        """All trials are finished, or the study's own run says so."""
        return self.has_all or any(run.status == "FINISHED" for run in self.parents)

    def journal(self, number: Which) -> list[Record] | None:
        """A trial's journal, whole records only; None where it cannot be read."""
        try:
            return list(read_journal(self.directory(number) / "progress.jsonl"))
        except (ValueError, OSError):
            return None


def read_case(
    row: StudyRow, *, places: Places, storage: optuna.storages.RDBStorage, live: bool, runs: list[RunFacts] | None
) -> Case:
    """Read what storage and disk know of a study. MLflow's runs come first: they follow the others, never lead."""
    spec = StudySpec.model_validate_json(row.spec)
    study = None
    with contextlib.suppress(KeyError):
        study = optuna.load_study(study_name=spec.name, storage=storage)
    own = {trial.number: trial for trial in own_trials(study)} if study else {}
    return Case(spec, row, places, live, study, own, dict(_records(places.study(spec.name))), runs)


def _records(home: Path) -> Iterator[tuple[Which, dict[str, Any]]]:
    for which, directory in training_directories(home).items():
        record = readable(directory / "trial.json")
        if record is not None:
            yield which, record


def training_directories(home: Path) -> dict[Which, Path]:
    """The directories of a study's trials, in the order of their numbers, then those of trainings beside them."""
    trials = {path.name.removeprefix("trial-"): path for path in sorted(home.glob("trial-*"))}
    beside = sorted([*home.glob("confirm-*"), *home.glob("baseline-*")])
    numbered: dict[Which, Path] = {int(number): path for number, path in trials.items() if number.isdigit()}
    return numbered | {path.name: path for path in beside}


def readable(file: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None where it is absent or damaged."""
    try:
        value = read_json(file)
    except (ValueError, OSError):
        return None
    return value if isinstance(value, dict) else None
