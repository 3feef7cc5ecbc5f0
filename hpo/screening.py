"""A study that screens: its checkpoints are ranked once, before the first trial, and the search has the best alone."""

from collections.abc import Callable
from concurrent.futures import wait
from contextlib import closing
from pathlib import Path
from typing import Any

from hpo.executors import Executor, WorkerLostError
from hpo.executors.local import LocalExecutor
from hpo.machine import own_cores
from hpo.places import Places
from hpo.space import longest_configs, narrowed
from hpo.spec import Screening, StudySpec
from pipelines.data import Dataset
from pipelines.errors import ModelError
from pipelines.files import digest, read_json, write_json, write_text
from pipelines.segment import ScreenJob

SCREEN = "pipelines.screening.job:screen"


def with_shortlist(
    spec: StudySpec, dataset: Dataset, *, places: Places, begun: StudySpec | None, say: Callable[[str], None]
) -> StudySpec:
    """The study with the checkpoints that screening kept; the same one where nothing is to be screened.

    `begun` is what a study that has begun was launched with: its checkpoints never change. Before that, what an earlier
    launch found is read again, if it was asked the same. The data must be saved. Raises `ModelError` for a checkpoint
    that cannot be used.
    """
    if spec.screen is None:
        return spec
    if begun is not None:
        return narrowed(spec, begun.models)
    found = read_screening(spec, dataset, places=places)
    if found is None:
        found = _screened(spec, spec.screen, dataset, places=places, say=say)
    say(f"screening: {found['verdict']} {found['cost']}")
    return narrowed(spec, found["shortlist"])


def read_screening(spec: StudySpec, dataset: Dataset, *, places: Places) -> dict[str, Any] | None:
    """What a launch of this study found, as JSON; None where none did, or where it was asked something else."""
    found = stored_screening(places.study(spec.name) / "report")
    return found if found and found["asked"] == _asked(spec, dataset) else None


def stored_screening(report: Path) -> dict[str, Any] | None:
    """What stands in a study's `report/`, whatever was asked; None where nothing was screened."""
    found: dict[str, Any] | None = read_json(report / "screening.json")
    return found


def screening_in_words(spec: StudySpec, found: dict[str, Any] | None) -> str | None:
    """What `hpo check` says; None where nothing is screened."""
    if spec.screen is None:
        return None
    if found is not None:
        return f"done: {', '.join(found['shortlist'])} of {', '.join(one['name'] for one in found['models'])}"
    rows = "a third of the training rows, 2,000 at most" if spec.screen.rows is None else f"{spec.screen.rows:,} rows"
    return (
        f"before the first trial {len(spec.models)} checkpoints are ranked untrained on {rows}; the best "
        f"{spec.screen.keep} at most go into the search (times, memory and disk here are those of all)"
    )


def _screened(
    spec: StudySpec, asked: Screening, dataset: Dataset, *, places: Places, say: Callable[[str], None]
) -> dict[str, Any]:
    """Let a worker of its own compare them, and keep what it found with the study."""
    from pipelines.screening.page import render

    study = places.study(spec.name)
    job = ScreenJob(
        longest_configs(spec),
        data=study / "data",
        cache=places.cache / "encoded",
        keep=asked.keep,
        rows=asked.rows,
        seed=asked.seed,
    )
    threads = spec.workers.threads or len(own_cores())
    with closing(LocalExecutor(workers=1, threads=threads, logs=study / "logs")) as executor:
        found = _answer(executor, job, say=say)
    kept: dict[str, Any] = found.as_json() | {"asked": _asked(spec, dataset)}
    (study / "report").mkdir(parents=True, exist_ok=True)
    write_text(study / "report" / "screening.html", render(found))
    write_json(study / "report" / "screening.json", kept)  # last: it says that all is there
    return kept


def _answer(executor: Executor, job: ScreenJob, *, say: Callable[[str], None]) -> Any:
    future = executor.submit(SCREEN, job, key="screening")
    names = [config.model.name for config in job.configs]
    while not wait([future], timeout=0.5).done:
        for event in executor.events():
            say(f"screening {names[int(event.progress['screening']) - 1]}")
    try:
        return future.result()
    except WorkerLostError as error:
        raise ModelError(
            f"model.screen: {error}, while it looked at {', '.join(names)}; leave out the largest ones"
        ) from error


def _asked(spec: StudySpec, dataset: Dataset) -> str:
    """Equal only where screening would look at the same."""
    configs = [config.model_dump_json(exclude={"data"}) for config in longest_configs(spec)]
    return digest(dataset.digest, spec.screen.model_dump_json() if spec.screen else "", *configs)
