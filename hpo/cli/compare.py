"""The command that sets two models side by side."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from hpo.cli.console import print_json, screen
from hpo.cli.options import AsJson, Storage, Tracking

if TYPE_CHECKING:
    from hpo.comparison import Comparison

_METAVAR = "STUDY/TRIAL|NAME[@ALIAS|/VERSION]"
_LONGEST = 100  # characters of an example's text


def add_to(app: typer.Typer) -> None:
    """Register this module's commands."""
    app.command()(compare)


def compare(
    first: Annotated[str, typer.Argument(metavar=_METAVAR, help="A trial, or a registered model: A.")],
    second: Annotated[str, typer.Argument(metavar=_METAVAR, help="What it is compared with: B.")],
    as_json: AsJson = False,
    tracking_uri: Tracking = None,
    storage: Storage = None,
) -> None:
    """Compare two scored models on the same rows: is the difference more than chance, and where does it lie?

    Reads what each said of each row of the select split; nothing is run again. NAME/NUMBER is a study's trial where
    there is such a study; `models:/NAME/VERSION` is always a registered model.
    """
    from hpo.comparison import compare_models
    from hpo.places import find_places

    found = compare_models(first, second, places=find_places(tracking=tracking_uri, storage=storage))
    if as_json:
        print_json(found.as_json())
    else:
        _print(found)


def _print(found: "Comparison") -> None:
    console = screen()
    console.print(f"A: {found.a.words}\nB: {found.b.words}\n{len(found.a.predictions.labels):,} rows, select split")
    console.print(found.verdict(), style="bold")
    console.print(_metrics(found))
    console.print(f"texts that B alone has right: {len(found.flips.won)}; A alone: {len(found.flips.lost)}")
    console.print(_slices(found))
    if len(found.flips.won) or len(found.flips.lost):
        console.print(_examples(found))
    console.print(
        "Trials were chosen by these rows, which flatters a study's best, and each is one training run: another seed "
        "may turn a small difference around. Intervals are 95 % each; of twenty one lies beside zero by chance.",
        style="dim",
    )


def _metrics(found: "Comparison") -> Table:
    from hpo.comparison import better

    table = Table("metric", "A", "B", "B - A", "95 % interval", "p", "test", "better")
    for one in found.differences:
        values = (f"{one.a:.4f}", f"{one.b:.4f}", f"{one.difference:+.4f}", _interval(one.low, one.high))
        table.add_row(one.metric, *values, f"{one.p:.3g}", one.test, (better(one) or "").upper())
    return table


def _slices(found: "Comparison") -> Table:
    table = Table("accuracy of", "rows", "A", "B", "B - A", "95 % interval", "B alone right", "A alone right")
    for one in found.slices:
        values = (f"{one.a:.4f}", f"{one.b:.4f}", f"{one.b - one.a:+.4f}", _interval(one.low, one.high))
        table.add_row(one.name, f"{one.rows:,}", *values, str(one.won), str(one.lost))
    return table


def _examples(found: "Comparison") -> Table:
    table = Table("right", "is", "A says", "B says", "text")
    for right, rows in (("B", found.flips.won), ("A", found.flips.lost)):
        for one in found.examples(rows):
            text = " ".join(one["text"].split())
            short = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
            table.add_row(right, one["label"], one["a"], one["b"], short)
    return table


def _interval(low: float, high: float) -> str:
    return f"{low:+.4f} to {high:+.4f}"
