"""From a study's best trial to a registered version with an alias, and the reason for it on record."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import optuna
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from hpo.ledger import Ledger
from hpo.objectives import direction
from hpo.places import Places
from hpo.spec import StudySpec
from hpo.storage import best_trial
from pipelines import registry
from pipelines.card import CardFacts, render_card
from pipelines.config import RunConfig
from pipelines.data import ATTRIBUTION, Dataset
from pipelines.errors import ModelError
from pipelines.export import read_facts, seal
from pipelines.families import license_of
from pipelines.files import read_json, sha256, write_text
from pipelines.segment import TestJob

Scorer = Callable[[TestJob], dict[str, dict[str, float]]]
"""Runs `pipelines.locked.score_on_test`, here or on a worker."""


@dataclass(frozen=True)
class Decision:
    """Who became what, and why."""

    model: str
    version: str
    alias: str
    """`champion` or `challenger`."""
    reason: str
    metric: str
    candidate: float
    """The metric on the locked test split."""
    champion: float | None
    """The reigning champion's, on the same rows; None where there was none."""
    champion_version: str | None
    scores: dict[str, float]
    """All of the candidate's scores on the locked test split."""

    def in_words(self) -> list[str]:
        """The decision for a person: who became what and why, then the figures."""
        versus = f"; champion version {self.champion_version}: {self.champion:.4f}" if self.champion is not None else ""
        return [
            f"{self.model} version {self.version} is {self.alias}: {self.reason}",
            f"locked test {self.metric} {self.candidate:.4f}{versus}",
        ]


def promote(
    spec: StudySpec,
    study: optuna.Study,
    *,
    dataset: Dataset,
    places: Places,
    ledger: Ledger,
    client: MlflowClient,
    score_on_test: Scorer,
) -> Decision:
    """Test the best trial's model on the locked split, register it, and set its alias.

    Idempotent: a model that was decided about is not tested again. Raises `ModelError` when the study has no winner.
    """
    if spec.register_as is None:
        raise ModelError(f"study {spec.name!r} names no registered model; set register_as")
    trial = best_trial(study)
    if trial is None:
        raise ModelError(f"study {spec.name!r} has no COMPLETE trial yet")
    directory = places.trial(spec.name, trial.number)
    key = f"{spec.name}/{trial.number}/{(read_json(directory / 'result.json') or {}).get('fingerprint', '')[:16]}"
    if (made := ledger.decision(spec.register_as, key)) is not None:
        return Decision(**made)
    champion = registry.champion_of(client, spec.register_as)
    models = {"candidate": directory / "model"}
    if champion is not None:
        models["champion"] = registry.pulled(client, champion, places.cache / "models")
    scores = _scores(models, spec, dataset, places=places, score_on_test=score_on_test)
    record = read_json(directory / "trial.json")
    _write_card(directory / "model", record=record, dataset=dataset, scores=scores["candidate"], name=spec.register_as)
    run_id = str((read_json(directory / "mirror.json") or {})["run_id"])
    version = registry.register(
        client, spec.register_as, _candidate(key, run_id, directory, scores=scores["candidate"])
    )
    decision = _decide(spec, version, champion, scores=scores)
    client.set_registered_model_alias(spec.register_as, decision.alias, version.version)
    _log_scores(client, run_id, decision, output=places.study(spec.name) / "test" / "candidate")
    ledger.add_decision(model=spec.register_as, key=key, at=datetime.now(UTC).isoformat(), decision=asdict(decision))
    return decision


def _scores(
    models: Mapping[str, Path], spec: StudySpec, dataset: Dataset, *, places: Places, score_on_test: Scorer
) -> dict[str, dict[str, float]]:
    """Scores on the locked rows. A champion that knows other classes cannot be compared, and is left out."""
    comparable = {
        name: directory
        for name, directory in models.items()
        if set(read_facts(directory).labels) == set(dataset.labels)
    }
    folder = places.study(spec.name)
    return score_on_test(TestJob(models=comparable, data=folder / "data", output=folder / "test"))


def _decide(
    spec: StudySpec,
    version: ModelVersion,
    champion: ModelVersion | None,
    *,
    scores: Mapping[str, Mapping[str, float]],
) -> Decision:
    """A first version reigns; a later one must be better than the champion on the same test rows."""
    metric = _test_metric(spec)
    ours, theirs = scores["candidate"][metric], scores.get("champion", {}).get(metric)
    higher = _higher_wins(spec, metric)
    if champion is None or champion.version == version.version:
        alias, reason = registry.CHAMPION, "there was no champion"
    elif theirs is None:
        alias, reason = registry.CHALLENGER, "the champion knows other classes: the two cannot be compared"
    elif ours > theirs if higher else ours < theirs:
        alias, reason = registry.CHAMPION, f"better than the champion on the locked test rows ({metric})"
    else:
        alias, reason = registry.CHALLENGER, f"not better than the champion on the locked test rows ({metric})"
    return Decision(
        model=version.name,
        version=str(version.version),
        alias=alias,
        reason=reason,
        metric=metric,
        candidate=ours,
        champion=theirs,
        champion_version=champion.version if champion else None,
        scores=dict(scores["candidate"]),
    )


def _test_metric(spec: StudySpec) -> str:
    """The first objective that is a score of predictions; a cost alone promotes nobody."""
    from pipelines.scores import METRICS

    return next((objective.metric for objective in spec.objective if objective.metric in METRICS), "accuracy")


def _higher_wins(spec: StudySpec, metric: str) -> bool:
    objective = next((objective for objective in spec.objective if objective.metric == metric), None)
    return objective is None or direction(objective) == "maximize"


def _candidate(key: str, run_id: str, directory: Path, *, scores: Mapping[str, float]) -> registry.Candidate:
    study, trial, _ = key.split("/")
    tags = {
        "hpo.study": study,
        "hpo.trial": trial,
        "hpo.weights": sha256(directory / "model" / "model.safetensors"),
        "test.accuracy": f"{scores['accuracy']:.4f}",
    }
    card = (directory / "model" / "README.md").read_text(encoding="utf-8")
    return registry.Candidate(
        key=key, run_id=run_id, directory=directory / "model", description=_without_front_matter(card), tags=tags
    )


def _without_front_matter(card: str) -> str:
    return card.split("---\n", 2)[-1].strip() if card.startswith("---\n") else card


def _write_card(
    model: Path, *, record: dict[str, Any], dataset: Dataset, scores: Mapping[str, float], name: str
) -> None:
    """Put the model card into the model's directory, and seal it again."""
    facts = read_facts(model)
    config = RunConfig.model_validate(read_json(model.parent / "artifacts" / "config.json"))
    counts: dict[str, dict[str, int]] = {
        split: {label: int((part.labels == index).sum()) for index, label in enumerate(dataset.labels)}
        for split, part in dataset.splits.items()
    }
    card = render_card(
        CardFacts(
            name=name,
            base_model=config.model.name,
            base_license=license_of(config.model.name),
            task="text-classification",
            labels=dataset.labels,
            dataset=dataset.name,
            dataset_digest=dataset.digest,
            rows={split: len(part) for split, part in dataset.splits.items()},
            class_counts=counts,
            select_scores=record["scores"],
            test_scores=scores,
            params=record["params"],
            study=record["study"],
            trial=record["number"],
            run_id=(read_json(model.parent / "mirror.json") or {}).get("run_id"),
            created=datetime.now(UTC).date().isoformat(),
            versions=dict(item.split("==") for item in registry.requirements()),
            notes=dataset.notes,
            attribution=ATTRIBUTION if dataset.source.startswith("sample:") else None,
            max_length=facts.max_length,
        )
    )
    write_text(model / "README.md", card)
    seal(model, facts)


def _log_scores(client: MlflowClient, run_id: str, decision: Decision, *, output: Path) -> None:
    """Show the locked scores on the trial's run and on the version."""
    for name, value in decision.scores.items():
        client.log_metric(run_id, f"test/{name}", value, timestamp=0, step=0)
    client.log_artifacts(run_id, str(output), artifact_path="test")
    client.set_model_version_tag(decision.model, decision.version, "hpo.decision", decision.reason)
