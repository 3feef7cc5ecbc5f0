"""What is found, and what is left there to be found."""

from pathlib import Path

from mlflow.entities import LoggedModel

from hpo.leftovers import Survey
from pipelines import registry
from tests.patients import Patient

BEST, PRUNED, OTHER = range(3)


def words(found: Survey) -> list[tuple[str, str]]:
    return [(one.what, one.why) for one in found.leftovers]


def logged(patient: Patient) -> dict[str, LoggedModel]:
    """The logged models in MLflow, by their key."""
    experiment = patient.client.get_experiment_by_name("toy")
    assert experiment is not None
    found = patient.client.search_logged_models([experiment.experiment_id])
    return {one.tags.get(registry.KEY, ""): one for one in found}


def a_file(path: Path, size: int = 1000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    return path
