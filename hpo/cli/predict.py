"""The command that classifies texts, or all texts of a file."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from hpo.cli.console import print_json, screen
from hpo.cli.models import Model
from hpo.cli.options import AsJson, Tracking
from pipelines.errors import ConfigError, DataError

if TYPE_CHECKING:
    from pipelines.scoring.score import Order


def add_to(app: typer.Typer) -> None:
    """Register this module's commands."""
    app.command()(predict)


def predict(
    model: Model,
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="TEXT", help="Texts to classify; `-` reads lines.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="Classify the rows of a .csv, .tsv, .jsonl or .parquet file; needs --out.")
    ] = None,
    text_column: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="The file's column of texts; found by its name if left out.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where the rows go with their answers: .csv, .tsv, .jsonl, ...")
    ] = None,
    prefix: Annotated[str, typer.Option(help="Put before the names of the columns that are added.")] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what stands at --out.")] = False,
    as_json: AsJson = False,
    tracking_uri: Tracking = None,
) -> None:
    """Classify texts, or a file of any size, with a registered model.

    The file's rows are written to --out with `label`, `probability` and `p.LABEL` of each class. After Ctrl-C or a
    crash the same command goes on where it was.
    """
    if file is not None:
        if texts:
            raise ConfigError("--file and TEXT contradict each other; give one of them")
        if out is None:
            raise ConfigError("--file needs --out: the file that its rows go to with their answers")
        from pipelines.scoring.score import Order

        order = Order(file, out, text_column, overwrite, prefix)
        _score_file(model, order, as_json=as_json, tracking_uri=tracking_uri)
        return
    if out is not None or text_column is not None or overwrite or prefix:
        raise ConfigError("--out, --text-column, --prefix and --overwrite need --file")
    _classify(model, _texts(texts), as_json=as_json, tracking_uri=tracking_uri)


def _classify(model: str, texts: list[str], *, as_json: bool, tracking_uri: str | None) -> None:
    from hpo.places import find_places
    from pipelines.connection import connect
    from pipelines.predict import classify

    places = find_places(tracking=tracking_uri)
    found = classify(connect(places.tracking), model, texts, cache=places.cache / "models")
    if as_json:
        print_json(found)
        return
    table = Table("label", "probability", "text")
    for row in found:
        table.add_row(str(row["label"]), f"{row['probability']:.3f}", str(row["text"]))
    screen().print(table)


def _score_file(model: str, order: "Order", *, as_json: bool, tracking_uri: str | None) -> None:
    from hpo.cli.progress import open_progress
    from hpo.places import find_places
    from pipelines.connection import connect
    from pipelines.scoring.score import Told, refuse_output, score_with

    refuse_output(order)
    places = find_places(tracking=tracking_uri)
    with open_progress(Console(stderr=True), "rows") as progress:
        told = Told(progress.show, progress.say)
        done = score_with(connect(places.tracking), model, order, cache=places.cache / "models", told=told)
    if as_json:
        print_json({"out": str(order.out), "rows": done.rows, "blank": done.blank, "model": done.model})
        return
    screen().print(f"{order.out}: {done.rows:,} rows, by {done.model}", soft_wrap=True)
    if done.blank:
        screen().print(f"{done.blank:,} of them have a blank text, and no label", soft_wrap=True)


def _texts(texts: list[str] | None) -> list[str]:
    given = [line.rstrip("\n") for line in sys.stdin] if texts == ["-"] else texts or []
    if not given:
        raise DataError("no text given; write it after the model's name, or `-` to read lines from standard input")
    for number, text in enumerate(given, start=1):
        if not text.strip():
            raise DataError(f"text {number} is blank")
    return given
