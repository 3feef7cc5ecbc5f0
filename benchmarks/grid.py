"""The space that the search benchmark searches, and points of it. Importing this costs little, in any process."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

LOW, HIGH = 1e-5, 1e-3
"""The learning rate, searched on a logarithmic scale."""
SIZES = (8, 16, 32, 64)
"""Batch sizes."""
WARMUP, DECAY = 0.3, 0.1
"""The largest warm-up ratio and weight decay; both begin at 0."""


@dataclass(frozen=True)
class Configuration:
    """What one training varies."""

    learning_rate: float
    batch_size: int
    warmup_ratio: float
    weight_decay: float


def sobol(count: int, *, seed: int = 0) -> list[Configuration]:
    """The first points of a scrambled Sobol sequence over the space; a longer call begins with the shorter one's."""
    power = max(0, math.ceil(math.log2(max(1, count))))
    cube = qmc.Sobol(d=4, scramble=True, rng=np.random.default_rng(seed)).random_base2(power)
    return [from_cube(point) for point in cube[:count]]


def from_cube(point: Sequence[float] | NDArray[np.float64]) -> Configuration:
    """The configuration at a point of the unit cube, (4,)."""
    rate, size, warmup, decay = (float(value) for value in point)
    return Configuration(
        learning_rate=LOW * (HIGH / LOW) ** rate,
        batch_size=SIZES[min(int(size * len(SIZES)), len(SIZES) - 1)],
        warmup_ratio=WARMUP * warmup,
        weight_decay=DECAY * decay,
    )


def to_cube(one: Configuration) -> NDArray[np.float64]:
    """The point of a configuration in the unit cube, (4,); batch sizes at 0, 1/3, 2/3 and 1."""
    rate = math.log(one.learning_rate / LOW) / math.log(HIGH / LOW)
    size = SIZES.index(one.batch_size) / (len(SIZES) - 1)
    return np.array([rate, size, one.warmup_ratio / WARMUP, one.weight_decay / DECAY])
