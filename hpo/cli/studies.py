"""Commands that launch and check studies."""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from hpo.cli.options import AsJson, Overrides, Spec, Storage, Tracking


def add_to(app: typer.Typer) -> None:
    """Register this module's commands."""
    app.command()(run)
    app.command()(check)


def run(
    spec: Spec = "quickstart", overrides: Overrides = None, tracking_uri: Tracking = None, storage: Storage = None
) -> None:
    """Launch a study, or continue it where it stopped, and promote its winner.

    Ctrl-C stops at the next training step and keeps everything; the same command continues.
    """
    from hpo.cli.display import open_display
    from hpo.launch import run_study
    from hpo.places import find_places
    from hpo.specfile import read_spec

    places = find_places(tracking=tracking_uri, storage=storage)
    checked = read_spec(*_spec_and_overrides(spec, overrides))
    console = Console(highlight=False)
    with open_display(console) as display:
        outcome = run_study(checked, places=places, display=display)
    if outcome.signal is not None:
        console.print("stopped; run the same command again to continue", style="yellow")
        raise typer.Exit(128 + outcome.signal)
    if outcome.overhead is not None:
        console.print(f"platform overhead {outcome.overhead:.1%} of the workers' time")
    if outcome.best is not None:
        console.print(
            f"best trial {outcome.best.number}: {_values(checked.objective, outcome.best.values)} (select split)"
        )
    if outcome.decision is not None:
        _print_decision(console, outcome.decision)


def check(
    spec: Spec = "quickstart",
    overrides: Overrides = None,
    as_json: AsJson = False,
    json_schema: Annotated[
        bool, typer.Option("--json-schema", help="Print the JSON Schema of a study file, for editors.")
    ] = False,
    list_shipped: Annotated[bool, typer.Option("--list", help="List the shipped studies.")] = False,
) -> None:
    """Check a study and its data completely, and show the plan. Nothing is written."""
    from hpo.spec import StudySpec
    from hpo.specfile import read_spec, shipped_studies

    if json_schema:
        typer.echo(json.dumps(StudySpec.model_json_schema(), indent=2))
        return
    if list_shipped:
        for name, path in shipped_studies().items():
            typer.echo(f"{name:12} {_first_comment(path.read_text(encoding='utf-8'))}")
        return
    from hpo.plan import make_plan

    plan = make_plan(read_spec(*_spec_and_overrides(spec, overrides)))
    if as_json:
        typer.echo(json.dumps(plan, indent=2, ensure_ascii=False))
        return
    table = Table("what", "value", box=None, pad_edge=False, show_header=False)
    for name, value in plan.items():
        table.add_row(name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    Console(highlight=False).print(table)


def _spec_and_overrides(spec: str, overrides: list[str] | None) -> tuple[str, list[str]]:
    """`hpo run train.epochs=2` means the quickstart study with that setting."""
    return ("quickstart", [spec, *(overrides or [])]) if "=" in spec else (spec, overrides or [])


def _values(objectives: object, values: list[float]) -> str:
    pairs = zip(objectives, values, strict=True)  # type: ignore[call-overload]
    return ", ".join(f"{objective.metric} {value:.4f}" for objective, value in pairs)


def _print_decision(console: Console, decision: object) -> None:
    from hpo.promotion import Decision

    if not isinstance(decision, Decision):
        return
    versus = f", champion version {decision.champion_version}: {decision.champion:.4f}" if decision.champion else ""
    console.print(f"{decision.model} version {decision.version} is {decision.alias}: {decision.reason}")
    console.print(f"locked test {decision.metric} {decision.candidate:.4f}{versus}", style="bold green")
    console.print(f"next:  hpo ui  |  hpo predict {decision.model}@{decision.alias} 'some text'  |  hpo show")


def _first_comment(text: str) -> str:
    return text.lstrip("# ").partition("\n")[0]
