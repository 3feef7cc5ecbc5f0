"""Registered versions, their aliases, and the ledger's decisions about them."""

import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from hpo.doctor.case import AGAIN, Case
from hpo.doctor.finding import Finding
from hpo.history import DecisionRow, ReignRow
from pipelines.errors import ModelError
from pipelines.loader import open_model
from pipelines.registry import CHAMPION, KEY, pull


@dataclass(frozen=True)
class Model:
    """One registered model."""

    name: str
    aliases: dict[str, str]
    """The version's number by alias."""
    versions: dict[str, ModelVersion]
    """By number."""


def _read_models(client: MlflowClient) -> list[Model]:
    page = client.search_registered_models()
    found = list(page)
    while page.token:
        page = client.search_registered_models(page_token=page.token)
        found += page
    return [_model(client, one.name, one.aliases) for one in found]


def _model(client: MlflowClient, name: str, aliases: dict[str, Any]) -> Model:
    versions = {str(version.version): version for version in client.search_model_versions(f"name = '{name}'")}
    return Model(name, {alias: str(version) for alias, version in aliases.items()}, versions)


def check(
    cases: Sequence[Case], decisions: Sequence[DecisionRow], reigns: Sequence[ReignRow], *, client: MlflowClient
) -> tuple[list[Finding], dict[str, int]]:
    """What is wrong with the versions of these studies and their aliases; and how many versions each study has.

    Raises MLflow's errors when it does not answer.
    """
    findings: list[Finding] = []
    models = _read_models(client)
    counts = dict.fromkeys((case.name for case in cases), 0)
    for model in models:
        mine = {number: one for number, one in model.versions.items() if one.tags.get("hpo.study") in counts}
        names = [case.name for case in cases if case.spec.register_as == model.name]
        if not mine and not names:
            continue
        bad: dict[str, str] = {}
        for number in sorted({*mine, *model.aliases.values()} & model.versions.keys(), key=int):
            version = model.versions[number]
            study = str(version.tags.get("hpo.study", names[0] if names else ""))
            counts[study] = counts.get(study, 0) + 1
            if (fault := _fault(client, version)) is not None:
                bad[number] = fault
                findings.append(Finding("I10", study, _trial(version), fault, advice=_advice(version)))
        owner = names[0] if names else str(next(iter(mine.values())).tags["hpo.study"])
        findings += _aliases(model, bad, study=owner)
        if not any(case.live and case.spec.register_as == model.name for case in cases):
            findings += _history(
                model,
                [row for row in reigns if row.model == model.name],
                [row for row in decisions if row.model == model.name],
                study=owner,
            )
    for case in cases:
        findings += _decisions(case, models, decisions)
    return findings, counts


def _fault(client: MlflowClient, version: ModelVersion) -> str | None:
    """Why a READY version cannot be used; None where it downloads, has the right hashes and loads."""
    if version.status != "READY":
        return None
    with tempfile.TemporaryDirectory(prefix="hpo-doctor-") as folder:
        try:
            open_model(pull(client, version, Path(folder) / "model"))
        except (ModelError, OSError, ValueError) as error:
            name = f"{version.name}/{version.version}"
            first = re.sub(rf"{re.escape(folder)}/(\.pull-[^/]*/)?", "", str(error).strip().partition("\n")[0])
            return f"{name}: {first.removeprefix(f'{name}: ').partition('; ')[0]}"
    return None


def _advice(version: ModelVersion) -> str:
    study = version.tags.get("hpo.study")
    return f"restore MLflow's artifacts from a backup, or delete the version and promote again: hpo promote {study}"


def _aliases(model: Model, bad: dict[str, str], *, study: str) -> Iterator[Finding]:
    for alias, number in sorted(model.aliases.items()):
        version = model.versions.get(number)
        if version is None:
            fault = "does not exist"
        elif version.status != "READY":
            fault = f"is {version.status}"
        elif number in bad:
            fault = "cannot be used"
        else:
            continue
        owner = str(version.tags.get("hpo.study", study)) if version else study
        advice = "point the alias to a sound version, or delete it"
        yield Finding("I11", owner, None, f"{model.name}@{alias} means version {number}, which {fault}", advice=advice)


def _history(
    model: Model, reigns: Sequence[ReignRow], decisions: Sequence[DecisionRow], *, study: str
) -> Iterator[Finding]:
    """The history has no gap, ends with who is champion, and tells of every decision that made one.

    Nothing is asked of models that were decided about before there was a history.
    """
    finish = f"hpo promote {study} or hpo rollback {model.name} enters it"
    for before, row in pairwise(reigns):
        if row.previous != before.version:
            what = f"the history of {model.name} has a gap: version {before.version} reigned, then {row.previous} did"
            yield Finding("I11", study, None, what, advice="rows are missing: restore the ledger from a backup")
    if reigns:
        now, last = model.aliases.get(CHAMPION), reigns[-1]
        if not last.done:
            what = f"{model.name}@{CHAMPION} was to become version {last.version}, and that was cut short"
            yield Finding("I11", study, None, what, advice=finish.replace("enters", "finishes"))
        elif now != last.version:
            means = f"version {now}" if now else "nothing"
            what = f"{model.name}@{CHAMPION} means {means}, the history says {last.version}: other hands moved it"
            yield Finding("I11", study, None, what, advice=finish)
    crowned = {row.version for row in reigns}
    for decision in (json.loads(row.decision) for row in decisions):
        made = decision.get("verdict") and decision["alias"] == CHAMPION
        if made and decision["version"] not in crowned:
            what = f"{model.name}/{decision['version']} was made champion, and the history does not tell of it"
            yield Finding("I11", study, None, what, advice="rows are missing: restore the ledger from a backup")


def _decisions(case: Case, models: Sequence[Model], decisions: Sequence[DecisionRow]) -> Iterator[Finding]:
    """The ledger and the registry must tell one story; while the study is run, one of them may be ahead."""
    if case.live:
        return
    ours = [row for row in decisions if row.key.split("/")[0] == case.name]
    by_key = {(model.name, one.tags.get(KEY)): one for model in models for one in model.versions.values()}
    for row in ours:
        if (row.model, row.key) not in by_key:
            what = f"the ledger decided about {row.model} ({row.key}), and no version of that key exists"
            yield Finding("I11", case.name, None, what, advice="was the version deleted? Restore MLflow from a backup")
        elif (wrong := _another_version(row, found := by_key[row.model, row.key])) is not None:
            what = f"the ledger decided about {row.model}/{wrong}, and its key is version {found.version}'s"
            yield Finding("I11", case.name, None, what, advice="was MLflow restored from an older backup?")
    decided = {(row.model, row.key) for row in ours}
    for (name, key), version in by_key.items():
        if version.tags.get("hpo.study") == case.name and (name, key) not in decided:
            what = f"{name}/{version.version} is registered, and the ledger has no decision about it"
            yield Finding("I11", case.name, _trial(version), what, advice=f"finish it: hpo promote {case.name}")
    delivered, wanted = case.delivered, case.spec.register_as
    closed = any(run.status == "FINISHED" for run in case.parents)
    if closed and wanted and delivered and not any(_is_about(row, wanted, case, delivered[0]) for row in ours):
        what = f"the study is over, and nothing was decided about its winner for {wanted}"
        yield Finding("I11", case.name, delivered[0], what, advice=f"{AGAIN}, or: hpo promote {case.name}")


def _another_version(row: DecisionRow, version: ModelVersion) -> str | None:
    """The version that a decision names, where it is not the one of its key; older decisions name none."""
    named = json.loads(row.decision).get("version")
    return named if named not in {None, str(version.version)} else None


def _is_about(row: DecisionRow, name: str, case: Case, number: int) -> bool:
    return row.model == name and row.key.startswith(f"{case.name}/{number}/")


def _trial(version: ModelVersion) -> int | None:
    number = str(version.tags.get("hpo.trial", ""))
    return int(number) if number.isdigit() else None
