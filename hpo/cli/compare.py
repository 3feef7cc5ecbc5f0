"""The command that sets two models side by side."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from hpo.cli.console import print_json, screen
from hpo.cli.options import AsJson, Storage, Tracking
from pipelines.errors import ConfigError

if TYPE_CHECKING:
    from hpo.comparison import Comparison
    from hpo.contrasts import Contrasts
    from hpo.places import Places

_METAVAR = "STUDY/TRIAL|NAME[@ALIAS|/VERSION]"
_LONGEST = 100  # characters of an example's text


def add_to(app: typer.Typer) -> None:
    """Register this module's commands."""
    app.command()(compare)


def compare(
    names: Annotated[
        list[str],
        typer.Argument(metavar="A B | STUDY...", help=f"A and B: {_METAVAR}. With --by: studies of the same rows."),
    ],
    by: Annotated[
        str | None,
        typer.Option(
            metavar="SETTING,...", help="Compare a study's trials by settings: `tokens`, `tokens.max_length`."
        ),
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With --by: draw all pairs, as PNG or SVG.")
    ] = None,
    as_json: AsJson = False,
    tracking_uri: Tracking = None,
    storage: Storage = None,
) -> None:
    """Compare two scored models on the same rows: is the difference more than chance, and where does it lie?

    With --by, all pairs of a study's variants: trials that agree in the settings named. Reads what each said of each
    row of the select split; nothing is run again. NAME/NUMBER is a study's trial where there is such a study;
    `models:/NAME/VERSION` is always a registered model.
    """
    from hpo.comparison import compare_models
    from hpo.places import find_places

    places = find_places(tracking=tracking_uri, storage=storage)
    if by is not None:
        _by(names, by, picture=picture, as_json=as_json, places=places)
        return
    if len(names) != 2 or picture is not None:
        raise ConfigError("compare two models, A and B; or a study's trials by their settings: STUDY --by tokens")
    found = compare_models(*names, places=places)
    if as_json:
        print_json(found.as_json())
    else:
        _print(found)


def _by(names: list[str], by: str, *, picture: Path | None, as_json: bool, places: "Places") -> None:
    from hpo.contrasts import compare_variants
    from hpo.contrasts.picture import draw, refuse_picture

    if picture is not None:
        refuse_picture(picture)
    found = compare_variants(names, [word.strip() for word in by.split(",")], places=places)
    if picture is not None:
        draw(found, picture)
    if as_json:
        print_json(found.as_json())
    else:
        _print_variants(found)


def _print_variants(found: "Contrasts") -> None:
    console = screen()
    console.print(f"{found.rows:,} rows, select split; {', '.join(found.studies)} by {', '.join(found.by)}")
    console.print(found.verdict(), style="bold")
    console.print(_variants(found))
    console.print(_pairs(found))
    if caution := found.caution():
        console.print(f"Caution: {caution}.")
    many = f"Intervals of differences hold together with 95 %, p is Holm's for {len(found.pairs)} pairs"
    console.print(f"{many}; {_of_seeds(found)}.", style="dim")


def _of_seeds(found: "Contrasts") -> str:
    """What the intervals know of other trainings."""
    if found.matched or all(len(one.trials) == 1 for one in found.variants):
        means = f"scores are means over the same values of {', '.join(found.beside)}; " if found.matched else ""
        return f"{means}each trial is one training run, and another seed may turn a small difference around"
    return "of variants with several trials the intervals know how much these differ, of two or three only roughly"


def _variants(found: "Contrasts") -> Table:
    from hpo.contrasts import in_words

    names = [address.removeprefix("tokens.") for address in found.by]
    table = Table("", *names, found.metric, "95 % interval", "trials")
    for place, (one, measured) in enumerate(zip(found.variants, found.measured, strict=True), start=1):
        values = [in_words(one.settings[address]) for address in found.by]
        score = (f"{measured.value:.4f}", f"{measured.low:.4f} to {measured.high:.4f}")
        table.add_row(str(place), *values, *score, ", ".join(one.trials))
    return table


def _pairs(found: "Contrasts") -> Table:
    """Pairs that differ in the fewest settings first: what such a pair shows is due to them."""
    from hpo.contrasts import is_real

    table = Table("pair", "differ in", f"{found.metric}: second - first", "interval", "p (Holm)", "differ")
    for pair in sorted(found.pairs, key=lambda one: (len(found.changed(one)), one.a, one.b)):
        one = pair.difference
        values = (f"{one.difference:+.4f}", _interval(one.low, one.high), f"{pair.adjusted:.3g}")
        table.add_row(f"{pair.a + 1}, {pair.b + 1}", ", ".join(found.changes(pair)), *values, "yes" * is_real(pair))
    return table


def _print(found: "Comparison") -> None:
    console = screen()
    console.print(f"A: {found.a.words}\nB: {found.b.words}\n{len(found.a.predictions.labels):,} rows, select split")
    console.print(found.verdict(), style="bold")
    console.print(_metrics(found))
    console.print(f"texts that B alone has right: {len(found.flips.won)}; A alone: {len(found.flips.lost)}")
    console.print(_slices(found))
    if len(found.flips.won) or len(found.flips.lost):
        console.print(_examples(found))
    console.print(
        "Trials were chosen by these rows, which flatters a study's best, and each is one training run: another seed "
        "may turn a small difference around. Intervals are 95 % each; of twenty one lies beside zero by chance.",
        style="dim",
    )


def _metrics(found: "Comparison") -> Table:
    from hpo.comparison import better

    table = Table("metric", "A", "B", "B - A", "95 % interval", "p", "test", "better")
    for one in found.differences:
        values = (f"{one.a:.4f}", f"{one.b:.4f}", f"{one.difference:+.4f}", _interval(one.low, one.high))
        table.add_row(one.metric, *values, f"{one.p:.3g}", one.test, (better(one) or "").upper())
    return table


def _slices(found: "Comparison") -> Table:
    table = Table("accuracy of", "rows", "A", "B", "B - A", "95 % interval", "B alone right", "A alone right")
    for one in found.slices:
        values = (f"{one.a:.4f}", f"{one.b:.4f}", f"{one.b - one.a:+.4f}", _interval(one.low, one.high))
        table.add_row(one.name, f"{one.rows:,}", *values, str(one.won), str(one.lost))
    return table


def _examples(found: "Comparison") -> Table:
    table = Table("right", "is", "A says", "B says", "text")
    for right, rows in (("B", found.flips.won), ("A", found.flips.lost)):
        for one in found.examples(rows):
            text = " ".join(one["text"].split())
            short = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
            table.add_row(right, one["label"], one["a"], one["b"], short)
    return table


def _interval(low: float, high: float) -> str:
    return f"{low:+.4f} to {high:+.4f}"
