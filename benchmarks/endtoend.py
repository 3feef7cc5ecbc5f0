"""Whole searches at equal wall time: `hpo run` against Trainer, Optuna and MLflow (see `benchmarks.trainer_search`).

    python -m benchmarks.endtoend                           6 minutes each, seeds 0, 1 and 2: some 40 minutes in all
    python -m benchmarks.endtoend --minutes 15 --seeds 5
    python -m benchmarks.endtoend --quick                   one seed, one minute, short trainings

Run it on a quiet machine. Ours searches for the given time; the peer gets all the wall time that our command took, from
its start to the registered winner. Writes `benchmarks/results/l3.json` and `l3.md`, a quick run `partial-l3`.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import optuna
import yaml
from optuna.trial import TrialState

from benchmarks import report
from benchmarks.curves import Workload
from benchmarks.findings import Absent, Part, compared, difference
from benchmarks.grid import SPACE, sobol
from benchmarks.protocol import Run
from benchmarks.timing import Timed
from hpo.storage import best_trial, open_storage
from pipelines.config import SplitName
from pipelines.data import Dataset, load_data
from pipelines.families import locate

OURS, PEER = "ours", "Trainer + Optuna"
_NAME = "endtoend"
_RESULTS = Path(__file__).parent / "results"
_SPLITS: tuple[SplitName, ...] = ("train", "select", "test")


@dataclass(frozen=True)
class Races:
    """How long and how often is searched, and on what."""

    minutes: float = 6.0
    seeds: int = 3
    workload: Workload = field(default_factory=Workload)


@dataclass(frozen=True)
class Finish:
    """What a search brought."""

    wall: float
    """Seconds from the start of its command to its end."""
    accuracy: float
    """Of the delivered model on the locked test rows; NaN where there is none."""
    winner: float
    """Seconds from the start until the delivered model was fully trained."""
    complete: int
    pruned: int


Race = Callable[[Races, int, Path, float], Finish]
"""Of the races, a seed, an empty folder, and the seconds there are."""


def spec(races: Races, seed: int) -> dict[str, Any]:
    """Our study, as its YAML says it; schedule, sampler and first trials as shipped."""
    work = races.workload
    return {
        "name": _NAME,
        "seed": seed,
        "objective": "accuracy",
        "budget": {"minutes": races.minutes, "trials": 1000},
        "run": {
            "data": {"source": work.source, "train_rows": work.rows, "fractions": {"select": work.select}},
            "model": {"name": work.model},
            "tokens": {"max_length": work.max_length},
            "train": {"epochs": work.epochs},
            "seed": seed,
        },
        "space": dict(SPACE),
        "register_as": _NAME,
    }


def race_ours(races: Races, seed: int, home: Path, seconds: float) -> Finish:
    """`hpo run` in an empty home; its budget is `races.minutes`, whatever `seconds` says."""
    kept = {key: value for key, value in os.environ.items() if key not in {"HPO_STORAGE", "MLFLOW_TRACKING_URI"}}
    file, env = home / "study.yaml", kept | {"HPO_HOME": str(home / "home")}
    file.write_text(yaml.safe_dump(spec(races, seed)), encoding="utf-8")
    started = time.time()
    subprocess.run([sys.executable, "-m", "hpo", "run", str(file)], check=True, env=env, stdout=sys.stderr)
    wall = time.time() - started
    study = optuna.load_study(study_name=_NAME, storage=open_storage(f"sqlite:///{home}/home/studies.db"))
    best, states = best_trial(study), [trial.state for trial in study.trials]
    accuracy, winner = math.nan, math.nan
    if best is not None and best.datetime_complete is not None:
        winner = best.datetime_complete.timestamp() - started
        accuracy = json.loads(_output("promote", _NAME, "--json", env=env))["candidate"]
    return Finish(wall, accuracy, winner, states.count(TrialState.COMPLETE), states.count(TrialState.PRUNED))


def race_peer(races: Races, seed: int, home: Path, seconds: float) -> Finish:
    """The peer's script in a process of its own, with the same rows."""
    for split, columns in split_columns(load_data(races.workload.config(sobol(1)[0], seed=seed).data)).items():
        (home / f"{split}.json").write_text(json.dumps(columns), encoding="utf-8")
    work = races.workload
    started = time.time()
    job = {
        "home": str(home),
        "checkpoint": locate(work.model),
        "epochs": work.epochs,
        "max_length": work.max_length,
        "seed": seed,
        "started": started,
        "seconds": seconds,
    }
    words = [sys.executable, "-m", "benchmarks.trainer_search", json.dumps(job)]
    env = os.environ | {"OMP_NUM_THREADS": str(len(os.sched_getaffinity(0)))}
    printed = subprocess.run(words, check=True, env=env, stdout=subprocess.PIPE, text=True).stdout
    found = json.loads(printed.strip().splitlines()[-1])
    accuracy = math.nan if found["accuracy"] is None else found["accuracy"]
    wall = time.time() - started
    return Finish(wall, accuracy, found["winner_seconds"], found["complete"], found["pruned"])


def split_columns(dataset: Dataset) -> dict[str, dict[str, list[Any]]]:
    """The rows as plain columns, by split. The peer looks at those of `test` when its search is over."""
    return {
        split: {"text": list(dataset.splits[split].texts), "label": dataset.splits[split].labels.tolist()}
        for split in _SPLITS
    }


def measured(races: Races, ours: Race = race_ours, peer: Race = race_peer) -> Part:
    """Every seed's race: ours first, then the peer with the wall time that ours took."""
    finishes: dict[str, list[Finish]] = {OURS: [], PEER: []}
    for seed in range(races.seeds):
        with tempfile.TemporaryDirectory(prefix="hpo-race-") as home:
            for name in (OURS, PEER):
                (Path(home) / name).mkdir()
            finishes[OURS].append(ours(races, seed, Path(home) / OURS, 60 * races.minutes))
            seconds = finishes[OURS][-1].wall
            finishes[PEER].append(peer(races, seed, Path(home) / PEER, seconds))
        print(f"seed {seed}: {OURS} {finishes[OURS][-1]}, {PEER} {finishes[PEER][-1]}", file=sys.stderr, flush=True)
    return as_part(races, finishes)


def as_part(races: Races, finishes: dict[str, list[Finish]]) -> Part:
    """The races as findings; seeds in which one side had nothing to deliver are counted, and compared no further."""
    pairs = list(zip(finishes[PEER], finishes[OURS], strict=True))
    whole = [pair for pair in pairs if not any(math.isnan(one.accuracy) for one in pair)]
    runs = [
        Run(name, number, Timed(one.winner, None, extra=asdict(one)))
        for number, pair in enumerate(whole)
        for name, one in zip((PEER, OURS), pair, strict=True)
    ]
    words = _about(races, finishes, len(pairs) - len(whole))
    if not whole:
        return Part("end to end", words, absent=[Absent("whole searches", PEER, "nothing to compare: no model")])
    accuracies = [[pair[side].accuracy for pair in whole] for side in (0, 1)]
    until = compared("time until the final winner was there", runs, peer=PEER, ours=OURS, unit="s")
    locked = difference("accuracy of the winner on locked rows", *accuracies, names=(PEER, OURS))
    return Part("end to end", words, comparisons=[until], differences=[locked], runs={"search": runs})


def _about(races: Races, finishes: dict[str, list[Finish]], left_out: int) -> str:
    trained = "; ".join(
        f"{name} {sum(one.complete for one in found)} and {sum(one.pruned for one in found)}"
        for name, found in finishes.items()
    )
    return (
        f"Whole searches: `hpo run` with {races.minutes:g} minutes of search, and a script with the Trainer (best "
        "configured: bf16, grouped by length), Optuna (TPE, median pruner) and MLflow, which gets all the wall time "
        f"that our command took. {races.seeds} seeds, same data, space and horizon; trials complete and pruned, all "
        f"seeds together: {trained}. Seeds in which one of them had nothing to deliver: {left_out}."
    )


def _output(*words: str, env: dict[str, str]) -> str:
    done = subprocess.run([sys.executable, "-m", "hpo", *words], check=True, env=env, capture_output=True, text=True)
    return done.stdout


def main(words: Sequence[str]) -> None:
    """Parse the options, race, write and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.endtoend", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=Races.minutes, help="of search, each")
    parser.add_argument("--seeds", type=int, default=Races.seeds)
    parser.add_argument(
        "--quick", action="store_true", help="one seed, one minute, short trainings: a trial of the benchmark"
    )
    options = parser.parse_args(words)
    races = Races(minutes=options.minutes, seeds=options.seeds)
    races = Races(minutes=1.0, seeds=1, workload=Workload(rows=128, epochs=2.0)) if options.quick else races
    part = measured(races)
    name = "partial-l3" if options.quick else "l3"
    print(report.write([part], races, _RESULTS, name=name, quick=options.quick, command="make bench-search"))


if __name__ == "__main__":
    main(sys.argv[1:])
