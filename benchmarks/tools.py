"""The searches that are compared, by name: how each begins, and what must be installed for it."""

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import optuna

from benchmarks.searches import Ours, WithPruner, study_spec
from benchmarks.simulation import Tool
from benchmarks.stoppers import RayAsha, SyneTune
from benchmarks.table import Table

OURS = "ours"
MEDIAN = "Optuna, full trials"
_FACTOR = 3  # of every halving peer


@dataclass(frozen=True)
class Contender:
    """A tool as it is set for the comparison."""

    start: Callable[[Table, int], Tool]
    """Of table and seed."""
    target: float | None = None
    """How many times our cost it should need, at least."""
    needs: str = ""
    """A package that must be installed; empty for what comes with us."""

    @property
    def absent(self) -> str:
        """Why it cannot be measured here; empty where it can."""
        if not self.needs or importlib.util.find_spec(self.needs.replace("-", "_")):
            return ""
        return f"not installed: pip install '.[bench-search]' brings {self.needs}"


def ours(table: Table, seed: int, *, schedule: Mapping[str, Any] | None = None, defaults: bool = False) -> Tool:
    """Our halving with TPE; the schedule as shipped, but for what is given here."""
    changes = {"schedule": {"name": "halving"} | dict(schedule or {}), "start_with_defaults": defaults}
    return Ours(study_spec(rows=table.rows, epochs=table.epochs, seed=seed, **changes), rows=table.rows)


def full(table: Table, seed: int) -> Tool:
    """TPE and the median pruner, scored after each epoch: Optuna's defaults on the Trainer's usual schedule."""
    marks = [round(table.rows * epoch) for epoch in range(1, int(table.epochs))]
    study = _study(seed, optuna.pruners.MedianPruner())
    return WithPruner(study, marks=[*marks, table.horizon], unit=table.rows)


def halving(table: Table, seed: int, *, rungs: int) -> Tool:
    """TPE and the pruner for asynchronous successive halving, which stops."""
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=_FACTOR)
    return WithPruner(_study(seed, pruner), marks=_marks(table, rungs), unit=_unit(table, rungs))


def hyperband(table: Table, seed: int, *, rungs: int) -> Tool:
    """TPE and the Hyperband pruner."""
    pruner = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=_FACTOR**rungs, reduction_factor=_FACTOR)
    return WithPruner(_study(seed, pruner), marks=_marks(table, rungs), unit=_unit(table, rungs))


def ray_asha(table: Table, seed: int, *, rungs: int) -> Tool:
    """Ray Tune's ASHA over random configurations."""
    return RayAsha(seed=seed, marks=_marks(table, rungs), unit=_unit(table, rungs), factor=_FACTOR)


def syne_tune(table: Table, seed: int, *, rungs: int, name: str) -> Tool:
    """One of Syne Tune's baselines of the kind ASHA."""
    return SyneTune(name, seed=seed, marks=_marks(table, rungs), unit=_unit(table, rungs), factor=_FACTOR)


def stopping(rungs: int, *, words: str = "", target: float | None = None) -> dict[str, Contender]:
    """The peers that halve and stop: so many rungs, at the horizon divided by powers of the factor."""
    return {
        f"Optuna, successive halving{words}": Contender(partial(halving, rungs=rungs), target),
        f"Optuna, Hyperband{words}": Contender(partial(hyperband, rungs=rungs), target),
        f"Ray Tune ASHA{words}": Contender(partial(ray_asha, rungs=rungs), target, needs="ray"),
        f"Syne Tune ASHA{words}": Contender(partial(syne_tune, rungs=rungs, name="ASHA"), target, needs="syne-tune"),
        f"Syne Tune BOHB{words}": Contender(partial(syne_tune, rungs=rungs, name="BOHB"), target, needs="syne-tune"),
    }


CONTENDERS = {OURS: Contender(ours), MEDIAN: Contender(full, target=4.0)} | stopping(1, target=1.5)
"""The comparison: all that halve do so at a third of the horizon, where our shipped schedule does."""
EARLY = stopping(2, words=", rungs at 1/9 and 1/3")
"""The stopping peers with one more, earlier rung."""

_RUNGS = {  # floors scaled to a horizon of 3,072 examples, by factor: those that give rungs of their own
    2: (300, 600, 1000),
    3: (300, 600),
    4: (300,),
}
SETTINGS: dict[str, Contender] = {
    f"factor {factor}, floor {floor}{', by log loss' * (score == 'log_loss')}{', 2 brackets' * (brackets == 2)}": (
        Contender(
            partial(ours, schedule={"factor": factor, "floor": floor, "score": score, "brackets": brackets}),
        )
    )
    for factor, floors in _RUNGS.items()
    for floor in floors
    for score in ("objective", "log_loss")
    for brackets in ((1, 2) if (factor, floor) in {(2, 300), (2, 600), (3, 300)} else (1,))
    if (factor, floor, score) != (3, 600, "objective")  # that is the shipped one
} | {"as shipped, the known-good default first": Contender(partial(ours, defaults=True))}
"""Other settings of our own schedule."""


def _study(seed: int, pruner: optuna.pruners.BasePruner) -> optuna.Study:
    """Optuna's default sampler, seeded; the name decides about Hyperband's brackets."""
    sampler = optuna.samplers.TPESampler(seed=seed)
    return optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner, study_name=f"replay-{seed}")


def _unit(table: Table, rungs: int) -> int:
    """Examples in the unit of resource of the halving peers: the first rung."""
    return table.horizon // int(_FACTOR**rungs)


def _marks(table: Table, rungs: int) -> list[int]:
    return [table.horizon // int(_FACTOR**power) for power in range(rungs, -1, -1)]
