"""MLflow as a mirror of what lies on disk: everything here may be called again at any time without harm.

A trial's directory is the source: `trial.json` (what the controller decided), `progress.jsonl` (the journal) and
`artifacts/`. A run is found by its tags before it is created, since a lost reply must not make a second one; and
metrics keep the journal's timestamps, so that sending one twice stores it once.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset as LoggedDataset
from mlflow.entities import DatasetInput, InputTag, Metric, Param, Run, RunTag

from pipelines.connection import find_experiment
from pipelines.data import Dataset
from pipelines.errors import StorageError
from pipelines.files import digest, read_json, write_json
from pipelines.journal import read_journal

STATUS = {
    "COMPLETE": "FINISHED",
    "PRUNED": "KILLED",
    "FAIL": "FAILED",
    "RUNNING": "RUNNING",
    "PAUSED": "SCHEDULED",
    "INTERRUPTED": "SCHEDULED",
}
"""Our trial states as MLflow's run states. It has no words for pruned and paused; the tag `hpo.state` has them."""
CURVES = {"step": "train/", "evaluation": "select/", "system": "system/"}
"""What the names of metrics begin with, by kind of journal record."""
_PROVENANCE = ("version.", "mlflow.source.", "mlflow.user")  # tags of the study's run that its trials' runs have too
_PART = 900  # metrics in one request; MLflow's limit is 1,000
_LONGEST_PARAM = 6_000


class Tracker:
    """Writes one study's runs to MLflow."""

    def __init__(self, client: MlflowClient, *, artifacts: Path, allowed: Callable[[], None] = lambda: None) -> None:
        """`allowed` is called between any two writes about a trial; it raises when this process may not write."""
        self._client, self._allowed = client, allowed
        self._artifacts = artifacts
        self._sent: dict[Path, int] = {}
        self._inputs: list[DatasetInput] = []
        self._tags: dict[str, str] = {}
        self.experiment = ""
        self.parent = ""

    def open_study(self, name: str, *, description: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        """Find or create the study's experiment and parent run; `tags` go to every run of the study."""
        self._tags = dict(tags)
        self.experiment = find_experiment(self._client, name, self._artifacts)
        marks = {"hpo.study": name, "hpo.kind": "study", "mlflow.runName": name}
        run = self._find_run(_of_study(name)) or self._make_run(_of_study(name), tags=marks)
        self.parent = run.info.run_id
        self._client.set_tag(self.parent, "mlflow.note.content", description)
        self._log_params(run, params)
        self._log(self.parent, tags=self._tags)
        self._client.update_run(self.parent, status="RUNNING")

    def take_up_study(self, name: str) -> None:
        """Go on with the study's runs as they are, to mend them. Raises `StorageError` where it has none of its own."""
        self.experiment = find_experiment(self._client, name, self._artifacts)
        run = self._find_run(_of_study(name))
        if run is None:
            raise StorageError(f"study {name!r} has no run of its own in MLflow; run the same command again")
        self.parent = run.info.run_id
        self._tags = {key: text for key, text in run.data.tags.items() if key.startswith(_PROVENANCE)}

    def set_data(self, dataset: Dataset) -> None:
        """The data set that every run of this study uses."""
        self._inputs = dataset_inputs(dataset)
        self._client.log_inputs(self.parent, self._inputs)

    def close_study(self, *, status: str, metrics: Mapping[str, float], tags: Mapping[str, str]) -> None:
        """Set the parent run's end state."""
        known = self._client.get_run(self.parent).data.metrics
        fresh = {name: value for name, value in metrics.items() if known.get(name) != value}
        self._log(self.parent, metrics=fresh, tags=tags)
        self._client.update_run(self.parent, status=status)
        if status != "SCHEDULED":
            self._client.set_terminated(self.parent, status=status)

    def log_study_files(self, directory: Path) -> None:
        """Upload the study's own files: its specification and pictures."""
        self._client.log_artifacts(self.parent, str(directory))

    def sync_trial(self, directory: Path) -> str:
        """Make the trial's run equal to its directory; returns the run's id. Raises MLflow's errors when it is down."""
        record = read_json(directory / "trial.json")
        mirrored = read_json(directory / "mirror.json") or {}
        if mirrored.get("parent") != self.parent:  # of another tracking database, or one that was emptied
            mirrored = {}
        if mirrored.get("updated") == record["updated"] and mirrored.get("whole"):
            return str(mirrored["run_id"])
        self._allowed()
        run_id = mirrored.get("run_id") or self._trial_run(record)
        self._allowed()
        if not mirrored:
            write_json(directory / "mirror.json", {"run_id": run_id, "parent": self.parent})
        self._send_metrics(run_id, directory)
        ended = record["state"] in {"COMPLETE", "PRUNED", "FAIL"}
        if ended:
            self._allowed()
            self._send_end(run_id, record, directory)
        self._allowed()
        self._set_state(run_id, record)
        if (now := read_json(directory / "trial.json"))["updated"] != record["updated"]:
            self._set_state(run_id, now)  # whoever slept between reading and writing must not have the last word
        self._allowed()
        done = {"run_id": run_id, "parent": self.parent, "updated": record["updated"], "whole": ended}
        write_json(directory / "mirror.json", done)
        return str(run_id)

    def _trial_run(self, record: dict[str, Any]) -> str:
        """The record's run: found by its tags, or created with parameters, inputs and tags."""
        marks = identity(record)
        condition = " and ".join(f"tags.`{key}` = '{text}'" for key, text in marks.items())
        run = self._find_run(condition)
        if run is None:
            marks |= {
                "hpo.kind": kind_of(record),
                "mlflow.parentRunId": self.parent,
                "mlflow.runName": _run_name(record),
                "mlflow.note.content": record.get("about") or _about_trial(record),
            }
            run = self._make_run(condition, tags=marks | self._tags, started=record["started"])
        elif run.data.tags.get("mlflow.parentRunId") != self.parent:
            self._client.set_tag(run.info.run_id, "mlflow.parentRunId", self.parent)
        self._log_params(run, record["params"])
        if self._inputs:
            self._client.log_inputs(run.info.run_id, self._inputs)
        return str(run.info.run_id)

    def _send_metrics(self, run_id: str, directory: Path) -> None:
        """Send what the journal holds beyond what this process already sent."""
        records = list(read_journal(directory / "progress.jsonl"))
        fresh = records[self._sent.get(directory, 0) :]
        metrics = [
            Metric(f"{CURVES[record['kind']]}{name}", value, record["time"], record["step"])
            for record in fresh
            for name, value in record["values"].items()
        ]
        for start in range(0, len(metrics), _PART):
            self._client.log_batch(run_id, metrics=metrics[start : start + _PART])
        self._sent[directory] = len(records)

    def _send_end(self, run_id: str, record: dict[str, Any], directory: Path) -> None:
        """What is known at the end only: final values, times, and the artifacts."""
        final = dict(zip([f"objective/{name}" for name in record["objective"]], record["values"] or [], strict=False))
        final |= {f"seconds/{kind}": value for kind, value in record["seconds"].items()}
        costs = {"latency_ms", "parameters", "trained_parameters"}
        final |= {name: value for name, value in record["scores"].items() if name in costs}
        for address in record["searched"]:  # MLflow sorts parameters as text; people sort them as numbers
            if isinstance(record["params"].get(address), (int, float)):
                final[f"searched/{address}"] = float(record["params"][address])
        stamp = record["updated"]
        self._client.log_batch(run_id, metrics=[Metric(name, value, stamp, 0) for name, value in final.items()])
        if (directory / "artifacts").is_dir():
            self._client.log_artifacts(run_id, str(directory / "artifacts"))
            tables = '[{"path": "mistakes.json", "type": "table"}]'
            self._client.set_tag(run_id, "mlflow.loggedArtifacts", tables)

    def _set_state(self, run_id: str, record: dict[str, Any]) -> None:
        words = {"hpo.reason": record["reason"], "hpo.notes": "\n".join(record.get("notes", []))}
        tags = {"hpo.state": record["state"]} | {name: text for name, text in words.items() if text}
        self._log(run_id, tags=tags)
        status = STATUS[record["state"]]
        if record["state"] in {"RUNNING", "PAUSED", "INTERRUPTED"}:
            self._client.update_run(run_id, status=status)
        else:
            self._client.set_terminated(run_id, status=status, end_time=record["updated"])

    def _make_run(self, condition: str, *, tags: Mapping[str, str], started: int | None = None) -> Run:
        """Create a run, as the only one: when a reply is lost, MLflow's client asks again, and two are made."""
        made = self._client.create_run(self.experiment, start_time=started, tags=dict(tags))
        for run in self._client.search_runs([self.experiment], filter_string=condition):
            if run.info.run_id != made.info.run_id:
                self._client.delete_run(run.info.run_id)
        return made

    def _find_run(self, condition: str) -> Run | None:
        found: Sequence[Run] = self._client.search_runs([self.experiment], filter_string=condition, max_results=1)
        return found[0] if found else None

    def _log_params(self, run: Run, params: Mapping[str, Any]) -> None:
        """Log the parameters that the run lacks; MLflow refuses to change one."""
        fresh = [Param(key, _as_text(value)) for key, value in params.items() if key not in run.data.params]
        for start in range(0, len(fresh), 100):
            self._client.log_batch(run.info.run_id, params=fresh[start : start + 100])

    def _log(self, run_id: str, *, metrics: Mapping[str, float] | None = None, tags: Mapping[str, str]) -> None:
        now = time.time_ns() // 1_000_000
        points = [Metric(name, value, now, 0) for name, value in (metrics or {}).items()]
        self._client.log_batch(run_id, metrics=points, tags=[RunTag(key, value) for key, value in tags.items()])


def dataset_inputs(dataset: Dataset) -> list[DatasetInput]:
    """Every split of a data set as an MLflow input, with a digest of its content."""
    return [
        DatasetInput(
            LoggedDataset(
                name=dataset.name,
                digest=digest(dataset.digest, name)[:32],  # equal digests would be shown as one
                source_type="local",
                source=json.dumps({"uri": dataset.source}),
                profile=json.dumps({"rows": len(split), "classes": len(dataset.labels)}),
            ),
            [InputTag("mlflow.data.context", name)],
        )
        for name, split in dataset.splits.items()
        if len(split)
    ]


def _of_study(name: str) -> str:
    """What finds the run of a study itself."""
    return f"tags.`hpo.study` = '{name}' and tags.`hpo.kind` = 'study'"


def _as_text(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST_PARAM else f"{text[: _LONGEST_PARAM - 3]}..."


def kind_of(record: Mapping[str, Any]) -> str:
    """`trial`, `confirmation` or `baseline`."""
    return str(record.get("kind", "trial"))


def identity(record: Mapping[str, Any]) -> dict[str, str]:
    """The tags by which the run of a record is found: a trial by its number, all else by its directory's name."""
    study = {"hpo.study": str(record["study"])}
    if kind_of(record) == "trial":
        return study | {"hpo.trial": str(record["number"])}
    return study | {"hpo.run": str(record["name"])}


def _run_name(record: Mapping[str, Any]) -> str:
    name = f"{record['number']:03d}" if kind_of(record) == "trial" else record["name"]
    return f"{record['study']}-{name}"


def _about_trial(record: dict[str, Any]) -> str:
    return f"Trial {record['number']} of study {record['study']}: {_searched(record)}"


def _searched(record: dict[str, Any]) -> str:
    pairs = [f"{address} = {_short(record['params'].get(address))}" for address in record["searched"]]
    return ", ".join(pairs) or "nothing is searched"


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
