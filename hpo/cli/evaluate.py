"""The command that scores a registered model."""

from enum import Enum
from typing import Annotated

import typer
from rich.table import Table

from hpo.cli.console import print_json, screen
from hpo.cli.models import Model
from hpo.cli.options import AsJson, Storage, Tracking


class Part(Enum):
    """Which rows a model is scored on."""

    TEST = "test"


def add_to(app: typer.Typer) -> None:
    """Register this module's commands."""
    app.command()(evaluate)


def evaluate(
    model: Model,
    split: Annotated[Part, typer.Option(help="Rows of the model's own study; a look at `test` is counted.")],
    as_json: AsJson = False,
    tracking_uri: Tracking = None,
    storage: Storage = None,
) -> None:
    """Score a registered model on the locked test rows of its study.

    The look is counted: the next candidate for the alias needs more evidence on these rows.
    """
    from hpo.evaluation import evaluate as evaluated
    from hpo.places import find_places
    from pipelines.locked import score_on_test
    from pipelines.scores import METRICS
    from pipelines.segment import Unwatched

    places = find_places(tracking=tracking_uri, storage=storage)
    found = evaluated(model, places=places, score_on_test=lambda job: score_on_test(job, watch=Unwatched()))
    if as_json:
        print_json(found.as_json())
        return
    table = Table("score", "value")
    for name in [name for name in METRICS if name in found.scores]:
        table.add_row(name, f"{found.scores[name]:.4f}")
    screen().print(f"{found.model} version {found.version}: {found.rows:,} {split.value} rows")
    screen().print(table)
    screen().print(f"opening {found.opening} of these test rows for {found.model}")
