"""Optuna's samplers and pruners, by name with their own options."""

import hashlib
import importlib.util
import inspect
import warnings
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler

from hpo.space import grid_of
from hpo.spec import Component, StudySpec
from hpo.suggest import did_you_mean
from pipelines.errors import ConfigError

# Their randomness must be the same in every process that continues the study; the others are seeded per trial.
_SEEDED_ONCE = {"grid", "qmc", "bruteforce"}


class _Grid(optuna.samplers.GridSampler):
    def after_trial(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: Optuna's would call `study.stop()`, which exists inside `study.optimize` only. The budget stops."""


class _BruteForce(optuna.samplers.BruteForceSampler):
    def after_trial(self, *args: Any, **kwargs: Any) -> None:
        """Nothing, for the same reason."""


SAMPLERS: dict[str, type[BaseSampler]] = {
    name.removesuffix("Sampler").lower(): getattr(optuna.samplers, name)
    for name in optuna.samplers.__all__
    if name.endswith("Sampler") and name not in {"BaseSampler", "BaseGASampler", "PartialFixedSampler"}
} | {"grid": _Grid, "bruteforce": _BruteForce}
PRUNERS: dict[str, type[BasePruner]] = {
    name.removesuffix("Pruner").lower(): getattr(optuna.pruners, name)
    for name in optuna.pruners.__all__
    if name.endswith("Pruner") and name != "BasePruner"
}


def new_sampler(spec: StudySpec, *, trial: int) -> BaseSampler:
    """The sampler that proposes trial number `trial`.

    Its seed is a function of (study seed, trial number): a study that is continued in a new process draws what the
    uninterrupted one would have drawn, instead of its first proposals once more.
    Raises `ConfigError` for an unknown name or option.
    """
    name = canonical(spec.sampler.name)
    options = dict(spec.sampler.options)
    if name == "cmaes" and importlib.util.find_spec("cmaes") is None:  # Optuna would notice in the middle of the study
        raise ConfigError("sampler.name: cmaes needs a package that is not installed; pip install cmaes")
    if name == "grid":
        options["search_space"] = grid_of(spec)
    if name == "tpe" and any(dimension.per_model for dimension in spec.space.values()):
        options.setdefault("group", True)  # Optuna's own advice for spaces whose dimensions depend on one another
    kind = find_kind(spec.sampler, SAMPLERS, section="sampler")
    if "seed" in inspect.signature(kind).parameters:
        options.setdefault("seed", spec.seed if name in _SEEDED_ONCE else _mixed(spec.seed, trial))
    if name == "qmc":
        options.setdefault("scramble", True)
    sampler: BaseSampler = construct(kind, options, section="sampler", name=spec.sampler.name)
    return sampler


def new_pruner(component: Component) -> BasePruner:
    """The pruner of that name. Raises `ConfigError` for an unknown name or option."""
    options = dict(component.options)
    if isinstance(options.get("wrapped_pruner"), str):
        options["wrapped_pruner"] = new_pruner(Component(name=options["wrapped_pruner"]))
    kind = find_kind(component, PRUNERS, section="pruner")
    pruner: BasePruner = construct(kind, options, section="pruner", name=component.name)
    return pruner


def find_kind(component: Component, kinds: Mapping[str, Any], *, section: str) -> Any:
    """What a component names. Raises `ConfigError` with what there is."""
    if found := kinds.get(canonical(component.name)):
        return found
    names = ", ".join(sorted(kinds))
    raise ConfigError(
        f"{section}.name: Optuna has no {section} {component.name!r}{did_you_mean(component.name, kinds)}; "
        f"there are: {names}"
    )


def construct(kind: Any, options: dict[str, Any], *, section: str, name: str) -> Any:
    """`kind` with these options. Raises `ConfigError` for those that it does not know or refuses."""
    known = [option for option in inspect.signature(kind).parameters if option not in {"self", "args", "kwargs"}]
    if unknown := [option for option in options if option not in known]:
        hint = did_you_mean(unknown[0], known)
        raise ConfigError(
            f"{section}.options.{unknown[0]}: {name} has no such option{hint}; it has: {', '.join(known)}"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # which options are experimental is no news to a study
            return kind(**options)
    except (TypeError, ValueError, ImportError) as error:
        raise ConfigError(f"{section}.options: {name} refuses them: {error}") from error


def canonical(name: str) -> str:
    """The short name of a sampler or pruner: `brute_force` and `BruteForceSampler` are `bruteforce`."""
    return name.lower().replace("_", "").replace("-", "").removesuffix("sampler").removesuffix("pruner")


def _mixed(seed: int, trial: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{trial}".encode()).digest()[:4], "big")
