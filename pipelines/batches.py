"""Which rows go into which step: a pure function of (lengths, batch size, seed, epoch)."""

import numpy as np
from numpy.typing import NDArray

from pipelines.config import TrainConfig

EVALUATION_TOKENS = 8_192
"""Tokens per batch without gradients: large enough to fill the device, small in memory."""

_POOL = 64  # batches whose rows are sorted by length together: large enough for little padding, small enough to mix


def steps_per_epoch(rows: int, batch_size: int) -> int:
    """Optimizer steps of one pass; the last batch may be smaller."""
    return -(-rows // batch_size)


def total_steps(rows: int, config: TrainConfig) -> int:
    """Optimizer steps of the whole run: the horizon of the learning-rate schedule."""
    return max(1, round(config.epochs * steps_per_epoch(rows, config.batch_size)))


def evaluation_steps(rows: int, config: TrainConfig) -> list[int]:
    """The optimizer step of each evaluation: evenly spread, the last one at the end.

    One entry per evaluation; entries repeat where the run has fewer steps than evaluations.
    """
    total = total_steps(rows, config)
    return [max(1, round(total * part / config.evaluations)) for part in range(1, config.evaluations + 1)]


def epoch_batches(lengths: NDArray[np.int64], batch_size: int, *, seed: int, epoch: int) -> list[NDArray[np.int64]]:
    """The batches of one epoch: every row exactly once, rows of similar length together, in random order.

    Rows are shuffled, dealt into pools of some batches, sorted by length inside their pool (ties stay shuffled) and
    cut; then the batches are shuffled. So the order carries no trend of length, and padding stays small.
    """
    generator = np.random.default_rng([seed, epoch])
    rows = generator.permutation(len(lengths))
    batches: list[NDArray[np.int64]] = []
    for start in range(0, len(rows), _POOL * batch_size):
        pool = rows[start : start + _POOL * batch_size]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        batches += [pool[at : at + batch_size] for at in range(0, len(pool), batch_size)]
    return [batches[index] for index in generator.permutation(len(batches))]


def evaluation_batches(lengths: NDArray[np.int64], *, tokens: int) -> list[NDArray[np.int64]]:
    """All rows, shortest first, in batches of at most `tokens` tokens, padding included (one row at least)."""
    order = np.argsort(lengths, kind="stable")
    batches: list[NDArray[np.int64]] = []
    start = 0
    for stop in range(1, len(order) + 1):
        # Sorted by length: the row at `stop` would be the longest, and set the width of the whole batch.
        if stop == len(order) or (stop + 1 - start) * lengths[order[stop]] > tokens:
            batches.append(order[start:stop])
            start = stop
    return batches
