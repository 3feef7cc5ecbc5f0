"""The study's own run in MLflow, the parent of its trials' runs: opened at launch, closed with pictures and result."""

import getpass
import subprocess
from pathlib import Path

import optuna
from mlflow import MlflowClient

from hpo.ledger import printable
from hpo.places import Places
from hpo.promotion import Decision
from hpo.report import draw_study, summary
from hpo.scheduling import schedule_in_words
from hpo.spec import StudySpec
from pipelines.config import flatten
from pipelines.data import Dataset
from pipelines.errors import StorageError
from pipelines.files import write_text
from pipelines.mirror import MirrorThread
from pipelines.tracking import Tracker, tracking_errors

_PATIENCE_SECONDS = 60.0  # for a tracker that does not answer, once all trials are done


def drain(mirror: MirrorThread, *, places: Places) -> None:
    """Wait until the tracker has everything. Raises `StorageError` when it does not answer."""
    if not mirror.close(patience=_PATIENCE_SECONDS):
        raise StorageError(
            f"tracking {printable(places.tracking)}: {mirror.error or 'not answering'}; nothing is lost: run the same "
            "command again when it answers, and it will be brought up to date"
        )


def open_tracker(client: MlflowClient, spec: StudySpec, dataset: Dataset, *, places: Places) -> Tracker:
    """Open the study's runs in MLflow. Raises `StorageError` when it does not answer."""
    tracker = Tracker(client, artifacts=places.artifacts)
    params = flatten(spec.model_dump(exclude={"description", "name"}))
    with tracking_errors(places.tracking):
        tracker.open_study(spec.name, description=_description(spec, dataset), params=params, tags=_provenance(spec))
        tracker.set_data(dataset)
    return tracker


def _description(spec: StudySpec, dataset: Dataset) -> str:
    """The study's note in MLflow, in Markdown."""
    searched = "\n".join(f"- `{address}`" for address in spec.space) or "- nothing"
    rows = ", ".join(f"{name} {len(split):,}" for name, split in dataset.splits.items())
    wanted = ", ".join(f"`{objective.metric}`" for objective in spec.objective)
    return (
        f"{spec.description or f'Study {spec.name}'}\n\n"
        f"**Data** {dataset.name} ({', '.join(dataset.labels)}); rows: {rows}\n\n"
        f"**Models** {', '.join(spec.models)}\n\n**Objective** {wanted} on the select split\n\n"
        f"**Searched** by {spec.sampler.name}, {spec.budget.trials} trials; "
        f"{schedule_in_words(spec, rows=len(dataset.splits['train']))}:\n\n"
        f"{searched}\n"
    )


def _provenance(spec: StudySpec) -> dict[str, str]:
    """Where the study comes from: the code that made it, and the studies that it learns from."""
    from importlib.metadata import version

    names = ("hpo-finetune", "torch", "transformers", "datasets", "optuna", "mlflow", "scikit-learn")
    tags = {f"version.{name}": version(name) for name in names}
    here = Path(__file__).parent
    found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=False)
    if found.returncode == 0:
        tags["mlflow.source.git.commit"] = found.stdout.strip()
    if spec.learn_from:
        tags["hpo.learns_from"] = ", ".join(spec.learn_from)
    return tags | {"mlflow.source.name": "hpo run", "mlflow.user": getpass.getuser()}


def close_tracker(
    tracker: Tracker,
    spec: StudySpec,
    study: optuna.Study,
    *,
    places: Places,
    interrupted: bool,
    decision: Decision | None,
) -> None:
    """Give the study's own run its end state, pictures and result."""
    folder = places.study(spec.name) / "report"
    folder.mkdir(exist_ok=True)
    write_text(folder / "spec.json", spec.model_dump_json(indent=1))
    draw_study(spec, study, folder)
    tags = {"hpo.result": f"{decision.model} version {decision.version}: {decision.alias}"} if decision else {}
    metrics = summary(spec, study) | ({f"test/{k}": v for k, v in decision.scores.items()} if decision else {})
    with tracking_errors(places.tracking):
        tracker.log_study_files(folder)
        tracker.close_study(status="SCHEDULED" if interrupted else "FINISHED", metrics=metrics, tags=tags)
