"""What studies left behind that nothing needs any more: found, each with the reason, and freed.

What can be made again at any time goes only while nobody runs anything, what a study left only while this process holds
it.
"""

import json
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
from mlflow import MlflowClient
from mlflow.entities import LoggedModel
from mlflow.exceptions import MlflowException

from hpo.doctor import files
from hpo.doctor.case import Case, RunFacts, read_case, readable
from hpo.doctor.finding import Cure
from hpo.doctor.reach import Sources, open_sources
from hpo.lease import held, holder_of, leased
from hpo.ledger import Ledger, StudyRow
from hpo.listing import no_such_study, storage_exists
from hpo.places import Places
from pipelines.config import SPLIT_NAMES
from pipelines.tokens import content_of
from pipelines.unused import free as free_model
from pipelines.unused import models_without_version, read_registered, size_of

RECENT_SECONDS = 3600.0
"""What is younger may belong to somebody who is at work without holding a study here, and is left alone."""


@dataclass(frozen=True)
class Leftover:
    """One thing that can go."""

    what: str
    """For a person: a path below the home, or a model in MLflow."""
    why: str
    bytes: int
    target: Path | LoggedModel

    def as_row(self) -> dict[str, object]:
        """For programs: plain values by name."""
        return {"what": self.what, "why": self.why, "bytes": self.bytes}


@dataclass(frozen=True)
class Survey:
    """What was found, or freed, and what was left out of it."""

    leftovers: list[Leftover]
    remarks: list[str]
    failed: list[str]
    """What could not be freed, with the cause."""

    @property
    def bytes(self) -> int:
        """Of all leftovers."""
        return sum(one.bytes for one in self.leftovers)


def survey(places: Places, *, study: str | None = None) -> Survey:
    """Look for what can go of one study, or of all and of what they share; nothing is changed.

    Raises `ConfigError` when there is no such study, `StorageError` when its database does not answer.
    """
    return _go_through(places, study, lambda sources, row: _of_study(row, sources), _shared)


def free(places: Places, *, study: str | None = None) -> Survey:
    """Free it; returns what went. After a crash the same call frees the rest. Raises as `survey` does."""
    failed: list[str] = []

    def of_study(sources: Sources, row: StudyRow) -> list[Leftover]:
        with leased(sources.ledger, row.name):
            return list(_freed(_of_study(row, sources), sources, failed))

    def of_all(sources: Sources, rows: list[StudyRow]) -> list[Leftover]:
        return list(_freed(_shared(sources, rows), sources, failed))

    return replace(_go_through(places, study, of_study, of_all), failed=failed)


def _go_through(
    places: Places,
    study: str | None,
    of_study: Callable[[Sources, StudyRow], list[Leftover]],
    of_all: Callable[[Sources, list[StudyRow]], list[Leftover]],
) -> Survey:
    found, remarks = list[Leftover](), list[str]()
    sources = _open(places)
    if sources is None:
        return Survey(found, remarks, [])
    rows = _rows(sources.ledger, study)
    for row in rows:
        if holder_of(sources.ledger, row.name):
            remarks.append(f"study {row.name} is being run: nothing of it can go")
        else:
            found += of_study(sources, row)
    if study is None and (busy := [*held(sources.ledger), *_replays(places, alive=True)]):
        remarks.append(f"the caches stay while anything is being run ({', '.join(map(str, busy))})")
    elif study is None:
        found += of_all(sources, rows)
    if sources.mlflow.away:
        remarks.append(f"MLflow does not answer, what it keeps was left alone ({sources.mlflow.away})")
    return Survey(found, remarks, [])


def _open(places: Places) -> Sources | None:
    """Where to read; None where there is no storage: it must not be made by looking at it."""
    if not storage_exists(places):
        return None
    return open_sources(places, Ledger(places.storage))


def _rows(ledger: Ledger, study: str | None) -> list[StudyRow]:
    rows = ledger.studies()
    if study is not None and study not in (names := [row.name for row in rows]):
        raise no_such_study(study, names)
    return [row for row in rows if study in {None, row.name}]


def _of_study(row: StudyRow, sources: Sources) -> list[Leftover]:
    """What can go of a study that nobody else runs."""
    case = read_case(row, places=sources.places, storage=sources.storage, live=False, runs=None)
    return [*_files(case), *(sources.mlflow.ask(lambda client: _models(client, row.name)) or [])]


def _files(case: Case) -> Iterator[Leftover]:
    """What the doctor calls left over, but for damaged things: those are his."""
    targets: list[Path] = []
    for finding in files.check(case):
        if finding.remedy is None or finding.remedy.cure is not Cure.REMOVE:
            continue
        target = Path(finding.remedy.target)
        spare = target.name in {"checkpoints", "model"} and finding.trial in case.finished
        if (spare or target.suffix == ".tmp") and not {*targets} & {*target.parents}:
            targets.append(target)
            yield _file(target, finding.what.removeprefix(f"{target} "), case.places)


def _models(client: MlflowClient, study: str) -> list[Leftover]:
    found = models_without_version(client, study, read_registered(client), age=RECENT_SECONDS)
    why = "it was uploaded for the registry, and no version is made of it"
    return [Leftover(f"model {one.model_id} in MLflow", why, size_of(client, one), one) for one in found]


def _shared(sources: Sources, rows: list[StudyRow]) -> list[Leftover]:
    """What can go of that which can be made again. Nobody runs a study."""
    places = sources.places
    copies = sources.mlflow.ask(lambda client: read_registered(client).copies)
    return [
        *_encoded(places, _data_in_use(rows, sources)),
        *_copies(places, copies),
        *_scratch(places),
    ]


def _data_in_use(rows: list[StudyRow], sources: Sources) -> set[str]:
    """The digests of the data of all studies that are not over."""
    return {str(json.loads(row.definition).get("data_digest")) for row in rows if not _is_over(row, sources)}


def _is_over(row: StudyRow, sources: Sources) -> bool:
    runs = sources.mlflow.ask(lambda client: _own_run(client, row.name))
    case = read_case(row, places=sources.places, storage=sources.storage, live=False, runs=runs)
    return not case.unfinished and (case.is_over or case.spent is not None)


def _own_run(client: MlflowClient, study: str) -> list[RunFacts]:
    experiment = client.get_experiment_by_name(study)
    if experiment is None:
        return []
    found = client.search_runs([experiment.experiment_id], filter_string="tags.`hpo.kind` = 'study'")
    return [
        RunFacts(run.info.run_id, run.info.status, run.info.start_time, {}, dict(run.data.tags), {}) for run in found
    ]


def _encoded(places: Places, in_use: set[str]) -> Iterator[Leftover]:
    """Encoded texts, and what frozen layers made of them. Where it does not stand whose they are, somebody's."""
    home, rows = places.cache / "encoded", {None} if in_use else set[str | None]()
    contents = {content_of(data, split) for data in in_use for split in SPLIT_NAMES} | rows
    for directory in _directories(home):
        manifest = readable(directory / "manifest.json") or {}
        if directory.name in {"prefixes", "scratch"}:
            continue
        if manifest.get("content") in contents:
            rows.add(manifest.get("rows"))
        else:
            yield _file(directory, "encoded texts that no unfinished study uses", places)
    for directory in _directories(home / "scratch"):
        if (readable(directory / "manifest.json") or {}).get("content") not in contents:
            yield _file(directory, "model made from scratch that no unfinished study uses", places)
    for directory in _directories(home / "prefixes"):
        if (readable(directory / "manifest.json") or {}).get("rows") not in rows:
            yield _file(directory, "output of frozen layers that no unfinished study uses", places)


def _copies(places: Places, needed: set[str] | None) -> Iterator[Leftover]:
    """Copies of registered versions; none where the registry does not answer."""
    for directory in _directories(places.cache / "models") if needed is not None else ():
        if directory.name not in (needed or ()) and _is_old(directory):
            yield _file(directory, "copy of a version that no alias names; it is pulled again when asked for", places)


def _scratch(places: Places) -> Iterator[Leftover]:
    """What commands that were killed left in the cache."""
    for directory in _replays(places, alive=False):
        yield _file(directory, "left by a replay that is gone", places)
    for pattern in ("**/.*.tmp", "models/.pull-*"):
        for path in sorted(places.cache.glob(pattern)):
            if _is_old(path):
                yield _file(path, "left of a write that was cut short", places)


def _replays(places: Places, *, alive: bool) -> list[Path]:
    """The directories of `hpo.rerun`, whose names end with its process."""
    found = [(path, path.name.rpartition("-")[2]) for path in _directories(places.cache / "reruns")]
    return [path for path, pid in found if alive == (pid.isdigit() and psutil.pid_exists(int(pid)))]


def _directories(home: Path) -> list[Path]:
    return sorted(path for path in home.glob("*") if path.is_dir() and not path.name.startswith("."))


def _is_old(path: Path) -> bool:
    return time.time() - path.stat().st_mtime >= RECENT_SECONDS


def _file(path: Path, why: str, places: Places) -> Leftover:
    whole = [path, *path.rglob("*")] if path.is_dir() else [path]
    size = sum(one.lstat().st_size for one in whole if not one.is_dir())
    return Leftover(str(path.relative_to(places.home)), why, size, path)


def _freed(found: Iterable[Leftover], sources: Sources, failed: list[str]) -> Iterator[Leftover]:
    """Free each; yields what went. One that fails goes into `failed`, and does not keep the others from being tried."""
    for one in found:
        try:
            if isinstance(one.target, Path):
                _vanish(one.target)
            elif sources.mlflow.client is not None:
                free_model(sources.mlflow.client, one.target)
        except (OSError, MlflowException) as error:
            failed.append(f"{one.what} could not be freed: {str(error).strip().partition(chr(10))[0]}")
        else:
            yield one


def _vanish(path: Path) -> None:
    """Remove a file or directory, at once for whoever may be reading it: all of it is there, or nothing."""
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    path.rename(aside)
    shutil.rmtree(aside) if aside.is_dir() else aside.unlink()
