"""The Hugging Face Trainer, as shipped and best configured. Nothing of ours is imported but plain values.

python -m benchmarks.peers SETTING      one trial in a process of its own, see `main`
"""

import json
import os
import shutil
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset, disable_progress_bars, load_from_disk
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.integrations import MLflowCallback
from transformers.utils import logging

from benchmarks.timing import Setting, Stopwatch, Timed, megabytes


class Marks(TrainerCallback):  # type: ignore[misc]
    """Notes when things happen (seconds of the performance counter), and stops or saves after a given step."""

    def __init__(self, *, stop_at: int | None = None, save_at: int | None = None) -> None:
        self._stop_at, self._save_at = stop_at, save_at
        self.at: dict[str, float] = {}

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The first step begins: everything before it is preparation."""
        self.at.setdefault("first_step", time.perf_counter())

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """An optimizer step is done."""
        control.should_save = control.should_save or state.global_step == self._save_at
        control.should_training_stop = control.should_training_stop or state.global_step == self._stop_at
        self.at["step_end"] = time.perf_counter()

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The checkpoint is written."""
        self.at["saved"] = time.perf_counter()


class Peer:
    """A warm process that keeps tokenizer and tokenized rows, and builds model and Trainer for each trial."""

    def __init__(self, setting: Setting, *, best: bool) -> None:
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
        disable_progress_bars()
        logging.disable_progress_bar()
        logging.set_verbosity_error()  # each loading would report that the head is new
        self._setting, self._best = setting, best
        self._tokenizer = AutoTokenizer.from_pretrained(setting.checkpoint)
        self._rows = {"train": self._tokenized(self._raw("train"))}
        self._trainer: Any = None

    def prepare(self, seed: int) -> str:
        """A fresh model and its Trainer; returns the precision."""
        self._trainer = self._new_trainer(seed)
        return "bf16" if self._trainer.args.bf16 else "fp32"

    def epoch(self) -> Timed:
        """`trainer.train()`, without the checkpoint that it would write at the end by default."""
        watch = Stopwatch()
        self._trainer.train()
        return watch.read(work=self._setting.epochs * len(self._rows["train"]))

    def cast_for_evaluation(self) -> None:
        """Set `bf16_full_eval`: the next evaluation casts the whole model. Faster, for a model that trains no more."""
        self._trainer.args.bf16_full_eval = True

    def evaluate(self) -> Timed:
        """`trainer.predict` of the select split."""
        rows = self._split("select")
        watch = Stopwatch()
        output = self._trainer.predict(rows)
        accuracy = float(np.mean(output.predictions.argmax(axis=1) == output.label_ids))
        return watch.read(work=len(rows), extra={"accuracy": accuracy})

    def turn_around(self, seed: int) -> Timed:
        """A new trial in this warm process: model, Trainer, and its first optimizer step."""
        marks = Marks(stop_at=1)
        watch, start = Stopwatch(), time.perf_counter()
        trainer = self._new_trainer(seed)
        trainer.add_callback(marks)
        trainer.train()
        return Timed(marks.at["step_end"] - start, watch.read().cpu)

    def tokenize(self, name: str) -> Timed:
        """`datasets.map` with the tokenizer over the training rows on disk, or what its cache holds."""
        home = self._setting.home / "mapped" / name
        if not home.exists():
            self._raw("train").save_to_disk(home)
        rows = load_from_disk(home)
        watch = Stopwatch()
        return watch.read(work=len(self._tokenized(rows)))

    def save(self) -> Timed:
        """The Trainer's checkpoint after one step: from the end of the step until it is written."""
        shutil.rmtree(self._output, ignore_errors=True)
        marks = Marks(stop_at=1, save_at=1)
        self._trainer.add_callback(marks)
        watch = Stopwatch()
        self._trainer.train()
        self._trainer.remove_callback(marks)
        wall = marks.at["saved"] - marks.at["step_end"]
        return Timed(wall, watch.read().cpu, extra={"megabytes": megabytes(self._output)})

    def resume(self) -> Timed:
        """`train(resume_from_checkpoint=...)` with the prepared (fresh) model, until the next step may begin."""
        marks = Marks(stop_at=2)
        self._trainer.add_callback(marks)
        watch, start = Stopwatch(), time.perf_counter()
        self._trainer.train(resume_from_checkpoint=str(self._output / "checkpoint-1"))
        return Timed(
            marks.at["first_step"] - start, watch.read().cpu, extra={"step": self._trainer.state.global_step - 1.0}
        )

    def log_trial(self, records: list[dict[str, float]], uri: str) -> Timed:
        """The Trainer's MLflow callback over a trial: its parameters, then each record as it comes, then the end."""
        os.environ |= {"MLFLOW_TRACKING_URI": uri, "MLFLOW_EXPERIMENT_NAME": "peer"}
        callback, state, control = MLflowCallback(), TrainerState(is_world_process_zero=True), TrainerControl()
        arguments, model = self._trainer.args, self._trainer.model
        watch = Stopwatch()
        callback.on_train_begin(arguments, state, control, model=model)
        for step, record in enumerate(records, start=1):
            state.global_step = step
            callback.on_log(arguments, state, control, logs=dict(record), model=model)
        callback.on_train_end(arguments, state, control)
        return watch.read()

    @property
    def _output(self) -> Path:
        return self._setting.home / f"saved-peer-{os.getpid()}"

    def _raw(self, split: str) -> Dataset:
        return Dataset.from_dict(json.loads(self._setting.file(split).read_text(encoding="utf-8")))

    def _split(self, split: str) -> Dataset:
        if split not in self._rows:
            self._rows[split] = self._tokenized(self._raw(split))
        return self._rows[split]

    def _tokenized(self, rows: Dataset) -> Dataset:
        """As people write it; the column of lengths is what grouping by length looks for first."""
        work = partial(encode, tokenizer=self._tokenizer, max_length=self._setting.max_length)
        return rows.map(work, batched=True, remove_columns=["text"])

    def _new_trainer(self, seed: int) -> Trainer:
        torch.manual_seed(seed)
        classes = len(set(self._rows["train"]["label"]))
        model = AutoModelForSequenceClassification.from_pretrained(self._setting.checkpoint, num_labels=classes)
        trainer = Trainer(
            model=model,
            args=arguments(self._setting, self._output, best=self._best, seed=seed),
            train_dataset=self._rows["train"],
            data_collator=DataCollatorWithPadding(self._tokenizer),
            processing_class=self._tokenizer,
        )
        trainer.remove_callback(PrinterCallback)
        return trainer


def shipped(setting: Setting) -> Peer:
    """The Trainer with its defaults."""
    return Peer(setting, best=False)


def best(setting: Setting) -> Peer:
    """The Trainer as somebody who knows its options sets it."""
    return Peer(setting, best=True)


def arguments(setting: Setting, output: Path, *, best: bool, seed: int) -> TrainingArguments:
    """The Trainer's options. Both variants are spared the checkpoint at the end of training, and progress bars."""
    options: dict[str, Any] = {
        "output_dir": str(output),
        "per_device_train_batch_size": setting.batch_size,
        "num_train_epochs": setting.epochs,
        "learning_rate": setting.learning_rate,
        "warmup_steps": setting.warmup_ratio,
        "weight_decay": setting.weight_decay,
        "seed": seed,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": torch.cuda.is_available(),  # the default warns on a CPU, without other effect
    }
    if best:
        options |= {
            "bf16": True,
            "use_cpu": not torch.cuda.is_available(),  # bf16 without a GPU is refused otherwise
            "train_sampling_strategy": "group_by_length",
            "per_device_eval_batch_size": 32,  # faster here than 64 or 128, and no slower than 16
            "logging_strategy": "no",
        }
    return TrainingArguments(**options)


def encode(rows: dict[str, list[Any]], *, tokenizer: Any, max_length: int) -> dict[str, list[Any]]:
    """Token ids of a batch of rows with a `text`, and their `length`s, which grouping by length looks for."""
    encoding = dict(tokenizer(rows["text"], truncation=True, max_length=max_length))
    return encoding | {"length": [len(ids) for ids in encoding["input_ids"]]}


def main(words: list[str]) -> None:
    """One trial in a process of its own: everything from the start of Python to the first optimizer step.

    `words` are a JSON setting: home, checkpoint, batch size and maximum length.
    """
    values = json.loads(words[0])
    setting = Setting(**values | {"home": Path(values["home"])})
    shipped(setting).turn_around(seed=0)
    print("first step done", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
