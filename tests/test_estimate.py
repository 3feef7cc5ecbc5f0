"""What a study will take, from made-up measurements."""

from typing import Any

import pytest

from hpo.estimate import (
    NOTHING_KNOWN,
    Prospect,
    as_numbers,
    drawn_configs,
    estimate,
    fitted,
    makespan,
    needed_by_defaults,
    segments,
)
from hpo.machine import GIB, Share
from hpo.spec import Budget
from pipelines.config import replaced
from pipelines.cost import peak_bytes, trial_seconds
from pipelines.segment import InfeasibleError
from tests.costs import MEMORY, a_cost
from tests.stub import a_spec

PROSPECT = Prospect({"minilm": a_cost()}, each=8.0 * GIB, whole=16.0 * GIB)
TWO = Share(2, 1, "asked for")
SLACK = 1.25  # for what a process keeps of earlier batches
MEDIAN = {"name": "median", "options": {"n_startup_trials": 2}}


def chances(pruner: Any, *, number: int = 9, evaluations: int = 4, **changes: Any) -> list[float]:
    spec = a_spec(pruner=pruner, run={"train": {"epochs": 2.0, "evaluations": evaluations}}, **changes)
    shares, found = zip(*segments(spec, rows=100, number=number), strict=True)
    assert shares == (1 / evaluations,) * evaluations
    return list(found)


def test_the_median_pruner_stops_half_of_what_it_compares_at_each_evaluation() -> None:
    assert chances(MEDIAN) == [1.0, 0.5, 0.25, 0.125]
    assert chances(MEDIAN, number=1) == [1.0] * 4
    assert chances("median", number=4) == [1.0] * 4
    warm = {"name": "median", "options": {"n_startup_trials": 0, "n_warmup_steps": 100}}
    assert chances(warm) == [1.0, 1.0, 0.5, 0.25], "200 examples in all: the first evaluation comes after 50"


def test_other_pruners_have_their_own_expectation() -> None:
    assert chances({"name": "percentile", "options": {"percentile": 25.0}}) == [1.0, 0.25, 0.0625, 0.015625]
    assert chances("nop") == [1.0] * 4
    assert chances({"name": "threshold", "options": {"lower": 0.5}}) == [1.0] * 4
    halving = {"name": "successive_halving", "options": {"reduction_factor": 2}}
    assert chances(halving, evaluations=5) == [1.0, 0.5, 0.25, 0.25, 0.125]
    assert chances("hyperband") == pytest.approx([1.0, 1 / 3, 1 / 3, 1 / 9])


def test_of_halved_trials_one_in_three_reaches_the_next_segment_which_is_three_times_as_long() -> None:
    spec = a_spec(schedule={"name": "halving", "floor": 20, "factor": 3}, pruner=None)
    assert segments(spec, rows=100, number=5) == [
        (pytest.approx(22 / 200), 1.0),
        (pytest.approx(45 / 200), pytest.approx(1 / 3)),
        (pytest.approx(133 / 200), pytest.approx(1 / 9)),
    ]
    halved = estimate(spec.model_copy(update={"budget": Budget(trials=20)}), PROSPECT, TWO)
    assert halved.full_trials < 20 / 3
    assert halved.disk > estimate(a_spec(budget={"trials": 20}), PROSPECT, TWO).disk, "trials rest on checkpoints"


def test_several_objectives_are_never_pruned() -> None:
    assert chances(MEDIAN, objective=["accuracy", "latency_ms"]) == [1.0] * 4


def test_jobs_go_to_the_worker_that_is_free_first() -> None:
    assert makespan([3.0, 2.0, 2.0], workers=2) == 4.0
    assert makespan([5.0], workers=4) == 5.0
    assert makespan([], workers=2) == 0.0


def test_a_study_takes_its_trials_divided_among_the_workers_with_start_and_end() -> None:
    spec = a_spec(budget={"trials": 4}, space={"train.learning_rate": [1e-4]})
    one = sum(trial_seconds(a_cost(), drawn_configs(spec)[0]).values())
    found = estimate(spec, PROSPECT, TWO)
    assert found.trial == pytest.approx(one)
    assert found.seconds == pytest.approx(8.0 + 2 * one)
    assert (found.start_up, found.end, found.full_trials) == (8.0, 0.0, 4.0)
    assert estimate(spec, PROSPECT, TWO, finished=3).seconds == pytest.approx(8.0 + one)
    registered = a_spec(register_as="toy", space={"train.learning_rate": [1e-4]})
    ends = [estimate(registered, PROSPECT, TWO, test_rows=rows).end for rows in (0, 801)]  # as many as selected on
    assert ends[0] > 0
    assert ends[1] - ends[0] == pytest.approx(trial_seconds(a_cost(), drawn_configs(spec)[0])["evaluate"] / 4)


def test_pruning_and_a_budget_of_minutes_make_it_shorter() -> None:
    whole = estimate(a_spec(budget={"trials": 20}), PROSPECT, TWO)
    pruned = estimate(a_spec(budget={"trials": 20}, pruner=MEDIAN), PROSPECT, TWO)
    assert pruned.full_trials == pytest.approx(2 + 18 * 1.875 / 4)
    assert pruned.seconds < 0.6 * whole.seconds
    short = estimate(a_spec(budget={"trials": 20, "minutes": 0.01}), PROSPECT, TWO)
    assert short.seconds == pytest.approx(8.6)


def test_the_mean_is_over_the_space() -> None:
    few = {"train.batch_size": [4]}
    both = {"train.batch_size": [4, 32]}
    assert estimate(a_spec(space=both), PROSPECT, TWO).trial < 0.9 * estimate(a_spec(space=few), PROSPECT, TWO).trial
    assert drawn_configs(a_spec(space=both)) == drawn_configs(a_spec(space=both))


def test_memory_is_that_of_the_largest_configuration_as_it_will_be_trained() -> None:
    spec = a_spec(space={"train.batch_size": [16, 64]})
    found = estimate(spec, PROSPECT, TWO)
    assert found.peak == pytest.approx(SLACK * MEMORY.at(64, 31))
    assert found.peak_of_all == pytest.approx(2 * found.peak)
    tight = Prospect(PROSPECT.costs, each=SLACK * 1.2 * GIB, whole=2.4 * GIB)
    assert estimate(spec, tight, TWO).peak == pytest.approx(SLACK * MEMORY.at(16, 31))
    assert needed_by_defaults(spec, PROSPECT.costs) == pytest.approx(SLACK * MEMORY.at(16, 31))


def test_a_batch_that_does_not_fit_is_cut_and_stays_true() -> None:
    config = replaced(a_spec().run, {"train.batch_size": 64})
    assert fitted(config, PROSPECT) is config
    cut = fitted(config, Prospect(PROSPECT.costs, each=SLACK * 1.2 * GIB, whole=2.4 * GIB))
    assert (cut.train.batch_size, cut.train.micro_batch_size) == (64, 16)
    assert peak_bytes(a_cost(), cut) <= 1.2 * GIB < peak_bytes(a_cost(), cut, micro=32)


def test_what_fits_the_machine_but_not_a_workers_share_trains_row_by_row() -> None:
    prospect = Prospect(PROSPECT.costs, each=0.6 * GIB, whole=1.2 * GIB)
    assert fitted(a_spec().run, prospect).train.micro_batch_size == 1


def test_what_cannot_fit_is_refused_with_both_figures() -> None:
    prospect = Prospect(PROSPECT.costs, each=0.25 * GIB, whole=0.5 * GIB)
    with pytest.raises(InfeasibleError) as caught:
        fitted(a_spec().run, prospect)
    assert str(caught.value) == "needs about 1.0 GiB, this machine has 0.5 GiB"
    assert estimate(a_spec(), prospect, TWO).trial == 0.0, "what is refused takes no time"


def test_of_a_model_that_was_not_measured_nothing_is_foretold() -> None:
    config = a_spec().run
    assert fitted(config, NOTHING_KNOWN) is config
    assert estimate(a_spec(), NOTHING_KNOWN, TWO).seconds == 0.0


def test_numbers_for_programs_have_every_field() -> None:
    numbers = as_numbers(estimate(a_spec(), PROSPECT, TWO))
    assert numbers["disk"] > 90_000_000
    assert {"seconds", "trial", "peak", "peak_of_all", "disk"} <= numbers.keys()
