"""A study of three classes, and what must hold of it when it is over."""

from pathlib import Path

import pandas as pd
import pytest

from tests.commands import Home

TRIALS = 4
STATUS = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAIL": "FAILED"}
WORDS = {"good": ["great", "lovely", "fine"], "bad": ["dull", "awful", "poor"], "mixed": ["uneven", "odd", "average"]}
SPEC = """
name: own
objective: macro_f1
budget: {{trials: {trials}}}
sampler: {{name: random}}
pruner: nop
run:
  data: {{source: reviews.csv, fractions: {{select: 0.2, calibrate: 0.25, test: 0.2}}}}
  model: {{name: "{model}"}}
  tokens: {{max_length: 16}}
  train: {{epochs: {epochs}, evaluations: 3, checkpoint_seconds: 0.2}}
space:
  train.learning_rate: {{low: 1e-4, high: 1e-2, log: true}}
  train.batch_size: [8, 16]
workers: {{count: 2, threads: 1}}
confirm: {{finalists: 2, seeds: 1}}
register_as: reviews
"""


def write_study(home: Path, model: Path, *, rows: int = 240, epochs: int = 3, trials: int = TRIALS) -> None:
    """A three-class CSV and a study of it."""
    labels = list(WORDS)
    table = [(f"a {WORDS[labels[n % 3]][n % 7 % 3]} film, take {n}", labels[n % 3]) for n in range(rows)]
    pd.DataFrame(table, columns=["text", "label"]).to_csv(home / "reviews.csv", index=False)
    (home / "own.yaml").write_text(SPEC.format(model=model, epochs=epochs, trials=trials))


def assert_whole(home: Home, *, trials: int = TRIALS) -> None:
    """N finished trials, one MLflow run each with the same status, and curves without gap or double step."""
    shown = home.json("show", "own")
    assert [row["trial"] for row in shown] == list(range(trials))
    runs = home.runs("own")
    beside = {run.data.tags["hpo.run"] for run in runs if "hpo.run" in run.data.tags}
    assert {name.partition("-")[0] for name in beside} == {"baseline", "confirm"}
    assert len(runs) == trials + 1 + len(beside), "one of each"
    by_id = {run.info.run_id: run for run in runs if "hpo.run" not in run.data.tags}
    for row in shown:
        run = by_id.pop(row["run_id"])
        assert run.info.status == STATUS[row["state"]]
        assert run.data.tags["hpo.trial"] == str(row["trial"])
        for metric in ("train/loss", "select/macro_f1"):
            steps = home.curve(row["run_id"], metric)
            assert steps == sorted(set(steps)), f"trial {row['trial']}, {metric}"
        assert len(home.curve(row["run_id"], "train/loss")) >= 3
        assert run.data.metrics["objective/macro_f1"] == pytest.approx(row["value"])
        assert run.data.metrics["select/macro_f1"] == pytest.approx(row["value"])
    (parent,) = by_id.values()
    assert parent.data.tags["hpo.kind"] == "study"
    assert parent.info.status == "FINISHED"


def trial_steps(home: Home) -> int:
    """How much all trials of the study have journalled so far, in bytes."""
    return sum(path.stat().st_size for path in home.path.glob("mlruns/work/own/trial-*/progress.jsonl"))
