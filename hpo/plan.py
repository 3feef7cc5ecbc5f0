"""What `hpo check` shows: everything that a launch would do, with reasons.

Nothing is written but this machine's measurement and what comparing the rows found, under the cache.
"""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hpo.budget import in_words
from hpo.estimate import Estimate, as_numbers, estimate
from hpo.gate import refuse_unknown_floors
from hpo.machine import GIB
from hpo.measure import Site, Staff, staffed
from hpo.objectives import direction
from hpo.places import Places
from hpo.retraining import refuse_too_few_rows
from hpo.scheduling import schedule_in_words
from hpo.screening import read_screening, screening_in_words
from hpo.space import default_trials, narrowed
from hpo.spec import Dimension, StudySpec
from hpo.successor import lessons
from pipelines.batches import total_steps
from pipelines.data import Dataset, find_leakage, load_data, save_dataset


@dataclass(frozen=True)
class Plan:
    """A study before it runs."""

    words: dict[str, str]
    """By topic, for people."""
    numbers: dict[str, Any]
    """The estimates, for programs: seconds, bytes, workers and threads; empty where nothing could be measured."""


def make_plan(spec: StudySpec, *, places: Places, say: Callable[[str], None]) -> Plan:
    """The plan of a study; the first time, its workers are started and measured, and `say` is told so.

    Raises `ConfigError` for a floor of a class that is not there, `DataError` when the data cannot be used,
    `ModelError` when a model cannot.
    """
    dataset = load_data(spec.run.data)
    refuse_unknown_floors(spec.promotion, dataset.labels)
    refuse_too_few_rows(dataset, spec.confirm.folds)
    screened = read_screening(spec, dataset, places=places) if spec.screen else None
    candidates, spec = spec, narrowed(spec, screened["shortlist"]) if screened else spec
    leakage = find_leakage(dataset, places.leakage)
    dataset = replace(dataset, notes=(*dataset.notes, *leakage.notes, *leakage.examples))
    with tempfile.TemporaryDirectory() as scratch:
        site = Site(
            data=Path(scratch) / "data",
            digest=dataset.digest,
            encoded=Path(scratch) / "encoded",
            measurements=places.cache / "costs",
            logs=Path(scratch) / "logs",
        )
        save_dataset(dataset, site.data)
        with staffed(spec, site, say=say) as staff:
            plan = _plan(spec, dataset, staff, places=places)
    screening = screening_in_words(candidates, screened)
    return replace(plan, words=plan.words | ({"screening": screening} if screening else {}))


def _plan(spec: StudySpec, dataset: Dataset, staff: Staff, *, places: Places) -> Plan:
    share = staff.share
    rows = len(dataset.splits["train"])
    steps = total_steps(rows, spec.run.train)
    words = {
        "study": spec.name,
        "objective": ", ".join(f"{direction(objective)} {objective.metric}" for objective in spec.objective),
        "data": f"{dataset.name}: {', '.join(dataset.labels)}",
        "rows": ", ".join(f"{name} {len(split):,}" for name, split in dataset.splits.items()),
        "digest": dataset.digest,
        "models": ", ".join(spec.models),
        "budget": in_words(spec.budget),
        "sampler": f"{spec.sampler.name} {spec.sampler.options or ''}".strip(),
        "schedule": schedule_in_words(spec, rows=rows),
        "one trial": f"{spec.run.train.epochs:g} epochs = {steps:,} steps at batch size {spec.run.train.batch_size}",
        "workers": f"{share.workers} ({share.reason})",
        "threads": f"{share.threads} for each worker, on cores of its own where there are enough",
    }
    numbers: dict[str, Any] = {}
    if staff.prospect.costs:
        found = estimate(spec, staff.prospect, share, test_rows=len(dataset.splits["test"]))
        words |= _foretold(spec, staff, found, free=_free_bytes(places))
        numbers = as_numbers(found) | {"workers": share.workers, "threads": share.threads}
    else:
        words["time"] = "not known: nothing could be measured here"
    words["registers"] = f"{spec.register_as}@champion" if spec.register_as else "nothing (set register_as)"
    words |= {f"search {address}": _in_words(dimension) for address, dimension in spec.space.items()}
    taught = lessons(spec, data_digest=dataset.digest, places=places)
    words |= {f"learns from {number}": one.in_words() for number, one in enumerate(taught, start=1)}
    if spec.start_with_defaults and spec.space:
        first = default_trials(spec)[0]
        words["trial 0"] = ", ".join(f"{name} = {value}" for name, value in first.items()) + " (known-good default)"
    return Plan(words | {f"note {index + 1}": note for index, note in enumerate(dataset.notes)}, numbers)


def _foretold(spec: StudySpec, staff: Staff, found: Estimate, *, free: float) -> dict[str, str]:
    """Precision, time, memory and disk, each with its reason."""
    facts = next(iter(staff.prospect.costs.values())).facts
    compiling = {name: cost.facts.compile for name, cost in staff.prospect.costs.items()}
    memory = f"{found.peak_of_all / GIB:.1f} GiB of {staff.prospect.whole / GIB:.1f} GiB available"
    return {
        "precision": f"{facts.precision.value} ({facts.precision.reason})",
        "compile": "; ".join(f"{name}: {choice.value} ({choice.reason})" for name, choice in compiling.items()),
        "time": f"about {found.seconds / 60:.1f} minutes on a machine as busy as when it was measured: "
        f"{spec.budget.trials} trials as costly as {found.full_trials:.1f} full ones, {found.start_up:.0f} s to start, "
        f"{found.confirmation:.0f} s to train the finalists anew, "
        f"{found.end:.0f} s to end",
        "time of a trial": f"about {found.trial / 60:.1f} minutes to its end, the mean over the space",
        "memory": f"about {found.peak / GIB:.1f} GiB a worker at the most, {memory} "
        "(larger batches are cut into micro-batches)",
        "disk": f"about {found.disk / GIB:.1f} GiB at the fullest, {free / GIB:.1f} GiB are free "
        "(models kept, checkpoints of trials that run or rest)",
    }


def _free_bytes(places: Places) -> float:
    """Free space where the home is, or will be."""
    there = next(folder for folder in (places.home, *places.home.parents) if folder.exists())
    return float(shutil.disk_usage(there).free)


def _in_words(dimension: Dimension) -> str:
    if dimension.choices is not None:
        text = ", ".join(map(str, dimension.choices))
    else:
        scale = ", logarithmic" if dimension.log else f", step {dimension.step:g}" if dimension.step else ""
        text = f"{dimension.low:g} to {dimension.high:g}{scale}"
    return text + "".join(f"; {model}: {_in_words(own)}" for model, own in dimension.per_model.items())
