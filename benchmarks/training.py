"""Epoch time, evaluation, and parity of accuracy: trainings in warm processes."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from benchmarks.findings import Limit, Part, compared, difference, sizes
from benchmarks.protocol import Run, geometric_mean, measure, paired_ratios
from benchmarks.timing import Setting, Timed
from benchmarks.warm import Side, Start, Variant
from benchmarks.workload import write_data

SHIPPED = "Trainer as shipped"
BEST = "Trainer best configured"
ONE = "ours, one worker"
ALL = "ours, whole machine"
TWIN = "ours, one worker, again"

_PARITY = {"rows": 2048, "epochs": 2.0}  # enough for an accuracy near its end, in half a minute


def variants(setting: Setting) -> dict[str, Variant]:
    """Everything that trains; all of them use all cores."""
    return {
        SHIPPED: Variant("benchmarks.peers:shipped", threads=setting.cores),
        BEST: Variant("benchmarks.peers:best", threads=setting.cores),
        ONE: Variant("benchmarks.ours:Ours", threads=setting.cores),
        TWIN: Variant("benchmarks.ours:Ours", threads=setting.cores),
        ALL: Variant("benchmarks.ours:Ours", threads=1, copies=setting.cores),
    }


@contextmanager
def crew(setting: Setting, start: Start, *names: str) -> Iterator[dict[str, Side]]:
    """The named variants, each warm, with a trial prepared; ended on leaving."""
    with ExitStack() as stack:
        sides: dict[str, Side] = {}
        for name in names:
            sides[name] = start(variants(setting)[name], setting)
            stack.callback(sides[name].close)
            sides[name].ask("prepare", 0)
        yield sides


def control(setting: Setting, start: Start) -> Part:
    """The same variant against itself: what the protocol calls different although it is equal."""
    with crew(setting, start, ONE, TWIN) as sides:
        runs = _epochs(sides, (ONE, TWIN), setting)
    apart = abs(geometric_mean(paired_ratios(runs, TWIN, ONE)).mean - 1)
    return Part(
        "control",
        "A/A control: two warm processes of one worker each train the same epoch. Were the machine quiet, the ratio "
        "would be 1; beyond 5 % no figure here should be trusted.",
        comparisons=[compared("A/A control", runs, peer=TWIN, ours=ONE, unit="rows/s")],
        limits=[Limit("A/A control: distance of the ratio from 1", "", apart, 0.05)],
        runs={"epoch": runs},
    )


def epoch(setting: Setting, start: Start) -> Part:
    """Training alone, with fresh weights each time."""
    walk = (ONE, BEST, ALL, SHIPPED, ONE)  # its neighbours are the four pairs of peer and ours
    with crew(setting, start, ONE, BEST, ALL, SHIPPED) as sides:
        runs = _epochs(sides, walk, setting)
        peaks = {name: sum(side.ask("peak")) for name, side in sides.items()}
    pairs = [
        compared("epoch, one worker", runs, peer=SHIPPED, ours=ONE, unit="rows/s", target=3.0),
        compared("epoch, one worker", runs, peer=BEST, ours=ONE, unit="rows/s", target=1.3),
        compared("epoch, whole machine", runs, peer=SHIPPED, ours=ALL, unit="rows/s", target=4.0),
        compared("epoch, whole machine", runs, peer=BEST, ours=ALL, unit="rows/s", target=1.5),
        sizes("peak memory of all processes, one worker", peaks, peer=BEST, ours=ONE),
        sizes("peak memory of all processes, whole machine", peaks, peer=BEST, ours=ALL),
    ]
    return Part(
        "epoch",
        f"Wall time of one epoch of training ({setting.rows:,} rows, batch {setting.batch_size}, at most "
        f"{setting.max_length} tokens), without evaluation and checkpoints, fresh weights each time. As shipped: fp32, "
        "random batches. Best configured: bf16, group_by_length with a column of lengths. Whole machine: one "
        "single-threaded worker per core, each on a trial of its own; rows per second of all. Peak memory is the "
        "largest resident size of the processes during these epochs.",
        comparisons=pairs,
        runs={"epoch": runs},
    )


def evaluation(setting: Setting, start: Start) -> Part:
    """Scoring the select split."""
    with crew(setting, start, SHIPPED, ONE, BEST) as sides:
        sides[BEST].ask("cast_for_evaluation")
        for side in sides.values():
            side.ask("evaluate")
        runs = measure((SHIPPED, ONE, BEST), setting.rounds, lambda name, _: sides[name].time("evaluate"))
    return Part(
        "evaluation",
        "Logits of all rows of the select split. As shipped: `Trainer.predict` with batches of 8 in the order of the "
        "rows. Best configured: bf16_full_eval, batches of 32 grouped by length.",
        comparisons=[compared("evaluation", runs, peer=peer, ours=ONE, unit="rows/s") for peer in (SHIPPED, BEST)],
        runs={"evaluate": runs},
    )


def parity(setting: Setting, start: Start) -> Part:
    """Accuracy after the same training, over seeds."""
    longer = replace(setting, home=setting.home / "parity", rounds=setting.seeds, epochs=_PARITY["epochs"])
    longer = replace(longer, rows=min(int(_PARITY["rows"]), 2 * setting.rows))
    write_data(longer)
    with crew(longer, start, BEST, ONE) as sides:
        runs = measure((BEST, ONE), longer.rounds, lambda name, seed: _trained(sides[name], seed))
    peers, ours = (
        [run.timed.extra["accuracy"] for run in sorted(runs, key=lambda run: run.round) if run.variant == name]
        for name in (BEST, ONE)
    )
    return Part(
        "parity",
        f"Accuracy on held-out rows by which nothing was chosen, after {longer.epochs:g} epochs on {longer.rows:,} "
        f"rows, over {longer.seeds} seeds (head, order of batches, dropout), paired by seed; each in its precision.",
        comparisons=[compared("training for parity", runs, peer=BEST, ours=ONE, unit="rows/s")],
        differences=[difference("accuracy after training", peers, ours, names=(BEST, ONE))],
        runs={"train": runs},
    )


def _epochs(sides: dict[str, Side], walk: tuple[str, ...], setting: Setting) -> list[Run]:
    for side in sides.values():
        side.time("epoch")  # kernels and caches of every shape, once
    return measure(walk, setting.rounds, lambda name, seed: _epoch(sides[name], seed))


def _epoch(side: Side, seed: int) -> Timed:
    side.ask("prepare", seed)
    return side.time("epoch")


def _trained(side: Side, seed: int) -> Timed:
    timed = _epoch(side, seed)
    return replace(timed, extra=side.time("evaluate").extra)
