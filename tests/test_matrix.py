"""A matrix: each training is a study of one trial, each set's locked rows are opened once, MLflow has one run."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpo.launch import Outcome
from hpo.ledger import Ledger
from hpo.matrix import Filled, fill, matrix_specs
from hpo.openings import Openings
from hpo.places import Places, make_home
from hpo.spec import StudySpec
from pipelines.config import flatten
from pipelines.connection import connect
from pipelines.data import load_data, open_dataset, rows_digest, save_dataset
from pipelines.errors import ConfigError, DataError
from pipelines.generalize.matrix import draw_matrix
from pipelines.generalize.tracked import track_matrix
from pipelines.predictions import Predictions, write_parquet
from pipelines.segment import TestJob
from tests.stub import a_spec

MOODS = {"good": ("fine", "lovely", "great"), "bad": ("dull", "awful", "poor")}


def write(name: str, thing: str, labels: Sequence[str] = ("good", "bad"), rows: int = 90) -> None:
    lines = [
        f"a {MOODS[('good', 'bad')[row % 2]][row % 3]} {thing} on day {row * 7919},{labels[row % 2]}"
        for row in range(rows)
    ]
    Path(name).write_text("\n".join(["text,label", *lines]) + "\n")


class Stand:
    """In the place of workers and models: what is trained knows its own things, and half of the others."""

    def __init__(self, home: Path) -> None:
        self.places = Places(home, f"sqlite:///{home}/mlflow.db", f"sqlite:///{home}/studies.db")
        self.trained: list[str] = []
        self.tested: list[str] = []
        self.stops_at: str | None = None
        make_home(self.places)

    def train(self, spec: StudySpec) -> Outcome:
        if spec.name == self.stops_at:
            return Outcome("stopped", None, None, 15, None)
        model = self.places.trial(spec.name, 0) / "model"
        if not model.is_dir():
            self.trained.append(spec.name)
            save_dataset(load_data(spec.run.data), self.places.study(spec.name) / "data")
            model.mkdir(parents=True)
            (model / "model.safetensors").write_text(spec.name)
        return Outcome("done", None, None, None, None)

    def score_on_test(self, job: TestJob) -> dict[str, dict[str, float]]:
        self.tested.append(job.data.parent.name)
        dataset = open_dataset(job.data)
        assert Openings(Ledger(self.places.storage)).count(
            rows_digest(dataset.labels, dataset.splits["test"]), model="toy"
        ), "the rows are looked at, and that is not on record"
        rows = dataset.splits["test"]
        for name, model in job.models.items():
            at_home = (model / "model.safetensors").read_text() == job.data.parent.name
            right = np.arange(len(rows)) % 3 > 0 if not at_home else np.ones(len(rows), dtype=bool)
            chances = np.where(right, 0.9, 0.1)
            probabilities = np.stack([1 - chances, chances], axis=1)
            probabilities = np.where(rows.labels[:, None] == 1, probabilities, probabilities[:, ::-1])
            (job.output / name).mkdir(parents=True, exist_ok=True)
            said = Predictions(list(rows.ids), list(rows.texts), rows.labels, probabilities, dataset.labels)
            write_parquet(said, job.output / name / "predictions.parquet")
        return {}

    def fill(self, *sources: str, **spec: Any) -> Filled:
        study = a_spec(name="toy", **spec)
        specs = matrix_specs(study, sources, places=self.places)
        return fill(study, specs, places=self.places, train=self.train, score_on_test=self.score_on_test)


@pytest.fixture
def stand(tmp_path: Path, empty_mlflow: Path, monkeypatch: pytest.MonkeyPatch) -> Stand:
    monkeypatch.chdir(tmp_path)
    shutil.copy(empty_mlflow, tmp_path / "mlflow.db")
    stand = Stand(tmp_path)
    monkeypatch.setattr("hpo.matrix.load_study", lambda *_, **__: None)
    monkeypatch.setattr(
        "hpo.matrix.winner_of",
        lambda spec, *_: type("Winner", (), {"directory": stand.places.trial(spec.name, 0)})(),
    )
    write("phones.csv", "phone")
    write("meals.csv", "meal", ("Good", "BAD"))
    return stand


def test_each_model_is_tested_on_the_rows_of_every_set_and_compared_with_the_one_at_home(stand: Stand) -> None:
    found = stand.fill("phones.csv", "meals.csv").matrix
    assert found is not None
    assert found.sets == ("phones.csv", "meals.csv")
    home, away = found.cell("meals.csv", "meals.csv"), found.cell("phones.csv", "meals.csv")
    assert (home.value, home.behind) == (1.0, None)
    assert away.value == pytest.approx(2 / 3, abs=0.05)
    assert away.behind is not None
    assert away.behind[0] == pytest.approx(away.value - 1)
    assert away.behind[1] < away.behind[0] < away.behind[2] < 0
    assert found.verdict().startswith("accuracy 1.000 on average at home and 0.6")
    assert stand.tested == ["toy-phones.csv", "toy-meals.csv"]


def test_a_row_is_a_study_of_one_trial_in_the_classes_of_the_first_set(stand: Stand) -> None:
    study = a_spec(name="toy")
    specs = matrix_specs(study, ["phones.csv", "meals.csv"], places=stand.places)
    row = specs["meals.csv"]
    assert (row.name, row.budget.trials, row.space, row.register_as) == ("toy-meals.csv", 1, {}, None)
    assert row.confirm.finalists == 0
    assert load_data(row.run.data).labels == load_data(specs["phones.csv"].run.data).labels
    one, other = (flatten(spec.run.model_dump()) for spec in specs.values())
    assert {address for address in one if one[address] != other.get(address)} <= {"data.source", "data.label_names"}


def test_done_again_nothing_is_trained_tested_or_counted_twice(stand: Stand) -> None:
    stand.stops_at = "toy-meals.csv"
    assert stand.fill("phones.csv", "meals.csv").signal == 15
    stand.stops_at = None
    first = stand.fill("phones.csv", "meals.csv")
    again = stand.fill("phones.csv", "meals.csv")
    assert again.matrix == first.matrix
    assert stand.trained == ["toy-phones.csv", "toy-meals.csv"]
    assert stand.tested == ["toy-phones.csv", "toy-meals.csv"]
    rows = [rows_digest(one.labels, one.splits["test"]) for one in again.datasets]
    assert [dict(Openings(Ledger(stand.places.storage)).count(one, model="toy")) for one in rows] == [
        {"evaluate": 1}
    ] * 2
    shutil.rmtree(stand.places.study("toy-meals.csv") / "trial-00000")
    stand.fill("phones.csv", "meals.csv")
    assert stand.trained[2:] == ["toy-meals.csv"]


def test_the_matrix_is_one_run_in_mlflow_with_its_data_and_its_heat_map(stand: Stand, tmp_path: Path) -> None:
    filled = stand.fill("phones.csv", "meals.csv")
    assert filled.matrix is not None
    client = connect(stand.places.tracking)
    ids = {
        track_matrix(filled.matrix, filled.datasets, client=client, artifacts=stand.places.artifacts) for _ in range(2)
    }
    (id,) = ids
    run = client.get_run(id)
    assert run.data.metrics["accuracy.phones.csv.phones.csv"] == 1.0
    assert len(client.get_metric_history(id, "accuracy.phones.csv.phones.csv")) == 1
    assert {one.dataset.name for one in run.inputs.dataset_inputs} == {"phones.csv", "meals.csv"}
    assert {file.path for file in client.list_artifacts(id)} == {"matrix.json", "matrix.png"}
    draw_matrix(filled.matrix, tmp_path / "matrix.png")
    assert (tmp_path / "matrix.png").stat().st_size > 5_000
    assert json.dumps(filled.matrix.as_json())


def test_sets_that_cannot_be_compared_are_refused_before_anything_is_trained(stand: Stand) -> None:
    with pytest.raises(ConfigError, match="a matrix needs two or more different data sets"):
        stand.fill("phones.csv", "phones.csv")
    write("stars.csv", "star", ("five", "one"))
    with pytest.raises(DataError, match=r"stars: of its labels|stars.csv: of its labels 'five' and 'one' cannot be"):
        stand.fill("phones.csv", "stars.csv")
    Path("other").mkdir()
    shutil.copy("phones.csv", "other/phones.csv")
    with pytest.raises(ConfigError, match=r"two data sets are called phones.csv; rename one"):
        stand.fill("phones.csv", "other/phones.csv")
    assert stand.trained == []
