"""The search benchmark's arithmetic on a made-up table, its drivers, and the curves' command with a stub trainer."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from benchmarks import endtoend, replay
from benchmarks.curves import SHARES, Curve, Work, Workload, extend, missing
from benchmarks.findings import Absent, Part
from benchmarks.grid import Configuration, from_cube, sobol, to_cube
from benchmarks.protocol import ratio_of_means
from benchmarks.replay import Replay
from benchmarks.report import markdown
from benchmarks.searches import study_spec
from benchmarks.simulation import NOTHING, Order, Trace, goal, simulate
from benchmarks.table import Table, read_table
from benchmarks.tools import BEST, CONTENDERS, MEDIAN, OURS, SETTINGS, Contender
from hpo.spec import StudySpec
from pipelines.errors import ConfigError, DataError
from pipelines.files import read_json

ROWS, EPOCHS = 900, 3.0


def a_curve(number: int, one: Configuration) -> Curve:
    """The nearer the learning rate is to 1e-4 the better, from the first point on."""
    top = 0.9 - 0.1 * abs(math.log10(one.learning_rate) + 4)
    accuracy = [0.5 + (top - 0.5) * share for share in SHARES]
    values = {"number": number, "seed": 0, **vars(one), "accuracy": accuracy}
    return values | {"log_loss": [1 - value for value in accuracy], "precision": "fp32"}


def a_table(count: int = 32) -> Table:
    curves = [a_curve(number, one) for number, one in enumerate(sobol(count))]
    return Table(curves, shares=list(SHARES), rows=ROWS, epochs=EPOCHS)


class Planned:
    """A tool that hands out fixed stretches, one trial after the other."""

    def __init__(self, *stretches: tuple[int, int, int]) -> None:
        self.left = [Order(trial, sobol(8)[trial], begin=begin, until=until) for trial, begin, until in stretches]
        self.heard: list[tuple[int, int]] = []

    def order(self) -> Order | None:
        return self.left.pop(0) if self.left else None

    def receive(self, order: Order, scores: dict[str, float]) -> None:
        self.heard.append((order.trial, order.until))


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(before)


def test_a_longer_sobol_sequence_begins_with_the_shorter() -> None:
    assert sobol(20)[:8] == sobol(8)
    assert len(set(sobol(64))) == 64


def test_a_configuration_survives_the_way_to_the_cube_and_back() -> None:
    for one in sobol(16):
        again = from_cube(np.clip(to_cube(one), 0, 0.999999))
        assert again.batch_size == one.batch_size
        assert again.learning_rate == pytest.approx(one.learning_rate, rel=1e-4)


def test_cost_is_counted_in_epochs_over_all_workers() -> None:
    tool = Planned((0, 0, 900), (1, 0, 2700), (2, 0, 900))
    trace = simulate(tool, a_table(), workers=2, seed=0, budget=100)
    assert tool.heard == [(0, 900), (2, 900), (1, 2700)]
    assert trace.costs == pytest.approx([5.0])  # of the three epochs of trial 1, and one each of the others
    assert (trace.spent, trace.trials, trace.complete) == (pytest.approx(5.0), 3, 1)


def test_what_runs_counts_before_it_ends() -> None:
    trace = simulate(Planned((0, 0, 2700), (1, 0, 1350), (1, 1350, 2700)), a_table(), workers=2, seed=0, budget=100)
    assert trace.costs[0] == pytest.approx(6.0)
    cut = simulate(Planned((0, 0, 900), (1, 0, 2700)), a_table(), workers=2, seed=0, budget=1.5)
    assert cut.spent == 0.0  # the first result would have come at 2 epochs


def test_a_resumed_trial_costs_its_remaining_examples() -> None:
    trace = simulate(Planned((0, 0, 300), (1, 0, 300), (0, 300, 2700)), a_table(), workers=1, seed=0, budget=100)
    assert trace.spent == pytest.approx((2700 + 300) / ROWS)


def test_the_incumbent_is_the_best_fully_trained_trial() -> None:
    trace = Trace(costs=[3.0, 7.5], delivered=[0.7, 0.8])
    assert trace.reached(0.75) == 7.5
    assert trace.reached(0.9) == math.inf
    assert trace.at(np.array([0.0, 3.0, 7.0, 100.0])).tolist() == [NOTHING, 0.7, 0.7, 0.8]


def test_a_search_is_not_watched_beyond_its_goal() -> None:
    table = a_table()
    start = CONTENDERS[OURS].start
    short = simulate(start(table, 0), table, workers=1, seed=0, budget=500, watched=0)
    long = simulate(start(table, 0), table, workers=1, seed=0, budget=100, watched=100)
    assert short.reached(goal(table)) == long.reached(goal(table)) == short.costs[-1]
    assert long.spent > short.spent


def test_scores_between_two_points_are_interpolated() -> None:
    training = a_table().train(sobol(1)[0], seed=0, trial=0)
    middle = (training.scores(1 / 2)["accuracy"] + training.scores(2 / 3)["accuracy"]) / 2
    assert training.scores(7 / 12)["accuracy"] == pytest.approx(middle)
    assert training.scores(0.0) == training.scores(1 / 27)


def test_a_proposal_is_replayed_by_one_of_its_nearest_and_always_the_same() -> None:
    table, one = a_table(), Configuration(1e-4, 16, 0.1, 0.05, 0)
    drawn = [table.train(one, seed=3, trial=trial).accuracy[-1] for trial in range(50)]
    assert len(set(drawn)) <= 3
    assert len(set(drawn)) > 1
    assert min(drawn) > np.median(table.scores)
    assert drawn == [table.train(one, seed=3, trial=trial).accuracy[-1] for trial in range(50)]


def test_the_learning_rate_weighs_most_where_it_alone_matters() -> None:
    assert a_table(64).weights[1:].max() < 1.0


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("name", CONTENDERS | BEST)
def test_every_tool_finishes_and_its_spending_adds_up(name: str, workers: int) -> None:
    contender, table = (CONTENDERS | BEST)[name], a_table()
    if contender.absent:
        pytest.skip(contender.absent)
    spied = Spy(contender.start(table, 1))
    trace = simulate(spied, table, workers=workers, seed=1, budget=30)
    assert trace.complete > 0
    assert trace.spent <= 30
    assert spied.received / ROWS <= trace.spent + 1e-9
    assert spied.received / ROWS >= trace.spent - workers * EPOCHS
    assert all(begin == before for before, begin in spied.joints)


class Spy:
    """Passes everything on, and adds up."""

    def __init__(self, tool: Any) -> None:
        self.tool, self.received = tool, 0
        self.at: dict[int, int] = {}
        self.joints: list[tuple[int, int]] = []
        self.orders: list[Order] = []

    def order(self) -> Order | None:
        order: Order | None = self.tool.order()
        if order is not None:
            self.joints.append((self.at.get(order.trial, 0), order.begin))
            self.orders.append(order)
        return order

    def receive(self, order: Order, scores: dict[str, float]) -> None:
        self.received += order.until - order.begin
        self.at[order.trial] = order.until
        self.tool.receive(order, scores)


@pytest.mark.parametrize(("name", "resumes"), [(OURS, True), (MEDIAN, False)])
def test_ours_resumes_trials_that_rested_and_a_pruner_does_not(name: str, resumes: bool) -> None:
    table = a_table()
    spied = Spy(CONTENDERS[name].start(table, 0))
    simulate(spied, table, workers=1, seed=0, budget=60)
    later = [one for before, one in pairwise(spied.orders) if one.begin > 0 and one.trial != before.trial]
    assert bool(later) == resumes


def test_every_setting_of_ours_can_be_replayed() -> None:
    table = a_table(16)
    for name, one in SETTINGS.items():
        assert simulate(one.start(table, 0), table, workers=2, seed=0, budget=12).trials > 0, name
    assert len(SETTINGS) == 18


def test_the_ratio_of_means_is_paired() -> None:
    found = ratio_of_means([4.0, 8.0, 12.0], [1.0, 2.0, 3.0])
    assert (found.mean, found.low, found.high) == pytest.approx((4.0, 4.0, 4.0))
    wide = ratio_of_means([1.0, 9.0] * 10, [2.0] * 20)
    assert wide.mean == pytest.approx(2.5)
    assert 1.0 < wide.low < 2.5 < wide.high < 4.0


def test_a_missing_peer_is_a_row_that_says_so() -> None:
    one = Contender(CONTENDERS[OURS].start, needs="no-such-package")
    assert one.absent == "not installed: pip install '.[bench-search]' brings no-such-package"
    part = Part("l2", "About.", absent=[Absent("search cost", "Some Tool", one.absent)])
    text = markdown([part], {"machine": "m", "date": "d", "quick": False, "versions": {}}, command="make bench-search")
    row = "| search cost | Some Tool | | | | | not installed: pip install '.[bench-search]' brings no-such-package |"
    assert row in text.splitlines()
    assert "by `make bench-search`." in text


def test_the_replay_reports_and_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = {name: CONTENDERS[name] for name in (OURS, MEDIAN)} | {"gone": Contender(none, needs="no-such-package")}
    monkeypatch.setattr(replay, "CONTENDERS", few)
    monkeypatch.setattr(replay, "SETTINGS", {})
    monkeypatch.setattr(replay, "BEST", {})
    monkeypatch.setattr(replay, "searches", one_by_one)
    setting = Replay(repetitions=3, budget=30.0, watched=6.0, workers=(2, 1), equal_cost=6.0)
    parts = replay.measured(a_table(), setting, tmp_path / "l2.png")
    assert [part.name for part in parts] == ["workers 2", "workers 1", "best configured", "our settings"]
    assert [one.peer for one in parts[0].absent] == ["gone"]
    assert parts[0].comparisons[0].peer_value == pytest.approx(np.mean(parts[0].repetitions[MEDIAN]), abs=1e-3)
    assert (tmp_path / "l2.png").stat().st_size > 10_000


def none(table: Table, seed: int) -> Any:
    raise AssertionError("never begun")


def one_by_one(
    contenders: dict[str, Contender], table: Table, setting: Replay, *, workers: int
) -> dict[str, list[Trace]]:
    """As `replay.searches`, in this process."""
    return {
        name: [replay._search(one, table, setting, workers, seed) for seed in range(setting.repetitions)]
        for name, one in contenders.items()
        if not one.absent
    }


def test_curves_are_taken_up_where_the_last_run_was_killed(tmp_path: Path) -> None:
    file, trained = tmp_path / "curves.json", list[int]()

    def killed(works: list[Work]) -> Iterator[Curve]:
        for work in works:
            if len(trained) == 3:
                raise KeyboardInterrupt
            trained.append(work.number)
            yield a_curve(work.number, work.configuration)

    def wanted(curves: list[Curve]) -> list[Work]:
        return missing(curves, configurations=8, seed=0)

    with pytest.raises(KeyboardInterrupt):
        extend(file, Workload(), works=wanted, done=killed)
    assert [curve["number"] for curve in read_json(file)["curves"]] == [0, 1, 2]
    extend(file, Workload(), works=wanted, done=lambda works: (a_curve(w.number, w.configuration) for w in works))
    assert [curve["number"] for curve in read_json(file)["curves"]] == list(range(8))
    assert wanted(read_json(file)["curves"]) == []
    assert len(missing(read_json(file)["curves"], configurations=8, seed=1)) == 8
    assert len(read_table(file)) == 8


def test_curves_of_another_workload_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "curves.json"
    extend(file, Workload(), works=lambda _: missing([], configurations=2, seed=0), done=stubbed)
    with pytest.raises(ConfigError) as error:
        extend(file, replace(Workload(), rows=1024), works=lambda _: [], done=stubbed)
    assert str(error.value) == f"{file}: its curves are of another workload; delete it, or name another file"


def stubbed(works: list[Work]) -> Iterator[Curve]:
    return (a_curve(work.number, work.configuration) for work in works)


def test_a_table_without_curves_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        read_table(tmp_path / "none.json")
    expected = f"{tmp_path}/none.json: no learning curves; train them with: python -m benchmarks.curves"
    assert str(error.value) == expected


def test_the_committed_table_is_whole() -> None:
    from benchmarks.curves import FILE

    stored = json.loads(FILE.read_text())
    assert FILE.stat().st_size < 1_000_000
    assert all(len(curve["accuracy"]) == len(curve["log_loss"]) == len(stored["shares"]) for curve in stored["curves"])
    assert len(read_table(FILE)) == len(stored["curves"])


def raced(walls: list[float]) -> endtoend.Race:
    """A race that finishes as planned, and writes down the seconds that it was given."""

    def race(races: endtoend.Races, seed: int, home: Path, seconds: float) -> endtoend.Finish:
        assert list(home.iterdir()) == []
        walls.append(seconds)
        return endtoend.Finish(wall=seconds + 30, accuracy=0.8 + seed / 100, winner=seconds / 2, complete=4, pruned=5)

    return race


def test_the_peer_gets_all_the_wall_time_that_ours_took() -> None:
    ours, peer = list[float](), list[float]()
    part = endtoend.measured(endtoend.Races(minutes=2.0, seeds=2), raced(ours), raced(peer))
    assert (ours, peer) == ([120.0, 120.0], [150.0, 150.0])
    assert part.comparisons[0].ratio.mean == pytest.approx(150 / 120)
    assert part.differences[0].interval.mean == pytest.approx(0.0)
    assert "ours 8 and 10; Trainer + Optuna 8 and 10" in part.about


def test_a_search_without_a_model_is_counted_and_not_compared() -> None:
    finishes = {
        endtoend.OURS: [endtoend.Finish(60, 0.84, 30, 3, 1), endtoend.Finish(60, 0.83, 40, 3, 1)],
        endtoend.PEER: [endtoend.Finish(60, math.nan, math.nan, 0, 0), endtoend.Finish(60, 0.82, 50, 2, 1)],
    }
    part = endtoend.as_part(endtoend.Races(minutes=1.0, seeds=2), finishes)
    assert part.differences[0].ours_value == pytest.approx(83.0)
    assert part.about.endswith("Seeds in which one of them had nothing to deliver: 1.")
    nothing = {name: [endtoend.Finish(60, math.nan, math.nan, 0, 0)] for name in finishes}
    assert endtoend.as_part(endtoend.Races(seeds=1), nothing).absent[0].reason == "nothing to compare: no model"


def test_the_study_of_the_race_is_valid_and_searches_the_benchmarks_space() -> None:
    spec = StudySpec.model_validate(endtoend.spec(endtoend.Races(), 3))
    assert (spec.seed, spec.run.seed, spec.budget.minutes) == (3, 3, 6.0)
    assert spec.space == study_spec(rows=1024, epochs=3.0, seed=3).space
