"""A search in simulated time: workers that train as fast as each other, and a real tool that tells them what to do.

Cost is counted in epoch-units: training examples that were trained on, by the training rows. Evaluations are left out
for all tools; so are start-up, storage and checkpoints, which the other benchmarks measure.
"""

import heapq
import math
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.grid import Configuration
from benchmarks.table import Table, Training

NOTHING = 0.5
"""The accuracy of a search that has nothing to deliver yet: guessing between two classes."""


@dataclass(frozen=True)
class Order:
    """A stretch of one trial's training, in training examples from its beginning."""

    trial: int
    configuration: Configuration
    begin: int
    until: int


class Tool(Protocol):
    """A search by one tool."""

    def order(self) -> Order | None:
        """Work for a free worker, or None while there is none."""
        ...

    def receive(self, order: Order, scores: dict[str, float]) -> None:
        """What the select split says at the end of an order: `accuracy` and `log_loss`."""
        ...


@dataclass
class Trace:
    """What a search had to deliver at which cost."""

    costs: list[float] = field(default_factory=list)
    """Epoch-units at which the incumbent changed, rising."""
    delivered: list[float] = field(default_factory=list)
    """The accuracy of each incumbent, rising."""
    spent: float = 0.0
    """Epoch-units at the last result."""
    trials: int = 0
    complete: int = 0
    """Trials that were trained to the horizon."""

    def reached(self, target: float) -> float:
        """Epoch-units until the incumbent was so good for the first time; infinite where it never was."""
        return next((cost for cost, value in zip(self.costs, self.delivered, strict=True) if value >= target), math.inf)

    def at(self, costs: NDArray[np.float64]) -> NDArray[np.float64]:
        """The accuracy of the incumbent at each cost, (costs,)."""
        values = np.array([NOTHING, *self.delivered])
        return values[np.searchsorted(self.costs, costs, side="right")]


class _Crew:
    """Workers in simulated time, each with one order at most."""

    def __init__(self, table: Table, *, workers: int) -> None:
        self._table, self._workers = table, workers
        self._running: list[tuple[float, int, Order, float]] = []  # end, number of the order, order, beginning
        self._now, self._orders, self._finished = 0.0, 0, 0.0

    def fill(self, tool: Tool) -> bool:
        """Give every free worker something to do; False when nobody works."""
        while len(self._running) < self._workers and (order := tool.order()) is not None:
            end = self._now + (order.until - order.begin) / self._table.rows
            heapq.heappush(self._running, (end, self._orders, order, self._now))
            self._orders += 1
        return bool(self._running)

    def finish(self) -> Order:
        """Go on to the end of the order that ends first."""
        self._now, _, order, began = heapq.heappop(self._running)
        self._finished += self._now - began
        return order

    @property
    def spent(self) -> float:
        """Epoch-units so far, those of unfinished orders included."""
        return self._finished + sum(self._now - began for *_, began in self._running)


def simulate(tool: Tool, table: Table, *, workers: int, seed: int, budget: float, watched: float = math.inf) -> Trace:
    """Run a search until it has spent `budget` epoch-units, or nothing is left to do.

    What a tool delivers is the best of the trials that it trained to the horizon: no tool here gives a model that it
    stopped early. Once the best of the table but half
    a point is reached, the search does not go on beyond `watched` epoch-units.
    """
    trace, trainings, crew, best = Trace(), dict[int, Training](), _Crew(table, workers=workers), -math.inf
    while crew.fill(tool):
        order = crew.finish()
        if crew.spent > budget or (crew.spent > watched and trace.reached(goal(table)) < math.inf):
            break
        trace.spent = crew.spent
        if order.trial not in trainings:
            trainings[order.trial] = table.train(order.configuration, seed=seed, trial=order.trial)
        scores = trainings[order.trial].scores(order.until / table.horizon)
        if order.until == table.horizon:
            trace.complete += 1
            if scores["accuracy"] > best:
                best = scores["accuracy"]
                trace.costs.append(crew.spent)
                trace.delivered.append(best)
        tool.receive(order, scores)
    trace.trials = len(trainings)
    return trace


def goal(table: Table) -> float:
    """What a search is to reach: the best of the table but half a point."""
    return table.best - 0.005
