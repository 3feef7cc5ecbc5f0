"""Our side of each measurement, with the engine's own public functions, as `pipelines.run` and workers use them."""

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks.timing import Setting, Stopwatch, Timed, megabytes
from benchmarks.workload import run_config
from pipelines.batches import total_steps
from pipelines.checkpoint import restore_checkpoint, save_checkpoint
from pipelines.device import choose_precision
from pipelines.files import digest
from pipelines.host import keep_freed_memory
from pipelines.run import run
from pipelines.segment import SegmentJob
from pipelines.tokens import cached
from pipelines.train import predict_logits, train_steps
from pipelines.workbench import Trial, Workbench


class Ours:
    """A warm worker with one trial in its hands."""

    def __init__(self, setting: Setting) -> None:
        keep_freed_memory()  # as a worker does
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
        self._setting = setting
        self._bench = Workbench()
        self._cache = setting.home / "cache"
        self.precision = choose_precision("auto", cache=self._cache).value
        self._trial: Trial | None = None

    def prepare(self, seed: int) -> str:
        """A fresh trial, ready for its first step; returns the precision."""
        self._trial = self._bench.trial(self._job(seed))
        return self.precision

    def epoch(self) -> Timed:
        """All steps of the prepared trial; each loss is read, as a run does for its journal."""
        trial, watch = self._held(), Stopwatch()
        for log in train_steps(trial.trainee, trial.train, until=trial.trainee.total_steps):
            log.loss.item()
        return watch.read(work=self._setting.epochs * len(trial.train.labels))

    def evaluate(self) -> Timed:
        """Logits of the select split."""
        trial, watch = self._held(), Stopwatch()
        logits = predict_logits(trial.trainee, trial.select)
        accuracy = float(np.mean(logits.argmax(axis=1) == trial.select.labels))
        return watch.read(work=len(trial.select.labels), extra={"accuracy": accuracy})

    def tokenize(self, name: str) -> Timed:
        """Encode the training texts into a cache called `name`, or read them from it where they are there."""
        trial = self._held()
        split = trial.dataset.splits["train"]
        watch = Stopwatch()
        encoded = cached(
            split.texts,
            digest(trial.dataset.digest, "train"),
            tokenizer=trial.pretrained.tokenizer,
            config=trial.job.config.tokens,
            home=self._setting.home / "tokens" / name,
        )
        return watch.read(work=len(encoded))

    def save(self) -> Timed:
        """Commit a checkpoint of the trial after one step: hashed, and forced to disk."""
        trial, home = self._held(), self._setting.home / "saved-ours"
        shutil.rmtree(home, ignore_errors=True)
        list(train_steps(trial.trainee, trial.train, until=1))
        watch = Stopwatch()
        directory = save_checkpoint(trial.trainee, home, fingerprint=trial.fingerprint)
        timed = watch.read()
        return Timed(timed.wall, timed.cpu, extra={"megabytes": megabytes(directory)})

    def resume(self) -> Timed:
        """Bring the prepared (fresh) trial to where the saved one was."""
        trial, watch = self._held(), Stopwatch()
        restored = restore_checkpoint(trial.trainee, self._setting.home / "saved-ours", fingerprint=trial.fingerprint)
        timed = watch.read(extra={"step": float(trial.trainee.step)})
        if not restored:
            raise RuntimeError("nothing was resumed")
        return timed

    def finished_trial(self, seed: int) -> tuple[str, dict[str, float]]:
        """Run a whole trial, as a worker does; returns its directory and its scores."""
        job = self._job(seed)
        return str(job.directory), run(job).scores

    def _held(self) -> Trial:
        if self._trial is None:
            raise RuntimeError("prepare first")
        return self._trial

    def _job(self, seed: int) -> SegmentJob:
        """A job that no earlier one equals, in a directory of its own: never resumed, never held in memory."""
        home = self._setting.home / "trials"
        home.mkdir(exist_ok=True)
        directory = Path(tempfile.mkdtemp(dir=home))
        config = run_config(self._setting, seed=seed, precision=self.precision)
        until = total_steps(self._setting.rows, config.train)
        return SegmentJob(f"bench/{directory.name}", config, self._setting.data, directory, self._cache, until=until)
