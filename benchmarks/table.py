"""The stored learning curves as something that can be trained in no time.

Whatever a tool proposes is replayed by the whole curve of one of the nearest trainings in the table, drawn with a
probability that falls with its distance: a nearest-neighbour surrogate whose noise is that of real neighbours, and
whose every curve, early noise and sudden divergence included, really happened. Nearness weighs the dimensions so that
the mean over a training's neighbours foretells its accuracy best, leaving it out. Between two points of a curve, scores
are interpolated linearly; before the first, they are those of the first.

The best of the table is the best such mean: the best single training is mostly luck (the standard error of an accuracy
on 1,004 rows is 1.1 points), and a search that reaches it proves little.

Limits: nothing better than the table's best training can be found; that a draw differs from its neighbours counts as
chance where it may be due to the settings, so tools that model the space gain less here than on the real thing; the
luck of a training on the select split counts as its score, as it does for every tool in use.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.grid import Configuration, configuration, to_cube
from pipelines.errors import DataError
from pipelines.files import read_json

_NEIGHBOURS = 3
_WEIGHTS = (0.0, 0.1, 0.3, 1.0)  # tried for all dimensions but the learning rate, whose weight is 1


@dataclass(frozen=True)
class Training:
    """One training as the replay sees it."""

    shares: NDArray[np.float64]
    """(points,) of the horizon, rising to 1."""
    accuracy: NDArray[np.float64]
    """(points,) on the select split."""
    log_loss: NDArray[np.float64]
    """(points,)."""

    def scores(self, share: float) -> dict[str, float]:
        """Accuracy and log loss after a share of the horizon."""
        return {
            "accuracy": float(np.interp(share, self.shares, self.accuracy)),
            "log_loss": float(np.interp(share, self.shares, self.log_loss)),
        }


class Table:
    """Trainings, each at its configuration's point of the unit cube."""

    def __init__(self, curves: list[Mapping[str, Any]], *, shares: list[float], rows: int, epochs: float) -> None:
        self.rows, self.epochs = rows, epochs
        self._trainings = [_training(curve, shares) for curve in curves]
        self._cube = np.array([to_cube(configuration(curve)) for curve in curves])
        self.scores = np.array([one.accuracy[-1] for one in self._trainings])
        """(trainings,) accuracy at the horizon."""
        self.weights, foretold = _fitted(self._cube, self.scores)
        self.error = float(np.median(np.abs(foretold - self.scores)))
        """Of what the neighbours of a training foretell, in half of all cases at most."""
        self.best = float(foretold.max())
        """What a search is compared with; the best accuracy that the neighbours of a training foretell."""

    def __len__(self) -> int:
        return len(self._trainings)

    @property
    def horizon(self) -> int:
        """Training examples of a whole training."""
        return round(self.rows * self.epochs)

    def train(self, one: Configuration, *, seed: int, trial: int) -> Training:
        """The training that stands for a configuration; `seed` and `trial` draw it from the nearest."""
        apart = ((self._cube - to_cube(one)) ** 2 * self.weights).sum(axis=1)
        nearest, chances = _nearest(apart)
        return self._trainings[int(np.random.default_rng([seed, trial]).choice(nearest, p=chances))]


def read_table(file: Path, *, strict: bool = False) -> Table:
    """The table in a file of `benchmarks.curves`; `strict` compares with its best single training, luck included.

    Raises `DataError` when there is none.
    """
    stored = read_json(file)
    if stored is None or len(stored["curves"]) < 2:
        raise DataError(f"{file}: no learning curves; train them with: python -m benchmarks.curves")
    workload = stored["workload"]
    table = Table(stored["curves"], shares=stored["shares"], rows=workload["rows"], epochs=workload["epochs"])
    table.best = float(table.scores.max()) if strict else table.best
    return table


def _training(curve: Mapping[str, Any], shares: list[float]) -> Training:
    return Training(np.array(shares), np.array(curve["accuracy"]), np.array(curve["log_loss"]))


def _nearest(apart: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """The nearest of all trainings, and their chances: the inverse of their distances. `apart` are those, squared."""
    nearest = np.argsort(apart, kind="stable")[:_NEIGHBOURS]
    inverse = 1 / (np.sqrt(apart[nearest]) + 1e-3)
    return nearest, inverse / inverse.sum()


def _fitted(cube: NDArray[np.float64], scores: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights of the dimensions, (5,), and what they let the neighbours foretell, (trainings,), leaving one out."""
    found = []
    for rest in product(_WEIGHTS, repeat=cube.shape[1] - 1):
        weights = np.array([1.0, *rest])
        apart = ((cube[:, None, :] - cube[None, :, :]) ** 2 * weights).sum(axis=2)
        np.fill_diagonal(apart, np.inf)
        foretold = np.array([float(chances @ scores[nearest]) for nearest, chances in map(_nearest, apart)])
        found.append((float(np.abs(foretold - scores).mean()), -sum(rest), weights, foretold))
    _, _, weights, foretold = min(found, key=lambda one: one[:2])
    return weights, foretold
