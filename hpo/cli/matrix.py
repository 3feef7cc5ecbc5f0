"""The command that trains on each of several data sets and tests on all."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from hpo.cli.console import print_json, screen
from hpo.cli.looking import NoTrack, keep_in_mlflow
from hpo.cli.options import AsJson, Overrides, Spec, Storage, Tracking

if TYPE_CHECKING:
    from pipelines.generalize.matrix import Matrix


def add_to(app: typer.Typer) -> None:
    """Register this module's commands."""
    app.command()(matrix)


def matrix(
    spec: Spec,
    overrides: Overrides = None,
    data: Annotated[
        list[str] | None, typer.Option(help="A file, `sample:NAME`, preset, hub id or directory; twice or more.")
    ] = None,
    best: Annotated[
        bool, typer.Option("--best", help="Train what the study of this name delivered, not its known-good default.")
    ] = False,
    picture: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the heat map as a PNG.")] = None,
    no_track: NoTrack = False,
    as_json: AsJson = False,
    tracking_uri: Tracking = None,
    storage: Storage = None,
) -> None:
    """Train one configuration on each of several data sets, and test each model on the locked rows of all.

    Each training is a study of one trial (`SPEC-SET`): stopped or killed, the same command goes on. A look at the
    locked rows is counted. `name=...` begins another matrix.
    """
    from rich.console import Console

    from hpo.cli.display import open_display
    from hpo.launch import run_study
    from hpo.matrix import fill, matrix_specs
    from hpo.places import find_places
    from hpo.specfile import read_spec
    from pipelines.errors import ConfigError
    from pipelines.locked import score_on_test
    from pipelines.segment import Unwatched

    if picture is not None and (picture.is_dir() or not picture.parent.is_dir()):
        raise ConfigError(f"--picture {picture}: not a file in a directory that exists")
    places, checked = find_places(tracking=tracking_uri, storage=storage), read_spec(spec, overrides or [])
    specs = matrix_specs(checked, data or [], places=places, best=best)
    with open_display(Console(stderr=True)) as display:
        filled = fill(
            checked,
            specs,
            places=places,
            train=lambda one: run_study(one, places=places, display=display),
            score_on_test=lambda job: score_on_test(job, watch=Unwatched()),
            say=display.say,
        )
    if filled.matrix is None:
        typer.echo("stopped; run the same command again to continue", err=True)
        raise typer.Exit(128 + (filled.signal or 0))
    found = filled.matrix
    if as_json:
        print_json(found.as_json())
    else:
        _print(found)
    if picture is not None:
        from pipelines.generalize.matrix import draw_matrix

        draw_matrix(found, picture)
    if not no_track:
        from pipelines.generalize.tracked import EXPERIMENT, track_matrix

        keep_in_mlflow(
            EXPERIMENT,
            lambda client: track_matrix(found, filled.datasets, client=client, artifacts=places.artifacts),
            places=places,
        )


def _print(found: "Matrix") -> None:
    console = screen()
    console.print(found.verdict(), style="bold")
    table = Table(f"{found.metric}: trained on", *(f"tested on {name}" for name in found.sets))
    for train in found.sets:
        table.add_row(train, *(_cell(found, train, test) for test in found.sets))
    console.print(table)
    console.print("in brackets: 95 % intervals; below: against the model of that set's own training rows (paired)")
    for one in found.cells:
        if one.seen:
            console.print(f"{one.seen} of {one.rows:,} test texts of {one.test} stand in what {one.train} trained on")


def _cell(found: "Matrix", train: str, test: str) -> str:
    one = found.cell(train, test)
    text = f"{one.value:.4f} ({one.low:.3f} to {one.high:.3f})"
    if one.behind is None:
        return text
    difference, low, high = one.behind
    return f"{text}\n{difference:+.4f} ({low:+.3f} to {high:+.3f})"
