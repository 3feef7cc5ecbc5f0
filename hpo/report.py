"""The study at a glance: pictures and final figures for its own run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from hpo.objectives import direction
from hpo.selection import DEFAULT, Selection
from hpo.space import address_of
from hpo.spec import StudySpec
from hpo.storage import best_trial

_BLUE, _GREY, _ORANGE = "#0072B2", "#9A9A9A", "#D55E00"


def summary(spec: StudySpec, study: optuna.Study) -> dict[str, float]:
    """Counts of trials by state, and the best value of the first objective."""
    trials = study.get_trials(deepcopy=False)
    counts = {
        f"trials/{state.name.lower()}": float(sum(trial.state == state for trial in trials))
        for state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    }
    best = best_trial(study)
    return counts | ({f"best/{spec.objective[0].metric}": best.values[0]} if best else {})


def draw_study(spec: StudySpec, study: optuna.Study, folder: Path) -> list[Path]:
    """Draw the study's history, learning curves and search space as PNGs; nothing without a finished trial."""
    trials = [trial for trial in study.get_trials(deepcopy=False) if _last_value(trial) is not None]
    if not trials:
        return []
    drawn = [_history(spec, trials, folder / "history.png")]
    if any(trial.intermediate_values for trial in trials):
        drawn.append(_curves(spec, trials, folder / "learning_curves.png"))
    if spec.space:
        drawn.append(_slices(spec, trials, folder / "search_space.png"))
    return drawn


def draw_selection(selection: Selection, path: Path) -> Path:
    """Draw what was trained anew with intervals, what it was compared with, and the best score of the search."""
    figure, grid = _figure(width=7.5, height=1.6 + 0.42 * (len(selection.contestants) + len(selection.rivals) + 1))
    axes, rows = grid[0, 0], list[tuple[str, float, float, float, str]]()
    for one in selection.contestants:
        won = one.trial == selection.trial
        words = f"trial {one.trial}{' (default)' if one.default else ''}{': delivered' if won else ''}"
        rows.append((words, one.score, one.low, one.high, _ORANGE if won else _BLUE))
    if not selection.contestants:
        words = f"trial {selection.trial}: delivered, not confirmed"
        rows.append((words, selection.score, selection.low, selection.high, _ORANGE))
    rows += [(one.name, one.score, one.score, one.score, _GREY) for one in selection.rivals if one.name != DEFAULT]
    for place, (_, score, low, high, colour) in enumerate(rows):
        axes.plot([low, high], [place, place], color=colour, linewidth=2.4, solid_capstyle="round")
        axes.plot([score], [place], color=colour, marker="o")
    best = f"best score of the search (trial {selection.search_trial})"
    axes.axvline(selection.search_score, color=_GREY, linestyle="--", linewidth=1.2, label=best)
    axes.set_yticks(range(len(rows)), [words for words, *_ in rows])
    axes.invert_yaxis()
    axes.set(xlabel=f"{selection.metric} (select split, 95 % intervals)", title="Trained anew with fresh seeds")
    figure.legend(frameon=False, loc="outside lower center")
    return _saved(figure, path)


def _history(spec: StudySpec, trials: list[FrozenTrial], path: Path) -> Path:
    figure, grid = _figure(width=7.5, height=4.2)
    axes = grid[0, 0]
    values = {trial.number: _last_value(trial) for trial in trials}
    for state, colour, label in ((TrialState.COMPLETE, _BLUE, "complete"), (TrialState.PRUNED, _GREY, "pruned")):
        chosen = [trial.number for trial in trials if trial.state == state]
        if chosen:
            axes.scatter(chosen, [values[number] for number in chosen], color=colour, label=label, zorder=3)
    pick = max if direction(spec.objective[0]) == "maximize" else min
    numbers = sorted(trial.number for trial in trials if trial.state == TrialState.COMPLETE)
    best = [pick(values[other] for other in numbers if other <= number) for number in numbers]  # type: ignore[type-var]
    axes.step(numbers, best, where="post", color=_ORANGE, label="best so far")
    axes.set(
        xlabel="trial", ylabel=f"{spec.objective[0].metric} (select split)", title="Scores in the order of the trials"
    )
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False)
    return _saved(figure, path)


def _curves(spec: StudySpec, trials: list[FrozenTrial], path: Path) -> Path:
    figure, grid = _figure(width=7.5, height=4.2)
    axes = grid[0, 0]
    best = min(trials, key=lambda trial: _rank(spec, trial))
    for trial in trials:
        points = sorted(trial.intermediate_values.items())
        if not points:
            continue
        style: dict[str, Any] = {"color": _BLUE, "alpha": 0.45, "linewidth": 1.2}
        if trial.state == TrialState.PRUNED:
            style = {"color": _GREY, "alpha": 0.8, "linewidth": 1.2, "linestyle": "--"}
        if trial.number == best.number:
            style = {"color": _ORANGE, "linewidth": 2.4, "label": f"best: trial {best.number}", "zorder": 4}
        axes.plot(*zip(*points, strict=True), marker="o", markersize=3, **style)
    metric = spec.objective[0].metric
    axes.set(
        xlabel="training examples seen", ylabel=f"{metric} (select split)", title="Learning curves; dashed: pruned"
    )
    axes.legend(frameon=False)
    return _saved(figure, path)


def _slices(spec: StudySpec, trials: list[FrozenTrial], path: Path) -> Path:
    addresses = list(spec.space)
    columns = min(3, len(addresses))
    rows = -(-len(addresses) // columns)
    figure, grid = _figure(width=3.4 * columns + 0.6, height=2.9 * rows + 0.4, rows=rows, columns=columns)
    for address, axes in zip(addresses, grid.flat, strict=False):
        _slice(spec, address, trials, axes)
    for axes in grid.flat[len(addresses) :]:
        axes.set_visible(False)
    figure.suptitle(f"{spec.objective[0].metric} against each setting; grey: pruned")
    return _saved(figure, path)


def _slice(spec: StudySpec, address: str, trials: list[FrozenTrial], axes: Any) -> None:
    """Scores against one setting; choices stand side by side, whatever their values."""
    choices = [str(choice) for choice in spec.space[address].choices or []]
    for state, colour in ((TrialState.PRUNED, _GREY), (TrialState.COMPLETE, _BLUE)):
        points = [(_param(t.params, address), _last_value(t)) for t in trials if t.state == state]
        points = [(choices.index(str(at)) if choices else at, score) for at, score in points if at is not None]
        if points:
            axes.scatter(*zip(*points, strict=True), color=colour, zorder=3)
    if choices:
        axes.set_xticks(range(len(choices)), choices)
        axes.set_xlim(-0.5, len(choices) - 0.5)
    elif spec.space[address].log:
        _logarithmic(axes)
    axes.set(xlabel=address)


def _logarithmic(axes: Any) -> None:
    """A logarithmic axis with few, plain ticks: 1, 2 and 5 of each decade."""
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _param(params: Mapping[str, Any], address: str) -> Any:
    return next((value for name, value in params.items() if address_of(name) == address), None)


def _last_value(trial: FrozenTrial) -> float | None:
    """The final score, or for a pruned trial its last report."""
    if trial.state == TrialState.COMPLETE:
        return float(trial.values[0])
    if trial.state == TrialState.PRUNED and trial.intermediate_values:
        return float(trial.intermediate_values[max(trial.intermediate_values)])
    return None


def _rank(spec: StudySpec, trial: FrozenTrial) -> tuple[bool, float]:
    value = _last_value(trial) or 0.0
    return trial.state != TrialState.COMPLETE, -value if direction(spec.objective[0]) == "maximize" else value


def _figure(*, width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Any, Any]:
    """A figure with a two-dimensional array of axes, in the house style."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    return figure, grid


def _saved(figure: Any, path: Path) -> Path:
    figure.savefig(path)
    return path
