"""The command that makes a registered model usable by other programs."""

from pathlib import Path
from typing import Annotated

import typer

from hpo.cli.console import print_json
from hpo.cli.models import Model
from hpo.cli.options import AsJson, Tracking
from pipelines.onnx import Format


def add_to(app: typer.Typer) -> None:
    """Register this module's commands."""
    app.command()(export)


def export(
    model: Model,
    directory: Annotated[Path, typer.Argument(help="Where to put it; must not exist.")],
    form: Annotated[Format, typer.Option("--format", help="`onnx-int8` has its weights in eight bits.")] = Format.ONNX,
    max_loss: Annotated[
        float, typer.Option(min=0.0, max=100.0, metavar="POINTS", help="Points of accuracy that it may lose.")
    ] = 0.5,
    data: Annotated[
        str | None, typer.Option(metavar="SOURCE", help="Labelled texts to compare on, instead of the study's own.")
    ] = None,
    as_json: AsJson = False,
    tracking_uri: Tracking = None,
) -> None:
    """Write a registered model as ONNX (or as it is), with the proof that it answers as the original does."""
    from dataclasses import asdict

    from hpo.exporting import export as exported
    from hpo.places import find_places

    places = find_places(tracking=tracking_uri)
    found = exported(model, directory, form=form, data=data, limit=max_loss, places=places)
    if as_json:
        print_json(asdict(found))
        return
    typer.echo(f"{found.model} version {found.version} as {found.form} -> {directory}")
    if (parity := found.parity) is not None:
        change = "" if parity.accuracy_change is None else f", accuracy {100 * parity.accuracy_change:+.2f} points"
        typer.echo(
            f"{parity.agreement:.2%} of {parity.texts:,} answers are the original's ({parity.source}){change}, largest "
            f"difference of a logit {parity.largest_logit_difference:.1e}, of a probability "
            f"{parity.largest_difference:.1e}"
        )
