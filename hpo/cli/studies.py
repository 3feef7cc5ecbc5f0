"""Commands that launch and check studies."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from hpo.cli.console import pairs, print_json, screen
from hpo.cli.options import AsJson, From, Overrides, Spec, Storage, Tracking

if TYPE_CHECKING:
    from hpo.spec import StudySpec


def add_to(app: typer.Typer) -> None:
    """Register this module's commands."""
    app.command()(run)
    app.command()(check)


def run(
    spec: Spec = "quickstart",
    overrides: Overrides = None,
    learn_from: From = None,
    tracking_uri: Tracking = None,
    storage: Storage = None,
) -> None:
    """Launch a study, or continue it where it stopped, and promote its winner.

    Ctrl-C stops at the next training step and keeps everything; the same command continues.
    """
    from hpo.cli.display import open_display
    from hpo.launch import run_study
    from hpo.places import find_places
    from hpo.specfile import read_spec

    places = find_places(tracking=tracking_uri, storage=storage)
    checked = _learning(read_spec(*_spec_and_overrides(spec, overrides)), learn_from)
    console = screen()
    with open_display(console) as display:
        outcome = run_study(checked, places=places, display=display)
    if outcome.signal is not None:
        console.print("stopped; run the same command again to continue", style="yellow")
        raise typer.Exit(128 + outcome.signal)
    if outcome.overhead is not None:
        console.print(f"platform overhead: {outcome.overhead:.1%} of the wall time after start-up")
    if outcome.selection is None:
        console.print(
            "no trial was trained to its end, so there is no winner: give the study more, for instance "
            f"hpo run {spec} budget.trials=+4",
            style="yellow",
        )
    else:
        for line in outcome.selection.in_words():
            console.print(line)
    if outcome.decision is not None:
        for line in outcome.decision.in_words():
            console.print(line, style="bold")
        model = f"{outcome.decision.model}@{outcome.decision.alias}"
        console.print(f"next:  hpo predict {model} 'some text'  |  hpo show {checked.name}  |  hpo ui")


def check(
    spec: Spec = "quickstart",
    overrides: Overrides = None,
    learn_from: From = None,
    as_json: AsJson = False,
    json_schema: Annotated[
        bool, typer.Option("--json-schema", help="Print the JSON Schema of a study file, for editors.")
    ] = False,
    list_shipped: Annotated[bool, typer.Option("--list", help="List the shipped studies.")] = False,
) -> None:
    """Check a study, its data and its models completely, and show the plan: what it will take, with reasons.

    The first time, workers are started and measured. Nothing is written but that and the near
    duplicates found in the data.
    """
    from hpo.spec import StudySpec
    from hpo.specfile import read_spec, shipped_studies

    if json_schema:
        typer.echo(json.dumps(StudySpec.model_json_schema(), indent=2))
        return
    if list_shipped:
        for name, path in shipped_studies().items():
            typer.echo(f"{name:12} {_first_comment(path.read_text(encoding='utf-8'))}")
        return
    from hpo.places import find_places
    from hpo.plan import make_plan

    checked = _learning(read_spec(*_spec_and_overrides(spec, overrides)), learn_from)
    plan = make_plan(checked, places=find_places(), say=lambda line: typer.echo(line, err=True))
    if as_json:
        print_json(plan.words | {"estimate": plan.numbers})
    else:
        screen().print(pairs(plan.words))


def _spec_and_overrides(spec: str, overrides: list[str] | None) -> tuple[str, list[str]]:
    """`hpo run train.epochs=2` means the quickstart study with that setting."""
    return ("quickstart", [spec, *(overrides or [])]) if "=" in spec else (spec, overrides or [])


def _learning(spec: "StudySpec", learn_from: list[str] | None) -> "StudySpec":
    """The same study, learning from these too."""
    return spec.model_copy(update={"learn_from": [*spec.learn_from, *(learn_from or [])]})


def _values(objectives: object, values: list[float]) -> str:
    pairs = zip(objectives, values, strict=True)  # type: ignore[call-overload]
    return ", ".join(f"{objective.metric} {value:.4f}" for objective, value in pairs)


def _first_comment(text: str) -> str:
    return text.lstrip("# ").partition("\n")[0]
