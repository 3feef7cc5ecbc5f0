"""What must hold of every study, and how a session of one is opened."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from hpo.ledger import Ledger
from hpo.spec import StudySpec
from hpo.storage import best_trial, open_storage
from hpo.study import Controller
from pipelines.files import read_json
from pipelines.journal import read_journal

ROOT = Path(__file__).parents[2]
Session = Callable[..., Controller]


def records(controller: Controller) -> list[dict[str, Any]]:
    """Every trial's record, in order."""
    found = sorted(controller.places.study(controller.spec.name).glob("trial-*/trial.json"))
    return [read_json(path) for path in found]


def states(controller: Controller) -> Counter[str]:
    return Counter(trial.state.name for trial in controller.study.get_trials())


def check(home: Path, spec: StudySpec) -> list[optuna.trial.FrozenTrial]:
    """The invariants of a study that is over, over Optuna's storage, the ledger and the disk; returns its trials."""
    study = optuna.load_study(study_name=spec.name, storage=open_storage(f"sqlite:///{home}/studies.db"))
    trials = study.get_trials()
    assert sum(trial.state.is_finished() for trial in trials) == spec.budget.trials == len(trials)
    best = best_trial(study)
    for trial in trials:
        directory = home / "work" / spec.name / f"trial-{trial.number:05d}"
        record = read_json(directory / "trial.json")
        assert (record["number"], record["state"]) == (trial.number, trial.state.name)
        assert record["values"] == trial.values
        assert record["reason"] == trial.user_attrs.get("reason")
        assert record["params"]["train.learning_rate"] == trial.params["train.learning_rate"]
        for kind in ("step", "evaluation"):
            steps = [entry["step"] for entry in read_journal(directory / "progress.jsonl") if entry["kind"] == kind]
            assert steps == sorted(set(steps))
            if trial.state == TrialState.COMPLETE:
                assert steps == (list(range(1, 9)) if kind == "step" else [2, 4, 6, 8])
        if trial.state == TrialState.COMPLETE:
            assert trial.intermediate_values == pytest.approx(
                {32 * part: trial.values[0] * (4 + part) / 8 for part in range(1, 5)}
            )
        assert (directory / "model").exists() == (best is not None and trial.number == best.number)
        assert not (directory / "checkpoints").exists()
    assert list(home.glob("**/*.tmp")) == []
    ledger = Ledger(f"sqlite:///{home}/studies.db")
    assert all(ledger.trial_seconds(spec.name, trial.number)["wall"] > 0 for trial in trials)
    return trials


def run_apart(home: Path, changes: dict[str, Any], *, workers: int) -> "subprocess.Popen[str]":
    """A session in a process of its own."""
    command = [sys.executable, "-m", "tests.stub", str(home), json.dumps(changes), str(workers)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
