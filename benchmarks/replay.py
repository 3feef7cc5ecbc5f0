"""Search cost of several tools, replayed over stored learning curves (see `benchmarks.table` and `.simulation`).

    python -m benchmarks.replay              200 repetitions of every tool; some minutes on two CPU cores
    python -m benchmarks.replay --strict     60 repetitions to the best single training, luck included
    python -m benchmarks.replay --quick      8 repetitions

Writes `l2.json`, `l2.md` and `l2.png` into `benchmarks/results`, with `--strict` the same as `l2-strict`, a quick run
`partial-l2`.
"""

import argparse
import multiprocessing
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import optuna

from benchmarks import curves, report
from benchmarks.findings import Absent, Comparison, Difference, Part, difference
from benchmarks.pictures import draw_searches
from benchmarks.protocol import ratio_of_means
from benchmarks.simulation import Trace, goal, simulate
from benchmarks.table import Table, read_table
from benchmarks.tools import BEST, CONTENDERS, OURS, SETTINGS, Contender

PACKAGES = ("optuna", "ray", "syne-tune", "numpy")
_COST = "search cost"
_BEST = (
    "The peers at their best, against ours as shipped: all begin with our known-good default, and those that halve do "
    "so where our schedule does, at 1/4 and 1/2 of the horizon."
)
_SETTINGS = (
    "Our schedule with other settings against the shipped one (factor 2, floor 1000, by the log loss, one bracket, the "
    "default to its end). The "
    "floor is the number of training examples before which no trial is judged. Above 1, the shipped one is cheaper."
)
Traces = Mapping[str, Sequence[Trace]]


@dataclass(frozen=True)
class Replay:
    """How the replay is run."""

    repetitions: int = 200
    """Of each tool, with seeds 0, 1, 2 ...; those of equal seed are a pair."""
    budget: float = 150.0
    """Epoch-units after which a search has not got there: it counts with this cost."""
    watched: float = 40.0
    """Epoch-units that every search goes through, whether or not it has got there."""
    workers: tuple[int, ...] = (2, 1, 4)
    """Workers side by side; the first for pictures and settings too."""
    equal_cost: float = 30.0
    """Epoch-units at which what the tools deliver is compared."""


def searches(
    contenders: Mapping[str, Contender], table: Table, replay: Replay, *, workers: int
) -> dict[str, list[Trace]]:
    """Every repetition of every contender that is installed, in as many processes as there are cores."""
    here = {name: one for name, one in contenders.items() if not one.absent}
    jobs = [(one, table, replay, workers, seed) for one in here.values() for seed in range(replay.repetitions)]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), mp_context=spawn) as pool:
        traces = list(pool.map(_search, *zip(*jobs, strict=True), chunksize=10))
    count = replay.repetitions
    return {name: traces[at * count : (at + 1) * count] for at, name in enumerate(here)}


def _search(contender: Contender, table: Table, replay: Replay, workers: int, seed: int) -> Trace:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")  # of the tools' own libraries: thousands of lines
    tool = contender.start(table, seed)
    return simulate(tool, table, workers=workers, seed=seed, budget=replay.budget, watched=replay.watched)


def cost(traces: Sequence[Trace], table: Table, replay: Replay) -> list[float]:
    """Epoch-units of each search to the goal, at most the budget."""
    return [min(trace.reached(goal(table)), replay.budget) for trace in traces]


def part(name: str, traces: Traces, table: Table, replay: Replay, *, about: str, workers: int) -> Part:
    """What each peer costs against us, and what it delivers at equal cost."""
    costs = {one: cost(found, table, replay) for one, found in traces.items()}
    measure = f"{_COST}, {workers} worker{'s' * (workers > 1)}"
    peers = [one for one in CONTENDERS if one != OURS]
    here = [one for one in peers if one in costs]
    return Part(
        name,
        about,
        comparisons=[compared(measure, costs, peer=one, ours=OURS, target=CONTENDERS[one].target) for one in here],
        differences=[_delivered(traces, one, replay) for one in here],
        absent=[Absent(measure, one, CONTENDERS[one].absent) for one in peers if one not in costs],
        repetitions={one: [round(value, 3) for value in values] for one, values in costs.items()},
    )


def compared(
    measure: str, costs: Mapping[str, Sequence[float]], *, peer: str, ours: str, target: float | None = None
) -> Comparison:
    """Mean costs, and their ratio."""
    means = {name: float(np.mean(costs[name])) for name in (peer, ours)}
    ratio = ratio_of_means(costs[peer], costs[ours])
    return Comparison(measure, peer, ours, "epochs", means[peer], means[ours], ratio, target=target)


def _delivered(traces: Traces, peer: str, replay: Replay) -> Difference:
    """Accuracy of what peer and we would deliver after the same cost."""
    at = np.array([replay.equal_cost])
    values = [[float(trace.at(at)[0]) for trace in traces[name]] for name in (peer, OURS)]
    return difference(f"delivered after {replay.equal_cost:g} epochs", *values, names=(peer, OURS))


def others(
    name: str, contenders: Mapping[str, Contender], main: Traces, table: Table, replay: Replay, *, about: str
) -> Part:
    """What other contenders cost against the shipped schedule, with the first number of workers."""
    workers = replay.workers[0]
    traces = searches(contenders, table, replace(replay, watched=0.0), workers=workers)
    costs = {one: cost(found, table, replay) for one, found in {OURS: main[OURS], **traces}.items()}
    measure = f"{_COST}, {name}, {workers} workers"
    return Part(
        name,
        f"{about} {_never(costs, replay)}",
        comparisons=[compared(measure, costs, peer=one, ours=OURS, target=contenders[one].target) for one in traces],
        absent=[Absent(measure, one, it.absent) for one, it in contenders.items() if it.absent],
        repetitions={one: [round(value, 3) for value in values] for one, values in costs.items()},
    )


def about(traces: Traces, table: Table, replay: Replay) -> str:
    """What was replayed, for a reader of the table."""
    costs = {one: cost(found, table, replay) for one, found in traces.items()}
    counts = "; ".join(
        f"{one} {np.mean([t.trials for t in found]):.0f} and {np.mean([t.complete for t in found]):.0f}"
        for one, found in traces.items()
    )
    return (
        f"Epoch-units (training examples by {table.rows:,} training rows) until what the tool delivers, its best fully "
        f"trained model, is within 0.5 points of the best of the table ({100 * table.best:.2f} %). Means over "
        f"{replay.repetitions} repetitions, and a ratio of means with a bootstrap interval over pairs of equal seed. "
        "Evaluations are left out for all. Ours as shipped: the known-good default goes to its end, the others are "
        "halved at 1/4 and 1/2 of the horizon. The peers as people write them: scored after each epoch, where those "
        "that halve do so (factor 3), proposals by the tool alone. "
        f"Trials begun and trials fully trained in a mean search: {counts}. {_never(costs, replay)}"
    )


def of_table(table: Table) -> str:
    """What the table holds, in a sentence."""
    good = int(np.sum(table.scores >= goal(table)))
    weights = ", ".join(f"{one:g}" for one in table.weights)
    return (
        f" The table: {len(table)} trainings, horizon {table.horizon:,} examples; {good} of them are within 0.5 "
        "points of the best. "
        f"A proposal is replayed by one of its three nearest trainings (weights of learning rate, batch size, warm-up, "
        f"weight decay and frozen layers: {weights}); leaving one out, their mean foretells the accuracy within "
        f"{100 * table.error:.1f} points in half of all cases."
    )


def _never(costs: Mapping[str, Sequence[float]], replay: Replay) -> str:
    shares = {one: np.mean([value >= replay.budget for value in values]) for one, values in costs.items()}
    named = ", ".join(f"{one} {share:.1%}" for one, share in shares.items() if share > 0)
    return f"Not there within {replay.budget:g} epochs, and counted with that: {named or 'none'}."


def measured(table: Table, replay: Replay, picture: Path) -> list[Part]:
    """The comparison for each number of workers, the picture of the first, and our settings."""
    parts, first = [], None
    for workers in replay.workers:
        print(f"replaying with {workers} workers ...", file=sys.stderr, flush=True)
        traces = searches(CONTENDERS, table, replay, workers=workers)
        words = about(traces, table, replay) + (of_table(table) if first is None else "")
        parts.append(part(f"workers {workers}", traces, table, replay, about=words, workers=workers))
        if first is None:
            first = traces
            draw_searches(traces, table, picture, until=replay.watched, workers=workers)
    print("replaying other settings ...", file=sys.stderr, flush=True)
    best = others("best configured", BEST, first or {}, table, replay, about=_BEST)
    return [*parts, best, others("our settings", SETTINGS, first or {}, table, replay, about=_SETTINGS)]


def main(words: Sequence[str]) -> None:
    """Parse the options, replay, write and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replay", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="eight repetitions: a trial of the benchmark")
    parser.add_argument("--strict", action="store_true", help="to the best single training of the table, two workers")
    parser.add_argument("--table", type=Path, default=curves.FILE, help="learning curves of benchmarks.curves")
    options = parser.parse_args(words)
    replay = Replay(repetitions=60, workers=(2,)) if options.strict else Replay()
    replay = replace(replay, repetitions=8) if options.quick else replay
    name = ("partial-" if options.quick else "") + ("l2-strict" if options.strict else "l2")
    folder = curves.FILE.parent
    parts = measured(read_table(options.table, strict=options.strict), replay, folder / f"{name}.png")
    text = report.write(
        parts, replay, folder, name=name, quick=options.quick, command="make bench-search", packages=PACKAGES
    )
    print(text)


if __name__ == "__main__":
    main(sys.argv[1:])
