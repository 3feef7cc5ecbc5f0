"""Made-up measurements: a model whose costs are known exactly."""

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipelines.cost import Cost, Facts, Law, Point, Probe, combined
from pipelines.segment import Choice, ProbeJob, Watch

STEP, EVALUATION = Law(0.05, 4e-4, 1e-6), Law(0.01, 1e-4, 0.0)
MEMORY = Law(2.0**30, 2.0**18, 0.0)  # 1 GiB, and 256 KiB a token
SHAPES = ((8, 10), (32, 10), (8, 60), (32, 60))
LENGTHS = (*(0,) * 10, *(40,) * 20, 0, 1)  # 40 texts of each of 10 to 29 tokens, one of 31


def points(law: Law, *, times: float = 1.0) -> tuple[Point, ...]:
    """What a perfect measurement would see."""
    return tuple(Point(rows, length, times * law.at(rows, length)) for rows, length in SHAPES)


def a_probe(**changes: Any) -> Probe:
    """What one worker measured; changes are fields of it or of its facts."""
    facts = Facts(
        latency=0.01,
        prepare=0.1,
        start_up=8.0,
        weights=90_000_000,
        train_lengths=LENGTHS,
        select_lengths=LENGTHS,
        precision=Choice("bf16", "asked for"),
        compile=Choice("off", "asked for"),
        device_memory=None,
    )
    of_facts = {name: changes.pop(name) for name in list(changes) if hasattr(facts, name)}
    plain = Probe(points(STEP), points(EVALUATION), points(MEMORY), replace(facts, **of_facts))
    return replace(plain, **changes)


def a_cost(**changes: Any) -> Cost:
    """The same as a cost."""
    return combined([a_probe(**changes)])


# Tasks that stand for `pipelines.probe:probe` in worker processes


def probe(job: ProbeJob, *, watch: Watch) -> Probe:
    """Fast with one thread, slow with more; leaves a line in `probes.txt` beside the data."""
    with (job.data.parent / "probes.txt").open("a") as file:
        file.write(f"{job.config.model.name} x {os.environ['OMP_NUM_THREADS']}\n")
    return a_probe(steps=points(STEP, times=1.0 if os.environ["OMP_NUM_THREADS"] == "1" else 1.5))


def probe_wide(job: ProbeJob, *, watch: Watch) -> Probe:
    """Fast with many threads, slow with one."""
    return a_probe(steps=points(STEP, times=10.0 if os.environ["OMP_NUM_THREADS"] == "1" else 1.0))


def die(job: ProbeJob, *, watch: Watch) -> Probe:
    """Be killed for lack of memory."""
    os._exit(9)


def cores(payload: Any, *, watch: Watch) -> list[int]:
    """Where this worker may run."""
    return sorted(os.sched_getaffinity(0))


_LEAKED: list[bytearray] = []


def leak(mebibytes: int, *, watch: Watch) -> int:
    """Keep so much memory for ever. Returns this process."""
    _LEAKED.append(bytearray(os.urandom(2**20)) * mebibytes)
    return os.getpid()


def train_without_pictures(jobs: Any, *, watch: Watch) -> tuple[int, float]:
    """Train trials to their ends, one after the other. Returns this process and its resident bytes afterwards."""
    import psutil

    from pipelines import report as report_module
    from pipelines import run as run_module

    report_module.draw_report = run_module.draw_training = lambda *_: None  # type: ignore[assignment]
    for job in jobs:
        run_module.train_segment(job, watch=watch)
    time.sleep(0.05)
    return os.getpid(), float(psutil.Process().memory_info().rss)


def kept(folder: Path) -> list[Path]:
    """Every file below a folder."""
    return sorted(path for path in folder.rglob("*") if path.is_file())
