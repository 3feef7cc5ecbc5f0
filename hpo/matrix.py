"""A model of each of several data sets, tested on all of them.

Each training is a study of one trial, so everything that a study has holds for it: it goes on after a kill, what is
finished is not trained again, and MLflow has its run. The locked rows of each set are opened, and counted, at the end.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpo.delivery import winner_of
from hpo.estimate import default_configs
from hpo.launch import Outcome
from hpo.ledger import Ledger
from hpo.listing import spec_of
from hpo.openings import EVALUATE, Openings
from hpo.places import Places
from hpo.spec import Budget, Component, Confirmation, Scheduling, StudySpec
from hpo.storage import load_study
from pipelines.config import DataConfig, RunConfig
from pipelines.data import Dataset, Split, load_data, open_dataset, rows_digest, text_hashes
from pipelines.data.keys import text_keys
from pipelines.errors import ConfigError, DataError, ModelError
from pipelines.files import digest, read_json, sha256, write_json
from pipelines.generalize.external import key_of
from pipelines.generalize.labels import match_labels
from pipelines.generalize.matrix import Matrix, fill_matrix
from pipelines.predictions import Predictions, read_parquet
from pipelines.scores import METRICS
from pipelines.segment import TestJob

Train = Callable[[StudySpec], Outcome]
"""Runs a study, as `launch.run_study` does."""
Scorer = Callable[[TestJob], dict[str, dict[str, float]]]
"""Runs `pipelines.locked.score_on_test`."""


@dataclass(frozen=True)
class Filled:
    """A matrix with the data that it is of; or the signal that stopped it before."""

    matrix: Matrix | None
    datasets: tuple[Dataset, ...]
    signal: int | None = None


def matrix_specs(
    spec: StudySpec, sources: Sequence[str], *, places: Places, best: bool = False
) -> dict[str, StudySpec]:
    """One study of one trial for each data set, by the set's name: the same configuration, the same classes.

    The configuration is the study's known-good default or, with `best`, that of what the study of this name delivered.
    Raises `ConfigError` for too few sets, sets of one name, or a study without a winner, `DataError` for data that
    cannot be used, or sets of other classes than the first.
    """
    if len(set(sources)) < 2:
        raise ConfigError("a matrix needs two or more different data sets; give --data twice or more")
    config = _best_config(spec, places) if best else default_configs(spec)[0]
    datas = [_only(spec.run.data, source) for source in dict.fromkeys(sources)]
    datasets = [load_data(data) for data in datas]
    specs: dict[str, StudySpec] = {}
    for data, dataset in zip(datas, datasets, strict=True):
        key = key_of(dataset.name)
        if key in specs:
            raise ConfigError(f"--data: two data sets are called {key}; rename one of them")
        named = data.model_copy(update={"label_names": _names(dataset, datasets[0])})
        specs[key] = _row(spec, config.model_copy(update={"data": named}), key)
    return specs


def fill(
    spec: StudySpec,
    specs: Mapping[str, StudySpec],
    *,
    places: Places,
    train: Train,
    score_on_test: Scorer,
    say: Callable[[str], None] = lambda _: None,
) -> Filled:
    """Train what is not trained yet, test each model on the locked rows of every set, and compare.

    Done again after a kill it goes on where it was. Raises `UserError`s as a study does, `ModelError` where a training
    came to no model.
    """
    for one in specs.values():
        outcome = train(one)
        if outcome.signal is not None:
            return Filled(None, (), outcome.signal)
    models = {key: _model_of(one, places) for key, one in specs.items()}
    datasets = {key: open_dataset(places.study(one.name) / "data") for key, one in specs.items()}
    said: dict[tuple[str, str], Predictions] = {}
    for key, one in specs.items():
        say(f"testing {len(models)} models on the {len(datasets[key].splits['test']):,} locked rows of {key}")
        answers = _tested(spec, one, models, datasets[key], places=places, score_on_test=score_on_test)
        said |= {(trained, key): predictions for trained, predictions in answers.items()}
    seen = {
        (ours, theirs): _seen(datasets[ours], datasets[theirs].splits["test"])
        for ours in specs
        for theirs in specs
        if ours != theirs
    }
    metric = next((one.metric for one in spec.objective if one.metric in METRICS), "accuracy")
    matrix = fill_matrix(spec.name, said, metric=metric, sets=[*specs], seen=seen)
    return Filled(matrix, tuple(datasets.values()))


def _only(data: DataConfig, source: str) -> DataConfig:
    """The study's way of reading and splitting data, of another source without files of its own for splits."""
    reset = dict.fromkeys(("config", "revision", "text", "label", "group", "select", "calibrate", "test"))
    return data.model_copy(update={**reset, "source": source, "label_names": {}})


def _names(dataset: Dataset, first: Dataset) -> dict[str, str]:
    """`data.label_names` that give a set the classes of the first one; empty where it has them."""
    if dataset.labels == first.labels:
        return {}
    found = match_labels(dataset.labels, first.labels, told={}, shown=dataset.name)
    names = {label: str(name) for label, name in found.items()}
    if missing := [name for name in first.labels if name not in names.values()]:
        raise DataError(
            f"{dataset.name}: has no class {missing[0]!r}, as {first.name} has; a matrix needs the same classes in "
            "every set"
        )
    return names


def _row(spec: StudySpec, config: RunConfig, key: str) -> StudySpec:
    return StudySpec(
        name=f"{spec.name[: 79 - len(key[:40])]}-{key[:40]}",
        description=f"One row of the matrix {spec.name}: trained on {key}.",
        objective=spec.objective,
        budget=Budget(trials=1),
        schedule=Scheduling(name="full"),
        pruner=Component(name="nop"),
        run=config,
        confirm=Confirmation(finalists=0),
        workers=spec.workers,
        seed=spec.seed,
    )


def _best_config(spec: StudySpec, places: Places) -> RunConfig:
    known = spec_of(places, spec.name)
    winner = winner_of(known, load_study(spec.name, places=places), places)
    if winner is None:
        raise ConfigError(f"study {spec.name!r} has no COMPLETE trial yet, so there is no best configuration")
    return RunConfig.model_validate(read_json(winner.directory / "artifacts" / "config.json"))


def _model_of(spec: StudySpec, places: Places) -> Path:
    winner = winner_of(spec, load_study(spec.name, places=places), places)
    if winner is None:
        raise ModelError(f"the training of study {spec.name!r} came to no model; see hpo show {spec.name}")
    return winner.directory / "model"


def _tested(
    spec: StudySpec,
    of: StudySpec,
    models: Mapping[str, Path],
    dataset: Dataset,
    *,
    places: Places,
    score_on_test: Scorer,
) -> dict[str, Predictions]:
    """What every model says of one set's locked rows; what was asked before is read."""
    home = places.study(of.name)
    output, mark = home / "matrix" / spec.name, digest(*(sha256(one / "model.safetensors") for one in models.values()))
    if read_json(output / "done.json") != mark:
        rows = rows_digest(dataset.labels, dataset.splits["test"])
        key = f"matrix/{mark[:16]}"
        Openings(Ledger(places.storage)).open(rows, model=spec.register_as or spec.name, key=key, why=EVALUATE)
        score_on_test(TestJob(models=models, data=home / "data", output=output))
        write_json(output / "done.json", mark)
    return {name: read_parquet(output / name / "predictions.parquet") for name in models}


def _seen(dataset: Dataset, test: Split) -> int:
    """How many of the test texts another set's training, choice or calibration saw."""
    known = text_hashes(*(part for split, part in dataset.splits.items() if split != "test"))
    return int(np.isin(text_keys(test.texts, seed=0)[:, 0], known).sum())
