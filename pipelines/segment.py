"""The unit of work, as plain values that travel between processes. Importing this costs nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pipelines.config import RunConfig


class InfeasibleError(Exception):
    """This configuration cannot be trained (it diverged, or does not fit); nothing is wrong with the platform."""


class DivergedError(InfeasibleError):
    """Losses, gradients or probabilities are not finite any more."""


@dataclass(frozen=True)
class SegmentJob:
    """A stretch of one trial's training: plain values, so that it can go to any process."""

    trial: str
    """`STUDY/NUMBER`: who this is."""
    config: RunConfig
    """Complete: the precision is chosen."""
    data: Path
    """Where `save_dataset` put the data."""
    directory: Path
    """The trial's own directory: journal, checkpoints, results."""
    cache: Path
    """Shared by all trials: encoded texts."""
    until: int
    """Optimizer step at which the segment ends with an evaluation."""
    pause: bool = False
    """Commit a checkpoint at the end, so that the trial can rest and go on anywhere. A segment that was done already is
    not done again for this."""


@dataclass(frozen=True)
class WarmUpJob:
    """What a worker loads before its first trial."""

    configs: tuple[RunConfig, ...]
    """One configuration of each model to check and encode for; the first stays in memory."""
    data: Path
    cache: Path


@dataclass(frozen=True)
class ProbeJob:
    """What to measure of one model; see `pipelines.probe`."""

    config: RunConfig
    """Of the model, with the longest input of the study."""
    batch_sizes: tuple[int, int]
    """The smallest and the largest of the study."""
    data: Path
    cache: Path
    memory: float
    """Bytes that this worker may use: what needs more is not even tried."""


@dataclass(frozen=True)
class ScreenJob:
    """Checkpoints to compare before any of them is trained; see `pipelines.screening`."""

    configs: tuple[RunConfig, ...]
    """One configuration of each."""
    data: Path
    cache: Path
    keep: int
    """So many of them are wanted, at most."""
    rows: int | None
    """Training rows to compare them on; the default where this is None."""
    seed: int


@dataclass(frozen=True)
class FinishJob:
    """A trained model that is to be shipped; see `pipelines.finish`."""

    model: Path
    """What `export_model` wrote; it stays as it is."""
    data: Path
    output: Path
    """Gets the calibrated model with its golden predictions; what stands there is replaced."""
    temperature: bool = True
    """Fit a temperature."""
    threshold: str | None = None
    """The score that thresholds are to raise; None for no thresholds."""


@dataclass(frozen=True)
class TestJob:
    """Models to compare on the same rows."""

    __test__ = False  # not a test, whatever its name says to pytest

    models: Mapping[str, Path]
    """Exported model directories, by a name for each."""
    data: Path
    output: Path
    """Gets one directory per model: predictions, mistakes, pictures."""


@dataclass(frozen=True)
class ElsewhereJob:
    """A model to test on data sets that are not its own; see `pipelines.generalize.floors`."""

    model: Path
    sources: tuple[str, ...]
    """As in `data.source`."""
    data: Path
    """Its study's data: rows that stand there are left out."""
    cache: Path
    """Encoded texts."""


@dataclass(frozen=True)
class BaselineJob:
    """A baseline to fit; see `pipelines.baseline`."""

    name: str
    """`majority` or `tfidf`."""
    data: Path
    directory: Path
    """Gets artifacts and `result.json`, like a trial's."""


@dataclass(frozen=True)
class AverageJob:
    """Trained models whose weights are to be averaged; see `pipelines.average`."""

    models: tuple[Path, ...]
    """What `export_model` wrote, in the directories of their trainings."""
    data: Path
    directory: Path
    """Gets a model, artifacts and `result.json`, like a trial's."""


@dataclass(frozen=True)
class Choice:
    """A value that was chosen for the user, and why."""

    value: str
    reason: str


class Watch(Protocol):
    """How a segment hears from and speaks to whoever runs it."""

    def stop_requested(self) -> bool:
        """True when the segment must end at this step boundary, leaving a checkpoint."""
        ...

    def tell(self, progress: Mapping[str, float]) -> None:
        """Something to show: `step`, `total`, `loss`."""
        ...


class Unwatched:
    """A watch for runs that nobody interrupts."""

    def stop_requested(self) -> bool:
        """Never."""
        return False

    def tell(self, progress: Mapping[str, float]) -> None:
        """Nobody listens."""


@dataclass(frozen=True)
class SegmentResult:
    """What a segment brought."""

    step: int
    """Optimizer steps done since the trial began."""
    examples: int
    """Training examples seen since the trial began."""
    total_steps: int
    scores: dict[str, float]
    """On the select split; empty when the segment was interrupted."""
    finished: bool
    """The trial has nothing left to train; its results are on disk."""
    interrupted: bool = False
    """Stopped on request before its end; its checkpoint is on disk."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall time by kind of work: `prepare`, `train`, `checkpoint`, `evaluate`, `finish`."""
