"""Commands about who is champion: the history of a registered model, and the way back."""

from typing import Annotated, Any

import typer
from rich.table import Table

from hpo.cli.options import AsJson, Storage, Tracking
from hpo.cli.screen import print_json, screen

Name = Annotated[str, typer.Argument(metavar="NAME", help="A registered model.")]


def add_to(app: typer.Typer) -> None:
    """Register this module's commands."""
    app.command()(history)
    app.command()(rollback)


def history(model: Name, as_json: AsJson = False, storage: Storage = None) -> None:
    """Show who was champion when and why, and every decision with its figures, refused challengers among them."""
    from hpo import listing
    from hpo.places import find_places

    found = listing.history(model, find_places(storage=storage))
    if as_json:
        print_json(found)
        return
    reigns = Table("since", "champion", "before", "kind", "why", title=f"{model}: who was champion")
    for row in found["history"]:
        kind = row["kind"] if row["done"] else f"{row['kind']} (cut short)"
        reigns.add_row(row["at"], row["version"] or "none", row["previous"] or "none", kind, row["why"])
    screen().print(reigns)
    decisions = Table("at", "version", "became", "metric", "value", "champion's", title=f"{model}: what was decided")
    for name in ("difference", "interval", "test", "p", "level", "opening", "reason"):
        decisions.add_column(name)
    for row in found["decisions"]:
        decisions.add_row(*_decision(row))
    screen().print(decisions)


def _decision(row: dict[str, Any]) -> list[str]:
    """The cells of one decision; figures that were not taken are left blank."""
    told = row.get("verdict") or {}
    interval = f"{told['low']:+.4f} to {told['high']:+.4f}" if told.get("low") is not None else ""
    reason = row.get("reason", "") if not row.get("forced") else f"forced: {row['forced']} ({row.get('reason', '')})"
    return [
        row["at"],
        row.get("version", ""),
        row.get("alias", ""),
        row.get("metric", ""),
        _number(row.get("candidate"), ".4f"),
        _number(row.get("champion"), ".4f"),
        _number(told.get("difference"), "+.4f"),
        interval,
        told.get("test") or "",
        _number(told.get("p"), ".3g"),
        _number(told.get("level"), ".3g"),
        _number(told.get("opening"), "d"),
        reason,
    ]


def _number(value: Any, form: str) -> str:
    return "" if value is None else format(value, form)


def rollback(model: Name, as_json: AsJson = False, tracking_uri: Tracking = None, storage: Storage = None) -> None:
    """Make the previous champion champion again; a second time goes back one further.

    The version is downloaded, verified and loaded first.
    """
    from hpo.launch import roll_back_model
    from hpo.places import find_places

    reign = roll_back_model(model, places=find_places(tracking=tracking_uri, storage=storage))
    if as_json:
        print_json({"model": model, **reign.as_row()})
    else:
        screen().print(f"{model} version {reign.version} is champion again: {reign.why}")
