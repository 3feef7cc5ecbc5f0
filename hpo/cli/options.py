"""Arguments and options that several commands share."""

from typing import Annotated

import typer

Tracking = Annotated[
    str | None,
    typer.Option("--tracking-uri", help="MLflow: database URL or server address (environment: MLFLOW_TRACKING_URI)."),
]
Storage = Annotated[str | None, typer.Option(help="Studies: database URL (environment: HPO_STORAGE).")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of a table for people.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="PATH=VALUE", help="Settings to change, by address: `train.epochs=2 budget.trials=8`."),
]
From = Annotated[
    list[str] | None,
    typer.Option(
        "--from",
        metavar="STUDY",
        help="An earlier study to learn from: its trials teach the sampler where they can be compared, else its best "
        "configurations are tried first. May be given several times.",
    ),
]
Spec = Annotated[
    str,
    typer.Argument(metavar="SPEC", help="A shipped study (see `hpo check --list`), or the path of a YAML file."),
]
