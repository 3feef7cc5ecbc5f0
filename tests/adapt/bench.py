"""Trainees of tiny checkpoints of every family."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipelines.adapt import adapt
from pipelines.config import ModelConfig, RunConfig, TrainConfig, replaced
from pipelines.data import Dataset
from pipelines.models import Pretrained, load_pretrained, new_classifier
from pipelines.tokens import encode
from pipelines.train import Material, Trainee, new_trainee, train_steps
from tests import tiny

PLAIN = RunConfig(
    train=TrainConfig(batch_size=24, learning_rate=1e-2, precision="fp32", epochs=2.0, warmup_ratio=0.0),
    model=ModelConfig(dropout=0.0),
)


HEADS = {
    "bert": ("bert.pooler.", "classifier."),
    "roberta": ("classifier.",),
    "gpt2": ("score.",),
    "distilbert": ("pre_classifier.", "classifier."),
    "electra": ("classifier.",),
    "albert": ("albert.pooler.", "classifier."),
    "deberta": ("pooler.", "classifier."),
    "modernbert": ("head.", "classifier."),
}


WITHOUT_ALBERT = [family for family in tiny.FAMILIES if family != "albert"]


class Bench:
    """Loads each tiny checkpoint once, and starts trainees of it."""

    def __init__(self, checkpoints: dict[str, Path], dataset: Dataset) -> None:
        self._checkpoints, self._split = checkpoints, dataset.splits["train"]
        self._loaded: dict[str, Pretrained] = {}

    def pretrained(self, family: str) -> Pretrained:
        if family not in self._loaded:
            model = ModelConfig(name=str(self._checkpoints[family]))
            self._loaded[family] = load_pretrained(model, labels=("negative", "positive"))
        return self._loaded[family]

    def material(self, family: str) -> Material:
        tokenizer = self.pretrained(family).tokenizer
        return Material(encode(self._split.texts, tokenizer, PLAIN.tokens), self._split.labels, tokenizer.pad_token_id)

    def network(self, family: str, config: RunConfig) -> nn.Module:
        fresh = new_classifier(self.pretrained(family), dropout=config.model.dropout, seed=config.seed)
        return adapt(fresh, config)

    def trainee(self, family: str, **changes: Any) -> Trainee:
        config = replaced(PLAIN, changes)
        return new_trainee(config, self.network(family, config), self._split.labels, classes=2)

    def losses(self, family: str, steps: int = 4, **changes: Any) -> list[float]:
        return self.train(self.trainee(family, **changes), family, steps)

    def train(self, trainee: Trainee, family: str, steps: int) -> list[float]:
        logs = train_steps(trainee, self.material(family), until=trainee.step + steps)
        return [log.loss.item() for log in logs]


def weights(network: nn.Module) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in network.named_parameters()}


def moved(bench: Bench, trainee: Trainee, family: str) -> set[str]:
    """Names of the weights that some steps change."""
    before = weights(trainee.model)
    bench.train(trainee, family, 3)
    return {name for name, weight in weights(trainee.model).items() if not torch.equal(weight, before[name])}
