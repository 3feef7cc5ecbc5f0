"""Studies and trials as plain rows, for tables and JSON."""

import json
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from hpo.history import History
from hpo.ledger import Ledger
from hpo.openings import Openings, in_words
from hpo.places import Places
from hpo.spec import StudySpec
from hpo.storage import best_trial, open_storage, own_trials
from hpo.suggest import did_you_mean
from pipelines.data import open_dataset, rows_digest
from pipelines.errors import ConfigError, ModelError, UserError
from pipelines.files import read_json


def studies(places: Places) -> list[dict[str, Any]]:
    """One row a study, oldest first; none where there is no storage yet."""
    if not storage_exists(places):
        return []
    storage = open_storage(places.storage)
    rows = []
    for row in Ledger(places.storage).studies():
        spec = StudySpec.model_validate_json(row.spec)
        study = _load(row.name, storage)
        trials, best = own_trials(study), best_trial(study)
        counts = {state: sum(trial.state == state for trial in trials) for state in TrialState}
        rows.append(
            {
                "study": row.name,
                "created": row.created,
                "metric": spec.objective[0].metric,
                "trials": spec.budget.trials,
                "finished": sum(trial.state.is_finished() for trial in trials),
                "complete": counts[TrialState.COMPLETE],
                "pruned": counts[TrialState.PRUNED],
                "failed": counts[TrialState.FAIL],
                "running": counts[TrialState.RUNNING],
                "best": best.values[0] if best else None,
                "best_trial": best.number if best else None,
                "minutes": round(row.seconds / 60, 2),
                "registers": spec.register_as,
                "learns_from": spec.learn_from,
            }
        )
    return rows


def trials(places: Places, study: str) -> list[dict[str, Any]]:
    """One row a trial of a study. Raises `ConfigError` when there is no such study."""
    found = _find(places, study)
    return [_row(places, study, trial) for trial in own_trials(found) if trial.state != TrialState.WAITING]


def one_trial(places: Places, study: str, number: int) -> dict[str, Any]:
    """Everything about one trial. Raises `ConfigError` when there is no such trial."""
    rows = [row for row in trials(places, study) if row["trial"] == number]
    if not rows:
        raise ConfigError(f"study {study!r} has no trial {number}")
    record = read_json(places.trial(study, number) / "trial.json") or {}
    return rows[0] | {
        "params": record.get("params", {}),
        "scores": record.get("scores", {}),
        "notes": record.get("notes", []),
        "directory": str(places.trial(study, number)),
    }


def spec_of(places: Places, study: str) -> StudySpec:
    """The spec of a study's last launch. Raises `ConfigError` when there is no such study."""
    _find(places, study)
    row = Ledger(places.storage).study(study)
    if row is None:
        raise ConfigError(f"study {study!r} was not made by hpo")
    return StudySpec.model_validate(json.loads(row.spec))


def looks_at_test(places: Places, study: str) -> str | None:
    """How often the study's locked test rows were looked at for its registered model, in a sentence.

    None where the study registers nothing, or its data is not there any more.
    """
    spec = spec_of(places, study)
    try:
        dataset = open_dataset(places.study(study) / "data")
    except UserError:
        return None
    if spec.register_as is None:
        return None
    counts = Openings(Ledger(places.storage)).count(
        rows_digest(dataset.labels, dataset.splits["test"]), model=spec.register_as
    )
    return f"test rows: {len(dataset.splits['test']):,}, {in_words(counts)} for {spec.register_as}"


def known_model(name: str, places: Places) -> Ledger:
    """The ledger, where it knows of decisions about this registered model. Raises `ModelError` where it does not."""
    known: list[str] = []
    if storage_exists(places):
        ledger = Ledger(places.storage)
        known = History(ledger).models()
        if name in known:
            return ledger
    raise ModelError(
        f"nothing was decided about a registered model {name!r}{did_you_mean(name, known)}; known are: "
        f"{', '.join(known) or 'none'}"
    )


def history(name: str, places: Places) -> dict[str, Any]:
    """Who was champion when and why, and every decision with its figures, oldest first. Raises `ModelError`."""
    past = History(known_model(name, places))
    reigns = [reign.as_row() for reign in past.reigns(name)]
    decisions = [{"at": row.at, "key": row.key, **json.loads(row.decision)} for row in past.decisions(name)]
    champion = reigns[-1]["version"] if reigns else None
    return {"model": name, "champion": champion, "history": reigns, "decisions": decisions}


def no_such_study(study: str, names: list[str]) -> ConfigError:
    """The error that names what there is instead."""
    return ConfigError(
        f"there is no study {study!r}{did_you_mean(study, names)}; there are: {', '.join(names) or 'none'}"
    )


def _row(places: Places, study: str, trial: FrozenTrial) -> dict[str, Any]:
    directory = places.trial(study, trial.number)
    record = read_json(directory / "trial.json") or {}
    waits = trial.state == TrialState.RUNNING and record.get("state") in {"PAUSED", "INTERRUPTED"}
    return {
        "trial": trial.number,
        "state": record["state"] if waits else trial.state.name,
        "values": trial.values if trial.state == TrialState.COMPLETE else None,
        "value": trial.values[0] if trial.state == TrialState.COMPLETE else None,
        "last_report": trial.intermediate_values.get(max(trial.intermediate_values, default=-1)),
        "searched": {address: record.get("params", {}).get(address) for address in record.get("searched", [])},
        "params": trial.params,
        "run_id": (read_json(directory / "mirror.json") or {}).get("run_id"),
        "seconds": record.get("seconds", {}),
        "reason": trial.user_attrs.get("reason"),
    }


def _find(places: Places, study: str) -> optuna.Study:
    names = [row["study"] for row in studies(places)]
    if study not in names:
        raise no_such_study(study, names)
    return _load(study, open_storage(places.storage))


def _load(name: str, storage: optuna.storages.RDBStorage) -> optuna.Study:
    return optuna.load_study(study_name=name, storage=storage)


def storage_exists(places: Places) -> bool:
    """Whether there is anything to list: an SQLite file that is absent must not be created by looking at it."""
    prefix = "sqlite:///"
    if not places.storage.startswith(prefix):
        return True
    from pathlib import Path

    return Path(places.storage.removeprefix(prefix)).exists()
