"""The command that ranks pretrained checkpoints before any of them is fine-tuned."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from hpo.cli import console
from hpo.cli.looking import (
    Data,
    DropBlank,
    Html,
    Label,
    NoTrack,
    Text,
    keep_in_mlflow,
    load,
    refuse_directory,
    say,
    words,
    write_page,
)  # fmt: skip
from hpo.cli.options import AsJson, Tracking

if TYPE_CHECKING:
    from hpo.places import Places
    from pipelines.data import Dataset
    from pipelines.screening.comparison import Screening


def add_to(app: typer.Typer) -> None:
    """Register this module's commands."""
    app.command()(screen)


def screen(
    data: Data,
    models: Annotated[str, typer.Option(metavar="A,B,...", help="Checkpoints: short names, hub ids, directories.")],
    keep: Annotated[int, typer.Option(min=1, max=100, help="How many to recommend, at most.")] = 3,
    rows: Annotated[
        int | None,
        typer.Option(min=10, max=1_000_000, help="Training rows to look at. Default: a third of them, 2,000 at most."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Another seed draws other rows.")] = 0,
    text: Text = None,
    label: Label = None,
    drop_blank: DropBlank = False,
    html: Html = None,
    no_track: NoTrack = False,
    as_json: AsJson = False,
    tracking_uri: Tracking = None,
) -> None:
    """Rank pretrained checkpoints on your texts before fine-tuning any: what each promises, and what it costs.

    Nothing is trained but a linear probe. The run is kept in MLflow, experiment `screen`.
    """
    from hpo.places import find_places
    from pipelines.screening.comparison import compare, config_of
    from pipelines.screening.page import render

    names = words(models, "--models", "a checkpoint")
    refuse_directory(html)
    places = find_places(tracking=tracking_uri)
    dataset = load(data, text, label, drop_blank=drop_blank)
    configs = [config_of(name) for name in names]
    found = compare(configs, dataset, cache=places.cache / "encoded", keep=keep, rows=rows, seed=seed, say=say)
    if html is not None:
        write_page(html, render(found))
    if as_json:
        console.print_json(found.as_json())
    else:
        _print(found)
    if not no_track:
        _track(found, dataset, places)


def _track(found: "Screening", dataset: "Dataset", places: "Places") -> None:
    from pipelines.screening.tracked import COMMAND, track

    keep_in_mlflow(
        COMMAND, lambda client: track(found, dataset, client=client, artifacts=places.artifacts), places=places
    )


def _print(found: "Screening") -> None:
    out = console.screen()
    out.print(f"measured on {found.basis.in_words()}")
    out.print(found.verdict, style="bold")
    out.print(found.cost)
    out.print(_promises(found))
    out.print(_costs(found))


def _promises(found: "Screening") -> Table:
    table = Table("checkpoint", "place", "linear probe", "LogME", "H-score", "")
    for one in found.measures:
        probe = f"{100 * one.linear.accuracy:.1f} % ± {100 * one.linear.error:.1f}"
        kept = "fine-tune" if one.name in found.shortlist else ""
        scores = (f"{one.logme:.3f}", f"{one.h_score:.3f}")
        table.add_row(one.label, f"{found.places[one.name]:.1f}", probe, *scores, kept)
    return table


def _costs(found: "Screening") -> Table:
    from pipelines.screening.page import in_millions
    from pipelines.screening.verdict import duration

    headings = ("checkpoint", "parameters", "1,000 texts", "memory", "one fine-tuning", "screened in", "licence")
    table = Table(*headings, "")
    for one in found.measures:
        full = "–" if one.fine_tuning is None else duration(one.fine_tuning)
        spent = (duration(one.seconds_per_1000), f"{one.memory / 1e6:,.0f} MB", full, duration(one.seconds))
        best = "best for its cost" if one.name in found.front else ""
        table.add_row(one.label, in_millions(one.parameters), *spent, one.license or "not stated", best)
    return table
