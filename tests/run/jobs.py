"""Jobs, who watches them, and what must hold of their outcomes."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipelines.checkpoint import read_sound_manifest
from pipelines.files import sha256
from pipelines.journal import read_journal
from pipelines.run import run
from pipelines.segment import SegmentJob, SegmentResult
from pipelines.workbench import Workbench
from tests import tiny

Fresh = Callable[[], Workbench]
Records = list[tuple[str, int, dict[str, float]]]


class Stop:
    """Asks a segment to stop after so many steps of it, and hears what it tells."""

    def __init__(self, after: int) -> None:
        self.left, self.told = after, []  # type: ignore[var-annotated]

    def stop_requested(self) -> bool:
        self.left -= 1
        return self.left < 0

    def tell(self, progress: Mapping[str, float]) -> None:
        self.told.append(dict(progress))


def make_job(model: Path, data: Path, home: Path, **changes: Any) -> SegmentJob:
    """Ten steps with dropout and two evaluations."""
    return tiny.job(model, data, home, **{"model.dropout": 0.1, **changes})


def elsewhere(job: SegmentJob) -> SegmentJob:
    """The same job in another directory; the encoded texts are shared."""
    return replace(job, directory=job.directory.with_name("elsewhere"))


def journal(job: SegmentJob) -> Records:
    """Everything but what depends on the clock."""
    records = read_journal(job.directory / "progress.jsonl")
    return [(record["kind"], record["step"], record["values"]) for record in records if record["kind"] != "system"]


def exported(job: SegmentJob) -> dict[str, str]:
    """The hash of every file of the exported model."""
    return {file.name: sha256(file) for file in (job.directory / "model").iterdir()}


def assert_tidy(job: SegmentJob) -> None:
    """Nothing temporary is left, at most two checkpoints, and those are sound."""
    assert not list(job.directory.rglob("*.tmp"))
    assert not list(job.directory.rglob(".*"))
    checkpoints = list((job.directory / "checkpoints").glob("*"))
    assert len(checkpoints) <= 2
    assert all(read_sound_manifest(directory) is not None for directory in checkpoints)


def assert_same_outcome(first: SegmentJob, second: SegmentJob, results: tuple[SegmentResult, SegmentResult]) -> None:
    """The same weights to the bit, the same journal, the same scores."""
    assert exported(first) == exported(second)
    assert journal(first) == journal(second)
    scores = [{k: v for k, v in result.scores.items() if k != "latency_ms"} for result in results]
    assert scores[0] == scores[1]
    assert (results[0].step, results[0].examples) == (results[1].step, results[1].examples)
    assert_tidy(second)


def assert_interruption_changes_nothing(job: SegmentJob, fresh: Fresh) -> None:
    """Stopped in the middle and continued by another process, a run ends as one that nobody stopped."""
    whole = run(job)
    fresh()
    second = elsewhere(job)
    run(second, watch=Stop(after=6))
    fresh()
    assert_same_outcome(job, second, (whole, run(second)))


def newest(job: SegmentJob) -> Path:
    return max((job.directory / "checkpoints").glob("step-*"))
