"""A registered model on the locked test rows of its own study: a look that counts."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from hpo.ledger import Ledger
from hpo.listing import storage_exists
from hpo.openings import EVALUATE, Openings
from hpo.patience import in_one_line
from hpo.places import Places
from pipelines import registry
from pipelines.connection import connect, tracking_errors
from pipelines.data import open_dataset, rows_digest
from pipelines.errors import DataError
from pipelines.segment import TestJob

Scorer = Callable[[TestJob], dict[str, dict[str, float]]]
"""Runs `pipelines.locked.score_on_test`."""


@dataclass(frozen=True)
class Evaluation:
    """How good a registered version is on its study's test rows."""

    model: str
    version: str
    study: str
    rows: int
    opening: int
    """Which look at these rows this was, from 1."""
    scores: dict[str, float]

    def as_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        return asdict(self) | {"split": "test"}


def evaluate(reference: str, *, places: Places, score_on_test: Scorer) -> Evaluation:
    """Score `NAME`, `NAME@alias` or `NAME/version` on the test split of its study; the look is counted before.

    Asked again about the same version, it is the same look. Raises `ModelError` where there is no such model,
    `DataError` where the study's data is not here, or is not what the model was trained on.
    """
    client = connect(places.tracking)
    with in_one_line(places.storage), tracking_errors(places.tracking, alone=False):
        version = registry.find_version(client, reference)
        study = str(version.tags.get("hpo.study"))
        folder = places.study(study)
        if not storage_exists(places) or not (folder / "data").is_dir():
            raise DataError(f"{reference}: the data of its study {study!r} is not here ({folder}/data); set HPO_HOME")
        dataset = open_dataset(folder / "data")
        if version.tags.get(registry.DATA, dataset.digest) != dataset.digest:
            raise DataError(f"{reference}: {folder}/data holds other data than its study {study!r} was run on")
        test = dataset.splits["test"]
        if not len(test):
            raise DataError(f"{reference}: its study {study!r} has no test rows")
        model, directory = str(version.name), registry.pulled(client, version, places.cache / "models")
        rows, key = rows_digest(dataset.labels, test), version.tags[registry.KEY]
        opening = Openings(Ledger(places.storage)).open(rows, model=model, key=key, why=EVALUATE)
        output = folder / "evaluate" / f"version-{version.version}"
        job = TestJob(models={"model": directory}, data=folder / "data", output=output)
        scores = score_on_test(job)["model"]
    return Evaluation(model, str(version.version), study, len(test), opening, scores)
