"""A registry with made-up models: real MLflow and ledger, while what each model answers is known beforehand."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from mlflow import MlflowClient

from hpo.decision import Decision
from hpo.history import History
from hpo.ledger import Ledger
from hpo.openings import Openings
from hpo.places import Places, make_home
from hpo.promotion import Winner, promote
from hpo.spec import StudySpec
from pipelines import registry
from pipelines.config import RunConfig, SplitName, flatten
from pipelines.connection import connect
from pipelines.data import Dataset, Split, rows_digest, save_dataset
from pipelines.data.digest import content_digest
from pipelines.export import ModelFacts, seal
from pipelines.files import write_json
from pipelines.predictions import Predictions, write_parquet
from pipelines.scores import score
from pipelines.segment import TestJob
from tests.crashes import CRASHED, crash_at, in_child
from tests.stub import a_spec

LABELS = ("bad", "good")
SIZES: dict[SplitName, int] = {"train": 12, "select": 8, "calibrate": 4, "test": 400}


def a_dataset(name: str = "toy", labels: Sequence[str] = LABELS, **texts: list[str]) -> Dataset:
    """Rows of which no two are alike, and none is in a data set of another name; `texts` replaces splits."""
    splits: dict[SplitName, Split] = {}
    for split, rows in SIZES.items():
        written = texts.get(split) or [f"{name}: {split} text number {row}" for row in range(rows)]
        codes = np.arange(len(written), dtype=np.int64) % len(labels)
        splits[split] = Split(written, codes, [f"{split}:{row}" for row in range(len(written))])
    return Dataset(name, name, tuple(labels), splits, digest=content_digest(labels, splits), notes=())


def pack(directory: Path, target: Path) -> Path:
    """In the place of MLflow's own packing, which imports torch: the directory, where it would put it."""
    shutil.copytree(directory, target / "artifacts" / "model")
    return target


@dataclass
class Court:
    """A home with one registered model, `sentiment`, and winners of studies that ask for its alias."""

    home: Path
    tested: list[str] = field(default_factory=list)
    """Each model's weights, as often as it was scored on the locked rows."""
    proved: list[str] = field(default_factory=list)
    elsewhere: dict[str, dict[str, float]] = field(default_factory=dict)
    """Scores of every candidate on other data sets, by their source."""
    before_test: Callable[[], None] = lambda: None
    """Called whenever models are about to be scored."""

    @property
    def places(self) -> Places:
        return Places(self.home, f"sqlite:///{self.home}/mlflow.db", f"sqlite:///{self.home}/studies.db")

    @property
    def ledger(self) -> Ledger:
        """As a process has it that just started."""
        return Ledger(self.places.storage)

    @property
    def client(self) -> MlflowClient:
        return connect(self.places.tracking)

    def winner(self, study: str, *, right: int, first: int = 0, labels: Sequence[str] = LABELS) -> Winner:
        """A winner that has `right` of the 400 test rows right, from row `first` on."""
        make_home(self.places)
        directory = self.places.trial(study, 3)
        model = directory / "model"
        model.mkdir(parents=True)
        (model / "model.safetensors").write_text(json.dumps([study, first, right]))
        write_json(model / "config.json", {"id2label": dict(enumerate(labels))})
        write_json(model / "tokenizer_config.json", {})
        seal(model, ModelFacts(labels=tuple(labels), max_length=12, truncation="head"))
        (directory / "artifacts").mkdir()
        write_json(directory / "artifacts" / "config.json", RunConfig().model_dump())
        record = {"study": study, "number": 3, "scores": {"accuracy": 0.9}, "params": flatten(RunConfig().model_dump())}
        write_json(directory / "trial.json", record)
        found = self.client.get_experiment_by_name(study)
        location = (self.home / "artifacts" / study).as_uri()
        experiment = found.experiment_id if found else self.client.create_experiment(study, artifact_location=location)
        write_json(directory / "mirror.json", {"run_id": self.client.create_run(experiment).info.run_id})
        return Winner(3, directory, directory.name)

    def promote(
        self, winner: Winner, *, dataset: Dataset | None = None, force: str | None = None, **spec: Any
    ) -> Decision:
        """Promote it as `hpo promote` does."""
        data = dataset or a_dataset()
        study: StudySpec = a_spec(name=winner.directory.parent.name, register_as="sentiment", **spec)
        save_dataset(data, self.places.study(study.name) / "data")
        return promote(
            study,
            winner,
            dataset=data,
            places=self.places,
            ledger=self.ledger,
            client=self.client,
            score_on_test=lambda job: self._score(job, data),
            prove=self.prove,
            finish=lambda job: shutil.copytree(job.model, job.output, dirs_exist_ok=True),
            score_elsewhere=lambda job: {source: self.elsewhere[source] for source in job.sources},
            force=force,
        )

    def asks(self, study: str, *, right: int, first: int = 0, **how: Any) -> Decision:
        """A new winner of a study of that name asks to be champion."""
        return self.promote(self.winner(study, right=right, first=first), **how)

    def prove(self, directory: Path) -> None:
        """In the place of loading it: see that it came to an empty place."""
        assert [path.name for path in directory.parent.iterdir()] == ["model"]
        self.proved.append((directory / "model.safetensors").read_text())

    def _score(self, job: TestJob, data: Dataset) -> dict[str, dict[str, float]]:
        self.before_test()
        rows = rows_digest(data.labels, data.splits["test"])
        assert Openings(self.ledger).count(rows, model="sentiment"), "the rows are looked at, and that is not on record"
        return {name: self._score_one(model, data, job.output / name) for name, model in job.models.items()}

    def _score_one(self, model: Path, data: Dataset, output: Path) -> dict[str, float]:
        split = data.splits["test"]
        weights = (model / "model.safetensors").read_text()
        self.tested.append(weights)
        _, first, right = json.loads(weights)
        rows = np.arange(len(split))
        said = np.where((rows >= first) & (rows < first + right), split.labels, (split.labels + 1) % len(data.labels))
        probabilities = np.full((len(split), len(data.labels)), 0.1)
        probabilities[rows, said] = 1 - 0.1 * (len(data.labels) - 1)
        predictions = Predictions(split.ids, split.texts, split.labels, probabilities, data.labels)
        output.mkdir(parents=True, exist_ok=True)
        write_parquet(predictions, output / "predictions.parquet")
        return score(predictions) | {"parameters": 22.0, "latency_ms": 1.0, "megabytes": 0.001}

    def champion(self) -> str | None:
        """The version that reigns."""
        return registry.alias_of(self.client, "sentiment", "champion")

    def challenger(self) -> str | None:
        return registry.alias_of(self.client, "sentiment", "challenger")

    def reigns(self) -> list[tuple[str | None, str | None, str]]:
        """(version, previous, kind) of each reign; all of them are done, without a gap, and the last one is now."""
        rows = History(self.ledger).reigns("sentiment")
        assert all(row.done for row in rows)
        assert [row.previous for row in rows[1:]] == [row.version for row in rows[:-1]]
        assert (rows[-1].version if rows else None) == self.champion()
        return [(row.version, row.previous, row.kind) for row in rows]

    def openings(self, dataset: Dataset | None = None) -> dict[str, int]:
        data = dataset or a_dataset()
        return dict(Openings(self.ledger).count(rows_digest(data.labels, data.splits["test"]), model="sentiment"))


def crash_and_finish(home: Path, kept: Path, *, at: int) -> bool:
    """Crash a promotion at durable effect `at` (see `tests.crashes`), promote again, and see that it was one promotion.

    False when it has no effect of that number. Raises `AssertionError` when something is not as it was to be.
    """
    shutil.rmtree(home)
    shutil.copytree(kept, home)
    court = Court(home)
    winner = Winner(3, court.places.trial("two", 3), "trial-00003")
    crashed = in_child(lambda: _crashing(court, winner, at=at))
    assert crashed in {0, CRASHED}, f"crash {at}: exit {crashed}"
    assert in_child(lambda: court.promote(winner)) == 0, f"crash {at}: the next promotion fails"
    assert in_child(lambda: check(court)) == 0, f"crash {at}: not as if nothing had happened"
    return crashed == CRASHED


def _crashing(court: Court, winner: Winner, *, at: int) -> None:
    crash_at(at)
    court.promote(winner)


def two_winners(home: Path) -> None:
    """A home with a champion, and a better winner that nobody has promoted yet."""
    court = Court(home)
    court.asks("one", right=320)
    court.winner("two", right=390)


def check(court: Court) -> None:
    """The better winner reigns: one version, one decision, one look, one reign, nothing left over."""
    assert court.reigns() == [("1", None, "promoted"), ("2", "1", "promoted")]
    assert court.openings() == {"promotion": 2}
    assert len(History(court.ledger).decisions()) == 2
    versions = court.client.search_model_versions("name = 'sentiment'")
    assert sorted(str(one.version) for one in versions) == ["1", "2"]
    assert {one.tags["hpo.decided"] for one in versions} == {"champion"}
    assert not list(court.home.glob("work/**/.*.tmp"))


def sweep(home: Path, *, first: int, every: int) -> int:
    """Crash at every so-many-th effect; returns the first number that a promotion does not reach."""
    registry._packed = pack
    home.mkdir()
    assert in_child(lambda: two_winners(home)) == 0
    kept = Path(shutil.copytree(home, home.with_name("kept")))
    at = first
    while crash_and_finish(home, kept, at=at):
        at += every
    return at
