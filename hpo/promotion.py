"""A study's winner on its way to a registered version with an alias: tested, proved, judged, and the reason on record.

Each step may be done again after a kill: a version is found by its key, an opening keeps its number, the run's files
are written over, and decision, history and alias change together (`hpo/champion.py`).
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from mlflow import MlflowClient
from mlflow.entities import Metric
from mlflow.entities.model_registry import ModelVersion

from hpo.champion import Prove, Ruling, carry_out, prove_version, settle
from hpo.decision import Decision, read_decision
from hpo.gate import Contender, Verdict, judge
from hpo.history import FORCED, PROMOTED, History
from hpo.ledger import Ledger
from hpo.objectives import deciding_metric
from hpo.openings import PROMOTION, Openings
from hpo.places import Places
from hpo.registration import register_winner
from hpo.spec import StudySpec
from pipelines import registry
from pipelines.connection import tracking_errors
from pipelines.data import Dataset, rows_digest, text_hashes
from pipelines.errors import ModelError, StorageError
from pipelines.export import read_facts
from pipelines.files import read_json, remove, sha256, write_json
from pipelines.predictions import read_parquet
from pipelines.segment import ElsewhereJob, FinishJob, TestJob

_ROUNDS = 5  # of judging against a champion that others have replaced meanwhile

Scorer = Callable[[TestJob], dict[str, dict[str, float]]]
"""Runs `pipelines.locked.score_on_test`, here or on a worker."""
Elsewhere = Callable[[ElsewhereJob], dict[str, dict[str, float]]]
"""Runs `pipelines.generalize.floors.score_elsewhere`, here or on a worker."""
Finish = Callable[[FinishJob], object]
"""Runs `pipelines.finish.finish_model`, here or on a worker."""


@dataclass(frozen=True)
class Winner:
    """What a study delivers."""

    trial: int
    """The trial whose configuration it is."""
    directory: Path
    """Holds model/, artifacts/, trial.json and mirror.json."""
    name: str
    """Such as `trial-00003`."""


@dataclass(frozen=True)
class _Case:
    """One winner before the gate, and all that is asked about it."""

    spec: StudySpec
    winner: Winner
    key: str
    dataset: Dataset
    rows: str
    """Digest of the test rows."""
    places: Places
    ledger: Ledger
    client: MlflowClient
    score_on_test: Scorer
    prove: Prove
    finish: Finish
    score_elsewhere: Elsewhere | None

    @property
    def final(self) -> Path:
        """The model that is tested and registered: the trained one, calibrated."""
        return self.winner.directory / "final"

    @property
    def model(self) -> str:
        """The registered model."""
        return str(self.spec.register_as)

    @property
    def run_id(self) -> str:
        """The MLflow run of the winner."""
        return str((read_json(self.winner.directory / "mirror.json") or {})["run_id"])

    @property
    def output(self) -> Path:
        """Where the tests of models on the locked rows are kept."""
        return self.places.study(self.spec.name) / "test"


def promote(
    spec: StudySpec,
    winner: Winner,
    *,
    dataset: Dataset,
    places: Places,
    ledger: Ledger,
    client: MlflowClient,
    score_on_test: Scorer,
    prove: Prove,
    finish: Finish,
    score_elsewhere: Elsewhere | None = None,
    force: str | None = None,
) -> Decision:
    """Calibrate the winner's model, test it on the locked split, register and prove it, judge it, and set its alias.

    Idempotent: a model that was decided about is not tested again. `force` says why it becomes champion whatever the
    gate says. Raises `ModelError` where it cannot be registered, tested or used, `StorageError` where MLflow or the
    ledger does not answer. `score_elsewhere` is needed where the policy has floors on other data.
    """
    if spec.register_as is None:
        raise ModelError(f"study {spec.name!r} names no registered model; set register_as")
    if not len(dataset.splits["test"]):
        raise ModelError(f"study {spec.name!r} has no test rows to promote by; set data.fractions.test or data.test")
    key, rows = _key(spec, winner), rows_digest(dataset.labels, dataset.splits["test"])
    case = _Case(
        spec, winner, key, dataset, rows, places, ledger, client, score_on_test, prove, finish, score_elsewhere
    )
    with tracking_errors(places.tracking, alone=False):
        settle(case.model, ledger=ledger, client=client)
        made = History(ledger).decision(case.model, key)
        decision = _decided(case, force=force) if made is None else read_decision(made)
        if force is None or registry.alias_of(client, case.model, registry.CHAMPION) == decision.version:
            return decision
        return _forced(case, decision, why=force)


def _key(spec: StudySpec, winner: Winner) -> str:
    """Names this trained model for ever: the same training has the same key."""
    result = read_json(winner.directory / "result.json") or {}
    trained = result.get("fingerprint") or sha256(winner.directory / "model" / "model.safetensors")
    return f"{spec.name}/{winner.trial}/{trained[:16]}"


def _decided(case: _Case, *, force: str | None) -> Decision:
    """Judge against the champion of the moment, until the decision is entered before another champion has come."""
    version: ModelVersion | None = None
    for folder in (case.winner.directory, case.output):
        for leftover in sorted(folder.glob("**/.*.tmp")):  # of a promotion that a kill cut short
            remove(leftover)
    _finish(case)
    for _ in range(_ROUNDS):
        champion = registry.champion_of(case.client, case.model)
        expected = str(champion.version) if champion else None
        if champion is not None and champion.tags.get(registry.KEY) == case.key:
            champion = None  # the candidate reigns, and the ledger that said why was lost
        opening = _open(case, champion)
        obstacle = _obstacle(case, champion, forced=force is not None)
        tested = _tested(case, champion if obstacle is None else None)
        if version is None:
            version = register_winner(
                case.model,
                key=case.key,
                directory=case.winner.directory,
                model=case.final,
                run_id=case.run_id,
                dataset=case.dataset,
                test_scores=tested["candidate"].scores,
                client=case.client,
            )
            prove_version(version, client=case.client, prove=case.prove)
        verdict = judge(
            case.spec.promotion,
            tested["candidate"],
            tested.get("champion"),
            metric=deciding_metric(case.spec),
            opening=opening,
            obstacle=obstacle,
        )
        decision = _decision(case, version, champion, verdict, scores=tested["candidate"].scores)
        if force is not None and not verdict.wins:
            decision = _against_the_gate(decision, force)
        _publish_test(case, decision)
        if _entered(case, decision, expected=expected):
            return decision
    raise StorageError(f"model {case.model!r}: others keep promoting to it; try again")


def _finish(case: _Case) -> None:
    """Make the model that is shipped; again after a kill, with the same result."""
    wanted = case.spec.calibration
    case.finish(
        FinishJob(
            model=case.winner.directory / "model",
            data=case.places.study(case.spec.name) / "data",
            output=case.final,
            temperature=wanted.temperature,
            threshold=wanted.threshold,
        )
    )


def _forced(case: _Case, decision: Decision, *, why: str) -> Decision:
    """Make a version champion that was decided about before, whatever was decided."""
    version = registry.find_version(case.client, f"{case.model}/{decision.version}")
    prove_version(version, client=case.client, prove=case.prove)
    decision = _against_the_gate(decision, why)
    for _ in range(_ROUNDS):
        expected = registry.alias_of(case.client, case.model, registry.CHAMPION)
        if _entered(case, decision, expected=expected):
            return decision
    raise StorageError(f"model {case.model!r}: others keep promoting to it; try again")


def _against_the_gate(decision: Decision, why: str) -> Decision:
    return replace(decision, alias=registry.CHAMPION, forced=why)


def _entered(case: _Case, decision: Decision, *, expected: str | None) -> bool:
    """Show the decision in MLflow, then carry it out. False: the champion is not the expected one any more."""
    _publish(case, decision)
    ruling = Ruling(
        model=case.model,
        version=decision.version,
        key=case.key,
        alias=decision.alias,
        kind=PROMOTED if decision.forced is None else FORCED,
        why=decision.reason if decision.forced is None else decision.forced,
        decision=asdict(decision),
        expected=expected,
    )
    return carry_out(ruling, ledger=case.ledger, client=case.client)


def _open(case: _Case, champion: ModelVersion | None) -> int:
    """Count this look at the test rows, before it: each champion that it meets there is a test of its own."""
    against = str(champion.version) if champion else ""
    return Openings(case.ledger).open(case.rows, model=case.model, key=case.key, why=PROMOTION, against=against)


def _obstacle(case: _Case, champion: ModelVersion | None, *, forced: bool) -> str | None:
    """Why the champion cannot be compared on the candidate's test rows; None where it can, or where there is none.

    Raises `ModelError` where the champion cannot be used, unless the decision is forced anyway.
    """
    if champion is None:
        return None
    try:
        known, wanted = set(read_facts(_pulled(case, champion)).labels), set(case.dataset.labels)
    except ModelError as error:
        if not forced:
            raise
        return f"the champion cannot be used ({error})"
    if known != wanted:
        others = ", ".join(sorted(known ^ wanted)[:5])
        return f"the champion knows other classes (they differ in {others}): the two cannot be compared"
    if _data_of(case, champion) == case.dataset.digest:
        return None
    seen = registry.seen_by(case.client, champion)
    if seen is None:
        return "the champion was trained on other data, and no record says on which rows: the two cannot be compared"
    test = text_hashes(case.dataset.splits["test"])
    if overlap := int(np.isin(test, seen).sum()):
        return f"the champion's training saw {overlap:,} of the {len(test):,} test texts: the two cannot be compared"
    return None


def _data_of(case: _Case, version: ModelVersion) -> str | None:
    """The digest of the data that a version was trained on; of older ones it stands in the study's definition alone."""
    if (tag := version.tags.get(registry.DATA)) is not None:
        return str(tag)
    return (case.ledger.definition(version.tags.get("hpo.study", "")) or {}).get("data_digest")


def _pulled(case: _Case, version: ModelVersion) -> Path:
    return registry.pulled(case.client, version, case.places.cache / "models")


def _tested(case: _Case, champion: ModelVersion | None) -> dict[str, Contender]:
    """Candidate and champion on the locked rows."""
    models = {"candidate": case.final}
    if champion is not None:
        models["champion"] = _pulled(case, champion)
    data = case.places.study(case.spec.name) / "data"
    scores = case.score_on_test(TestJob(models=models, data=data, output=case.output))
    elsewhere = {"candidate": _elsewhere(case)}
    return {
        name: Contender(read_parquet(case.output / name / "predictions.parquet"), found, elsewhere.get(name, {}))
        for name, found in scores.items()
    }


def _elsewhere(case: _Case) -> dict[str, dict[str, float]]:
    """The candidate on the data sets of the policy's floors; its run gets the scores with those of the test."""
    sources = tuple(case.spec.promotion.elsewhere)
    if not sources or case.score_elsewhere is None:
        return {}
    data, cache = case.places.study(case.spec.name) / "data", case.places.cache / "encoded"
    scores = case.score_elsewhere(ElsewhereJob(case.final, sources, data=data, cache=cache))
    write_json(case.output / "candidate" / "elsewhere.json", scores)
    return scores


def _decision(
    case: _Case, version: ModelVersion, champion: ModelVersion | None, verdict: Verdict, *, scores: Mapping[str, float]
) -> Decision:
    return Decision(
        model=case.model,
        version=str(version.version),
        alias=registry.CHAMPION if verdict.wins else registry.CHALLENGER,
        reason=verdict.reason,
        metric=verdict.metric,
        candidate=verdict.candidate,
        champion=verdict.champion,
        champion_version=str(champion.version) if champion else None,
        scores=dict(scores),
        rows=case.rows,
        verdict=verdict,
    )


def _publish(case: _Case, decision: Decision) -> None:
    """The decision with its figures on the run, and in tags of the version."""
    write_json(case.output / "decision.json", asdict(decision))
    case.client.log_artifact(case.run_id, str(case.output / "decision.json"))
    for name, text in decision.as_tags().items():
        case.client.set_model_version_tag(decision.model, decision.version, name, text)


def _publish_test(case: _Case, decision: Decision) -> None:
    """The locked scores and predictions on the run, and hashes of the texts that its training saw."""
    client, run_id = case.client, case.run_id
    metrics = [Metric(f"test/{name}", value, timestamp=0, step=0) for name, value in decision.scores.items()]
    client.log_batch(run_id, metrics=metrics)
    client.log_artifacts(run_id, str(case.output / "candidate"), artifact_path="test")
    np.save(case.output / registry.ROWS_FILE, _training_texts(case.dataset), allow_pickle=False)
    client.log_artifact(run_id, str(case.output / registry.ROWS_FILE))


def _training_texts(dataset: Dataset) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Hashes of all texts that training and selection saw."""
    return text_hashes(*(part for split, part in dataset.splits.items() if split != "test"))
