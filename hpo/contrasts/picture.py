"""The picture of a study's variants: how good each is, and which pairs of them differ by more than chance."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpo.contrasts import Contrasts, is_real
from pipelines.drawing import BLUE, FONT, GREY, INK, ORANGE, PALE, short_names
from pipelines.errors import ConfigError
from pipelines.scores import METRICS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_KINDS = (".png", ".svg")
_ROW = 0.42  # inches for each variant
_LONGEST = 60  # characters of a variant's name


def refuse_picture(path: Path) -> None:
    """Raise `ConfigError` where no picture can be written, before anything is computed."""
    if path.suffix.lower() not in _KINDS:
        raise ConfigError(f"--picture {path}: name a file that ends in .png or .svg")
    if path.is_dir() or not path.parent.is_dir():
        raise ConfigError(f"--picture {path}: {'is a directory' if path.is_dir() else 'its directory does not exist'}")


def draw(found: Contrasts, path: Path) -> None:
    """Draw scores with intervals at the left and the differences of all pairs at the right. Raises `ConfigError`."""
    from matplotlib.figure import Figure

    count = len(found.variants)
    size = (7.5 + 0.62 * count, 1.9 + _ROW * count)
    figure = Figure(figsize=size, dpi=110, layout="constrained", facecolor="white")
    scores, pairs = figure.subplots(1, 2, width_ratios=[3.2, 0.62 * count + 0.4], sharey=True)
    figure.suptitle(_headline(found), x=0.01, ha="left", size=12, weight="bold", color=INK, family=FONT)
    _scores(scores, found)
    _differences(pairs, found)
    try:
        figure.savefig(path)
    except OSError as error:
        raise ConfigError(f"--picture {path}: cannot be written ({error.strerror})") from error


def _headline(found: Contrasts) -> str:
    real, pairs = len(found.found), len(found.pairs)
    return f"{real or 'None'} of {pairs} pairs differ in {found.metric} by more than chance ({found.rows:,} rows)"


def _scores(axes: "Axes", found: Contrasts) -> None:
    for place, one in enumerate(found.measured):
        axes.plot([one.low, one.high], [place, place], color=BLUE, linewidth=2.4, solid_capstyle="round")
        axes.plot([one.value], [place], color=BLUE, marker="o")
    names = short_names([found.name(place) for place in range(len(found.variants))], _LONGEST)
    axes.set_yticks(range(len(names)), [f"{name}   {place}" for place, name in enumerate(names, start=1)])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(visible=True, axis="x", color=PALE, linewidth=0.8)
    _dress(axes, f"{found.metric} with 95 % interval", label_colour=INK)


def _differences(axes: "Axes", found: Contrasts) -> None:
    """Row by column: the row's variant less the column's, coloured where the difference is real."""
    count = len(found.variants)
    worth = 1 if METRICS[found.metric].direction == "maximize" else -1
    largest = max((abs(pair.difference.difference) for pair in found.pairs), default=0.0) or 1.0
    for pair in found.pairs:
        for row, column, sign in ((pair.a, pair.b, -1), (pair.b, pair.a, 1)):
            value, real = sign * pair.difference.difference, is_real(pair)
            colour = (BLUE if value * worth > 0 else ORANGE) if real else "#f6f8fa"
            strength = 0.25 + 0.75 * abs(value) / largest if real else 1.0
            axes.add_patch(_cell(row, column, colour=colour, strength=strength))
            words: dict[str, Any] = {"ha": "center", "va": "center", "size": 8, "family": FONT}
            ink = "white" if real and strength > 0.6 else INK if real else GREY
            axes.text(column, row, f"{round(value, 3) + 0.0:+.3f}".replace("0.", "."), color=ink, **words)  # no -0
    axes.set(xlim=(-0.5, count - 0.5))
    axes.set_xticks(range(count), [str(place) for place in range(1, count + 1)])
    axes.xaxis.tick_top()
    _dress(axes, "row less column; colour: more than chance\n(Holm), blue better, orange worse", label_colour=GREY)


def _cell(row: int, column: int, *, colour: str, strength: float) -> Any:
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Rectangle

    shade = 1 - strength * (1 - np.array(to_rgb(colour)))  # towards white
    return Rectangle((column - 0.47, row - 0.46), 0.94, 0.92, facecolor=tuple(shade), linewidth=0)


def _dress(axes: "Axes", what: str, *, label_colour: str) -> None:
    axes.set_xlabel(what, color=INK, size=9, family=FONT)
    axes.tick_params(labelsize=9, colors=label_colour, labelfontfamily=FONT, bottom=False, left=False, top=False)
    axes.spines[:].set_visible(False)
    axes.set_axisbelow(True)
