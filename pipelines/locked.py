"""The locked test split is opened here and nowhere else: once for a winner, and for the champion it challenges."""

from pathlib import Path

from pipelines.answers import answers
from pipelines.data import Dataset, open_dataset
from pipelines.figures import draw_report
from pipelines.files import write_json
from pipelines.loader import open_model
from pipelines.predictions import most_confident_mistakes, write_parquet
from pipelines.run import as_table
from pipelines.scores import score
from pipelines.segment import TestJob, Watch


def score_on_test(job: TestJob, *, watch: Watch) -> dict[str, dict[str, float]]:
    """Scores of each model on the test split of the data.

    Raises `ModelError` when a model does not know exactly the classes of the data.
    """
    dataset = open_dataset(job.data)
    return {name: _score(directory, dataset, job.output / name, watch=watch) for name, directory in job.models.items()}


def _score(directory: Path, dataset: Dataset, output: Path, *, watch: Watch) -> dict[str, float]:
    predictions = answers(open_model(directory), dataset, "test", watch=watch)
    scores = score(predictions)
    output.mkdir(parents=True, exist_ok=True)
    write_parquet(predictions, output / "predictions.parquet")
    write_json(output / "mistakes.json", as_table(most_confident_mistakes(predictions)))
    write_json(output / "scores.json", scores)
    draw_report(predictions, output)
    return scores
