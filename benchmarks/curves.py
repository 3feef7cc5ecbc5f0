"""The table of learning curves that the search benchmark replays: real trainings with our own engine.

    python -m benchmarks.curves                          64 configurations of a Sobol sequence with seed 0
    python -m benchmarks.curves --configurations 128     the same and 64 more
    python -m benchmarks.curves --configurations 16 --seed 1

A curve that the file holds is not trained again, and each is written as soon as it is trained: the command may be
killed at any time and given again, and longer tables begin with the shorter ones. A curve takes a minute or two of
one core.
"""

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.grid import Configuration, sobol
from benchmarks.report import machine
from pipelines.config import RunConfig, replaced
from pipelines.errors import ConfigError
from pipelines.files import read_json, write_text
from pipelines.host import die_with_parent
from pipelines.segment import SegmentJob

FILE = Path(__file__).parent / "results" / "curves.json"
SHARES = (1 / 27, 2 / 27, 1 / 9, 1 / 6, 1 / 4, 1 / 3, 1 / 2, 2 / 3, 1.0)
"""Where a training is scored, as shares of its horizon."""
DIVERGED = (0.0, 10.0)
"""Accuracy and log loss of a model whose probabilities are not finite."""

_CURVES = 16  # that one process trains: its memory grows with every new shape of a batch


@dataclass(frozen=True)
class Workload:
    """What every configuration is trained on, and how long."""

    source: str = "sample:movies"
    model: str = "minilm"
    max_length: int = 64
    rows: int = 2048
    epochs: float = 3.0
    select: float = 0.1
    """Share of all rows by which trainings are scored: 1,004 of these."""

    def config(self, one: Configuration, *, seed: int = 0, precision: str = "auto") -> RunConfig:
        """One configuration as our run."""
        return replaced(
            RunConfig(),
            one.addresses()
            | {
                "data.source": self.source,
                "data.train_rows": self.rows,
                "data.fractions.select": self.select,
                "tokens.max_length": self.max_length,
                "model.name": self.model,
                "train.epochs": self.epochs,
                "train.precision": precision,
                "seed": seed,
            },
        )


@dataclass(frozen=True)
class Work:
    """One curve to be trained."""

    number: int
    """Of the configuration in the Sobol sequence."""
    seed: int
    configuration: Configuration


Curve = dict[str, Any]
Train = Callable[[Workload, Path, Work], Curve]


def missing(curves: Iterable[Curve], *, configurations: int, seed: int) -> list[Work]:
    """What the table lacks of the first so many configurations with this seed."""
    known = {(curve["number"], curve["seed"]) for curve in curves}
    grid = enumerate(sobol(configurations))
    return [Work(number, seed, one) for number, one in grid if (number, seed) not in known]


def extend(file: Path, workload: Workload, *, works: Callable[[list[Curve]], list[Work]], done: "Done") -> None:
    """Train what is missing, and write the file after each curve.

    `works` says what is missing beside the file's curves, `done` yields trained curves. Raises `ConfigError` when the
    file holds curves of another workload.
    """
    table = read_json(file) or {"workload": asdict(workload), "shares": list(SHARES), "trained": {}, "curves": []}
    if table["workload"] != asdict(workload) or table["shares"] != list(SHARES):
        raise ConfigError(f"{file}: its curves are of another workload; delete it, or name another file")
    for curve in done(works(table["curves"])):
        table["trained"] = circumstances(curve.pop("precision"))
        table["curves"] = sorted([*table["curves"], curve], key=lambda one: (one["seed"], one["number"]))
        write_text(file, as_text(table))


Done = Callable[[list[Work]], Iterator[Curve]]


def circumstances(precision: str) -> dict[str, str]:
    """Where the newest curve was trained, and with what."""
    packages = {package: version(package) for package in ("torch", "transformers", "tokenizers")}
    return {"machine": machine(), "precision": precision} | packages


def as_text(table: dict[str, Any]) -> str:
    """JSON with one curve a line."""
    head = "".join(f" {json.dumps(key)}: {json.dumps(value)},\n" for key, value in table.items() if key != "curves")
    lines = ",\n".join(f"  {json.dumps(curve)}" for curve in table["curves"])
    return f'{{\n{head} "curves": [\n{lines}\n ]\n}}\n'


def train_curve(workload: Workload, home: Path, work: Work) -> Curve:
    """Train one configuration and score it on the way; a process keeps model and data for its next one."""
    from pipelines.batches import total_steps
    from pipelines.device import choose_precision
    from pipelines.train import train_steps

    start = time.perf_counter()
    precision = choose_precision("auto", cache=home / "cache").value
    config = workload.config(work.configuration, seed=work.seed, precision=precision)
    total = total_steps(workload.rows, config.train)
    directory = home / f"{work.number}-{work.seed}"
    directory.mkdir()
    job = SegmentJob(f"curves/{directory.name}", config, home / "data", directory, home / "cache", until=total)
    trial, scores = _bench().trial(job), []
    for share in SHARES:
        list(train_steps(trial.trainee, trial.train, until=max(1, round(total * share))))
        scores.append(_scores(trial))
    return {
        "number": work.number,
        "seed": work.seed,
        **{name: float(f"{value:.6g}") for name, value in asdict(work.configuration).items()},
        "batch_size": work.configuration.batch_size,
        "frozen_layers": work.configuration.frozen_layers,
        "accuracy": [round(one, 5) for one, _ in scores],
        "log_loss": [round(loss, 5) for _, loss in scores],
        "seconds": round(time.perf_counter() - start, 1),
        "precision": precision,
    }


_BENCH: list[Any] = []  # one workbench per process


def _bench() -> Any:
    from pipelines.host import keep_freed_memory
    from pipelines.workbench import Workbench

    if not _BENCH:
        keep_freed_memory()
        _BENCH.append(Workbench())
    return _BENCH[0]


def _scores(trial: Any) -> tuple[float, float]:
    """Accuracy and log loss on the select split."""
    from pipelines.predictions import NonFiniteError, Predictions, softmax
    from pipelines.scores import score
    from pipelines.train import predict_logits

    split = trial.dataset.splits["select"]
    try:
        probabilities = softmax(predict_logits(trial.trainee, trial.select))
        found = score(Predictions(split.ids, split.texts, split.labels, probabilities, trial.dataset.labels))
    except NonFiniteError:
        return DIVERGED
    return found["accuracy"], found["log_loss"]


def side_by_side(workload: Workload, home: Path, *, workers: int, train: Train) -> Done:
    """Trains in so many single-threaded processes."""

    def done(works: list[Work]) -> Iterator[Curve]:
        spawn = multiprocessing.get_context("spawn")  # its pool replaces workers without a pause, unlike the executor
        with spawn.Pool(workers, die_with_parent, maxtasksperchild=_CURVES) as pool:
            yield from pool.imap_unordered(partial(train, workload, home), works)

    return done


def main(words: Sequence[str]) -> None:
    """Parse the options, train what is missing, say how far it is."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.curves", description=__doc__.partition("\n")[0])
    parser.add_argument("--configurations", type=int, default=64, help="so many of the Sobol sequence")
    parser.add_argument("--seed", type=int, default=0, help="of head, order of batches and dropout")
    parser.add_argument("--rows", type=int, default=Workload.rows, help="to train on; three epochs of them")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--file", type=Path, default=FILE)
    options = parser.parse_args(words)
    workload = Workload(rows=options.rows)

    def works(curves: list[Curve]) -> list[Work]:
        left = missing(curves, configurations=options.configurations, seed=options.seed)
        print(f"{len(left)} curves to train, {len(curves)} are there", file=sys.stderr)
        return left

    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"  # before a worker imports torch
    with tempfile.TemporaryDirectory(prefix="hpo-curves-") as home:
        _write_data(workload, Path(home))
        trained = side_by_side(workload, Path(home), workers=options.workers, train=train_curve)
        extend(options.file, workload, works=works, done=_shown(trained))


def _write_data(workload: Workload, home: Path) -> None:
    from pipelines.data import load_data, save_dataset
    from pipelines.device import choose_precision

    save_dataset(load_data(workload.config(sobol(1)[0]).data), home / "data")
    choose_precision("auto", cache=home / "cache")  # once, before the workers share the machine


def _shown(done: Done) -> Done:
    """The same, with a line for each curve."""

    def shown(works: list[Work]) -> Iterator[Curve]:
        for count, curve in enumerate(done(works), start=1):
            print(
                f"{count}/{len(works)}: configuration {curve['number']}, learning rate {curve['learning_rate']:.1e}, "
                f"batch {curve['batch_size']}: accuracy {curve['accuracy'][-1]:.3f} in {curve['seconds']:.0f} s",
                file=sys.stderr,
                flush=True,
            )
            yield curve

    return shown


if __name__ == "__main__":
    main(sys.argv[1:])
