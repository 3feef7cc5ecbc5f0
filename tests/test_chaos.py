"""A storm of faults upon a study of many trials, then calm, then the doctor."""

import shutil
from pathlib import Path

import pytest
from optuna.trial import TrialState

from hpo.doctor import examine
from hpo.places import Places
from hpo.storage import load_study
from tests.chaos import Storm
from tests.faults import shows
from tests.stub import instruct, make_whole

HALVING = {"schedule": {"name": "halving", "floor": 10, "factor": 3}, "pruner": None}


@pytest.mark.long
@pytest.mark.timeout(900)
@shows("SIGKILL worker", "BCEFGHI")
@shows("SIGKILL controller", "ABCEFGHI")
@shows("SIGTERM, SIGINT", "BCEFGHI")
@shows("SIGSTOP past the lease", "BCEFGHI")
def test_five_hundred_trials_come_through_a_storm_each_of_them_once(tmp_path: Path, empty_mlflow: Path) -> None:
    trials = 500
    shutil.copy(empty_mlflow, tmp_path / "mlflow.db")
    instruct(tmp_path / "work" / "toy", pace=0.2)  # so that no machine is through before the storm is
    storm = Storm(tmp_path, {**HALVING, "budget": {"trials": trials}}, seed=2026)
    over = storm.rage(sessions=20)
    print(storm.faults, over)
    instruct(tmp_path / "work" / "toy", pace=0.0)
    assert storm.calm() == 0, (tmp_path / "sessions.log").read_text()[-3000:]
    for weights in tmp_path.glob("work/toy/trial-*/model/weights"):
        make_whole(weights.parent)
    places = Places(tmp_path, f"sqlite:///{tmp_path}/mlflow.db", f"sqlite:///{tmp_path}/studies.db")
    found = examine(places)
    assert found.findings == []
    assert [(one.trials, one.runs) for one in found.examined] == [(trials, trials + 1)]
    states = [trial.state for trial in load_study("toy", places=places).get_trials(deepcopy=False)]
    assert len(states) == trials
    assert set(states) <= {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL}
    assert states.count(TrialState.FAIL) < 5, "three kills in a row of one trial's worker are rare"
    assert sum(storm.faults.values()) >= 15
    assert len(storm.faults) == 6, "every kind of fault struck"
