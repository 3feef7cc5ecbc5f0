"""What a study will take, as arithmetic over measured costs; and which configurations fit into memory."""

import heapq
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from pydantic import ValidationError

from hpo.components import canonical
from hpo.machine import GIB, Share
from hpo.scheduling import begins_with_defaults, pruner_of, rungs, scheduling
from hpo.space import address_of, default_trials, longest_epochs, suggest, trial_config
from hpo.spec import StudySpec
from pipelines.config import RunConfig, replaced
from pipelines.cost import Cost, fitting_micro_batch, peak_bytes, trial_seconds
from pipelines.segment import InfeasibleError

_DRAWN = 16  # configurations that stand for the search space
_END_SECONDS = 3.0  # registration and the study's pictures, beside the locked test: measured 2 s for MiniLM
_STARTUP_TRIALS = 5  # Optuna's default for pruners that compare with earlier trials
_REDUCTION = {"hyperband": 3, "successivehalving": 4}  # Optuna's default factors
_TRIAL_BYTES = 2e6  # journal, predictions and pictures of a trial, here and as MLflow's copy
_MODELS_KEPT = 3  # the best trial's, its copy in the registry, and one that is being written
_CHECKPOINTS = 3  # two of a running trial, and one that is being written
_SLACK = 1.25  # a process keeps what batches of other shapes once needed: measured 2.0 GB after trials, 1.6 in one step
_STATES = 3  # a checkpoint holds the weights and two moments of each


@dataclass(frozen=True)
class Prospect:
    """What a study's models cost on this machine, and the memory there is."""

    costs: Mapping[str, Cost]
    """By model name; a model that could not be measured is missing, and nothing is foretold of it."""
    each: float
    """Bytes for one worker beside the others."""
    whole: float
    """Bytes for all of them."""


NOTHING_KNOWN = Prospect({}, each=math.inf, whole=math.inf)
"""Nothing was measured: nothing is foretold, and everything is taken to fit."""


@dataclass(frozen=True)
class Estimate:
    """What a study will take, in seconds and bytes."""

    seconds: float
    """From the command to its end, wall time."""
    start_up: float
    confirmation: float
    """Of the fresh trainings after the search."""
    end: float
    trial: float
    """Mean over the space of a trial that trains to its end."""
    full_trials: float
    """The work of all trials, in trials that train to their end: what pruning leaves."""
    peak: float
    """Memory of one worker at the largest configuration that was drawn."""
    peak_of_all: float
    disk: float


def estimate(spec: StudySpec, prospect: Prospect, share: Share, *, test_rows: int = 0, finished: int = 0) -> Estimate:
    """What is still to come of a study of which so many trials are finished.

    The first trials are the models' defaults; the others cost what drawn configurations cost on the average. At the
    end one model is tried on the locked `test_rows`.
    """
    first = [_seconds(config, prospect) for config in default_configs(spec)]
    drawn = [_seconds(config, prospect) for config in drawn_configs(spec)] or first
    mean = {kind: sum(one[kind] for one in drawn) / len(drawn) for kind in drawn[0]}
    numbers = range(finished, spec.budget.trials)
    parts = [segments(spec, rows=_rows(prospect), number=number) for number in numbers]
    whole = [first[number] if spec.start_with_defaults and number < len(first) else mean for number in numbers]
    evaluations = spec.run.train.evaluations
    expected = [_expected(one, part, evaluations=evaluations) for one, part in zip(whole, parts, strict=True)]
    work = makespan(expected, share.workers)
    ends = sum(part[-1][1] for part in parts)
    fresh = confirmation(spec, complete=ends, searched=sum(one * chance for part in parts for one, chance in part))
    anew = makespan([sum(mean.values())] * fresh, share.workers)
    start_up = max((cost.facts.start_up for cost in prospect.costs.values()), default=0.0)
    end = _END_SECONDS + test_rows * _row_seconds(spec, prospect, mean) if spec.register_as else 0.0
    if spec.budget.minutes is not None:
        work = min(work, spec.budget.minutes * 60 * (1 - spec.kept_for_confirmation))
        anew = min(anew, spec.budget.minutes * 60 * spec.kept_for_confirmation)
    peak = max((_peak(config, prospect) for config in [*default_configs(spec), *drawn_configs(spec)]), default=0.0)
    return Estimate(
        seconds=start_up + work + anew + end,
        start_up=start_up,
        confirmation=anew,
        end=end,
        trial=sum(mean.values()),
        full_trials=sum(share * chance for part in parts for share, chance in part),
        peak=peak,
        peak_of_all=peak * share.workers,
        disk=_disk(spec, prospect, share),
    )


def confirmation(spec: StudySpec, *, complete: float, searched: float) -> int:
    """How many fresh trainings are expected after a search that took `searched` full trainings.

    As many as there may be in one round (the finalists and the default, of the trials that are `complete`), and further
    rounds while the share lasts: where trials differ clearly there are fewer.
    """
    confirm = spec.confirm
    if not confirm.finalists:
        return 0
    contestants = min(confirm.finalists + begins_with_defaults(spec), max(1, round(complete)))
    rounds = min(confirm.seeds, max(1, int(confirm.share * searched / (contestants * confirm.folds))))
    return confirm.folds * contestants * rounds


def segments(spec: StudySpec, *, rows: int, number: int) -> list[tuple[float, float]]:
    """Of each segment of trial `number`: its share of a whole training, and the chance that it is trained.

    A simple expectation. At each rung of `halving` one of `factor` goes on, and the default always. Of the pruners,
    `median` and `percentile` stop their share of those that they compare at every evaluation, once enough trials are
    complete; `hyperband` and `successive_halving` keep 1/factor at the evaluations 1, factor, factor^2 ...; of the
    others, which stop by value, nothing is expected.
    """
    if scheduling(spec).name == "halving":
        whole = longest_epochs(spec) * rows
        ends = [min(1.0, mark / whole) for mark in rungs(spec, rows=rows)] + [1.0] if rows else [1.0]
        exempt = number == 0 and begins_with_defaults(spec)
        chances = [1.0 if exempt else 1 / scheduling(spec).factor ** index for index in range(len(ends))]
        return [(end - start, chance) for start, end, chance in zip([0.0, *ends], ends, chances, strict=False)]
    evaluations = spec.run.train.evaluations
    chances = [1.0]
    for part in range(1, evaluations):
        chances.append(chances[-1] * _kept(spec, part, rows=rows, number=number))
    return [(1 / evaluations, chance) for chance in chances]


def _kept(spec: StudySpec, part: int, *, rows: int, number: int) -> float:
    """The chance that the pruner lets a trial live at its evaluation number `part`."""
    name, options = canonical(pruner_of(spec).name), pruner_of(spec).options
    if name in {"median", "percentile"}:
        seen = spec.run.train.epochs * rows * part / spec.run.train.evaluations
        compares = number >= options.get("n_startup_trials", _STARTUP_TRIALS)
        if compares and seen >= options.get("n_warmup_steps", 0):
            return float(options.get("percentile", 50.0)) / 100
    elif name in _REDUCTION:
        factor = int(options.get("reduction_factor", _REDUCTION[name]))
        return 1 / factor if _is_power(part, factor) else 1.0
    return 1.0


def makespan(seconds: Sequence[float], workers: int) -> float:
    """When the last of so many jobs ends, if each goes to the worker that is free first."""
    free = [0.0] * workers
    for one in seconds:
        heapq.heappush(free, heapq.heappop(free) + one)
    return max(free)


def fitted(config: RunConfig, prospect: Prospect) -> RunConfig:
    """The configuration in micro-batches that fit into memory; the batch size stays what it is.

    A configuration that fits only beside nothing else trains row by row. Raises `InfeasibleError` when a single row
    is too much for the whole machine.
    """
    cost = prospect.costs.get(config.model.name)
    if cost is None:
        return config
    micro = fitting_micro_batch(cost, config, limit=prospect.each / _SLACK)
    if micro is None and excess_gib(config, prospect) <= 0:
        micro = 1
    if micro is None:
        needs, has = peak_bytes(cost, config, micro=1) / GIB, prospect.whole / GIB
        raise InfeasibleError(f"needs about {needs:.1f} GiB, this machine has {has:.1f} GiB")
    return config if micro == config.train.rows_at_once else replaced(config, {"train.micro_batch_size": micro})


def excess_gib(config: RunConfig, prospect: Prospect) -> float:
    """By how much the smallest micro-batch is beyond the machine's memory; at most zero when it fits."""
    cost = prospect.costs[config.model.name]
    return (peak_bytes(cost, config, micro=1) - prospect.whole) / GIB


def default_configs(spec: StudySpec) -> list[RunConfig]:
    """The known-good default of each model, inside the space."""
    return [
        trial_config(spec, {address_of(name): value for name, value in parameters.items()})
        for parameters in default_trials(spec)
    ]


def drawn_configs(spec: StudySpec) -> list[RunConfig]:
    """Configurations drawn evenly from the space, always the same ones; those that contradict themselves left out."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        found = []
        for _ in range(_DRAWN):
            try:
                found.append(trial_config(spec, suggest(study.ask(), spec)))
            except ValidationError:
                continue
    return found


def needed_by_defaults(spec: StudySpec, costs: Mapping[str, Cost]) -> float:
    """Bytes that a worker needs for the hungriest of the models' defaults; larger batches are cut to fit."""
    known = [config for config in default_configs(spec) if config.model.name in costs]
    return max((_SLACK * peak_bytes(costs[config.model.name], config) for config in known), default=0.0)


def planned_seconds(config: RunConfig, prospect: Prospect) -> dict[str, float]:
    """Seconds of a trial that trains to its end, by kind of work; empty where its model was not measured."""
    cost = prospect.costs.get(config.model.name)
    return trial_seconds(cost, config) if cost else {}


def _seconds(config: RunConfig, prospect: Prospect) -> dict[str, float]:
    """The same, with zeros for what is not known or will be refused."""
    nothing = dict.fromkeys(("prepare", "train", "evaluate", "finish"), 0.0)
    try:
        return nothing | planned_seconds(fitted(config, prospect), prospect)
    except InfeasibleError:
        return nothing


def _peak(config: RunConfig, prospect: Prospect) -> float:
    cost = prospect.costs.get(config.model.name)
    try:
        return _SLACK * peak_bytes(cost, fitted(config, prospect)) if cost else 0.0
    except InfeasibleError:
        return 0.0


def _expected(seconds: Mapping[str, float], parts: Sequence[tuple[float, float]], *, evaluations: int) -> float:
    """Seconds of a trial that trains each segment with the given chance; only what reaches the end is exported."""
    train = seconds["train"] * sum(share * chance for share, chance in parts)
    evaluate = seconds["evaluate"] / evaluations * sum(chance for _, chance in parts)
    return seconds["prepare"] + train + evaluate + parts[-1][1] * seconds["finish"]


def _row_seconds(spec: StudySpec, prospect: Prospect, seconds: Mapping[str, float]) -> float:
    """Seconds to evaluate one row."""
    rows = max((sum(cost.facts.select_lengths) for cost in prospect.costs.values()), default=0)
    return seconds["evaluate"] / spec.run.train.evaluations / rows if rows else 0.0


def _rows(prospect: Prospect) -> int:
    return max((sum(cost.facts.train_lengths) for cost in prospect.costs.values()), default=0)


def _is_power(value: int, base: int) -> bool:
    while value > 1 and value % base == 0:
        value //= base
    return value == 1


def _disk(spec: StudySpec, prospect: Prospect, share: Share) -> float:
    """Bytes at the fullest moment: models kept, checkpoints of live trials, and small files of all trials."""
    weights = max((cost.facts.weights for cost in prospect.costs.values()), default=0)
    running = _CHECKPOINTS * share.workers
    marks, factor = rungs(spec, rows=_rows(prospect)), scheduling(spec).factor
    # Whoever cannot be promoted any more is ended: at each rung no more rest than may still go on.
    resting = sum(max(1, int(spec.budget.trials / factor**above)) for above in range(1, len(marks) + 1))
    states = _STATES * (running + min(resting, spec.budget.trials))
    return weights * (_MODELS_KEPT + states) + _TRIAL_BYTES * spec.budget.trials


def as_numbers(found: Estimate) -> dict[str, Any]:
    """An estimate for programs: seconds and bytes by name."""
    return {name: round(value, 3) for name, value in vars(found).items()}
