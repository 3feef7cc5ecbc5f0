"""What `--fix` does: one remedy after the other, each said in one line."""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from optuna.trial import TrialState

from hpo.doctor.case import Case, readable
from hpo.doctor.finding import Cure, Remedy
from pipelines.data import open_dataset
from pipelines.errors import UserError
from pipelines.journal import cut_torn_line
from pipelines.tracking import Tracker

_ORDER = list(Cure)  # what is left over goes first; only then is sent what MLflow lacks


def apply_remedies(
    case: Case, remedies: Iterable[Remedy], *, client: MlflowClient | None, say: Callable[[str], None]
) -> None:
    """Apply each remedy once. One that fails is said, and does not keep the others from being tried.

    The caller holds the study. `client` is None where MLflow does not answer; then no remedy is about it.
    """
    for remedy in sorted({*remedies}, key=lambda one: (_ORDER.index(one.cure), one.target)):
        try:
            _apply(remedy, case, client=client)
        except (OSError, MlflowException, UserError, ValueError) as error:
            say(f"study {case.name}: could not {remedy}: {str(error).strip().partition(chr(10))[0]}")
        else:
            say(f"study {case.name}: {remedy}: done")


def _apply(remedy: Remedy, case: Case, *, client: MlflowClient | None) -> None:
    target = Path(remedy.target)
    match remedy.cure:
        case Cure.REMOVE:
            shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
        case Cure.CUT:
            cut_torn_line(target)
        case Cure.TELL:
            _tell(case, target)
        case Cure.DELETE_RUN if client is not None:
            client.delete_run(remedy.target)
        case Cure.SEND if client is not None:
            _send(case, target, client=client)


def _tell(case: Case, directory: Path) -> None:
    record = readable(directory / "trial.json") or {}
    if case.study is not None:
        case.study.tell(int(record["number"]), record["values"], state=TrialState.COMPLETE, skip_if_finished=True)


def _send(case: Case, directory: Path, *, client: MlflowClient) -> None:
    """Forget which run it had and that all is there: the run is found by its tags, and what it lacks is sent."""
    tracker = Tracker(client, artifacts=case.places.artifacts)
    tracker.take_up_study(case.name)
    if (case.home / "data").is_dir():
        tracker.set_data(open_dataset(case.home / "data"))
    (directory / "mirror.json").unlink(missing_ok=True)
    tracker.sync_trial(directory)
