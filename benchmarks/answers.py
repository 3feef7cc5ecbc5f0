"""What real trainings answer on a large pool of rows: the table that `benchmarks.honesty` draws its studies from.

    python -m benchmarks.answers            12 configurations with 5 seeds each; half a minute of one core a training

A training that the file holds is not done again, and each is written as soon as it is done.
"""

import base64
import json
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from benchmarks.curves import as_text, circumstances
from pipelines.config import RunConfig, replaced
from pipelines.files import read_json, write_text
from pipelines.host import die_with_parent
from pipelines.segment import SegmentJob

FILE = Path(__file__).parent / "results" / "answers.json"
CONFIGURATIONS, SEEDS = 12, 5


@dataclass(frozen=True)
class Workload:
    """What is trained: small studies, in which luck is large."""

    source: str = "sample:movies"
    model: str = "minilm"
    max_length: int = 64
    rows: int = 512
    epochs: float = 3.0
    pool: float = 0.6
    """Share of all rows that the trainings are asked about."""

    def config(self, number: int, *, seed: int, precision: str = "auto") -> RunConfig:
        """Configuration `number` as our run; 0 is the known-good default."""
        plain = {
            "data.source": self.source,
            "data.train_rows": self.rows,
            "data.fractions.select": self.pool,
            "data.fractions.calibrate": 0.0,
            "data.fractions.test": 0.1,
            "tokens.max_length": self.max_length,
            "model.name": self.model,
            "train.epochs": self.epochs,
            "train.precision": precision,
            "seed": seed,
        }
        return replaced(RunConfig(), plain | settings(number))


def settings(number: int) -> dict[str, Any]:
    """The searched settings of a configuration: the space of the quickstart, by a Sobol sequence; 0 is the default."""
    if number == 0:
        return {"train.learning_rate": 1e-4, "train.batch_size": 32, "train.warmup_ratio": 0.1}
    rate, size, warmup = qmc.Sobol(d=3, rng=np.random.default_rng(0)).random_base2(5)[number]
    return {
        "train.learning_rate": float(2e-5 * (5e-4 / 2e-5) ** rate),
        "train.batch_size": (16, 32)[int(size * 2)],
        "train.warmup_ratio": float(0.3 * warmup),
    }


def packed(right: NDArray[np.bool_]) -> str:
    """Which rows were right, (rows,), as text."""
    return base64.b64encode(np.packbits(right).tobytes()).decode()


def unpacked(text: str, rows: int) -> NDArray[np.bool_]:
    """The same back again, (rows,)."""
    bits = np.frombuffer(base64.b64decode(text), dtype=np.uint8)
    return np.unpackbits(bits)[:rows].astype(np.bool_)


def train(workload: Workload, home: Path, work: tuple[int, int]) -> dict[str, Any]:
    """Train one configuration with one seed, and ask it about the pool."""
    from benchmarks.curves import _bench
    from pipelines.batches import total_steps
    from pipelines.device import choose_precision
    from pipelines.train import predict_logits, train_steps

    number, seed = work
    precision = choose_precision("auto", cache=home / "cache").value
    config = workload.config(number, seed=seed, precision=precision)
    total = total_steps(workload.rows, config.train)
    directory = home / f"{number}-{seed}"
    directory.mkdir()
    trial = _bench().trial(
        SegmentJob(f"answers/{directory.name}", config, home / "data", directory, home / "cache", total)
    )
    list(train_steps(trial.trainee, trial.train, until=total))
    right = predict_logits(trial.trainee, trial.select).argmax(axis=1) == trial.dataset.splits["select"].labels
    return {
        "number": number,
        "seed": seed,
        "accuracy": round(float(right.mean()), 5),
        "rows": len(right),
        "right": packed(right),
        "precision": precision,
    }


def main(words: Sequence[str]) -> None:
    """Train what is missing."""
    from pipelines.data import load_data, save_dataset
    from pipelines.device import choose_precision

    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"  # before a worker imports torch
    workload = Workload()
    table = read_json(FILE) or {"workload": asdict(workload), "trained": {}, "curves": []}
    known = {(one["number"], one["seed"]) for one in table["curves"]}
    works = [(n, s) for s in range(SEEDS) for n in range(CONFIGURATIONS) if (n, s) not in known]
    print(f"{len(works)} trainings to do, {len(known)} are there", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="hpo-answers-") as home:
        save_dataset(load_data(workload.config(0, seed=0).data), Path(home) / "data")
        choose_precision("auto", cache=Path(home) / "cache")
        spawn = multiprocessing.get_context("spawn")
        with spawn.Pool(len(os.sched_getaffinity(0)), die_with_parent, maxtasksperchild=16) as pool:
            for one in pool.imap_unordered(partial(train, workload, Path(home)), works):
                table["trained"] = circumstances(one.pop("precision"))
                table["curves"] = sorted([*table["curves"], one], key=lambda each: (each["seed"], each["number"]))
                write_text(FILE, as_text(table))
                print(
                    json.dumps({key: one[key] for key in ("number", "seed", "accuracy")}), file=sys.stderr, flush=True
                )


if __name__ == "__main__":
    main(sys.argv[1:])
