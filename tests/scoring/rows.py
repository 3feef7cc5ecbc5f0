"""Files of texts, and their answers by a made-up model."""

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.errors import UserError
from pipelines.scoring import score
from pipelines.scoring.score import Order, Scored, Told
from tests.serving import MadeUp

TEXTS = ["good", "bad, said he", '"quoted"\nand broken', " ", "good good"]
ROWS = 25
FORMATS = (".csv", ".tsv", ".jsonl", ".parquet")


def table(rows: int = ROWS) -> list[dict[str, str]]:
    return [{"id": str(number), "text": TEXTS[number % len(TEXTS)]} for number in range(rows)]


def write(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    return path


def read(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        return list(pq.read_table(path).to_pylist())
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))


def scored(
    file: Path,
    out: Path,
    *,
    column: str | None = None,
    overwrite: bool = False,
    model: MadeUp | None = None,
    identity: str = "sentiment-3",
    told: Told | None = None,
) -> Scored:
    order = Order(file, out, column, overwrite)
    return score.score_file(
        order, load=lambda: model or MadeUp(), model="sentiment/3", identity=identity, told=told or Told()
    )


def refusal(kind: type[UserError], action: Callable[[], Any]) -> str:
    with pytest.raises(kind) as caught:
        action()
    return str(caught.value)


class Killed(BaseException):
    """As good as a kill: nothing catches it."""


def killed_after(rows: int) -> Told:
    def progress(done: int, total: int) -> None:
        if done >= rows:
            raise Killed

    return Told(progress)
