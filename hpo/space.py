"""The search space: dimensions by address, as Optuna's distributions and as values in a RunConfig."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from pydantic import ValidationError

from hpo.spec import Dimension, StudySpec
from hpo.suggest import did_you_mean
from pipelines.config import RunConfig, flatten, replaced
from pipelines.errors import ConfigError
from pipelines.families import family_called

MODEL = "model.name"
_LENGTH, _BATCH, _EPOCHS = "tokens.max_length", "train.batch_size", "train.epochs"
# What a trial may not vary: the rows it is compared on, and what does not change the model.
_FIXED_SECTIONS = ("data.", "seed")
_FIXED = {"train.evaluations", "train.checkpoint_seconds", "train.early_stopping", "model.revision"}
SETTINGS = flatten(RunConfig().model_dump())
SEARCHABLE = [a for a in SETTINGS if not a.startswith(_FIXED_SECTIONS) and a not in _FIXED]
_CHECKPOINTS_OWN = {"model.dropout": 0.1}  # what a setting that is left to the checkpoint is in nearly all of them
_INTEGERS = {
    "tokens.max_length", "train.batch_size", "train.micro_batch_size", "train.frozen_layers", "lora.rank",
    "scratch.layers", "scratch.heads",
}  # fmt: skip

# What a model may be unable to do, and which of several values asks most of it.
_DEMANDS: Mapping[str, Callable[[Any], Any]] = {
    "tokens.max_length": max,
    "lora.rank": max,
    "train.frozen_layers": max,
    "train.freeze_embeddings": max,
    "train.layer_decay": min,
    "train.gradient_checkpointing": max,
}


def suggest(trial: optuna.Trial, spec: StudySpec) -> dict[str, Any]:
    """Ask Optuna for this trial's value of every dimension, by address."""
    model = spec.run.model.name
    values: dict[str, Any] = {}
    for address in sorted(spec.space, key=lambda name: (name != MODEL, name)):
        name, dimension = name_and_dimension(spec, address, model=model)
        values[address] = trial._suggest(name, distribution(address, dimension))
        model = values.get(MODEL, model)
    return values


def name_and_dimension(spec: StudySpec, address: str, *, model: str) -> tuple[str, Dimension]:
    """What a dimension is called in Optuna, and its range, for one model.

    A range of one model alone is a parameter of its own, `train.learning_rate[gpt2]`: Optuna's samplers need one
    distribution per name.
    """
    dimension = spec.space[address]
    if model in dimension.per_model:
        return f"{address}[{model}]", dimension.per_model[model]
    return address, dimension


def address_of(name: str) -> str:
    """The address in RunConfig of one of Optuna's parameter names."""
    return name.partition("[")[0]


def distribution(address: str, dimension: Dimension) -> BaseDistribution:
    """A dimension as Optuna's distribution; whole numbers where the setting is one."""
    if dimension.choices is not None:
        return CategoricalDistribution(dimension.choices)
    low, high = dimension.low or 0.0, dimension.high or 0.0
    if address in _INTEGERS:
        return IntDistribution(int(low), int(high), log=dimension.log, step=int(dimension.step or 1))
    return FloatDistribution(low, high, log=dimension.log, step=dimension.step)


def trial_config(spec: StudySpec, values: Mapping[str, Any]) -> RunConfig:
    """The complete configuration of a trial.

    A sampled value comes first, then what the study's `run` says, then the known-good default of the trial's model
    family, then the field's default. Raises `pydantic.ValidationError` for values that contradict each other.
    """
    said = flatten(spec.run.model_dump(exclude_unset=True))
    family = family_called(str(values.get(MODEL, spec.run.model.name)))
    defaults = {a: value for a, value in (family.defaults if family else {}).items() if a not in said}
    return replaced(spec.run, defaults | dict(values))


def narrowed(spec: StudySpec, models: Sequence[str]) -> StudySpec:
    """The same study with these models alone, in the order that they have there, and without the ranges of others."""
    space = {
        address: dimension.model_copy(
            update={"per_model": {model: own for model, own in dimension.per_model.items() if model in models}}
        )
        for address, dimension in spec.space.items()
    }
    choices = [choice for choice in spec.space[MODEL].choices or [] if choice in models]
    space[MODEL] = spec.space[MODEL].model_copy(update={"choices": choices})
    return spec.model_copy(update={"space": space})


def longest_configs(spec: StudySpec) -> tuple[RunConfig, ...]:
    """One configuration of each model, with the longest input that the search can propose."""
    configs = [trial_config(spec, {MODEL: model}) for model in spec.models]
    return tuple(
        replaced(config, {_LENGTH: int(_ends(spec, _LENGTH, config.tokens.max_length)[1])}) for config in configs
    )


def longest_epochs(spec: StudySpec) -> float:
    """Epochs of the longest trial that the search can propose."""
    return max(_ends(spec, _EPOCHS, trial_config(spec, {MODEL: model}).train.epochs)[1] for model in spec.models)


def batch_sizes(spec: StudySpec) -> tuple[int, int]:
    """The smallest and the largest batch size that a trial can have."""
    known = [trial_config(spec, {MODEL: model}).train.batch_size for model in spec.models]
    ends = [_ends(spec, _BATCH, size) for size in known]
    return min(int(low) for low, _ in ends), max(int(high) for _, high in ends)


def _ends(spec: StudySpec, address: str, known: float) -> tuple[float, float]:
    """The smallest and the largest value of a numeric setting, which is `known` where it is not searched."""
    if address not in spec.space:
        return known, known
    dimension = spec.space[address]
    numbers = [
        float(value)
        for one in (dimension, *dimension.per_model.values())
        for value in one.choices or (one.low, one.high)
        if value is not None
    ]
    return min(numbers), max(numbers)


def most_demanding(spec: StudySpec, model: str) -> RunConfig:
    """The configuration that asks most of a model among all proposals: the longest input, the most frozen layers ..."""
    demands: dict[str, Any] = {}
    for address in spec.space.keys() & _DEMANDS.keys():
        dimension = name_and_dimension(spec, address, model=model)[1]
        value = _DEMANDS[address](dimension.choices or [dimension.low, dimension.high])
        demands[address] = int(value) if address in _INTEGERS else value
    return trial_config(spec, {MODEL: model} | demands)


def default_trials(spec: StudySpec) -> list[dict[str, Any]]:
    """Optuna parameters of the first trials: each model's known-good default, moved into the range if it is outside."""
    trials = []
    for model in spec.models:
        known = flatten(trial_config(spec, {MODEL: model}).model_dump()) | {MODEL: model}
        parameters = {}
        for address in spec.space:
            name, dimension = name_and_dimension(spec, address, model=model)
            value, left_open = known[address], None not in (dimension.choices or [])
            value = _CHECKPOINTS_OWN.get(address) if value is None and left_open else value
            parameters[name] = inside(value, distribution(address, dimension))
        trials.append(parameters)
    return trials


def grid_of(spec: StudySpec) -> dict[str, list[Any]]:
    """Every value of every dimension, for a grid. Raises `ConfigError` for a range without steps."""
    grid: dict[str, list[Any]] = {}
    for address, dimension in spec.space.items():
        if dimension.per_model:
            raise ConfigError(f"space.{address}: a grid cannot have ranges per model; use the brute_force sampler")
        grid[address] = _all_values(address, dimension)
    return grid


def space_problems(spec: StudySpec) -> list[tuple[str, str]]:
    """What is wrong with the space, as (address, message); empty when all is well."""
    problems = []
    for address, dimension in spec.space.items():
        where = f"space.{address}"
        if address not in SEARCHABLE:
            problems.append((where, _not_searchable(address)))
            continue
        problems += _refused_values(where, address, dimension)
        if address == MODEL and dimension.per_model:
            problems.append((f"{where}.per_model", "the choice of the model cannot depend on the model"))
        for model, own in dimension.per_model.items():
            if own.per_model:
                problems.append(
                    (f"{where}.per_model.{model}.per_model", "a range of one model cannot be divided again")
                )
            if model not in spec.models:
                problems.append(
                    (f"{where}.per_model.{model}", f"no model of this study{did_you_mean(model, spec.models)}")
                )
            problems += _refused_values(f"{where}.per_model.{model}", address, own)
    return problems + _screening_problems(spec)


def _screening_problems(spec: StudySpec) -> list[tuple[str, str]]:
    if spec.screen is None:
        return []
    if MODEL not in spec.space:
        return [("model.screen", "there is nothing to choose from; list the candidates in space: model.name")]
    if spec.screen.keep >= len(spec.models):
        wanted = f"keeps {spec.screen.keep} of {len(spec.models)} models, so none would be left out"
        return [("model.screen.keep", f"{wanted}; keep fewer, or list more in space: model.name")]
    return []


def _not_searchable(address: str) -> str:
    if address == "seed":
        return "the seed is never a hyperparameter: searching it rewards luck"
    if address in SETTINGS:
        return "this setting is the same for all trials of a study; set it under run"
    return f"no such setting{did_you_mean(address, SEARCHABLE)}"


def _refused_values(where: str, address: str, dimension: Dimension) -> list[tuple[str, str]]:
    """Ask the setting's own field about the ends of the range, or about each choice."""
    values = dimension.choices if dimension.choices is not None else [dimension.low, dimension.high]
    problems = []
    if address in _INTEGERS and dimension.step is not None and not dimension.step.is_integer():
        problems.append((where, f"step {dimension.step:g}: this setting is a whole number, so is its step"))
    for value in values:
        whole = address in _INTEGERS and isinstance(value, float) and value.is_integer() and dimension.choices is None
        try:
            replaced(RunConfig(), {address: int(value) if whole else value})  # type: ignore[arg-type]
        except ValidationError as error:
            message = error.errors()[0]["msg"].removeprefix("Value error, ")
            problems.append((where, f"{value!r}: {message[:1].lower()}{message[1:]}"))
    return problems


def inside(value: Any, allowed: BaseDistribution) -> Any:
    """The value where the distribution has it, else the nearest that it has."""
    if isinstance(allowed, CategoricalDistribution):
        return _nearest(value, list(allowed.choices))
    if isinstance(allowed, (IntDistribution, FloatDistribution)):
        value = allowed.low if value is None else value
        nearest = min(max(value, allowed.low), allowed.high)
        return allowed.low + round((nearest - allowed.low) / allowed.step) * allowed.step if allowed.step else nearest
    return value


def _nearest(value: Any, choices: list[Any]) -> Any:
    """The value itself where it is a choice, else the nearest number, else the first choice."""
    numbers = [choice for choice in choices if isinstance(choice, (int, float)) and not isinstance(choice, bool)]
    if value in choices or not numbers or not isinstance(value, (int, float)):
        return value if value in choices else choices[0]
    return min(numbers, key=lambda choice: abs(choice - value))


def _all_values(address: str, dimension: Dimension) -> list[Any]:
    allowed = distribution(address, dimension)
    if isinstance(allowed, CategoricalDistribution):
        return list(allowed.choices)
    if isinstance(allowed, (IntDistribution, FloatDistribution)) and dimension.step:
        count = int((allowed.high - allowed.low) / dimension.step + 1e-9) + 1
        kind = int if isinstance(allowed, IntDistribution) else float
        return [kind(allowed.low + index * dimension.step) for index in range(count)]
    raise ConfigError(f"space.{address}: a grid needs a list of choices, or low, high and step")
