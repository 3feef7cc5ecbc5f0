"""The command that scores a registered model: on its own locked rows, on other data, on changed texts."""

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from hpo.cli.console import print_json, screen
from hpo.cli.looking import DropBlank, Html, Label, NoTrack, Text, refuse_directory, say, write_page
from hpo.cli.models import Model
from hpo.cli.options import AsJson, Storage, Tracking
from pipelines.errors import ConfigError

if TYPE_CHECKING:
    from hpo.generalization import Wanted
    from hpo.places import Places
    from pipelines.generalize.checks import Check


class Part(Enum):
    """Which rows of its own a model is scored on."""

    TEST = "test"


def add_to(app: typer.Typer) -> None:
    """Register this module's commands."""
    app.command()(evaluate)


def evaluate(
    model: Model,
    split: Annotated[
        Part | None, typer.Option(help="Rows of the model's own study; a look at `test` is counted.")
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(help="A file, `sample:NAME`, preset, hub id or saved directory; may be given several times."),
    ] = None,
    robustness: Annotated[
        bool, typer.Option("--robustness", help="Change the texts (of --data, else of the select split) and ask again.")
    ] = False,
    maps: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="LABEL=CLASS|FILE", help="What a label is for the model; LABEL= leaves it out."),
    ] = None,
    rows: Annotated[
        int | None, typer.Option(min=1, help="At most so many rows of each data set, or of the select split.")
    ] = None,
    checks: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Further behavioural checks, as YAML; with --robustness.")
    ] = None,
    allow_overlap: Annotated[
        bool, typer.Option("--allow-overlap", help="Test also on data of which the model has seen most.")
    ] = False,
    text: Text = None,
    label: Label = None,
    drop_blank: DropBlank = False,
    html: Html = None,
    no_track: NoTrack = False,
    as_json: AsJson = False,
    tracking_uri: Tracking = None,
    storage: Storage = None,
) -> None:
    """Score a registered model: on the locked test rows of its study, on other data, or on changed texts.

    With `--split test` the look is counted: the next candidate for the alias needs more evidence on these rows.

    With `--data` every score is compared with that at home, rows that the training has seen are looked for first, and
    what was found is attached to the model's version, run and card in MLflow. The same with `--robustness`.
    """
    others = {"--data": data, "--robustness": robustness, "--map": maps, "--checks": checks, "--html": html}
    if split is not None:
        if named := [option for option, value in others.items() if value]:
            raise ConfigError(f"--split and {named[0]} do not go together: a look at the locked rows is counted")
        _on_own_rows(model, split, as_json=as_json, tracking_uri=tracking_uri, storage=storage)
        return
    if not (data or robustness):
        raise ConfigError("say what to score it on: --data DATA, --robustness, or --split test")
    if checks is not None and not robustness:
        raise ConfigError("--checks are put to the model with --robustness; add that")
    if maps and not data:
        raise ConfigError("--map says what labels of --data are; name a data set")
    refuse_directory(html)
    from hpo.cli.generalization import read_checks, read_maps
    from hpo.generalization import Wanted
    from hpo.places import find_places

    sources = tuple(data or ())
    told, single = read_maps(maps or [], sources)
    wanted = Wanted(sources, told, single, text, label, drop_blank, rows, allow_overlap)
    places = find_places(tracking=tracking_uri, storage=storage)
    own_checks = read_checks(checks)
    _elsewhere(
        model,
        wanted,
        places,
        own_checks=own_checks if robustness else None,
        html=html,
        track=not no_track,
        as_json=as_json,
    )


def _elsewhere(
    model: str,
    wanted: "Wanted",
    places: "Places",
    *,
    own_checks: "list[Check] | None",
    html: Path | None,
    track: bool,
    as_json: bool,
) -> None:
    from hpo.cli.generalization import print_elsewhere, print_robustness
    from hpo.generalization import evaluate_elsewhere, evaluate_robustness, find_subject
    from pipelines.generalize.page import render_elsewhere

    subject, sets, changes = find_subject(model, places=places), [], []
    if own_checks is None:
        for one in evaluate_elsewhere(subject, wanted, places=places, track=track, say=say):
            sets.append(one)
            if not as_json:
                print_elsewhere(one)
    else:
        found = evaluate_robustness(subject, wanted, own_checks=own_checks, places=places, track=track, say=say)
        for change in found:
            changes.append(change)
            if not as_json:
                print_robustness(change)
    if html is not None:
        write_page(html, render_elsewhere(sets, model=subject.name, robustness=changes))
    if as_json:
        named = {"model": str(subject.version.name), "version": str(subject.version.version)}
        parts = {"data": [one.as_json() for one in sets], "robustness": [one.as_json() for one in changes]}
        print_json(named | parts)
    if track:
        say(f"attached to {subject.name} in MLflow, run {subject.version.run_id}")


def _on_own_rows(model: str, split: Part, *, as_json: bool, tracking_uri: str | None, storage: str | None) -> None:
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
