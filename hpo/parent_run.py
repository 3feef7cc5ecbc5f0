"""The study's own run in MLflow, the parent of its trials' runs: opened at launch, closed with pictures and result."""

import getpass
import subprocess
import threading
from pathlib import Path
from typing import Any

import optuna
from mlflow import MlflowClient

from hpo.decision import Decision
from hpo.lease import Lease
from hpo.ledger import printable
from hpo.places import Places
from hpo.report import draw_selection, draw_study, summary
from hpo.scheduling import schedule_in_words
from hpo.screening import stored_screening
from hpo.selection import read_selection
from hpo.spec import StudySpec
from pipelines.config import flatten
from pipelines.connection import connect, tracking_errors
from pipelines.data import Dataset
from pipelines.errors import StorageError
from pipelines.files import write_text
from pipelines.mirror import MirrorThread
from pipelines.tracking import Tracker


class ParentRun:
    """The study's own run and, through it, those of its trials; opened when MLflow answers."""

    def __init__(self, spec: StudySpec, dataset: Dataset, *, places: Places, lease: Lease) -> None:
        self._spec, self._dataset, self._places, self._lease = spec, dataset, places, lease
        self._lock = threading.Lock()
        self._client: MlflowClient | None = None
        self._tracker: Tracker | None = None

    def connect(self) -> MlflowClient:
        """MLflow itself, connected to once. Raises `StorageError` when it does not answer."""
        self._client = self._client or connect(self._places.tracking)
        return self._client

    def open(self) -> Tracker:
        """Find or create the study's run, once. Raises `StorageError` when MLflow does not answer."""
        with self._lock:  # the mirror's thread may be the first
            if self._tracker is None:
                tracker = Tracker(self.connect(), artifacts=self._places.artifacts, allowed=self._lease.check)
                params = flatten(self._spec.model_dump(exclude={"description", "name"}, by_alias=True))
                screened = stored_screening(self._places.study(self._spec.name) / "report")
                about = _description(self._spec, self._dataset, screened=screened if self._spec.screen else None)
                tags = _provenance(self._spec)
                with tracking_errors(self._places.tracking):
                    tracker.open_study(self._spec.name, description=about, params=params, tags=tags)
                    tracker.set_data(self._dataset)
                self._tracker = tracker
            return self._tracker

    def sync_trial(self, directory: Path) -> None:
        """Bring the run of a trial up to date with its directory. Raises whatever MLflow raises."""
        self.open().sync_trial(directory)

    def close(self, study: optuna.Study, *, interrupted: bool, decision: Decision | None) -> None:
        """Give the run its end state, pictures and result. Raises `StorageError` when MLflow does not answer."""
        spec, tracker = self._spec, self.open()
        folder = self._places.study(spec.name) / "report"
        folder.mkdir(exist_ok=True)
        write_text(folder / "spec.json", spec.model_dump_json(indent=1))
        draw_study(spec, study, folder)
        selection = read_selection(folder)
        tags = {"hpo.result": f"{decision.model} version {decision.version}: {decision.alias}"} if decision else {}
        if spec.screen and (screened := stored_screening(folder)):
            tags["hpo.screening"] = f"{screened['verdict']} {screened['cost']}"
        metrics = summary(spec, study)
        if selection is not None:
            draw_selection(selection, folder / "selection.png")
            tags["hpo.selection"] = "\n".join(selection.in_words())
            metrics |= selection.as_metrics()
        metrics |= {f"test/{name}": value for name, value in decision.scores.items()} if decision else {}
        with tracking_errors(self._places.tracking):
            tracker.log_study_files(folder)
            tracker.close_study(status="SCHEDULED" if interrupted else "FINISHED", metrics=metrics, tags=tags)


def drain(mirror: MirrorThread, *, places: Places, patience: float) -> None:
    """Wait until MLflow has everything. Raises `StorageError` when it does not answer for `patience` seconds."""
    if not mirror.close(patience=patience):
        raise StorageError(
            f"tracking {printable(places.tracking)}: {mirror.error or 'not answering'}; nothing is lost: run the same "
            "command again when it answers, and it will be brought up to date"
        )


def _description(spec: StudySpec, dataset: Dataset, *, screened: dict[str, Any] | None) -> str:
    """The study's note in MLflow, in Markdown."""
    searched = "\n".join(f"- `{address}`" for address in spec.space) or "- nothing"
    rows = ", ".join(f"{name} {len(split):,}" for name, split in dataset.splits.items())
    screening = f"**Screened** {screened['verdict']} {screened['cost']}\n\n" if screened else ""
    wanted = ", ".join(f"`{objective.metric}`" for objective in spec.objective)
    return (
        f"{spec.description or f'Study {spec.name}'}\n\n"
        f"**Data** {dataset.name} ({', '.join(dataset.labels)}); rows: {rows}\n\n"
        f"**Models** {', '.join(spec.models)}\n\n{screening}**Objective** {wanted} on the select split\n\n"
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
