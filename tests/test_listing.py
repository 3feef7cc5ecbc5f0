import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hpo.executors.local import LocalExecutor
from hpo.listing import one_trial, spec_of, studies, trials
from hpo.places import Places
from hpo.study import Controller
from pipelines.errors import ConfigError
from pipelines.files import write_json
from tests.stub import a_controller, a_spec, instruct


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    """Two studies: a finished one with a trial of each kind, and one that was stopped."""
    home = tmp_path_factory.mktemp("home")

    def stop(controller: Controller) -> None:
        if any(running.progress for running in controller.running.values()):
            controller.request_stop(2)

    with closing(LocalExecutor(workers=1, threads=1, logs=home / "logs")) as executor:
        instruct(home / "work" / "toy", faults={"1": "raise", "2": "infeasible"})
        over = a_controller(a_spec(budget={"trials": 4}, register_as="sentiment"), home, executor)
        over.run()
        write_json(over.places.trial("toy", 0) / "mirror.json", {"run_id": "abc"})
        instruct(home / "work" / "stopped", pace=0.1)
        a_controller(a_spec(name="stopped", objective="log_loss"), home, executor, show=stop).run()
    return over.places


def test_studies_are_listed_with_their_counts_and_their_best(places: Places) -> None:
    toy, stopped = studies(places)
    assert isinstance(toy.pop("created"), str)
    assert toy.pop("minutes") >= 0
    assert toy == {
        "study": "toy",
        "metric": "accuracy",
        "trials": 4,
        "finished": 4,
        "complete": 2,
        "pruned": 1,
        "failed": 1,
        "running": 0,
        "best": pytest.approx(1.0),
        "best_trial": 0,
        "registers": "sentiment",
        "learns_from": [],
    }
    counts = ("study", "metric", "finished", "running", "best", "best_trial", "registers")
    assert [stopped[key] for key in counts] == ["stopped", "log_loss", 0, 1, None, None, None]


def test_trials_are_listed_with_state_value_and_reason(places: Places) -> None:
    rows = trials(places, "toy")
    assert [row["trial"] for row in rows] == [0, 1, 2, 3]
    assert [row["state"] for row in rows] == ["COMPLETE", "FAIL", "PRUNED", "COMPLETE"]
    assert [row["reason"] for row in rows] == [
        None,
        "error: ValueError: a bug",
        "infeasible: diverged: the loss is not finite at step 1",
        None,
    ]
    assert rows[0]["values"] == [rows[0]["value"]] == [pytest.approx(1.0)]
    assert rows[0]["last_report"] == rows[0]["value"]
    assert rows[0]["searched"] == rows[0]["params"] == {"train.learning_rate": 1e-4}
    assert [row["run_id"] for row in rows] == ["abc", None, None, None]
    assert (rows[1]["values"], rows[1]["value"], rows[1]["last_report"]) == (None, None, None)
    assert rows[0]["seconds"]["train"] == pytest.approx(0.04)


def test_an_interrupted_trial_is_called_so(places: Places) -> None:
    (row,) = trials(places, "stopped")
    assert row["state"] == "INTERRUPTED"


def test_one_trial_is_shown_with_everything(places: Places) -> None:
    shown = one_trial(places, "toy", 0)
    assert shown["params"]["train.batch_size"] == 16
    assert shown["scores"]["parameters"] == 22.0
    assert shown["directory"] == str(places.trial("toy", 0))
    assert shown["state"] == "COMPLETE"


def test_all_that_is_listed_is_json(places: Places) -> None:
    everything: list[Any] = [studies(places), trials(places, "toy"), one_trial(places, "stopped", 0)]
    assert json.loads(json.dumps(everything, allow_nan=False)) == everything


def test_the_spec_of_the_last_launch_is_kept(places: Places) -> None:
    assert spec_of(places, "toy") == a_spec(budget={"trials": 4}, register_as="sentiment")


def test_an_unknown_study_or_trial_is_answered_with_what_there_is(places: Places) -> None:
    with pytest.raises(ConfigError) as caught:
        trials(places, "toi")
    assert str(caught.value) == "there is no study 'toi'; did you mean toy?; there are: toy, stopped"
    with pytest.raises(ConfigError) as caught:
        spec_of(places, "zzz")
    assert str(caught.value) == "there is no study 'zzz'; there are: toy, stopped"
    with pytest.raises(ConfigError) as caught:
        one_trial(places, "toy", 9)
    assert str(caught.value) == "study 'toy' has no trial 9"


def test_looking_creates_nothing(tmp_path: Path) -> None:
    empty = Places(home=tmp_path, tracking="sqlite:///t.db", storage=f"sqlite:///{tmp_path}/studies.db")
    assert studies(empty) == []
    with pytest.raises(ConfigError) as caught:
        trials(empty, "toy")
    assert str(caught.value) == "there is no study 'toy'; there are: none"
    assert list(tmp_path.iterdir()) == []
