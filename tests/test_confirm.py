"""The stage after the search, with the stub as trainer and real baselines: what is delivered, and why."""

import json
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpo.confirm import select_winner
from hpo.executors.local import LocalExecutor
from hpo.retraining import Candidate, Retraining, fresh_seed
from hpo.selection import Selection, read_selection
from hpo.study import Controller
from pipelines.config import DataConfig
from pipelines.data import load_data, open_dataset, save_dataset
from pipelines.files import read_json
from pipelines.predictions import Predictions, read_parquet
from tests.stub import a_controller, a_spec, calls, instruct

FINALISTS = {"finalists": 3, "seeds": 2}
GOOD, POOR = 1e-4, 2e-6
"""Learning rates: of the stub's trials the first has most rows right, the other a fifth less."""

Session = Callable[..., Controller]


@pytest.fixture
def session(tmp_path: Path, executor: LocalExecutor) -> Session:
    """A study of two trials: the default (trial 0) at `default`, and another at `other`."""

    def start(orders: dict[str, Any] | None = None, *, default: float, other: float, **changes: Any) -> Controller:
        plain: dict[str, Any] = {
            "confirm": FINALISTS,
            "budget": {"trials": 2},
            "run": {"train": {"epochs": 2.0, "batch_size": 16, "learning_rate": default}},
            "space": {"train.learning_rate": [default, other]},
            "sampler": "grid",
        }
        home = tmp_path / "work" / "toy"
        if orders is not None or not home.exists():
            instruct(home, predicts=True, **(orders or {}))
        if not (home / "data").exists():
            rows = "\n".join(f"the {'dull' if n % 2 else 'bright'} film {n},{n % 2}" for n in range(2000))
            (tmp_path / "my.csv").write_text(f"text,label\n{rows}\n")
            save_dataset(load_data(DataConfig(source=str(tmp_path / "my.csv"))), home / "data")
        return a_controller(a_spec(**plain | changes), tmp_path, executor)

    return start


def selected(controller: Controller) -> Selection:
    controller.run()
    found = select_winner(controller)
    assert found is not None
    return found


def directories(controller: Controller) -> list[str]:
    home = controller.places.study("toy")
    return sorted(path.name for path in home.iterdir() if path.name.startswith(("confirm-", "baseline-")))


def test_a_better_trial_is_trained_anew_and_delivered(session: Session) -> None:
    controller = session(default=POOR, other=GOOD)
    found = selected(controller)
    assert found.confirmed
    best = found.search_trial
    assert (found.trial, found.name) == (best, f"confirm-{best:05d}-1")
    record = read_json(controller.places.study("toy") / found.name / "trial.json")
    assert (record["state"], record["kind"], record["params"]["seed"]) == ("COMPLETE", "confirmation", fresh_seed(0, 1))
    assert (controller.places.study("toy") / found.name / "model").is_dir()
    assert read_selection(controller.places.study("toy") / "report") == found


def test_the_delivered_score_is_that_of_the_fresh_training_with_an_interval(session: Session) -> None:
    found = selected(session(default=GOOD, other=GOOD / 1.01))
    right = np.random.default_rng(fresh_seed(0, 1)).random(found.rows) < 1.0
    assert found.score == pytest.approx(right.mean())
    assert found.low <= found.score <= found.high


def test_of_trials_that_cannot_be_told_apart_the_default_is_delivered(session: Session) -> None:
    found = selected(session(default=GOOD * 1.02, other=GOOD, sampler="random", start_with_defaults=True))
    assert (found.trial, found.name) == (0, "confirm-00000-1")
    assert found.why.startswith("the known-good default, the simplest of trials that cannot be told apart")
    assert "no trial of the search beats the known-good default with confidence" in [*found.in_words()]


def test_a_clear_decision_needs_no_second_fresh_training(session: Session) -> None:
    clear = session(default=POOR, other=GOOD, confirm={"finalists": 3, "seeds": 2, "share": 10.0}, sampler="random")
    found = selected(clear)
    names = [name for name in directories(clear) if name.startswith("confirm-")]
    assert found.why in {"better than every other finalist", "there was nobody to compare it with"}
    assert all(name.endswith("-1") for name in names), names


def test_an_open_decision_takes_further_trainings_within_its_share(session: Session) -> None:
    pair: dict[str, Any] = {"default": GOOD * 1.02, "other": GOOD, "sampler": "random"}
    wide = session(**pair, confirm={"finalists": 3, "seeds": 3, "share": 10.0})
    assert {one.trainings for one in selected(wide).contestants} == {3}
    again = session(**pair, confirm={"finalists": 3, "seeds": 3, "share": 0.5})
    assert {one.trainings for one in selected(again).contestants} == {1}, "the share allows the first round alone"


def test_with_folds_every_train_and_select_row_decides(session: Session) -> None:
    controller = session(default=POOR, other=GOOD, confirm={"finalists": 2, "seeds": 1, "folds": 3})
    found = selected(controller)
    home = controller.places.study("toy")
    data = open_dataset(home / "data")
    rows = len(data.splits["train"]) + len(data.splits["select"])
    best = f"confirm-{found.search_trial:05d}-1"
    assert (found.name, found.folds, found.judged_rows, found.rows) == (best, 3, rows, len(data.splits["select"]))
    assert [name for name in directories(controller) if name.startswith(best)] == [
        best, *(f"{best}-fold-{fold}" for fold in (1, 2, 3))
    ]  # fmt: skip
    judged = [read_parquet(home / f"{best}-fold-{fold}" / "artifacts" / "predictions.parquet") for fold in (1, 2, 3)]
    ids = [id for part in judged for id in part.ids]
    assert len(ids) == len({*ids}) == rows
    assert any("cross-validated in 3 folds" in line for line in found.in_words())
    assert not [*home.glob("data-*")], "the rows that were dealt out are not kept"
    assert read_selection(home / "report") == found


def test_what_folds_have_trained_is_not_trained_again(session: Session) -> None:
    folds = {"finalists": 2, "seeds": 2, "folds": 2, "share": 10.0}
    first = session(default=GOOD * 1.02, other=GOOD, sampler="random", confirm=folds)
    found, home = selected(first), first.places.study("toy")
    names = [name for name in directories(first) if name.startswith("confirm-")]
    assert sum("-2-fold-" in name for name in names) == 4
    before = {name: calls(home / name) for name in names}
    assert selected(session(default=GOOD * 1.02, other=GOOD, sampler="random", confirm=folds)) == found
    assert {name: calls(home / name) for name in names} == before


@pytest.mark.parametrize(("better", "name"), [(True, "average-2"), (False, "1")])
def test_the_mean_of_the_winners_trainings_is_delivered_where_it_is_better_on_select(
    session: Session, monkeypatch: pytest.MonkeyPatch, better: bool, name: str
) -> None:
    asked: list[tuple[int, bool]] = []

    def averaged(self: Retraining, one: Candidate, rounds: int, *, with_model: bool = False) -> Predictions:
        asked.append((rounds, with_model))
        first = read_parquet(self.delivered(one).directory / "artifacts" / "predictions.parquet")
        truth = np.eye(2)[first.labels]
        return replace(first, probabilities=truth if better else first.probabilities)

    monkeypatch.setattr(Retraining, "averaged", averaged)
    wide = {"finalists": 3, "seeds": 2, "share": 10.0, "average": True}
    found = selected(session(default=GOOD * 1.02 / 1.5, other=GOOD / 1.5, sampler="random", confirm=wide))
    assert found.name == f"confirm-{found.trial:05d}-{name}"
    assert asked == ([(2, False), (2, True)] if better else [(2, False)])
    assert (found.averaged, found.score == 1.0) == ((2, True) if better else (0, False))


def test_a_mean_that_cannot_be_made_leaves_the_first_training_as_the_winner(session: Session) -> None:
    wide = {"finalists": 3, "seeds": 2, "share": 10.0, "average": True}
    controller = session(default=GOOD * 1.02, other=GOOD, sampler="random", confirm=wide)
    found = selected(controller)  # the stub's models are none
    assert (found.name, found.averaged) == (f"confirm-{found.trial:05d}-1", 0)
    record = read_json(controller.places.study("toy") / f"confirm-{found.trial:05d}-average-2" / "trial.json")
    assert record["state"] == "FAIL"


def test_baselines_are_trained_in_every_study_and_compared(session: Session) -> None:
    controller = session(default=GOOD, other=POOR, confirm={"finalists": 0})
    found = selected(controller)
    assert {rival.name for rival in found.rivals} >= {"majority", "tfidf"}
    rivals = {rival.name: rival for rival in found.rivals}
    assert rivals["majority"].beaten
    assert rivals["majority"].score == pytest.approx(0.5, abs=0.01)
    assert rivals["tfidf"].score == 1.0
    assert not rivals["tfidf"].beaten
    assert any(line.startswith("NOT better with confidence than logistic regression") for line in found.in_words())
    record = read_json(controller.places.study("toy") / "baseline-tfidf" / "trial.json")
    assert (record["kind"], record["state"], record["scores"]["accuracy"]) == ("baseline", "COMPLETE", 1.0)


def test_without_finalists_the_best_trial_is_delivered_and_called_unconfirmed(session: Session) -> None:
    found = selected(session(default=GOOD, other=POOR, confirm={"finalists": 0}))
    assert not found.confirmed
    assert found.name == f"trial-{found.search_trial:05d}"
    assert "NOT confirmed (confirm.finalists is 0)" in next(found.in_words())


def test_the_same_again_trains_nothing_and_says_the_same(session: Session) -> None:
    first = session(default=GOOD * 1.02, other=GOOD)
    found = selected(first)
    home = first.places.study("toy")
    before = {name: calls(home / name) for name in directories(first)}
    second = session(default=GOOD * 1.02, other=GOOD)
    assert selected(second) == found
    assert {name: calls(home / name) for name in directories(second)} == before


def test_a_stop_in_the_middle_keeps_what_is_done_and_the_next_session_goes_on(session: Session) -> None:
    first = session({"pace": 0.0}, default=GOOD * 1.02, other=GOOD)
    first.run()
    home = first.places.study("toy")
    instruct(home, predicts=True, pace=0.1)
    said: list[str] = []

    def stop(line: str) -> None:
        said.append(line)
        first.request_stop(signal.SIGTERM)

    first.say = stop
    assert select_winner(first) is None
    assert said[0].startswith("confirmation: trials ")
    assert read_selection(home / "report") is None
    instruct(home, predicts=True)
    second = session(default=GOOD * 1.02, other=GOOD)
    assert selected(second).confirmed


def test_a_worker_that_dies_costs_a_fresh_training_nothing_but_time(session: Session) -> None:
    controller = session(default=GOOD * 1.02, other=GOOD)
    controller.run()
    home = controller.places.study("toy")
    instruct(home, predicts=True, faults={"confirm-00000-1": ["kill"]})
    found = select_winner(controller)
    assert found is not None
    assert {one.trial for one in found.contestants} == {0, 1}
    assert len(calls(home / "confirm-00000-1")) == 2


def test_a_contestant_that_cannot_be_trained_anew_is_left_out_and_its_run_says_why(session: Session) -> None:
    controller = session(default=GOOD * 1.02, other=GOOD)
    controller.run()
    home = controller.places.study("toy")
    instruct(home, predicts=True, faults={"confirm-00000-1": "infeasible"})
    found = select_winner(controller)
    assert found is not None
    assert {one.trial for one in found.contestants} == {1}
    record = read_json(home / "confirm-00000-1" / "trial.json")
    assert (record["state"], record["reason"]) == (
        "PRUNED",
        "infeasible: diverged: the loss is not finite at step 1",
    )


def test_without_time_left_the_best_trial_is_delivered_unconfirmed(session: Session) -> None:
    controller = session(default=GOOD, other=POOR)
    controller.run()
    controller.spec = a_spec(**controller.spec.model_dump() | {"budget": {"trials": 2, "minutes": 1e-4}})
    found = select_winner(controller)
    assert found is not None
    assert (found.confirmed, found.why) == (False, "no time is left for it")
    assert {"majority", "tfidf"} <= {rival.name for rival in found.rivals}, "the baselines take seconds"


def test_only_what_is_delivered_keeps_its_model_and_an_old_winner_gets_it_back(session: Session) -> None:
    controller = session(default=GOOD * 1.02, other=GOOD)
    found = selected(controller)
    home = controller.places.study("toy")
    kept = [path.parent.name for path in home.glob("confirm-*/model")]
    assert kept == [found.name]
    (home / found.name / "model" / "weights").unlink()
    (home / found.name / "model").rmdir()
    assert selected(session(default=GOOD * 1.02, other=GOOD)) == found
    assert (home / found.name / "model").is_dir()


def test_the_evidence_is_plain_json(session: Session) -> None:
    controller = session(default=GOOD, other=POOR)
    found = selected(controller)
    text = (controller.places.study("toy") / "report" / "selection.json").read_text()
    assert json.loads(text)["trial"] == found.trial


def test_the_search_leaves_the_confirmation_its_share_of_a_limit(session: Session) -> None:
    """A share of 0.5 is a third of the whole: the search has 800 of 1,200 examples."""
    changes: dict[str, Any] = {"sampler": "random", "confirm": {"finalists": 2, "seeds": 1, "share": 0.5}}
    controller = session(default=GOOD, other=POOR, budget={"trials": 100, "examples": 1200}, **changes)
    assert controller.run() == "the 1,200 training examples are used up, but for the confirmation's share"
    searched = sum(controller.meter.examples.values())
    assert 800 <= searched < 1200
    found = select_winner(controller)
    assert found is not None
    assert found.confirmed


def test_without_a_trained_model_the_search_takes_all_of_a_limit(session: Session) -> None:
    """Two workers are in the middle of their 128 examples each when two thirds of the limit, 200, are used up."""
    controller = session(default=GOOD, other=POOR, sampler="random", budget={"trials": 100, "examples": 300})
    controller.run()
    assert any(trial.state.name == "COMPLETE" for trial in controller.study.get_trials())


def test_a_further_round_that_would_exceed_a_limit_is_not_begun(session: Session) -> None:
    """Two trials take 256 examples, a third of 768, and a round of two as many: two rounds need more than 768."""
    pair: dict[str, Any] = {"default": GOOD * 1.02, "other": GOOD, "confirm": {"seeds": 2, "share": 2.0}}
    scarce = session(**pair, sampler="random", budget={"trials": 2, "examples": 768})
    assert [one.trainings for one in selected(scarce).contestants] == [1, 1]
    plenty = session(**pair, sampler="random", budget={"trials": 2, "examples": 1000})
    assert [one.trainings for one in selected(plenty).contestants] == [2, 2]
