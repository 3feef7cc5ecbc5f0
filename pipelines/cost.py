"""What training costs: arithmetic over a few measured points. Importing this costs nothing."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipelines.batches import EVALUATION_TOKENS, epoch_batches, evaluation_batches, evaluation_steps
from pipelines.config import RunConfig, replaced
from pipelines.segment import Choice

ENGINE = 1
"""Raised whenever training becomes faster, slower, leaner or larger: what was measured before is then forgotten."""

_FINISH_SECONDS = 1.5  # export and pictures at the end of a trial: measured 1.5 to 2.5 s for MiniLM on two busy cores
_LATENCY_TEXTS = 16  # texts that are classified one by one at the end of a trial
_ROWS = 20_000  # of a large data set, so many texts stand for all
_SMALLEST = 1e-9  # what a measured value is at least: relative errors need a divisor
# What changes the result of a step and not its cost. A setting that is not listed is part of what was measured.
_FREE = (
    "train.epochs", "train.batch_size", "train.micro_batch_size", "train.learning_rate", "train.schedule",
    "train.warmup_ratio", "train.cooldown_ratio", "train.weight_decay", "train.beta1", "train.beta2", "train.epsilon",
    "train.max_grad_norm", "train.label_smoothing", "train.class_weights", "train.evaluations",
    "train.early_stopping", "train.checkpoint_seconds", "seed",
)  # fmt: skip


@dataclass(frozen=True)
class Point:
    """One measurement of a batch, padding included."""

    rows: int
    length: int
    """Tokens of the longest row."""
    value: float
    """Seconds, or bytes."""


@dataclass(frozen=True)
class Law:
    """Cost of a batch: fixed + per_token * tokens + per_pair * (pairs of tokens that attend to each other).

    No term is negative, so that more tokens are never predicted to be cheaper.
    """

    fixed: float
    per_token: float
    per_pair: float

    def at(self, rows: int, length: int) -> float:
        """The cost of `rows` rows, padded to `length` tokens."""
        return self.fixed + self.per_token * rows * length + self.per_pair * rows * length**2


@dataclass(frozen=True)
class Facts:
    """What is known of a model on this machine beside the costs of batches."""

    latency: float
    """Seconds to classify one text alone."""
    prepare: float
    """Seconds from a new configuration to a model that is ready to train."""
    start_up: float
    """Seconds that loading the libraries, the model and the data took."""
    weights: int
    """Bytes of the model's weights."""
    train_lengths: tuple[int, ...]
    """How many training texts have 0, 1, 2 ... tokens."""
    select_lengths: tuple[int, ...]
    precision: Choice
    compile: Choice
    """`on` or `off`."""
    device_memory: float | None
    """Bytes that the GPU has; None on a CPU."""


@dataclass(frozen=True)
class Probe:
    """What one worker measured of one model."""

    steps: tuple[Point, ...]
    """Seconds of an optimizer step."""
    evaluations: tuple[Point, ...]
    """Seconds of a batch without gradients."""
    memory: tuple[Point, ...]
    """Bytes at the peak of a step: of the process on a CPU, of the device's memory on a GPU."""
    facts: Facts


@dataclass(frozen=True)
class Cost:
    """What one model costs on this machine, with as many workers at work as measured it at the same time."""

    step: Law
    evaluation: Law
    memory: Law
    facts: Facts


def fit(points: Sequence[Point]) -> Law:
    """The law nearest to the measured points by relative error, without negative terms (least squares, NNLS).

    The term for attention needs two lengths and three points to be told from the others; it is zero with fewer.
    """
    from scipy.optimize import nnls

    if not points:
        return Law(0.0, 0.0, 0.0)
    told_apart = len({p.length for p in points}) > 1 and len({(p.rows, p.length) for p in points}) > 2
    terms = np.array([[1.0, p.rows * p.length, p.rows * p.length**2 * told_apart] for p in points])
    values = np.maximum([p.value for p in points], _SMALLEST)
    scale = np.maximum(terms.max(axis=0), 1.0)  # tokens and seconds differ by many powers of ten
    found, _ = nnls(terms / scale / values[:, None], np.ones(len(points)))
    return Law(*(float(value) for value in found / scale))


def combined(probes: Sequence[Probe]) -> Cost:
    """What workers that measured side by side found, as one: all their points, and the slowest start."""
    facts = [probe.facts for probe in probes]
    return Cost(
        step=fit([point for probe in probes for point in probe.steps]),
        evaluation=fit([point for probe in probes for point in probe.evaluations]),
        memory=fit([point for probe in probes for point in probe.memory]),
        facts=replace(
            facts[0],
            latency=float(np.mean([one.latency for one in facts])),
            prepare=float(np.mean([one.prepare for one in facts])),
            start_up=max(one.start_up for one in facts),
        ),
    )


def bare(config: RunConfig) -> RunConfig:
    """A configuration with every setting that does not change the cost of a step at its default."""
    plain = RunConfig()
    return replaced(config, {address: _value(plain, address) for address in _FREE})


def probe_shapes(
    lengths: NDArray[np.int64], batch_sizes: tuple[int, int], *, tokens: int = 1_024
) -> list[tuple[int, int]]:
    """Up to four (rows, length) worth measuring: small and large batches of short and long texts, cheapest first.

    None has more than about `tokens` tokens: what larger batches cost follows from the law.
    """
    found = set()
    for quantile in (0.25, 0.95):
        length = max(1, int(np.quantile(lengths, quantile)))
        found |= {(max(1, min(size, tokens // length, len(lengths))), length) for size in batch_sizes}
    return sorted(found, key=lambda shape: (shape[0] * shape[1], shape))


def trial_seconds(cost: Cost, config: RunConfig) -> dict[str, float]:
    """Seconds of a trial that trains to its end, by kind of work: `prepare`, `train`, `evaluate`, `finish`."""
    train, whole = _texts(cost.facts.train_lengths, config)
    select, all_select = _texts(cost.facts.select_lengths, config)
    batches = epoch_batches(train, config.train.batch_size, seed=config.seed, epoch=0)
    epoch = sum(_batch(cost.step, train[rows], micro=config.train.micro_batch_size) for rows in batches)
    evaluation = sum(_batch(cost.evaluation, select[rows]) for rows in _evaluated(select))
    return {
        "prepare": cost.facts.prepare,
        "train": epoch * whole * config.train.epochs,
        "evaluate": evaluation * all_select * len(set(evaluation_steps(sum(cost.facts.train_lengths), config.train))),
        "finish": _FINISH_SECONDS + _LATENCY_TEXTS * cost.facts.latency,
    }


def rows_per_second(cost: Cost, config: RunConfig) -> float:
    """Training speed of one worker; infinite where nothing was measured."""
    seconds = trial_seconds(cost, config)["train"]
    return sum(cost.facts.train_lengths) * config.train.epochs / seconds if seconds else float("inf")


def peak_bytes(cost: Cost, config: RunConfig, *, micro: int | None = None) -> float:
    """Memory of one worker at the peak of this configuration's largest step, in micro-batches of `micro` rows."""
    return cost.memory.at(micro or config.train.rows_at_once, longest_text(cost, config))


def longest_text(cost: Cost, config: RunConfig) -> int:
    """Tokens of the longest training text, as this configuration cuts it."""
    return min(len(cost.facts.train_lengths) - 1, config.tokens.max_length)


def fitting_micro_batch(cost: Cost, config: RunConfig, *, limit: float) -> int | None:
    """The micro-batch whose step stays within `limit` bytes: the configured one halved as often as it takes.

    None when not even a single row fits.
    """
    micro = config.train.rows_at_once
    while micro > 1 and peak_bytes(cost, config, micro=micro) > limit:
        micro //= 2
    return micro if peak_bytes(cost, config, micro=micro) <= limit else None


def _value(config: RunConfig, address: str) -> object:
    section, _, leaf = address.rpartition(".")
    return getattr(getattr(config, section) if section else config, leaf)


def _texts(counts: Sequence[int], config: RunConfig) -> tuple[NDArray[np.int64], float]:
    """Lengths of the texts that stand for all, as this configuration cuts them, and how many each stands for."""
    lengths = np.minimum(np.repeat(np.arange(len(counts)), counts), config.tokens.max_length).astype(np.int64)
    if len(lengths) <= _ROWS:
        return lengths, 1.0
    return lengths[np.linspace(0, len(lengths) - 1, _ROWS).astype(np.int64)], len(lengths) / _ROWS


def _batch(law: Law, lengths: NDArray[np.int64], *, micro: int | None = None) -> float:
    """Cost of one batch, in micro-batches; the fixed part, the optimizer's step above all, comes once."""
    micro = micro or len(lengths)
    parts = [lengths[start : start + micro] for start in range(0, len(lengths), micro)]
    return law.fixed + sum(law.at(len(part), int(part.max())) - law.fixed for part in parts)


def _evaluated(lengths: NDArray[np.int64]) -> Iterable[NDArray[np.int64]]:
    return evaluation_batches(lengths, tokens=EVALUATION_TOKENS)
