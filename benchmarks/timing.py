"""What is measured on and what a measurement is: plain values. Importing this costs nothing, in any process."""

import os
import time
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Setting:
    """One workload, and how often it is measured."""

    home: Path
    """Where data, caches and checkpoints of the measurement lie."""
    model: str = "minilm"
    checkpoint: str = ""
    """The model as transformers finds it: a directory or a hub id."""
    source: str = "sample:movies"
    rows: int = 1024
    """Training rows of an epoch."""
    epochs: float = 1.0
    batch_size: int = 32
    max_length: int = 64
    learning_rate: float = 1e-4
    warmup_ratio: float = 0.1
    weight_decay: float = 0.01
    rounds: int = 6
    """Pairs per ratio, at least."""
    seeds: int = 5
    """Pairs of trainings for the parity of accuracy."""
    cores: int = len(os.sched_getaffinity(0))

    @property
    def data(self) -> Path:
        """The data set as our workers read it."""
        return self.home / "data"

    def file(self, split: str) -> Path:
        """The same rows as plain JSON, for the peers: they need nothing of ours."""
        return self.home / f"{split}.json"


@dataclass(frozen=True)
class Timed:
    """One piece of work."""

    wall: float
    """Seconds from start to end."""
    cpu: float | None
    """Seconds of processor time, over all threads and processes; None where another process was not asked."""
    work: float = 1.0
    """How much was done: rows, or 1 for a thing that is done once."""
    extra: dict[str, float] = field(default_factory=dict)
    """What else was learned on the way."""


class Stopwatch:
    """Wall and processor time of a stretch of code of this process, its threads included."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def read(self, *, work: float = 1.0, extra: dict[str, float] | None = None) -> Timed:
        """What passed since the watch was made."""
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        return Timed(wall, cpu, work=work, extra=extra or {})


def megabytes(directory: Path) -> float:
    """Size of the files below a directory."""
    return sum(file.stat().st_size for file in directory.rglob("*") if file.is_file()) / 1e6
