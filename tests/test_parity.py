"""Step for step, the losses of the Hugging Face Trainer: the same batches, in fp32, without dropout."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pipelines.batches import epoch_batches
from pipelines.config import DataConfig, RunConfig, replaced
from pipelines.data import load_data, save_dataset
from pipelines.segment import SegmentJob
from pipelines.train import Material, train_steps
from pipelines.workbench import Trial, Workbench
from tests import tiny

STEPS = 50
PLAIN = {"train.schedule": "constant_with_cooldown", "train.warmup_ratio": 0.0, "train.cooldown_ratio": 0.0}
PLAIN |= {"train.weight_decay": 0.0, "train.max_grad_norm": None}
FULL = {"train.schedule": "linear", "train.warmup_ratio": 0.1, "train.weight_decay": 0.1, "train.max_grad_norm": 0.5}


class EpochBatches:
    """Our batches, as a sampler that PyTorch's loader takes: each pass is the next epoch."""

    def __init__(self, lengths: NDArray[np.int64], config: RunConfig) -> None:
        self._lengths, self._config, self._epoch = lengths, config, 0
        self.batch_size = config.train.batch_size

    def __len__(self) -> int:
        return -(-len(self._lengths) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        batches = epoch_batches(self._lengths, self.batch_size, seed=self._config.seed, epoch=self._epoch)
        self._epoch += 1
        return iter([batch.tolist() for batch in batches])


def our_losses(trial: Trial) -> list[float]:
    return [log.loss.item() for log in train_steps(trial.trainee, trial.train, until=STEPS)]


def trainers_losses(trial: Trial, model: torch.nn.Module, output: Path) -> list[float]:
    """Losses of the Trainer on a model equal to the trial's, in the trial's own order of batches."""
    from transformers import DataCollatorWithPadding, PrinterCallback, Trainer, TrainingArguments

    config, material = trial.job.config.train, trial.train
    linear = config.schedule == "linear"
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(output),
            use_cpu=True,
            num_train_epochs=config.epochs,
            per_device_train_batch_size=config.batch_size,
            learning_rate=config.learning_rate,
            lr_scheduler_type="linear" if linear else "constant",
            warmup_steps=config.warmup_ratio,
            weight_decay=config.weight_decay,
            max_grad_norm=config.max_grad_norm or 0.0,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=rows_of(material),
        processing_class=trial.pretrained.tokenizer,
    )
    loader = torch.utils.data.DataLoader(
        rows_of(material),
        batch_sampler=EpochBatches(material.encoded.lengths, trial.job.config),  # type: ignore[arg-type]
        collate_fn=DataCollatorWithPadding(trial.pretrained.tokenizer),
    )
    trainer.get_train_dataloader = lambda: loader
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry][:STEPS]


def rows_of(material: Material) -> list[dict[str, Any]]:
    """The encoded rows, as a data set of dictionaries."""
    offsets = material.encoded.offsets
    return [
        {"input_ids": material.encoded.ids[offsets[row] : offsets[row + 1]].tolist(), "labels": int(label)}
        for row, label in enumerate(material.labels)
    ]


def plain_model(trial: Trial) -> torch.nn.Module:
    """The trial's model as transformers makes it, with nothing of ours in its layers."""
    from pipelines.models import new_classifier

    return new_classifier(trial.pretrained, dropout=0.0, seed=trial.job.config.seed)


@pytest.mark.parametrize("changes", [PLAIN, FULL], ids=["constant rate", "schedule, decay and clipping"])
def test_losses_equal_the_trainers(
    tiny_bert: Path, toy_data_dir: Path, tmp_path: Path, workbench: Workbench, changes: dict[str, Any]
) -> None:
    job = tiny.job(tiny_bert, toy_data_dir, tmp_path, **changes | {"model.dropout": 0.0, "train.epochs": 5.0})
    ours, theirs = losses(job, workbench, tmp_path)
    assert len(ours) == len(theirs) == STEPS
    assert ours == pytest.approx(theirs, abs=1e-3)
    assert max(ours) - min(ours) > 0.05  # something was learned: equal losses of models that stand still prove nothing


def test_a_wrong_setting_would_show_in_the_losses(
    tiny_bert: Path, toy_data_dir: Path, tmp_path: Path, workbench: Workbench
) -> None:
    """The proof that 1e-3 is strict: without clipping the losses are others."""
    job = tiny.job(tiny_bert, toy_data_dir, tmp_path, **FULL | {"model.dropout": 0.0, "train.epochs": 5.0})
    unclipped = replace(job, config=replaced(job.config, {"train.max_grad_norm": None}), directory=tmp_path / "other")
    ours, theirs = losses(job, workbench, tmp_path)
    others, _ = losses(unclipped, workbench, tmp_path)
    assert ours == pytest.approx(theirs, abs=1e-3)
    assert others != pytest.approx(theirs, abs=1e-3)


@pytest.mark.long
@pytest.mark.parametrize("changes", [PLAIN, FULL], ids=["constant rate", "schedule, decay and clipping"])
def test_losses_of_minilm_equal_the_trainers(tmp_path: Path, workbench: Workbench, changes: dict[str, Any]) -> None:
    save_dataset(load_data(DataConfig(source="sample:movies", train_rows=800)), tmp_path / "data")
    small = {"train.learning_rate": 1e-4, "train.batch_size": 16, "model.dropout": 0.0}
    job = tiny.job(Path("minilm"), tmp_path / "data", tmp_path, **changes | small)
    ours, theirs = losses(job, workbench, tmp_path)
    assert len(ours) == len(theirs) == STEPS
    assert ours == pytest.approx(theirs, abs=1e-3)


def losses(job: SegmentJob, workbench: Workbench, home: Path) -> tuple[list[float], list[float]]:
    """Ours and the Trainer's, of the same job."""
    job.directory.mkdir(exist_ok=True)
    trial = workbench.trial(job)
    theirs = trainers_losses(trial, plain_model(trial), home / "trainer")
    return our_losses(trial), theirs
