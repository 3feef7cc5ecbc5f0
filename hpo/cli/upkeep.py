"""Commands that look after what studies left: replay a trial, free what nothing needs."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from hpo.cli.console import print_json, screen
from hpo.cli.options import AsJson, Storage, Tracking

if TYPE_CHECKING:
    from hpo.leftovers import Survey


def add_to(app: typer.Typer) -> None:
    """Register this module's commands."""
    app.command()(rerun)
    app.command()(gc)


def rerun(
    trial: Annotated[str, typer.Argument(metavar="STUDY/TRIAL", help="The trial, for instance quickstart/0.")],
    as_json: AsJson = False,
    storage: Storage = None,
) -> None:
    """Train a trial once more, exactly as it was, and compare: is every step the same, bit for bit, and the weights?

    First it says what has changed since: code, data, tokenizer, pretrained weights, threads, device,
    libraries. The trial itself, its study and MLflow stay as they are. Exit code 5 when something differs.
    """
    from hpo import rerun as replays
    from hpo.places import find_places
    from pipelines.errors import ModelError

    console = screen()
    found = replays.rerun(
        trial, places=find_places(storage=storage), say=(lambda _: None) if as_json else console.print
    )
    if as_json:
        print_json(found.as_json())
    else:
        for line in found.remarks:
            console.print(line)
        console.print(found.verdict(), style="bold")
    if not found.bit_equal:
        raise typer.Exit(ModelError.exit_code)


def gc(
    study: Annotated[str | None, typer.Argument(help="Name of the study; all, and the caches, when left out.")] = None,
    apply: Annotated[bool, typer.Option("--apply", "--yes", "-y", help="Free it; else it is only shown.")] = False,
    as_json: AsJson = False,
    tracking_uri: Tracking = None,
    storage: Storage = None,
) -> None:
    """Show what takes disk and is needed by nothing, and why, or free it with --apply.

    Never what an alias, a registered version, an unfinished trial or a study that is being run uses. Exit code 4
    when something could not be freed.
    """
    from hpo.leftovers import free, survey
    from hpo.places import find_places
    from pipelines.errors import StorageError

    places = find_places(tracking=tracking_uri, storage=storage)
    found = free(places, study=study) if apply else survey(places, study=study)
    if as_json:
        rows = [one.as_row() for one in found.leftovers]
        said = {"remarks": found.remarks, "failed": found.failed}
        print_json({"freed": apply, "bytes": found.bytes, "leftovers": rows, **said})
    else:
        _print_leftovers(found, freed=apply)
    if found.failed:
        raise typer.Exit(StorageError.exit_code)


def _print_leftovers(found: "Survey", *, freed: bool) -> None:
    console = screen()
    for line in [*found.remarks, *found.failed]:
        console.print(line)
    if not found.leftovers:
        console.print("nothing was left to free" if freed else "nothing is left that could be freed")
        return
    table = Table("what", "why it can go", "size")
    for one in found.leftovers:
        table.add_row(one.what, one.why, _size(one.bytes))
    console.print(table)
    total = _size(found.bytes)
    console.print(f"freed: {total}" if freed else f"{total} could be freed: the same command with --apply does it")


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e6 else f"{count / 1e3:,.1f} kB"
