"""The locked test split: what is measured there of each model, and what is refused."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipelines import locked, report
from pipelines.data import save_dataset
from pipelines.errors import ModelError
from pipelines.files import read_json
from pipelines.predictions import read_parquet
from pipelines.segment import TestJob, Unwatched
from tests.court import a_dataset
from tests.faults import shows


class Weights:
    def __init__(self, *shape: int) -> None:
        self._shape = shape

    def numel(self) -> int:
        return int(np.prod(self._shape))


class Constant:
    """A classifier that always says the same."""

    def __init__(self, good: float, labels: tuple[str, ...] = ("good", "bad")) -> None:
        self._good, self.labels = good, labels
        self.directory, self.thresholds = Path("a-model"), None
        self.model = SimpleNamespace(parameters=lambda: [Weights(3, 4), Weights(5)])

    def probabilities(self, texts: Any, *, each: Any = None) -> Any:
        return np.tile([self._good, 1 - self._good], (len(texts), 1))


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TestJob:
    save_dataset(a_dataset(), tmp_path / "data")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_bytes(b"x" * 2_500_000)
    monkeypatch.setattr(report, "draw_report", lambda *_: None)
    monkeypatch.setattr(locked, "open_model", lambda _: Constant(0.9))
    return TestJob({"candidate": tmp_path / "model"}, tmp_path / "data", tmp_path / "output")


def test_scores_and_costs_are_measured_and_kept_with_all_answers(job: TestJob) -> None:
    scores = locked.score_on_test(job, watch=Unwatched())["candidate"]
    assert (scores["accuracy"], scores["recall.good"], scores["recall.bad"]) == (0.5, 1.0, 0.0)
    assert (scores["parameters"], scores["megabytes"]) == (17.0, 2.5)
    assert 0 < scores["latency_ms"] < 100
    kept = read_parquet(job.output / "candidate" / "predictions.parquet")
    assert kept.names == ("bad", "good"), "in the order of the data, whatever the model's"
    assert kept.probabilities[0].tolist() == pytest.approx([0.1, 0.9])
    assert read_json(job.output / "candidate" / "scores.json") == scores


@shows("not finite", "J")
def test_answers_that_are_not_finite_decide_nothing(job: TestJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locked, "open_model", lambda _: Constant(float("nan")))
    with pytest.raises(ModelError) as caught:
        locked.score_on_test(job, watch=Unwatched())
    assert str(caught.value) == (
        "on the locked test rows 400 of 400 rows have probabilities that are NaN or infinite; nothing was decided"
    )


def test_a_model_of_other_classes_is_refused(job: TestJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locked, "open_model", lambda _: Constant(0.9, ("good", "poor")))
    with pytest.raises(ModelError, match="knows the classes"):
        locked.score_on_test(job, watch=Unwatched())
