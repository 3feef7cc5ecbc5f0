"""What `hpo check` shows: everything that a launch would do, with reasons, and nothing written."""

from typing import Any

from hpo.machine import share_of_machine
from hpo.objectives import direction
from hpo.space import default_trials
from hpo.spec import Dimension, StudySpec
from pipelines.batches import evaluation_steps, total_steps
from pipelines.data import load_data


def make_plan(spec: StudySpec) -> dict[str, Any]:
    """The plan of a study by topic, as text. Raises `DataError` when its data cannot be used."""
    dataset = load_data(spec.run.data)
    share = share_of_machine(spec.workers, trials=spec.budget.trials)
    rows = len(dataset.splits["train"])
    steps = total_steps(rows, spec.run.train)
    limits = f", at most {spec.budget.minutes:g} minutes" if spec.budget.minutes else ""
    plan = {
        "study": spec.name,
        "objective": ", ".join(f"{direction(objective)} {objective.metric}" for objective in spec.objective),
        "data": f"{dataset.name}: {', '.join(dataset.labels)}",
        "rows": ", ".join(f"{name} {len(split):,}" for name, split in dataset.splits.items()),
        "digest": dataset.digest,
        "models": ", ".join(spec.models),
        "budget": f"{spec.budget.trials} trials{limits}",
        "sampler": f"{spec.sampler.name} {spec.sampler.options or ''}".strip(),
        "pruner": f"{spec.pruner.name} {spec.pruner.options or ''}".strip(),
        "one trial": f"{spec.run.train.epochs:g} epochs = {steps:,} steps at batch size {spec.run.train.batch_size}, "
        f"scored {len(set(evaluation_steps(rows, spec.run.train)))} times",
        "workers": f"{share.workers} x {share.threads} threads ({share.reason})",
        "registers": f"{spec.register_as}@champion" if spec.register_as else "nothing (set register_as)",
    }
    plan |= {f"search {address}": _in_words(dimension) for address, dimension in spec.space.items()}
    if spec.start_with_defaults and spec.space:
        first = default_trials(spec)[0]
        plan["trial 0"] = ", ".join(f"{name} = {value}" for name, value in first.items()) + " (known-good default)"
    return plan | {f"note {index + 1}": note for index, note in enumerate(dataset.notes)}


def _in_words(dimension: Dimension) -> str:
    if dimension.choices is not None:
        text = ", ".join(map(str, dimension.choices))
    else:
        scale = ", logarithmic" if dimension.log else f", step {dimension.step:g}" if dimension.step else ""
        text = f"{dimension.low:g} to {dimension.high:g}{scale}"
    return text + "".join(f"; {model}: {_in_words(own)}" for model, own in dimension.per_model.items())
