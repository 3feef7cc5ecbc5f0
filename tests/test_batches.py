"""Which rows go into which step: every row once, little padding, no trend, and the same for the same seed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipelines.batches import epoch_batches, evaluation_batches, evaluation_steps, steps_per_epoch, total_steps
from pipelines.config import TrainConfig

Lengths = NDArray[np.int64]


def realistic(rows: int = 10_000, seed: int = 0) -> Lengths:
    """Lengths as review sentences have them: a long tail, cut at 128."""
    draw = np.random.default_rng(seed).lognormal(mean=3.2, sigma=0.55, size=rows)
    return np.clip(draw.round(), 4, 128).astype(np.int64)


def listed(batches: list[NDArray[np.int64]]) -> list[list[int]]:
    return [batch.tolist() for batch in batches]


def padded(lengths: Lengths, batches: list[NDArray[np.int64]]) -> int:
    return sum(len(batch) * int(lengths[batch].max()) for batch in batches)


@settings(deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=300), st.integers(1, 40), st.integers(0, 5), st.integers(0, 3))
def test_every_row_comes_once_an_epoch(lengths: list[int], batch_size: int, seed: int, epoch: int) -> None:
    batches = epoch_batches(np.array(lengths), batch_size, seed=seed, epoch=epoch)
    assert sorted(row for batch in listed(batches) for row in batch) == list(range(len(lengths)))
    assert len(batches) == steps_per_epoch(len(lengths), batch_size)
    assert sorted(map(len, batches))[1:] == [batch_size] * (len(batches) - 1)  # at most one is smaller


@pytest.mark.parametrize(("rows", "batch_size"), [(10_000, 32), (4096, 32), (4097, 32), (2049, 32)])
def test_every_row_comes_once_in_large_data_too(rows: int, batch_size: int) -> None:
    batches = epoch_batches(realistic(rows), batch_size, seed=0, epoch=0)
    assert sorted(row for batch in listed(batches) for row in batch) == list(range(rows))
    assert len(batches) == steps_per_epoch(rows, batch_size)
    assert sum(len(batch) != batch_size for batch in batches) <= 1


def test_same_seed_and_epoch_give_the_same_batches() -> None:
    first, again = (listed(epoch_batches(realistic(3000), 32, seed=7, epoch=2)) for _ in range(2))
    assert first == again


@pytest.mark.parametrize("other", [{"seed": 8, "epoch": 2}, {"seed": 7, "epoch": 3}])
def test_other_seed_or_epoch_gives_other_batches(other: dict[str, int]) -> None:
    lengths = realistic(3000)
    first, second = epoch_batches(lengths, 32, seed=7, epoch=2), epoch_batches(lengths, 32, **other)
    assert listed(first) != listed(second)
    # Not only their order: rows meet other rows.
    assert not {frozenset(batch) for batch in listed(first)} & {frozenset(batch) for batch in listed(second)}


def test_rows_of_equal_length_do_not_stay_in_the_order_of_the_file() -> None:
    (batch, *_) = epoch_batches(np.full(500, 9), 50, seed=0, epoch=0)
    assert abs(np.corrcoef(np.arange(50), batch)[0, 1]) < 0.5
    assert batch.max() - batch.min() > 250


@pytest.mark.parametrize("seed", range(3))
def test_padding_is_little(seed: int) -> None:
    lengths = realistic(seed=seed)
    assert padded(lengths, epoch_batches(lengths, 32, seed=seed, epoch=0)) / lengths.sum() <= 1.06
    shuffled = np.array_split(np.random.default_rng(seed).permutation(len(lengths)), len(lengths) // 32)
    assert padded(lengths, shuffled) / lengths.sum() > 1.5  # without bucketing


@pytest.mark.parametrize("epoch", range(4))
def test_length_does_not_depend_on_the_place_in_the_epoch(epoch: int) -> None:
    lengths = realistic(32_000)
    means = [float(lengths[batch].mean()) for batch in epoch_batches(lengths, 32, seed=1, epoch=epoch)]
    assert abs(np.corrcoef(np.arange(len(means)), means)[0, 1]) < 0.1  # 1000 batches: 3 standard errors
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.1  # nor on the batch before


def test_length_does_not_depend_on_the_place_in_small_data_either() -> None:
    lengths, trends = realistic(2000), []
    for epoch in range(20):
        means = [float(lengths[batch].mean()) for batch in epoch_batches(lengths, 32, seed=1, epoch=epoch)]
        trends.append(np.corrcoef(np.arange(len(means)), means)[0, 1])
    assert abs(np.mean(trends)) < 0.1


@settings(deadline=None)
@given(st.lists(st.integers(1, 90), min_size=1, max_size=200), st.integers(1, 400))
def test_evaluation_covers_all_rows_within_the_limit(lengths: list[int], limit: int) -> None:
    array = np.array(lengths)
    batches = evaluation_batches(array, tokens=limit)
    assert sorted(row for batch in listed(batches) for row in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) * array[batch].max() <= limit or len(batch) == 1


def test_evaluation_fills_its_batches() -> None:
    assert [len(batch) for batch in evaluation_batches(np.full(100, 10), tokens=250)] == [25] * 4
    lengths = realistic()
    batches = evaluation_batches(lengths, tokens=8192)
    assert padded(lengths, batches) / lengths.sum() <= 1.06
    assert len(batches) <= 1.15 * lengths.sum() / 8192


def test_evaluation_of_nothing_has_no_batches() -> None:
    assert evaluation_batches(np.empty(0, np.int64), tokens=100) == []


@pytest.mark.parametrize(
    ("rows", "batch_size", "epochs", "steps"),
    [
        (100, 10, 1.0, 10),
        (101, 10, 1.0, 11),
        (100, 10, 2.5, 25),
        (100, 1000, 3.0, 3),
        (100, 10, 0.001, 1),
        (240, 32, 0.5, 4),
    ],
)
def test_epochs_and_batch_size_give_the_number_of_steps(rows: int, batch_size: int, epochs: float, steps: int) -> None:
    assert total_steps(rows, TrainConfig(epochs=epochs, batch_size=batch_size)) == steps


@pytest.mark.parametrize(
    ("epochs", "evaluations", "steps"),
    [
        (1.0, 1, [10]),
        (1.0, 2, [5, 10]),
        (1.0, 4, [2, 5, 8, 10]),
        (2.0, 4, [5, 10, 15, 20]),
        (0.2, 4, [1, 1, 2, 2]),  # fewer steps than evaluations
        (0.1, 3, [1, 1, 1]),
    ],
)
def test_evaluations_are_spread_evenly_and_end_with_the_run(epochs: float, evaluations: int, steps: list[int]) -> None:
    config = TrainConfig(epochs=epochs, batch_size=10, evaluations=evaluations)
    assert evaluation_steps(100, config) == steps
    assert steps[-1] == total_steps(100, config)
