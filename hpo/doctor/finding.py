"""What the doctor can find wrong, as values."""

from dataclasses import dataclass
from enum import Enum

INVARIANTS = {
    "I1": "as many finished trials as were asked for, and a reason for each that is not complete",
    "I2": "nothing unfinished in a study that is over",
    "I3": "one MLflow run for each trial and one for the study, and no other",
    "I4": "one state of a trial, in every place",
    "I5": "each step of a curve once, with the value of the journal",
    "I6": "one value of a trial, in every place, and a finite one",
    "I9": "every file whole, and none that nobody needs",
    "I10": "every version can be downloaded, is what was registered, and loads offline",
    "I11": "aliases and decisions name such versions, and the history has no gaps",
    "I14": "no process of a session that is gone",
    "I16": "no password in a record",
    "places": "every place answers",
}
"""What must hold, by its number. I7, I8, I12 and I13 are for experiments: no single look can tell."""


class Cure(Enum):
    """What `--fix` can do."""

    REMOVE = "remove"
    """A file or directory that nobody will read."""
    CUT = "cut the torn last line of"
    """A journal: what a crash left half-written."""
    DELETE_RUN = "delete the MLflow run"
    """MLflow keeps a deleted run and can restore it."""
    SEND = "send to MLflow again"
    """A trial's directory: its run gets what it lacks, and its state."""
    TELL = "tell Optuna the end of"
    """A trial's directory: its record says COMPLETE, and the same `hpo run` would say so to Optuna."""


@dataclass(frozen=True)
class Remedy:
    """One thing to do; several findings may share it."""

    cure: Cure
    target: str
    """A path, or the id of a run."""

    def __str__(self) -> str:
        return f"{self.cure.value} {self.target}"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong."""

    invariant: str
    """A key of `INVARIANTS`."""
    study: str
    trial: int | str | None
    """Its number; the name of a training beside the trials; None where it is about neither."""
    what: str
    """In one line, with the figure or the path."""
    remedy: Remedy | None = None
    """What `--fix` does about it; None where it can do nothing."""
    advice: str = ""
    """What a person can do where `--fix` can do nothing."""

    @property
    def how(self) -> str:
        """What is to be done, in words."""
        return f"--fix: {self.remedy}" if self.remedy else self.advice

    def as_row(self) -> dict[str, object]:
        """For programs: plain values by name."""
        return {
            "invariant": self.invariant,
            "name": INVARIANTS[self.invariant],
            "study": self.study,
            "trial": self.trial,
            "what": self.what,
            "mendable": self.remedy is not None,
            "how": self.how,
        }
