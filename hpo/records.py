"""`trial.json` in a trial's directory: what the controller decided, for whoever mirrors or lists the trials.

Trainings that are no trials, of the confirmation and of baselines, have one too; it says of what kind they are.
"""

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from hpo.spec import StudySpec
from pipelines.config import RunConfig, flatten
from pipelines.files import read_json, write_json
from pipelines.notes import read_notes
from pipelines.segment import SegmentResult


def write_record(
    directory: Path,
    *,
    study: StudySpec,
    number: int,
    config: RunConfig,
    state: str,
    reason: str | None,
    values: list[float] | None,
    scores: dict[str, float],
    seconds: dict[str, float],
    predicted: dict[str, float],
) -> None:
    """Write the trial's state; the time of its first record is kept as its start, and its scores where none are new.

    `seconds` are those it took so far, `predicted` those foretold of training it to its end, both by kind of work.
    """
    record = {
        "study": study.name,
        "number": number,
        "state": state,
        "reason": reason,
        "objective": [objective.metric for objective in study.objective],
        "values": values,
        "scores": scores,
        "params": flatten(config.model_dump()),
        "searched": sorted(study.space),
        "seconds": seconds,
        "predicted": predicted,
    }
    _write(directory, record)


def write_side_record(
    directory: Path,
    *,
    study: StudySpec,
    kind: Literal["confirmation", "baseline"],
    about: str,
    params: Mapping[str, Any],
    state: str,
    reason: str | None = None,
    result: SegmentResult | None = None,
) -> None:
    """The same for a training beside the trials, known by its directory's name; `about` is a sentence for people."""
    metrics = [objective.metric for objective in study.objective]
    scores = result.scores if result else {}
    record = {
        "study": study.name,
        "kind": kind,
        "name": directory.name,
        "about": about,
        "state": state,
        "reason": reason,
        "objective": [metric for metric in metrics if metric in scores],
        "values": [scores[metric] for metric in metrics if metric in scores],
        "scores": scores,
        "params": dict(params),
        "searched": [],
        "seconds": result.seconds if result else {},
        "predicted": {},
    }
    _write(directory, record)


def _write(directory: Path, record: dict[str, Any]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    before: dict[str, Any] = read_json(directory / "trial.json") or {}
    now = time.time_ns() // 1_000_000
    finite = {name: one for name, one in record["scores"].items() if math.isfinite(one)}
    rounded = {
        kind: {name: round(value, 3) for name, value in record[kind].items()} for kind in ("seconds", "predicted")
    }
    more = {
        "notes": list(read_notes(directory).texts),
        "scores": finite or before.get("scores", {}),
        "started": before.get("started", now),
        "updated": max(now, before.get("updated", 0) + 1),
    }
    write_json(directory / "trial.json", record | rounded | more)
