"""A study has exactly its trials, and each is one thing in Optuna's storage, in the ledger, on disk and in MLflow."""

import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from hpo.estimate import Prospect
from hpo.listing import one_trial
from hpo.machine import GIB
from pipelines.cost import Law
from pipelines.files import read_json
from pipelines.notes import add_note
from tests.costs import a_cost, points
from tests.stub import Silent, calls

from .checks import Session, check, records, states

pytestmark = pytest.mark.usefixtures("quick_sqlite")


def test_a_study_has_exactly_its_trials_and_each_is_one_thing_everywhere(session: Session, home: Path) -> None:
    controller = session(budget={"trials": 5})
    assert controller.run() == "all 5 trials are finished"
    trials = check(home, controller.spec)
    assert {trial.state for trial in trials} == {TrialState.COMPLETE}
    assert trials[0].params == {"train.learning_rate": 1e-4}, "the known-good default comes first"
    for trial, record in zip(trials, records(controller), strict=True):
        assert record["study"] == "toy"
        assert record["objective"] == ["accuracy"]
        assert record["searched"] == ["train.learning_rate"]
        assert record["scores"] == pytest.approx(
            {"accuracy": trial.values[0], "log_loss": 1 - trial.values[0], "latency_ms": 1.0, "parameters": 22.0}
        )
        assert record["seconds"]["train"] == pytest.approx(0.04)
        assert record["started"] <= record["updated"]
        assert calls(controller.places.trial("toy", trial.number)) == [0, 2, 4, 6], "each stage once, from memory"


def test_a_finished_study_is_not_trained_again(session: Session, home: Path) -> None:
    session(budget={"trials": 2}).run()
    before = {path: path.read_bytes() for path in home.glob("work/**/trial.json")}
    again = session(budget={"trials": 2})
    assert again.run() == "all 2 trials are finished"
    assert {path: path.read_bytes() for path in home.glob("work/**/trial.json")} == before
    more = session(budget={"trials": 3})
    more.run()
    assert len(check(home, more.spec)) == 3


def test_every_trial_is_shown_to_the_mirror_after_it_ended(session: Session) -> None:
    class Reader(Silent):
        """Reads at once what a mirror reads later."""

        def changed(self, directory: Path) -> None:
            seen.setdefault(directory.name, []).append(read_json(directory / "trial.json")["state"])

    seen: dict[str, list[str]] = {}
    session(budget={"trials": 2}, mirror=Reader()).run()
    assert {name: states[-1] for name, states in seen.items()} == {"trial-00000": "COMPLETE", "trial-00001": "COMPLETE"}
    assert all(states[0] == "RUNNING" for states in seen.values())


def test_a_later_session_shows_the_mirror_what_it_may_have_missed(session: Session) -> None:
    session(budget={"trials": 2}).run()
    mirror = Silent()
    controller = session(budget={"trials": 2}, mirror=mirror)
    controller.run()
    assert mirror.shown == [controller.places.trial("toy", number) for number in (0, 1)]


def test_the_pruner_stops_what_is_behind(session: Session, home: Path) -> None:
    changes = {"pruner": {"name": "threshold", "options": {"lower": 0.55}}, "budget": {"trials": 2}}
    space = {"train.learning_rate": [1e-4, 1e-2]}  # at most 1.0 and 0.6
    controller = session(**changes, sampler="grid", space=space)
    controller.run()
    for trial in controller.study.get_trials():
        if trial.params["train.learning_rate"] == 1e-4:
            assert (trial.state, trial.values) == (TrialState.COMPLETE, [1.0])
        else:
            assert (trial.state, trial.values) == (TrialState.PRUNED, [pytest.approx(0.375)])
            assert list(trial.intermediate_values) == [32]
            assert trial.user_attrs["reason"] == "pruned: behind the others"
            record = records(controller)[trial.number]
            assert (record["state"], record["reason"]) == ("PRUNED", "pruned: behind the others")
            assert record["scores"]["accuracy"] == pytest.approx(0.375)
    assert states(controller) == {"COMPLETE": 1, "PRUNED": 1}


def test_what_cannot_fit_into_memory_is_refused_and_the_sampler_is_told(session: Session, home: Path) -> None:
    space = {"model.name": ["small", "large"]}  # a model's weights decide what a single row needs
    costs = {"small": a_cost(), "large": a_cost(memory=points(Law(40 * GIB, 0.0, 0.0)))}
    controller = session(
        budget={"trials": 2}, space=space, sampler="brute_force", prospect=Prospect(costs, each=8 * GIB, whole=16 * GIB)
    )
    controller.run()
    trials = {trial.params["model.name"]: trial for trial in controller.study.get_trials()}
    assert trials["small"].state == TrialState.COMPLETE
    assert trials["small"].constraints == {}
    refused = trials["large"]
    assert refused.state == TrialState.PRUNED
    assert refused.constraints == {"memory_gib": pytest.approx(24.0)}
    assert refused.user_attrs["reason"] == "infeasible: needs about 40.0 GiB, this machine has 16.0 GiB"
    assert records(controller)[refused.number]["reason"] == refused.user_attrs["reason"]
    assert calls(controller.places.trial("toy", refused.number)) == [], "no worker has ever seen it"


def test_a_batch_that_does_not_fit_is_cut_and_a_resumed_trial_keeps_its_cut(session: Session) -> None:
    space = {"train.batch_size": [64]}
    tight = Prospect({"minilm": a_cost()}, each=1.5 * GIB, whole=3.0 * GIB)
    controller = session({"wait_at": 1}, budget={"trials": 1}, space=space, prospect=tight)
    threading.Timer(1.5, controller.request_stop, [signal.SIGINT]).start()
    controller.run()
    assert states(controller) == {"RUNNING": 1}
    roomy = Prospect(tight.costs, each=100 * GIB, whole=100 * GIB)
    again = session({}, budget={"trials": 1}, space=space, prospect=roomy)
    again.run()
    (record,) = records(again)
    assert record["state"] == "COMPLETE"
    assert (record["params"]["train.batch_size"], record["params"]["train.micro_batch_size"]) == (64, 16)


def test_a_trials_record_has_its_predicted_seconds_beside_the_real_ones(session: Session) -> None:
    controller = session(budget={"trials": 1}, prospect=Prospect({"minilm": a_cost()}, each=GIB * 99, whole=GIB * 99))
    controller.run()
    (record,) = records(controller)
    assert record["seconds"]["train"] == pytest.approx(0.04)
    assert record["predicted"].keys() == {"prepare", "train", "evaluate", "finish"}
    assert record["predicted"]["train"] > 0
    unknown = session(name="unknown", budget={"trials": 1})
    unknown.run()
    assert records(unknown)[0]["predicted"] == {}


@pytest.mark.parametrize(("run", "expected"), [({}, "on"), ({"train": {"compile": "off"}}, "off")])
def test_what_was_chosen_about_compiling_is_in_every_trial_that_left_it_open(
    run: dict[str, Any], expected: str, session: Session
) -> None:
    controller = session(budget={"trials": 1}, run=run, compiled={"minilm": "on", "bert": "off"})
    controller.run()
    assert records(controller)[0]["params"]["train.compile"] == expected


def test_what_befell_a_trial_stands_in_its_record(session: Session) -> None:
    controller = session(budget={"trials": 1})
    directory = controller.places.trial("toy", 0)
    directory.mkdir(parents=True)
    add_note(directory, "memory ran out at step 2: micro-batches of 8 from there")
    controller.run()
    assert records(controller)[0]["notes"] == ["memory ran out at step 2: micro-batches of 8 from there"]
    assert one_trial(controller.places, "toy", 0)["notes"] == records(controller)[0]["notes"]
