"""Commands that show what there is: studies, trials, the MLflow pages."""

from typing import Annotated, Any

import typer
from rich.table import Table

from hpo.cli.console import pairs, print_json, screen
from hpo.cli.options import AsJson, Storage, Tracking


def add_to(app: typer.Typer) -> None:
    """Register this module's commands."""
    app.command(name="list")(list_studies)
    app.command()(show)
    app.command()(ui)


def list_studies(as_json: AsJson = False, storage: Storage = None) -> None:
    """List all studies."""
    from hpo.listing import studies
    from hpo.places import find_places

    found = studies(find_places(storage=storage))
    if as_json:
        print_json(found)
        return
    table = Table("study", "trials", "complete", "pruned", "failed", "best", "score", "minutes", "created")
    for row in found:
        best = "" if row["best"] is None else f"{row['best']:.4f} (trial {row['best_trial']})"
        counts = [str(row[name]) for name in ("complete", "pruned", "failed")]
        trials = f"{row['finished']}/{row['trials']}"
        table.add_row(row["study"], trials, *counts, best, row["metric"], f"{row['minutes']:.1f}", row["created"])
    screen().print(table if found else "no studies yet; try: hpo run quickstart")


def show(
    study: Annotated[str, typer.Argument(help="Name of the study.")] = "quickstart",
    trial: Annotated[int | None, typer.Argument(help="Number of one trial, for everything about it.")] = None,
    as_json: AsJson = False,
    storage: Storage = None,
) -> None:
    """Show a study's trials, or everything about one trial."""
    from hpo.listing import looks_at_test, one_trial, trials
    from hpo.places import find_places
    from hpo.screening import stored_screening
    from hpo.selection import read_selection

    places = find_places(storage=storage)
    found: Any = trials(places, study) if trial is None else one_trial(places, study, trial)
    if as_json:
        print_json(found)
    elif trial is None:
        _print_trials(found)
        if (screened := stored_screening(places.study(study) / "report")) is not None:
            screen().print(f"screened before the search: {screened['verdict']} {screened['cost']}")
        selection = read_selection(places.study(study) / "report")
        for line in selection.in_words() if selection else ():
            screen().print(line)
        if (looks := looks_at_test(places, study)) is not None:
            screen().print(looks)
    else:
        screen().print(pairs(found))


def _print_trials(found: list[dict[str, Any]]) -> None:
    searched = sorted({name for row in found for name in row["searched"]})
    table = Table("trial", "state", "value", *[name.rpartition(".")[2] for name in searched], "seconds", "reason")
    for row in found:
        value = ", ".join(f"{value:.4f}" for value in row["values"] or [])
        params = [_short(row["searched"].get(name)) for name in searched]
        seconds = f"{row['seconds'].get('wall', 0.0):.1f}"
        table.add_row(str(row["trial"]), row["state"], value, *params, seconds, row["reason"] or "")
    screen().print(table)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else "" if value is None else str(value)


def ui(
    port: Annotated[int, typer.Option(help="Port of the MLflow pages; the dashboard takes the next one.")] = 5000,
    tracking_uri: Tracking = None,
    storage: Storage = None,
) -> None:
    """Open the MLflow pages (and optuna-dashboard, when installed) on this machine's loopback address."""
    from hpo.pages import serve_pages
    from hpo.places import find_places

    serve_pages(find_places(tracking=tracking_uri, storage=storage), port=port, say=typer.echo)
