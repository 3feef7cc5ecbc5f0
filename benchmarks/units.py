"""The other costs of a trial: turn-around, tokens, checkpoints, logging, imports."""

import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

from benchmarks.findings import Limit, Part, average, compared, sizes
from benchmarks.protocol import measure
from benchmarks.timing import Setting, Stopwatch, Timed
from benchmarks.training import BEST, ONE, crew
from benchmarks.warm import Start
from benchmarks.workload import run_config
from hpo.executors.local import LocalExecutor
from hpo.records import write_record
from hpo.spec import StudySpec
from pipelines.batches import total_steps
from pipelines.connection import connect
from pipelines.journal import read_journal
from pipelines.segment import SegmentJob, WarmUpJob
from pipelines.tracking import Tracker

PROCESS = "a process per trial, Trainer"
LOOP = "one warm process, Trainer best configured"
OURS = "ours"
_DONE = "first step done"


def turnaround(setting: Setting, start: Start) -> Part:
    """From the decision to the first optimizer step of a new trial."""
    worker = Worker(setting)
    try:
        with crew(setting, start, BEST) as sides:
            work: dict[str, Callable[[int], Timed]] = {
                PROCESS: lambda _: _process_per_trial(setting),
                OURS: worker.turn_around,
                LOOP: partial(sides[BEST].time, "turn_around"),
            }
            for name in (OURS, LOOP):
                work[name](1_000)  # the first trial of a process meets cold kernels
            runs = measure((PROCESS, OURS, LOOP), setting.rounds, lambda name, seed: work[name](seed))
    finally:
        worker.close()
    return Part(
        "turnaround",
        "Seconds from the decision for a new trial to the end of its first optimizer step. Ours: from "
        "`LocalExecutor.submit` to the arrival of the worker's message that step 1 is done. A process per trial: "
        "Python, imports, tokenizer, tokenizing the rows, model, Trainer, step. One warm process: model, Trainer, "
        "step; its tokenized rows are kept.",
        comparisons=[
            compared("turn-around", runs, peer=PROCESS, ours=OURS, unit="s", target=10.0),
            compared("turn-around", runs, peer=LOOP, ours=OURS, unit="s", target=3.0),
        ],
        limits=[Limit("turn-around, ours", "s", average(runs, OURS), 0.5)],
        runs={"turnaround": runs},
    )


class Worker:
    """A warm worker behind the executor that studies use."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._cache = setting.home / "cache"
        self._executor = LocalExecutor(workers=1, threads=setting.cores, logs=setting.home / "logs")
        warm = WarmUpJob((run_config(setting, seed=0),), data=setting.data, cache=self._cache)
        self._precision = self._executor.submit("pipelines.run:warm_up", warm, key="warm-up").result().value

    def turn_around(self, seed: int) -> Timed:
        """Submit a new trial and wait for the news of its first step; then stop it."""
        config = run_config(self._setting, seed=seed, precision=self._precision)
        until = total_steps(self._setting.rows, config.train)
        directory = self._setting.home / "turnaround" / str(seed)
        job = SegmentJob(f"turnaround/{seed}", config, self._setting.data, directory, self._cache, until=until)
        self._executor.events()
        begin = time.perf_counter()
        future = self._executor.submit("pipelines.run:train_segment", job, key=job.trial)
        while not self._executor.events() and not future.done():
            time.sleep(0.001)
        wall = time.perf_counter() - begin
        self._executor.stop()
        future.result()
        return Timed(wall, cpu=None)

    def close(self) -> None:
        """End the worker."""
        self._executor.close()


def tokens(setting: Setting, start: Start) -> Part:
    """Tokenizing the training rows, for the first time and again."""
    with crew(setting, start, BEST, ONE) as sides:
        for side in sides.values():
            side.ask("tokenize", "warm-up")

        def tokenize(name: str, number: int) -> Timed:
            return sides[name].time("tokenize", str(number))

        first = measure((BEST, ONE), setting.rounds, tokenize)
        again = measure((BEST, ONE), setting.rounds, tokenize)
    return Part(
        "tokens",
        f"Tokenizing {setting.rows:,} rows into a file: `datasets.map` (batched) over rows on disk, and our cache; "
        "then the same call again, which finds its file.",
        comparisons=[
            compared("tokenization, first time", first, peer=BEST, ours=ONE, unit="s"),
            compared("tokenization, from the cache", again, peer=BEST, ours=ONE, unit="s"),
        ],
        runs={"first": first, "again": again},
    )


def checkpoint(setting: Setting, start: Start) -> Part:
    """Saving a trial's state and going on from it."""
    with crew(setting, start, BEST, ONE) as sides:

        def do(what: str, name: str, seed: int) -> Timed:
            sides[name].ask("prepare", seed)
            return sides[name].time(what)

        saves = measure((BEST, ONE), setting.rounds, partial(do, "save"))
        # The seed of the saved trial: ours resumes nothing but the very same configuration.
        resumes = measure((BEST, ONE), setting.rounds, lambda name, _: do("resume", name, setting.rounds - 1))
    megabytes = {name: average(saves, name, extra="megabytes") for name in (BEST, ONE)}
    return Part(
        "checkpoint",
        "Save: from the end of a step until the checkpoint is on disk; ours is hashed, forced to disk and renamed, the "
        "Trainer's is not. Resume: from a fresh model in a warm process until the next step may begin; ours checks "
        "the hashes.",
        comparisons=[
            compared("checkpoint, save", saves, peer=BEST, ours=ONE, unit="s"),
            compared("checkpoint, resume", resumes, peer=BEST, ours=ONE, unit="s"),
            sizes("checkpoint, size", megabytes, peer=BEST, ours=ONE),
        ],
        runs={"save": saves, "resume": resumes},
    )


def logging(setting: Setting, start: Start) -> Part:
    """Sending one finished trial to MLflow."""
    with crew(setting, start, BEST, ONE) as sides:
        [(directory, scores)] = sides[ONE].ask("finished_trial", 0)
        mirror = Mirror(setting, Path(directory), scores)
        uri = f"sqlite:///{setting.home}/peer.db"
        work: dict[str, Callable[[int], Timed]] = {
            BEST: lambda _: sides[BEST].time("log_trial", mirror.records, uri),
            OURS: mirror.send,
        }
        for name in work:
            work[name](1_000)  # sets the database up
        runs = measure((BEST, OURS), setting.rounds, lambda name, number: work[name](number))
    return Part(
        "logging",
        f"One finished trial with {len(mirror.records)} logged steps and evaluations into a SQLite MLflow: our mirror "
        "(parameters, data set, metrics, state, and all artifacts, in a thread beside the training) against the "
        "Trainer's callback (parameters and metrics, in the training itself).",
        comparisons=[compared("logging of a trial", runs, peer=BEST, ours=OURS, unit="s")],
        limits=[Limit("logging of a trial, ours", "s", average(runs, OURS), 0.15)],
        runs={"logging": runs},
    )


class Mirror:
    """A finished trial's directory, sent to MLflow as often as needed, each time as another trial."""

    def __init__(self, setting: Setting, directory: Path, scores: dict[str, float]) -> None:
        self._directory, self._scores, self._setting = directory, scores, setting
        self._spec = StudySpec(name="bench", run=run_config(setting, seed=0))
        self._tracker = Tracker(connect(f"sqlite:///{setting.home}/ours.db"), artifacts=setting.home / "artifacts")
        self._tracker.open_study("bench", description="", params={}, tags={})
        journal = read_journal(directory / "progress.jsonl")
        self.records: list[dict[str, float]] = [
            dict(record["values"]) for record in journal if record["kind"] != "system"
        ]

    def send(self, number: int) -> Timed:
        """Mirror the trial under this number."""
        copy = self._setting.home / "mirrored" / str(number)
        shutil.copytree(self._directory, copy)
        write_record(
            copy,
            study=self._spec,
            number=number,
            config=self._spec.run,
            state="COMPLETE",
            reason=None,
            values=[self._scores["accuracy"]],
            scores=self._scores,
            seconds={},
            predicted={},
        )
        watch = Stopwatch()
        self._tracker.sync_trial(copy)
        return watch.read()


def imports(setting: Setting, start: Start) -> Part:
    """What a process pays before it can do anything."""
    commands = {
        "import of the Trainer": ["-c", "from transformers import Trainer"],
        "import of our training loop": ["-c", "import pipelines.train"],
        "hpo --help": ["-m", "hpo", "--help"],
    }
    peer, ours, command = commands
    for name in commands:
        _command(commands[name])  # reads the files from disk
    runs = measure((peer, ours, command), setting.rounds, lambda name, _: _command(commands[name]))
    return Part(
        "imports",
        "Wall time of a fresh Python process that imports and ends.",
        comparisons=[compared("import", runs, peer=peer, ours=ours, unit="s")],
        limits=[Limit(command, "s", average(runs, command), 1.0)],
        runs={"imports": runs},
    )


def _process_per_trial(setting: Setting) -> Timed:
    values = asdict(setting) | {"home": str(setting.home)}
    words = ["-m", "benchmarks.peers", json.dumps(values)]
    before, begin = _children(), time.perf_counter()
    with subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True) as process:
        lines = iter(process.stdout or [])
        found = any(line.strip() == _DONE for line in lines)
        wall = time.perf_counter() - begin
    if not found:
        raise RuntimeError("the process per trial ended before its first step")
    return Timed(wall, _children() - before)


def _command(words: list[str]) -> Timed:
    before, begin = _children(), time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
    return Timed(time.perf_counter() - begin, _children() - before)


def _children() -> float:
    """Processor seconds of the processes that were started here and have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
