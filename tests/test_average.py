"""The mean of several trainings as one model."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pipelines.average import average_models, mean_weights
from pipelines.data import save_dataset
from pipelines.files import read_json
from pipelines.loader import open_model
from pipelines.predictions import read_parquet
from pipelines.run import run
from pipelines.segment import AverageJob, Unwatched
from tests import tiny


@pytest.fixture(scope="module")
def trainings(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two short trainings of one configuration with different seeds."""
    home = tmp_path_factory.mktemp("average")
    save_dataset(tiny.dataset(), home / "data")
    for seed in (1, 2):
        run(tiny.job(tiny_bert, home / "data", home / str(seed), seed=seed))
    return [home / str(seed) / "trial" / "model" for seed in (1, 2)]


def test_each_weight_is_the_mean_of_the_trainings(trainings: list[Path]) -> None:
    first, second = (load_file(model / "model.safetensors") for model in trainings)
    mean = mean_weights(trainings)
    assert mean.keys() == first.keys()
    for name, tensor in mean.items():
        torch.testing.assert_close(tensor, (first[name] + second[name]) / 2)
    assert any(not torch.equal(first[name], second[name]) for name in first)


def test_the_mean_is_a_model_of_ours_with_scores_and_predictions_like_a_training(
    trainings: list[Path], tmp_path: Path
) -> None:
    job = AverageJob(tuple(trainings), trainings[0].parents[2] / "data", tmp_path / "mean")
    result = average_models(job, watch=Unwatched())
    assert result.finished
    assert result.scores["parameters"] == read_json(trainings[0].parent / "result.json")["scores"]["parameters"]
    found = read_parquet(tmp_path / "mean" / "artifacts" / "predictions.parquet")
    classifier = open_model(tmp_path / "mean" / "model")
    assert abs(classifier.probabilities([*found.texts]) - found.probabilities).max() < 1e-6
    assert result.scores["accuracy"] == found.correct.mean()
    written = (tmp_path / "mean" / "result.json").stat()
    assert average_models(job, watch=Unwatched()) == result
    assert (tmp_path / "mean" / "result.json").stat().st_mtime_ns == written.st_mtime_ns, "done once"


def test_models_of_different_shapes_have_no_mean(trainings: list[Path], tmp_path: Path) -> None:
    from safetensors.torch import save_file

    weights = load_file(trainings[1] / "model.safetensors")
    other = weights | {"classifier.bias": torch.zeros(7)}
    (tmp_path / "other").mkdir()
    save_file(other, tmp_path / "other" / "model.safetensors")
    with pytest.raises(ValueError, match="is of another architecture than"):
        mean_weights([trainings[0], tmp_path / "other"])
