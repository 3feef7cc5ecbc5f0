"""Searches with the asynchronous halving of Ray Tune and of Syne Tune: their scheduler objects, without their runtimes.

Both stop a trial for good where it falls behind. Syne Tune 0.16 has no promotion type any more.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.grid import DECAY, HIGH, LAYERS, LOW, SIZES, WARMUP, Configuration, configuration, from_cube
from benchmarks.searches import following
from benchmarks.simulation import Order

_TIME, _METRIC = "resource", "accuracy"


class RayAsha:
    """Ray Tune's `AsyncHyperBandScheduler` over random configurations, as its default search algorithm draws them."""

    def __init__(
        self, *, seed: int, marks: Sequence[int], unit: int, factor: int, first: Sequence[Configuration] = ()
    ) -> None:
        """`marks` are the training examples at which a trial reports; the scheduler counts in units of `unit`."""
        from ray.tune.schedulers import AsyncHyperBandScheduler

        self._marks, self._unit, self._random = list(marks), unit, np.random.default_rng(seed)
        self._scheduler = AsyncHyperBandScheduler(
            time_attr=_TIME,
            metric=_METRIC,
            mode="max",
            grace_period=round(marks[0] / unit),
            max_t=round(marks[-1] / unit),
            reduction_factor=factor,
        )
        self._trials: dict[int, Any] = {}
        self._continuing: list[Order] = []
        self._first = list(first)

    def order(self) -> Order:
        """The next stretch of a trial that goes on, or a new trial."""
        if self._continuing:
            return self._continuing.pop(0)
        number = len(self._trials)
        self._trials[number] = SimpleNamespace(trial_id=str(number))
        self._scheduler.on_trial_add(None, self._trials[number])
        one = self._first.pop(0) if self._first else from_cube(self._random.random(5))
        return Order(number, one, begin=0, until=self._marks[0])

    def receive(self, order: Order, scores: dict[str, float]) -> None:
        """Hand the result over; the scheduler ends the trial or lets it go on."""
        result = {_TIME: round(order.until / self._unit), _METRIC: scores["accuracy"]}
        decision = self._scheduler.on_trial_result(None, self._trials[order.trial], result)
        if decision == self._scheduler.CONTINUE:
            self._continuing.append(following(order, self._marks))


class SyneTune:
    """One of Syne Tune's schedulers of the kind ASHA: `ASHA` (random configurations), or `BOHB` (kernel densities)."""

    def __init__(
        self,
        name: str,
        *,
        seed: int,
        marks: Sequence[int],
        unit: int,
        factor: int,
        first: Sequence[Configuration] = (),
    ) -> None:
        """`marks` are the training examples at which a trial reports; the scheduler counts in units of `unit`."""
        from syne_tune.config_space import choice, loguniform, randint, uniform
        from syne_tune.optimizer import baselines

        logging.getLogger("syne_tune").setLevel(logging.ERROR)
        self._marks, self._unit = list(marks), unit
        self._scheduler = getattr(baselines, name)(
            config_space={
                "learning_rate": loguniform(LOW, HIGH),
                "batch_size": choice(list(SIZES)),
                "warmup_ratio": uniform(0.0, WARMUP),
                "weight_decay": uniform(0.0, DECAY),
                "frozen_layers": randint(0, LAYERS),
            },
            metric=_METRIC,
            do_minimize=False,
            time_attr=_TIME,
            grace_period=round(marks[0] / unit),
            max_t=round(marks[-1] / unit),
            reduction_factor=factor,
            random_seed=seed,
            points_to_evaluate=[asdict(one) for one in first] or None,
        )
        self._trials: dict[int, Any] = {}
        self._continuing: list[Order] = []

    def order(self) -> Order:
        """The next stretch of a trial that goes on, or a new trial."""
        from syne_tune.backend.trial_status import Trial

        if self._continuing:
            return self._continuing.pop(0)
        number, config = len(self._trials), self._scheduler.suggest().config
        self._trials[number] = Trial(number, config, datetime.now())
        self._scheduler.on_trial_add(self._trials[number])
        return Order(number, configuration(config), begin=0, until=self._marks[0])

    def receive(self, order: Order, scores: dict[str, float]) -> None:
        """Hand the result over; the scheduler ends the trial or lets it go on."""
        from syne_tune.optimizer.scheduler import SchedulerDecision

        trial = self._trials[order.trial]
        result = {_TIME: round(order.until / self._unit), _METRIC: scores["accuracy"]}
        if order.until == self._marks[-1]:
            self._scheduler.on_trial_complete(trial, result)
        elif self._scheduler.on_trial_result(trial, result) == SchedulerDecision.CONTINUE:
            self._continuing.append(following(order, self._marks))
