"""Arguments and options that several commands share."""

import re
from typing import Annotated

import typer

# What a message of the data step names as the remedy, and what it is called in commands that take data.
_REMEDIES = {
    r"data\.text\b": "--text COLUMN",
    r"data\.label\b": "--label COLUMN",
    r"data\.label_names\b": "--label-name LABEL=NAME",
    r"data\.blank: drop\b": "--drop-blank",
}

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


def options_named(message: str) -> list[str]:
    """The options of a command for the settings that a message of the data step names."""
    return [option for setting, option in _REMEDIES.items() if re.search(setting, message)]
