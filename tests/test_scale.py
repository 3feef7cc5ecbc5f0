"""What a large study costs: counted, since seconds say little on a shared machine; and the whole of 10,000 trials."""

from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import optuna
import pytest
import sqlalchemy as sa
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from benchmarks.controller import Case, continued, markdown, measured
from benchmarks.stored import a_spec, fill
from hpo.components import new_sampler
from hpo.halving import Halving
from hpo.informed import Informed
from hpo.places import Places
from hpo.schedule import Decision, Standing
from hpo.storage import load_study, open_study


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(home=tmp_path, tracking="sqlite:///nowhere.db", storage=f"sqlite:///{tmp_path}/studies.db")


def a_large_study(places: Places, *, stored: int, planned: int) -> optuna.Study:
    spec = a_spec(trials=planned)
    fill(spec, places, stored=stored)
    return open_study(spec, places=places)


def count_trials_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Gets the number of each trial that is read from the tables from now on."""
    read, build = list[int](), RDBStorage._build_frozen_trial_from_trial_model

    def counted(self: RDBStorage, trial: Any) -> Any:
        read.append(trial.number)
        return build(self, trial)

    monkeypatch.setattr(RDBStorage, "_build_frozen_trial_from_trial_model", counted)
    return read


def test_a_further_trial_reads_as_little_of_a_large_study_as_of_a_small_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, reads = count_trials_read(monkeypatch), []
    for stored in (20, 200):
        home = tmp_path / str(stored)
        places = Places(home=home, tracking="sqlite:///nowhere.db", storage=f"sqlite:///{home}/studies.db")
        case = Case("SQLite", stored, further=4, middle=True, slots=4)
        fill(a_spec(trials=case.planned), places, stored=stored)
        read.clear()
        costs = continued(case, places)
        assert len(costs.ask) >= 4
        reads.append((len(read) - stored) / len(costs.ask))
        assert median(read.count(number) for number in range(stored)) == 1, "most of them rest all the time"
    assert reads[1] <= reads[0] + 1 <= 25


def test_a_decision_asks_little_of_the_trials_that_are_over(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, examples = list[int](), Standing.examples.fget  # type: ignore[attr-defined]
    standings = {number: Standing(number, goal=100, reports={100: number / 2000}, over=True) for number in range(2000)}
    standings |= {number: Standing(number, goal=100, reports={100: 0.5}) for number in range(2000, 2020)}

    def counted(self: Standing) -> int:
        asked.append(self.number)
        return int(examples(self))

    monkeypatch.setattr(Standing, "examples", property(counted))
    assert Halving([100, 300, 900], factor=3).decide(2000, standings, planned=2100) is Decision.STOP
    assert 0 < len(asked) < 200


def test_the_sole_writer_reads_what_it_wrote_and_what_others_enqueued(places: Places) -> None:
    study = a_large_study(places, stored=10, planned=30)
    assert len(study.get_trials()) == 10
    load_study("large", places=places).enqueue_trial({"model.dropout": 0.25})
    trial = study.ask()
    assert (trial.number, trial.suggest_float("model.dropout", 0.0, 0.5)) == (10, 0.25)
    trial.report(0.7, 667)
    trial.set_user_attr("goal", 2000)
    own = study.get_trials()[10]
    assert (own.state, own.intermediate_values, own.user_attrs) == (TrialState.RUNNING, {667: 0.7}, {"goal": 2000})
    study.tell(trial, state=TrialState.PRUNED)
    assert study.get_trials()[10].state == TrialState.PRUNED
    fresh = load_study("large", places=places).get_trials()
    assert study.get_trials() == fresh


def test_a_write_whose_reply_was_lost_is_seen(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    study = a_large_study(places, stored=10, planned=30)
    trial = study.ask()
    study.get_trials()
    write = RDBStorage.set_trial_user_attr

    def lose(self: RDBStorage, *values: Any, **named: Any) -> None:
        write(self, *values, **named)
        raise sa.exc.OperationalError("COMMIT", {}, Exception("the connection broke"))

    monkeypatch.setattr(RDBStorage, "set_trial_user_attr", lose)
    with pytest.raises(sa.exc.OperationalError):
        trial.set_user_attr("goal", 667)
    assert study.get_trials()[trial.number].user_attrs == {"goal": 667}


def test_a_sampler_that_goes_on_from_the_last_one_proposes_what_a_fresh_one_would(tmp_path: Path) -> None:
    proposed: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
    for goes_on, found in proposed.items():
        home = tmp_path / str(goes_on)
        places = Places(home=home, tracking="sqlite:///nowhere.db", storage=f"sqlite:///{home}/studies.db")
        study, spec, before = a_large_study(places, stored=40, planned=120), a_spec(trials=120), None
        for number in range(40, 48):
            study.sampler = before = Informed(new_sampler(spec, trial=number), after=before if goes_on else None)
            trial = study.ask()
            found.append(
                {
                    address: trial._suggest(address, kind)
                    for address, kind in study.get_trials()[0].distributions.items()
                }
            )
            resting = next(
                one for one in study.get_trials() if one.state == TrialState.RUNNING and one.number > number - 40
            )
            study._storage.set_trial_intermediate_value(resting._trial_id, 6000, 0.5 + number / 100)
            trial.report(0.9, 667)
    assert proposed[True] == proposed[False]
    assert len(proposed[True][0]) == 6


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("middle", [False, True])
def test_ten_thousand_stored_trials_and_64_workers(middle: bool) -> None:
    case = Case("SQLite", 10_000, further=128, middle=middle)
    costs = measured(case, None)
    assert len(costs.whole) >= 128
    assert float(np.percentile(costs.cpu, 95)) <= 1.0, markdown([(case, costs)], "this machine")
    assert costs.memory[-1] - costs.memory[1] < 16.0, "MiB"
