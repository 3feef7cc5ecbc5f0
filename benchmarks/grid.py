"""The space that the search benchmark searches, and points of it. Importing this costs little, in any process.

A wide space, as somebody writes it who does not know the model: four decades of learning rates, of which the middle one
is good, and any number of frozen layers, of which few are. So a good configuration is rare, as in a search that is
needed at all.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

LOW, HIGH = 1e-6, 1e-2
"""The learning rate, searched on a logarithmic scale."""
SIZES = (16, 32, 64)
"""Batch sizes."""
WARMUP, DECAY = 0.3, 0.1
"""The largest warm-up ratio and weight decay; both begin at 0."""
LAYERS = 6
"""All of the model's layers; from none to all of them are frozen, and the embeddings with the first."""
SPACE: Mapping[str, Any] = {
    "train.learning_rate": {"low": LOW, "high": HIGH, "log": True},
    "train.batch_size": list(SIZES),
    "train.warmup_ratio": {"low": 0.0, "high": WARMUP},
    "train.weight_decay": {"low": 0.0, "high": DECAY},
    "train.frozen_layers": {"low": 0, "high": LAYERS},
}
"""The same as the `space` of a study."""


@dataclass(frozen=True)
class Configuration:
    """What one training varies."""

    learning_rate: float
    batch_size: int
    warmup_ratio: float
    weight_decay: float
    frozen_layers: int

    def addresses(self) -> dict[str, Any]:
        """The settings by their addresses in a run's configuration."""
        return {f"train.{name}": value for name, value in asdict(self).items()}


def configuration(values: Mapping[str, Any]) -> Configuration:
    """The configuration in a mapping that has more in it, by name or by address."""
    plain = {name.removeprefix("train."): value for name, value in values.items()}
    return Configuration(
        learning_rate=float(plain["learning_rate"]),
        batch_size=int(plain["batch_size"]),
        warmup_ratio=float(plain["warmup_ratio"]),
        weight_decay=float(plain["weight_decay"]),
        frozen_layers=int(plain["frozen_layers"]),
    )


class Trial(Protocol):
    """What is asked of Optuna's trials."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """A number in a range."""
        ...

    def suggest_int(self, name: str, low: int, high: int) -> int:
        """A whole number in a range, both ends included."""
        ...

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """One of several values."""
        ...


def suggested(trial: Trial) -> Configuration:
    """What Optuna proposes, asked as its users write it."""
    return Configuration(
        learning_rate=trial.suggest_float("learning_rate", LOW, HIGH, log=True),
        batch_size=trial.suggest_categorical("batch_size", SIZES),
        warmup_ratio=trial.suggest_float("warmup_ratio", 0.0, WARMUP),
        weight_decay=trial.suggest_float("weight_decay", 0.0, DECAY),
        frozen_layers=trial.suggest_int("frozen_layers", 0, LAYERS),
    )


def sobol(count: int, *, seed: int = 0) -> list[Configuration]:
    """The first points of a scrambled Sobol sequence over the space; a longer call begins with the shorter one's."""
    power = max(0, math.ceil(math.log2(max(1, count))))
    cube = qmc.Sobol(d=5, scramble=True, rng=np.random.default_rng(seed)).random_base2(power)
    return [from_cube(point) for point in cube[:count]]


def from_cube(point: Sequence[float] | NDArray[np.float64]) -> Configuration:
    """The configuration at a point of the unit cube, (5,)."""
    rate, size, warmup, decay, frozen = (float(value) for value in point)
    return Configuration(
        learning_rate=LOW * (HIGH / LOW) ** rate,
        batch_size=SIZES[_index(size, len(SIZES))],
        warmup_ratio=WARMUP * warmup,
        weight_decay=DECAY * decay,
        frozen_layers=_index(frozen, LAYERS + 1),
    )


def to_cube(one: Configuration) -> NDArray[np.float64]:
    """The point of a configuration in the unit cube, (5,); batch sizes and layers at equal distances from 0 to 1."""
    rate = math.log(one.learning_rate / LOW) / math.log(HIGH / LOW)
    size = SIZES.index(one.batch_size) / (len(SIZES) - 1)
    return np.array([rate, size, one.warmup_ratio / WARMUP, one.weight_decay / DECAY, one.frozen_layers / LAYERS])


def _index(share: float, count: int) -> int:
    return min(int(share * count), count - 1)
