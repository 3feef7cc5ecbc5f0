"""From a spec to its schedule: which one, and where its rungs are."""

from collections.abc import Callable

from hpo.components import canonical
from hpo.halving import Halving
from hpo.objectives import COSTS
from hpo.schedule import Schedule, Straight
from hpo.space import longest_epochs
from hpo.spec import Component, Scheduling, StudySpec

_COUNTING = {"accuracy", "balanced_accuracy", "macro_f1", "mcc"}  # scores of right answers, however sure they were
_WEIGHTS = "train.class_weights"
_BY = {"objective": "by the objective", "log_loss": "by the log loss"}


def scheduling(spec: StudySpec) -> Scheduling:
    """The schedule of a study, chosen where the spec leaves it open."""
    chosen = spec.schedule
    if chosen is None:
        chosen = Scheduling(name="full" if spec.pruner is not None or _is_known_late(spec) else "halving")
    if chosen.score != "auto":
        return chosen
    return chosen.model_copy(update={"score": _rung_score(spec) if chosen.name == "halving" else "objective"})


def _rung_score(spec: StudySpec) -> str:
    """What tells early who will be good; measured in `benchmarks/results/l2.md`."""
    weighted = _WEIGHTS in spec.space or spec.run.train.class_weights != "none"
    counts = all(objective.metric in _COUNTING for objective in spec.objective)
    return "log_loss" if counts and not weighted else "objective"


def pruner_of(spec: StudySpec) -> Component:
    """The pruner of a full schedule; none where halving decides, or where several objectives give no order."""
    if scheduling(spec).name == "halving" or len(spec.objective) > 1:
        return Component(name="nop")
    return spec.pruner or Component(name="median")


def rungs(spec: StudySpec, *, rows: int) -> list[int]:
    """Training examples at which trials are judged, rising: the longest trial's, divided by powers of the factor."""
    chosen = scheduling(spec)
    if chosen.name == "full":
        return []
    longest = round(longest_epochs(spec) * rows)
    found, at = list[int](), (chosen.top or longest) / (1 if chosen.top else chosen.factor)
    while at >= chosen.floor:
        found.append(round(at))
        at /= chosen.factor
    return [examples for examples in reversed(found) if examples < longest]


def new_schedule(spec: StudySpec, *, rows: int, should_prune: Callable[[int], bool]) -> Schedule:
    """The schedule itself; `should_prune` is the pruner's answer for a trial by its number."""
    chosen = scheduling(spec)
    if chosen.name == "full":
        return Straight(should_prune)
    exempt = [0] if begins_with_defaults(spec) else []
    return Halving(rungs(spec, rows=rows), factor=chosen.factor, brackets=chosen.brackets, exempt=exempt)


def begins_with_defaults(spec: StudySpec) -> bool:
    """Whether trial 0 is the known-good default of the first model, and the next ones those of the others."""
    enumerates = canonical(spec.sampler.name) in {"grid", "bruteforce"}
    return spec.start_with_defaults and bool(spec.space) and not enumerates


def schedule_in_words(spec: StudySpec, *, rows: int) -> str:
    """The schedule for a person, with the reason for it."""
    chosen, marks = scheduling(spec), rungs(spec, rows=rows)
    if chosen.name == "full":
        pruner = pruner_of(spec)
        words = f"full training, scored {spec.run.train.evaluations} times, pruner {pruner.name}"
        return f"{words} {pruner.options or ''}".strip()
    if not marks:
        return f"every trial to its end: no rung at or above {chosen.floor:,} training examples lies below it"
    brackets = f", {chosen.brackets} brackets" if chosen.brackets > 1 else ""
    at = ", ".join(f"{mark:,}" for mark in marks)
    words = f"halving: the best 1 of {chosen.factor} goes on after {at} training examples {_BY[chosen.score]}{brackets}"
    return f"{words}; the default, trial 0, always" if begins_with_defaults(spec) else words


def schedule_problems(spec: StudySpec) -> list[tuple[str, str]]:
    """What contradicts what, as (address, message)."""
    problems = []
    if spec.schedule is not None and spec.schedule.name == "halving":
        if spec.pruner is not None:
            problems.append(("pruner", "successive halving needs none; leave it out, or set schedule: full"))
        if len(spec.objective) > 1:
            problems.append(("schedule", "several objectives give no order to halve by; set schedule: full"))
        elif _is_known_late(spec) and scheduling(spec).score == "objective":
            metric = spec.objective[0].metric
            problems.append(
                ("schedule.score", f"{metric} is known at a trial's end only; set schedule.score: log_loss")
            )
    return problems


def _is_known_late(spec: StudySpec) -> bool:
    return len(spec.objective) > 1 or spec.objective[0].metric in COSTS
