"""A real model, killed again and again: its weights, its curves and its study are those of a run that nobody killed."""

import random
import time
from pathlib import Path
from typing import Any

import mlflow
import pytest

from pipelines.files import sha256
from tests.commands import Home, kill_group, new_home, wait_until
from tests.faults import shows

from .studies import assert_whole, trial_steps, write_study

COMMAND = ("run", "own.yaml", "train.precision=fp32", "train.compile=off", "register_as=null")
KILLS = 6
TRIALS = 3


def a_home(path: Path, model: Path) -> Home:
    path.mkdir()
    write_study(path, model, epochs=60, trials=TRIALS)
    return new_home(path)


def result(home: Home) -> dict[str, Any]:
    """What a study came to: each trial's parameters and value, and the hashes of the best model's files."""
    shown = home.json("show", "own")
    trials = {row["trial"]: (row["state"], row["value"], row["searched"]) for row in shown}
    models = {file.name: sha256(file) for file in home.path.glob("mlruns/work/own/trial-*/model/*")}
    return {"trials": trials, "best": home.json("list")[0]["best_trial"], "models": models}


def curves(home: Home) -> dict[tuple[str, str], list[tuple[int, float]]]:
    """Every point of every metric of each trial's run, but those that depend on the clock."""
    client = mlflow.MlflowClient(home.tracking)
    found = {}
    for run in home.runs("own"):
        for name in run.data.metrics:
            if not name.startswith(("system/", "seconds/", "latency_ms")) and "hpo.trial" in run.data.tags:
                points = [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]
                found[run.data.tags["hpo.trial"], name] = sorted(points)
    return found


@pytest.mark.long
@pytest.mark.timeout(900)
@shows("SIGKILL worker", "CEFGHI")
@shows("SIGKILL controller", "CEFGHI")
def test_a_study_of_a_real_model_killed_six_times_ends_as_the_one_that_nobody_killed(
    tmp_path: Path, tiny_bert: Path
) -> None:
    calm, struck, draw = a_home(tmp_path / "calm", tiny_bert), a_home(tmp_path / "struck", tiny_bert), random.Random(6)
    done = calm.hpo(*COMMAND)
    assert done.returncode == 0, done.stdout + done.stderr
    for _ in range(KILLS):
        process, before = struck.start(*COMMAND), trial_steps(struck)
        wait_until(lambda before=before: trial_steps(struck) > before)  # type: ignore[misc]
        time.sleep(draw.uniform(0.0, 2.5))
        assert process.poll() is None, "it ended before all kills"
        kill_group(process)
    done = struck.hpo(*COMMAND)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_whole(struck, trials=TRIALS)
    assert struck.json("doctor", "own")["ok"]
    expected = result(calm)
    assert len(expected["models"]) >= 4
    assert result(struck) == expected
    assert len(curves(calm)) >= TRIALS * 8
    assert curves(struck) == curves(calm)
