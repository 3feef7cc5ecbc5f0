"""What is kept of a model's predictions on a split: the rows, its most confident mistakes, and pictures."""

from pathlib import Path

from pipelines.figures import draw_report
from pipelines.files import write_json
from pipelines.predictions import Predictions, most_confident_mistakes, write_parquet


def write_report(predictions: Predictions, directory: Path) -> None:
    """Write `predictions.parquet`, `mistakes.json` and the pictures into a directory; the same again is the same."""
    directory.mkdir(parents=True, exist_ok=True)
    write_parquet(predictions, directory / "predictions.parquet")
    write_json(directory / "mistakes.json", as_table(most_confident_mistakes(predictions)))
    draw_report(predictions, directory)


def as_table(rows: list[dict[str, object]]) -> dict[str, list[object]]:
    """Rows in the form that MLflow's page shows as a table."""
    columns: list[object] = list(rows[0]) if rows else []
    return {"columns": columns, "data": [list(row.values()) for row in rows]}
