"""From measured points to seconds and bytes."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.config import RunConfig, replaced
from pipelines.cost import (
    Law,
    Point,
    bare,
    combined,
    fit,
    fitting_micro_batch,
    peak_bytes,
    probe_shapes,
    rows_per_second,
    trial_seconds,
)
from tests.costs import EVALUATION, MEMORY, SHAPES, STEP, a_cost, a_probe, points

GIB = 2.0**30
POSITIVE = st.floats(min_value=1e-6, max_value=1e3)


def a_config(**changes: object) -> RunConfig:
    addresses = {name.replace("__", "."): value for name, value in changes.items()}
    return replaced(RunConfig(), {"train.epochs": 2.0, "train.evaluations": 4, **addresses})


@pytest.mark.parametrize("law", [STEP, EVALUATION, MEMORY, Law(0.0, 1e-3, 0.0), Law(0.2, 0.0, 1e-5)])
def test_planted_coefficients_are_found_again(law: Law) -> None:
    found = fit(points(law))
    assert [found.fixed, found.per_token, found.per_pair] == pytest.approx(
        [law.fixed, law.per_token, law.per_pair], rel=1e-6, abs=1e-12
    )


def test_noise_of_a_tenth_moves_predictions_by_little() -> None:
    draw = np.random.default_rng(0)
    noisy = [Point(p.rows, p.length, p.value * draw.uniform(0.9, 1.1)) for _ in range(4) for p in points(STEP)]
    for rows, length in SHAPES:
        assert fit(noisy).at(rows, length) == pytest.approx(STEP.at(rows, length), rel=0.1)


@given(st.lists(POSITIVE, min_size=4, max_size=4), st.integers(1, 64), st.integers(1, 512), st.integers(0, 64))
def test_more_tokens_are_never_predicted_to_be_cheaper(values: list[float], rows: int, length: int, more: int) -> None:
    law = fit([Point(*shape, value) for shape, value in zip(SHAPES, values, strict=True)])
    assert min(law.fixed, law.per_token, law.per_pair) >= 0
    assert law.at(rows + more, length) >= law.at(rows, length)
    assert law.at(rows, length + more) >= law.at(rows, length)


def test_two_points_of_one_length_give_a_line() -> None:
    law = fit([Point(1, 10, 1.1), Point(4, 10, 1.4)])
    assert (law.per_token, law.per_pair) == (pytest.approx(0.01), 0.0)
    assert fit([]) == Law(0.0, 0.0, 0.0)


def test_workers_that_measured_side_by_side_become_one_cost() -> None:
    cost = combined([a_probe(steps=points(STEP, times=0.9)), a_probe(steps=points(STEP, times=1.1), start_up=9.0)])
    assert cost.step.at(16, 32) == pytest.approx(STEP.at(16, 32), rel=0.02)
    assert cost.facts.start_up == 9.0


def test_a_trial_costs_what_its_batches_cost() -> None:
    cost = a_cost(train_lengths=(*(0,) * 20, 100), select_lengths=(*(0,) * 20, 40))  # all texts have 20 tokens
    seconds = trial_seconds(cost, a_config(train__batch_size=32, train__evaluations=4))
    epoch = 3 * STEP.at(32, 20) + STEP.at(4, 20)
    assert seconds["train"] == pytest.approx(2 * epoch)
    assert seconds["evaluate"] == pytest.approx(4 * EVALUATION.at(40, 20))
    assert seconds["prepare"] == 0.1
    slower = trial_seconds(a_cost(latency=0.02), a_config())
    assert slower["finish"] - seconds["finish"] == pytest.approx(16 * 0.01)
    assert rows_per_second(cost, a_config()) == pytest.approx(100 / epoch)


def test_accumulation_pays_the_optimizer_once() -> None:
    cost = a_cost(train_lengths=(*(0,) * 20, 32))
    plain = trial_seconds(cost, a_config(train__batch_size=32))["train"]
    assert trial_seconds(cost, a_config(train__batch_size=32, train__micro_batch_size=8))["train"] == pytest.approx(
        plain
    )
    assert trial_seconds(cost, a_config(train__batch_size=8))["train"] == pytest.approx(plain + 2 * 3 * STEP.fixed)


def test_a_shorter_input_and_fewer_epochs_are_cheaper() -> None:
    whole = trial_seconds(a_cost(), a_config())["train"]
    assert trial_seconds(a_cost(), a_config(tokens__max_length=15))["train"] < 0.8 * whole
    assert trial_seconds(a_cost(), a_config(train__epochs=0.5))["train"] == pytest.approx(whole / 4)


def test_a_large_data_set_is_judged_by_a_part_of_it() -> None:
    small = trial_seconds(a_cost(train_lengths=(*(0,) * 10, *(1_000,) * 20)), a_config())
    large = trial_seconds(a_cost(train_lengths=(*(0,) * 10, *(10_000,) * 20)), a_config())
    assert large["train"] == pytest.approx(10 * small["train"], rel=0.01)


def test_memory_is_that_of_the_longest_text_in_the_micro_batch() -> None:
    assert peak_bytes(a_cost(), a_config(train__batch_size=32)) == pytest.approx(MEMORY.at(32, 31))
    assert peak_bytes(a_cost(), a_config(train__batch_size=32, tokens__max_length=16)) == pytest.approx(
        MEMORY.at(32, 16)
    )
    micro = a_config(train__batch_size=32, train__micro_batch_size=4)
    assert peak_bytes(a_cost(), micro) == pytest.approx(MEMORY.at(4, 31))


@pytest.mark.parametrize(
    ("limit", "expected"), [(2 * GIB, 64), (MEMORY.at(32, 31), 32), (1.1 * GIB, 8), (MEMORY.at(1, 31), 1), (GIB, None)]
)
def test_the_micro_batch_is_the_largest_halving_that_fits(limit: float, expected: int | None) -> None:
    assert fitting_micro_batch(a_cost(), a_config(train__batch_size=64), limit=limit * (1 + 1e-9)) == expected


def test_shapes_to_measure_are_small_and_of_the_data() -> None:
    lengths = np.array([10] * 50 + [60] * 50)
    assert probe_shapes(lengths, (8, 16)) == [(8, 10), (16, 10), (8, 60), (16, 60)]
    assert probe_shapes(lengths, (16, 16)) == [(16, 10), (16, 60)]
    assert max(rows * length for rows, length in probe_shapes(lengths, (16, 4096))) <= 1_024
    assert probe_shapes(np.array([3000] * 5), (16, 32)) == [(1, 3000)]


def test_what_does_not_change_a_steps_cost_is_measured_once() -> None:
    config = a_config(train__learning_rate=1e-3, train__batch_size=8, seed=7)
    assert bare(config) == bare(RunConfig())
    assert bare(a_config(tokens__max_length=32)) != bare(RunConfig())
    assert bare(a_config(train__precision="fp32")) != bare(RunConfig())


def test_arithmetic_needs_no_torch() -> None:
    code = "import sys, pipelines.cost, hpo.measure; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
