"""The command that looks whether all is well."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from hpo.cli.console import print_json, screen
from hpo.cli.options import AsJson, Storage, Tracking

if TYPE_CHECKING:
    from hpo.doctor import Examination


def add_to(app: typer.Typer) -> None:
    """Register this module's commands."""
    app.command()(doctor)


def doctor(
    study: Annotated[str | None, typer.Argument(help="Name of the study; all of them when left out.")] = None,
    fix: Annotated[bool, typer.Option("--fix", help="Mend what can be mended, of studies that nobody runs.")] = False,
    as_json: AsJson = False,
    tracking_uri: Tracking = None,
    storage: Storage = None,
) -> None:
    """Examine studies: do trials, MLflow runs, files and registered versions agree, and is each of them whole?

    Looking changes nothing. Exit code 4 when something is wrong.
    """
    from hpo.doctor import examine, treat
    from hpo.places import find_places
    from pipelines.errors import StorageError

    places = find_places(tracking=tracking_uri, storage=storage)
    if fix:
        found = treat(places, study=study, say=lambda line: typer.echo(line, err=as_json))
    else:
        found = examine(places, study=study)
    if as_json:
        print_json(found.as_json())
    else:
        _print(found)
    if found.findings:
        raise typer.Exit(StorageError.exit_code)


def _print(found: "Examination") -> None:
    console = screen()
    for one in found.examined:
        well = not any(finding.study in {one.study, ""} for finding in found.findings)
        console.print(f"{one.in_words()}{': all is well' if well else ''}")
    if not found.examined:
        console.print("no studies yet; try: hpo run quickstart")
    if found.findings:
        table = Table("study", "trial", "what is wrong", "what to do", show_lines=True)
        for finding in found.findings:
            trial = "" if finding.trial is None else str(finding.trial)
            table.add_row(finding.study, trial, finding.what, finding.how)
        console.print(table)
