"""`trial.json` in a trial's directory: what the controller decided, for whoever mirrors or lists the trials."""

import math
import time
from pathlib import Path
from typing import Any

from hpo.spec import StudySpec
from pipelines.config import RunConfig, flatten
from pipelines.files import read_json, write_json
from pipelines.notes import read_notes


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
    directory.mkdir(parents=True, exist_ok=True)
    before: dict[str, Any] = read_json(directory / "trial.json") or {}
    now = time.time_ns() // 1_000_000
    record = {
        "study": study.name,
        "number": number,
        "state": state,
        "reason": reason,
        "notes": list(read_notes(directory).texts),
        "objective": [objective.metric for objective in study.objective],
        "values": values,
        "scores": {name: one for name, one in scores.items() if math.isfinite(one)} or before.get("scores", {}),
        "params": flatten(config.model_dump()),
        "searched": sorted(study.space),
        "seconds": {kind: round(value, 3) for kind, value in seconds.items()},
        "predicted": {kind: round(value, 3) for kind, value in predicted.items()},
        "started": before.get("started", now),
        "updated": now,
    }
    write_json(directory / "trial.json", record)
