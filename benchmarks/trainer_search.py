"""A search as people write it with the Hugging Face Trainer, Optuna and MLflow. Nothing of ours is imported but values.

python -m benchmarks.trainer_search JOB      one search in a process of its own, see `Job`; prints its result as JSON
"""

import copy
import json
import os
import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import optuna
import torch
from datasets import Dataset, disable_progress_bars
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    PrinterCallback,
    Trainer,
    TrainerCallback,
)
from transformers.integrations import MLflowCallback
from transformers.trainer_utils import IntervalStrategy
from transformers.utils import logging

from benchmarks.grid import suggested
from benchmarks.peers import arguments, encode
from benchmarks.timing import Setting


@dataclass(frozen=True)
class Job:
    """What to search, and how long."""

    home: str
    """Holds `train.json`, `select.json` and `test.json`; gets the MLflow database."""
    checkpoint: str
    epochs: float
    max_length: int
    seed: int
    started: float
    """Seconds since 1970 when the search began: before Python did."""
    seconds: float
    """Wall time that it has from there; a trial that is not done by then is lost."""


class OutOfTimeError(Exception):
    """The search has used its time."""


class Watch(TrainerCallback):  # type: ignore[misc]
    """Reports each evaluation to Optuna, stops a pruned trial, and all of it when the time is over."""

    def __init__(self, trial: optuna.Trial, job: Job) -> None:
        self._trial, self._job, self.pruned, self.accuracy = trial, job, False, 0.0

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Look at the clock."""
        if time.time() > self._job.started + self._job.seconds:
            raise OutOfTimeError

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **_: Any) -> None:
        """An epoch is over."""
        self.accuracy = metrics["eval_accuracy"]
        self._trial.report(self.accuracy, round(state.epoch))
        if state.epoch < self._job.epochs and self._trial.should_prune():
            self.pruned = control.should_training_stop = True


class Search:
    """One search: a study in memory, data encoded once, the best model so far."""

    def __init__(self, job: Job) -> None:
        self._job, self._tokenizer = job, AutoTokenizer.from_pretrained(job.checkpoint)
        self._train, self._select = self._rows("train"), self._rows("select")
        self._best: Any = None
        self.winner = (0.0, float("nan"))
        """Accuracy on the select split of the best model, and seconds until it was there."""
        sampler = optuna.samplers.TPESampler(seed=job.seed)
        self.study = optuna.create_study(direction="maximize", sampler=sampler, pruner=optuna.pruners.MedianPruner())

    def run(self) -> dict[str, Any]:
        """Search until the time is over, then look at the test rows with the best model."""
        try:
            self.study.optimize(self._trial)
        except OutOfTimeError:
            mlflow.end_run(status="KILLED")
        states = [trial.state.name for trial in self.study.trials]
        counts = {name.lower(): states.count(name) for name in ("COMPLETE", "PRUNED")}
        accuracy = None if self._best is None else _accuracy(self._best.predict(self._rows("test")))["accuracy"]
        return {"accuracy": accuracy, "select": self.winner[0], "winner_seconds": self.winner[1], **counts}

    def _trial(self, trial: optuna.Trial) -> float:
        watch = Watch(trial, self._job)
        trainer = self._trainer(trial, watch)
        trainer.train()
        mlflow.end_run()
        if watch.pruned:
            raise optuna.TrialPruned
        if self._best is None or watch.accuracy > self.winner[0]:
            self._best, self.winner = trainer, (watch.accuracy, time.time() - self._job.started)
        return watch.accuracy

    def _trainer(self, trial: optuna.Trial, watch: Watch) -> Trainer:
        one = suggested(trial)
        setting = replace(
            Setting(home=Path(self._job.home), epochs=self._job.epochs, max_length=self._job.max_length),
            learning_rate=one.learning_rate,
            batch_size=one.batch_size,
            warmup_ratio=one.warmup_ratio,
            weight_decay=one.weight_decay,
        )
        torch.manual_seed(self._job.seed)
        options = copy.copy(arguments(setting, setting.home / "trainer", best=True, seed=self._job.seed))
        options.eval_strategy = IntervalStrategy.EPOCH
        trainer = Trainer(
            model=self._model(frozen=one.frozen_layers),
            args=options,
            train_dataset=self._train,
            eval_dataset=self._select,
            data_collator=DataCollatorWithPadding(self._tokenizer),
            processing_class=self._tokenizer,
            compute_metrics=_accuracy,
            callbacks=[MLflowCallback(), watch],
        )
        trainer.remove_callback(PrinterCallback)
        return trainer

    def _model(self, *, frozen: int) -> Any:
        """A fresh BERT classifier; with the first layers its embeddings are frozen too."""
        model = AutoModelForSequenceClassification.from_pretrained(self._job.checkpoint, num_labels=2)
        for part in [model.bert.embeddings, *model.bert.encoder.layer[:frozen]] if frozen else []:
            part.requires_grad_(False)
        return model

    def _rows(self, split: str) -> Dataset:
        rows = Dataset.from_dict(json.loads((Path(self._job.home) / f"{split}.json").read_text(encoding="utf-8")))
        work = partial(encode, tokenizer=self._tokenizer, max_length=self._job.max_length)
        return rows.map(work, batched=True, remove_columns=["text"])


def _accuracy(prediction: Any) -> dict[str, float]:
    """Of logits and labels, as `compute_metrics` gets them."""
    return {"accuracy": float(np.mean(prediction.predictions.argmax(axis=1) == prediction.label_ids))}


def main(words: list[str]) -> None:
    """Search, and print what came out; `words` are a job as JSON."""
    job = Job(**json.loads(words[0]))
    os.environ |= {"MLFLOW_TRACKING_URI": f"sqlite:///{job.home}/peer.db", "MLFLOW_EXPERIMENT_NAME": "peer"}
    disable_progress_bars()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    print(json.dumps(Search(job).run()), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
