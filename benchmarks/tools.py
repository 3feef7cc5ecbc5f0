"""The searches that are compared, by name: how each begins, and what must be installed for it."""

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import optuna

from benchmarks.grid import Configuration, configuration
from benchmarks.searches import Ours, WithPruner, study_spec
from benchmarks.simulation import Tool
from benchmarks.stoppers import RayAsha, SyneTune
from benchmarks.table import Table
from hpo.space import default_trials

OURS = "ours"
MEDIAN = "Optuna, full trials"


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


def ours(table: Table, seed: int, *, schedule: Mapping[str, Any] | None = None, defaults: bool = True) -> Tool:
    """Our halving with TPE; the schedule as shipped, but for what is given here."""
    changes = {"schedule": {"name": "halving"} | dict(schedule or {}), "start_with_defaults": defaults}
    return Ours(study_spec(rows=table.rows, epochs=table.epochs, seed=seed, **changes), rows=table.rows)


def the_default(table: Table) -> Configuration:
    """The known-good default that our studies begin with."""
    (values,) = default_trials(study_spec(rows=table.rows, epochs=table.epochs, seed=0))
    return configuration(values)


def full(table: Table, seed: int, *, default_first: bool = False) -> Tool:
    """TPE and the median pruner, scored after each epoch: Optuna's defaults on the Trainer's usual schedule."""
    marks = [round(table.rows * epoch) for epoch in range(1, int(table.epochs))]
    study = _study(seed, optuna.pruners.MedianPruner(), table if default_first else None)
    return WithPruner(study, marks=[*marks, table.horizon], unit=table.rows)


def halving(table: Table, seed: int, *, factor: int, rungs: int, default_first: bool) -> Tool:
    """TPE and the pruner for asynchronous successive halving, which stops."""
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=factor)
    study = _study(seed, pruner, table if default_first else None)
    return WithPruner(study, marks=_marks(table, factor, rungs), unit=_unit(table, factor, rungs))


def hyperband(table: Table, seed: int, *, factor: int, rungs: int, default_first: bool) -> Tool:
    """TPE and the Hyperband pruner."""
    pruner = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=factor**rungs, reduction_factor=factor)
    study = _study(seed, pruner, table if default_first else None)
    return WithPruner(study, marks=_marks(table, factor, rungs), unit=_unit(table, factor, rungs))


def ray_asha(table: Table, seed: int, *, factor: int, rungs: int, default_first: bool) -> Tool:
    """Ray Tune's ASHA over random configurations."""
    first = [the_default(table)] if default_first else []
    marks, unit = _marks(table, factor, rungs), _unit(table, factor, rungs)
    return RayAsha(seed=seed, marks=marks, unit=unit, factor=factor, first=first)


def syne_tune(table: Table, seed: int, *, factor: int, rungs: int, name: str, default_first: bool) -> Tool:
    """One of Syne Tune's baselines of the kind ASHA."""
    first = [the_default(table)] if default_first else []
    marks, unit = _marks(table, factor, rungs), _unit(table, factor, rungs)
    return SyneTune(name, seed=seed, marks=marks, unit=unit, factor=factor, first=first)


def stopping(factor: int, rungs: int, *, default_first: bool = False, words: str = "") -> dict[str, Contender]:
    """The peers that halve and stop: so many rungs, at the horizon divided by powers of the factor."""
    how: dict[str, Any] = {"factor": factor, "rungs": rungs, "default_first": default_first}
    return {
        f"Optuna, successive halving{words}": Contender(partial(halving, **how), _OF_STOPPING),
        f"Optuna, Hyperband{words}": Contender(partial(hyperband, **how), _OF_STOPPING),
        f"Ray Tune ASHA{words}": Contender(partial(ray_asha, **how), _OF_STOPPING, needs="ray"),
        f"Syne Tune ASHA{words}": Contender(partial(syne_tune, name="ASHA", **how), _OF_STOPPING, needs="syne-tune"),
        f"Syne Tune BOHB{words}": Contender(partial(syne_tune, name="BOHB", **how), _OF_STOPPING, needs="syne-tune"),
    }


_OF_FULL, _OF_STOPPING = 4.0, 1.5  # how many times our cost a peer should need, at least
_BEST = ", best configured"
CONTENDERS = {OURS: Contender(ours), MEDIAN: Contender(full, _OF_FULL)} | stopping(3, 1)
"""As people write it: reports after each epoch of the Trainer, proposals by the tool alone."""
BEST = {MEDIAN + _BEST: Contender(partial(full, default_first=True), _OF_STOPPING)} | stopping(
    2, 2, default_first=True, words=_BEST
)
"""The peers at their best: the known-good default first, and those that halve at the rungs of our shipped schedule."""

_FLOORS = {2: (600, 1000), 3: (600, 1500), 4: (300, 600)}  # by factor: those that give rungs of their own
SETTINGS: dict[str, Contender] = {
    f"factor {factor}, floor {floor}{', by accuracy' * (score == 'objective')}{', 2 brackets' * (brackets == 2)}": (
        Contender(partial(ours, schedule={"factor": factor, "floor": floor, "score": score, "brackets": brackets}))
    )
    for factor, floors in _FLOORS.items()
    for floor in floors
    for score, brackets in (("log_loss", 1), ("objective", 1), ("log_loss", 2))
    if (factor, floor, score, brackets) != (2, 1000, "log_loss", 1)  # that is the shipped one
} | {"as shipped, without the default": Contender(partial(ours, defaults=False))}
"""Other settings of our own schedule."""


def _study(seed: int, pruner: optuna.pruners.BasePruner, table: Table | None) -> optuna.Study:
    """Optuna's default sampler, seeded; the name decides on Hyperband's brackets; with a table, our default first."""
    sampler = optuna.samplers.TPESampler(seed=seed)
    study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner, study_name=f"replay-{seed}")
    if table is not None:
        study.enqueue_trial(asdict(the_default(table)))
    return study


def _unit(table: Table, factor: int, rungs: int) -> int:
    """Examples in the unit of resource of the halving peers: the first rung."""
    return table.horizon // int(factor**rungs)


def _marks(table: Table, factor: int, rungs: int) -> list[int]:
    return [table.horizon // int(factor**power) for power in range(rungs, -1, -1)]
