"""Does what must hold, hold? Over Optuna's storage, the ledger, MLflow, the studies' directories and the registry.

Looking changes nothing. `treat` mends what can be mended, of studies that nobody runs, and looks again.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from hpo.doctor import files, processes, registry, secrets, tracking, trials
from hpo.doctor.case import AGAIN, Case, read_case
from hpo.doctor.finding import Finding, Remedy
from hpo.doctor.mend import apply_remedies
from hpo.doctor.reach import Sources, open_sources
from hpo.history import History
from hpo.lease import holder_of, leased
from hpo.ledger import Ledger, StudyRow
from hpo.listing import no_such_study, storage_exists
from hpo.places import Places

_CHECKS = (trials.check, tracking.check, files.check, processes.check, secrets.check)
_ROUNDS = 3  # of mending: what one remedy brings to light, the next round sees to


@dataclass(frozen=True)
class Examined:
    """What was looked at of one study."""

    study: str
    trials: int
    runs: int | None
    """None: MLflow did not answer."""
    checkpoints: int
    versions: int
    note: str
    """Why not all was judged; empty for a study that is over."""

    def in_words(self) -> str:
        """One line for a person."""
        runs = "runs unknown" if self.runs is None else f"{self.runs} runs"
        counts = f"{self.trials} trials, {runs}, {self.checkpoints} checkpoints, {self.versions} registered versions"
        return f"{self.study}: {counts}{self.note and f'; {self.note}'}"


@dataclass(frozen=True)
class Examination:
    """What was looked at, and what is wrong."""

    examined: list[Examined]
    findings: list[Finding]

    def as_json(self) -> dict[str, object]:
        """For programs: whether all is well, every finding, and how much was looked at."""
        kinds = ("trials", "runs", "checkpoints", "versions")
        counts = {kind: sum(getattr(one, kind) or 0 for one in self.examined) for kind in kinds}
        return {
            "ok": not self.findings,
            "findings": [finding.as_row() for finding in self.findings],
            "examined": {"studies": len(self.examined), **counts},
        }


def examine(places: Places, *, study: str | None = None) -> Examination:
    """Look at one study, or at all in the ledger; nothing is changed.

    Raises `ConfigError` when there is no such study, `StorageError` when its database does not answer. MLflow may be
    away: that is a finding, and everything else is examined.
    """
    ledger = _ledger(places)
    rows = _rows(ledger, study)
    return _examine(rows, open_sources(places, ledger)) if ledger and rows else Examination([], [])


def treat(places: Places, *, study: str | None = None, say: Callable[[str], None]) -> Examination:
    """Mend what can be mended, say each thing that was done, and examine again.

    Raises `StorageError` when the named study is being run; where none is named, such studies are left out.
    """
    ledger = _ledger(places)
    rows = _rows(ledger, study)
    if ledger is None or not rows:
        return Examination([], [])
    sources = open_sources(places, ledger)
    for row in rows:
        if study is None and holder_of(sources.ledger, row.name):
            say(f"study {row.name}: it is being run, and nothing of it was mended")
            continue
        with leased(sources.ledger, row.name):
            _treat(row, sources, say=say)
    return _examine(rows, sources)


def _examine(rows: list[StudyRow], sources: Sources) -> Examination:
    cases = [_case(row, sources) for row in rows]
    findings = [finding for case in cases for finding in _judge(case)]
    history = History(sources.ledger)
    decisions, reigns = history.decisions(), history.reigns()
    judged = sources.mlflow.ask(lambda client: registry.check(cases, decisions, reigns, client=client))
    about_versions, versions = judged or ([], {})
    findings += about_versions
    if away := sources.mlflow.away:
        advice = "start it, or name it with --tracking-uri; all else was examined"
        findings.append(Finding("places", "", None, f"MLflow does not answer ({away})", advice=advice))
    return Examination([_examined(case, versions.get(case.name, 0)) for case in cases], findings)


def _treat(row: StudyRow, sources: Sources, *, say: Callable[[str], None]) -> None:
    applied: set[Remedy] = set()
    for _ in range(_ROUNDS):
        case = _read(row, sources, live=False)
        remedies = {finding.remedy for finding in _judge(case) if finding.remedy} - applied
        apply_remedies(case, remedies, client=sources.mlflow.client, say=say)
        applied |= remedies
        if not remedies:
            return


def _case(row: StudyRow, sources: Sources) -> Case:
    """A study as it is now; one whose session began or ended while it was read counts as being run."""
    live = holder_of(sources.ledger, row.name) is not None
    case = _read(row, sources, live=live)
    return replace(case, live=live or holder_of(sources.ledger, row.name) is not None)


def _ledger(places: Places) -> Ledger | None:
    """The ledger, where there is one: it must not be made by looking at it."""
    return Ledger(places.storage) if storage_exists(places) else None


def _rows(ledger: Ledger | None, study: str | None) -> list[StudyRow]:
    rows = ledger.studies() if ledger else []
    if study is None:
        return rows
    if study not in (names := [row.name for row in rows]):
        raise no_such_study(study, names)
    return [row for row in rows if row.name == study]


def _read(row: StudyRow, sources: Sources, *, live: bool) -> Case:
    runs = sources.mlflow.ask(lambda client: tracking.read_runs(client, row.name))
    return read_case(row, places=sources.places, storage=sources.storage, live=live, runs=runs)


def _judge(case: Case) -> Iterator[Finding]:
    for check in _CHECKS:
        yield from check(case)


def _examined(case: Case, versions: int) -> Examined:
    if case.live:
        note = "it is being run: only what must hold even then was judged"
    elif case.is_over or case.spent:
        note = ""
    else:
        note = f"it is not over: {AGAIN} to go on"
    runs = None if case.runs is None else len(case.runs)
    return Examined(case.name, len(case.trials), runs, files.count_checkpoints(case), versions, note)
