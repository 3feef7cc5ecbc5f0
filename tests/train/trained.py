"""Trainings of a few steps."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from pipelines.batches import epoch_batches
from pipelines.config import RunConfig, TrainConfig, replaced
from pipelines.models import Pretrained, new_classifier
from pipelines.train import Material, StepLog, Trainee, new_trainee, train_steps

PLAIN = RunConfig(train=TrainConfig(batch_size=24, learning_rate=1e-3, precision="fp32", epochs=2.0))
PROVEN: set[str] = set()
"""Addresses that a test below proves to arrive."""


Test = Callable[..., None]


def arrives(*addresses: str) -> Callable[[Test], Test]:
    """Marks a test as the proof that what stands at these addresses reaches the training."""

    def mark(test: Test) -> Test:
        PROVEN.update(addresses)
        return test

    return mark


def start(config: RunConfig, bert: Pretrained, material: Material) -> Trainee:
    """A fresh trainee; dropout is off unless the configuration switches it on."""
    network = new_classifier(bert, dropout=config.model.dropout or 0.0, seed=config.seed)
    return new_trainee(config, network, material.labels, classes=2)


def train(trainee: Trainee, material: Material, steps: int) -> list[StepLog]:
    return list(train_steps(trainee, material, until=trainee.step + steps))


def losses(trainee: Trainee, material: Material, steps: int) -> list[float]:
    return [log.loss.item() for log in train(trainee, material, steps)]


def changed(**values: Any) -> RunConfig:
    """The plain configuration with other training settings."""
    return replaced(PLAIN, {f"train.{name}": value for name, value in values.items()})


def inputs(material: Material, rows: Any) -> dict[str, Tensor]:
    ids, mask = material.encoded.padded(rows, material.pad)
    return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}


def batches(config: RunConfig, material: Material) -> Iterator[Any]:
    """The rows of step after step."""
    for epoch in range(1000):
        yield from epoch_batches(material.encoded.lengths, config.train.batch_size, seed=config.seed, epoch=epoch)
