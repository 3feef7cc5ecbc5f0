"""What ends a study."""

import pytest

from hpo import meter as meter_module

from .checks import Session, records, states

pytestmark = pytest.mark.usefixtures("quick_sqlite")


def test_minutes_end_a_study_and_what_is_unfinished_is_pruned(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meter_module, "_BEAT_SECONDS", 0.1)
    controller = session({"pace": 0.25}, budget={"trials": 100, "minutes": 0.02})
    assert controller.run() == "the 0.02 minutes are used up"
    assert set(states(controller)) <= {"COMPLETE", "PRUNED"}
    unfinished = [record for record in records(controller) if record["state"] == "PRUNED"]
    assert unfinished
    assert {record["reason"] for record in unfinished} == {"budget: the 0.02 minutes are used up"}
    assert 1.2 <= controller.ledger.add_seconds("toy", 0.0) < 10


def test_minutes_count_over_all_sessions(session: Session) -> None:
    controller = session(budget={"trials": 100, "minutes": 5})
    controller.ledger.add_seconds("toy", 300)
    again = session(budget={"trials": 100, "minutes": 5})
    assert again.run() == "the 5 minutes are used up"
    assert states(again) == {"WAITING": 1}


def test_training_examples_end_a_study_within_a_trial(session: Session) -> None:
    controller = session({"pace": 0.1}, budget={"trials": 100, "examples": 400})
    assert controller.run() == "the 400 training examples are used up"
    assert states(controller)["RUNNING"] == 0
    seen = controller.meter.progress(finished=0).examples
    assert 400 <= seen <= 400 + 2 * 8 * 16, "no trial began beyond those that ran"
    again = session({}, budget={"trials": 100, "examples": 400})
    assert again.meter.progress(finished=0).examples > 200, "what was reported counts in a later session"


def test_a_study_that_has_converged_says_so(session: Session) -> None:
    stagnation = {"name": "best_value_stagnation", "options": {"max_stagnation_trials": 2}}
    controller = session(budget={"trials": 50, "converged": stagnation})
    assert controller.run() == "converged: best_value_stagnation sees nothing left to gain"
    assert states(controller)["COMPLETE"] in range(4, 7), "the default is the best there is, and comes first"


@pytest.mark.parametrize("name", ["regret_bound", "emmr"])
def test_other_terminators_can_be_chosen(session: Session, name: str) -> None:
    options = {"min_n_trials": 4}
    controller = session(budget={"trials": 6, "converged": {"name": name, "options": options}})
    assert controller.run() in {"all 6 trials are finished", f"converged: {name} sees nothing left to gain"}
