"""The training loop, in plain sight: a generator of steps, with no side effect but on the model.

Nothing is logged, printed or saved here. All randomness of step `n` is a function of (seed, n), and the learning
rate is a function of n, so a run continued from a checkpoint is step for step the uninterrupted one.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from pipelines.adapt import rate_scales, train_mode
from pipelines.batches import epoch_batches, evaluation_batches, steps_per_epoch, total_steps
from pipelines.config import RunConfig, TrainConfig
from pipelines.errors import ConfigError
from pipelines.prefix import Prefix, entering
from pipelines.tokens import Encoded

_EVALUATION_TOKENS = 8_192  # tokens per batch without gradients: large enough to fill the device, small in memory


@dataclass(frozen=True)
class Material:
    """The rows that a model learns from or is scored on."""

    encoded: Encoded
    labels: NDArray[np.int64]
    """(rows,) class index of each text."""
    pad: int
    """Token id that fills short rows."""
    prefix: Prefix | None = None
    """What the frozen layers make of each row, where that is kept."""


@dataclass(frozen=True)
class StepLog:
    """What happened in one optimizer step."""

    step: int
    """Steps done, this one included."""
    loss: Tensor
    """Scalar on the device; reading it waits for the device, so read it seldom."""
    grad_norm: Tensor
    """Norm of the gradient before clipping, scalar on the device."""
    learning_rate: float


@dataclass
class Trainee:
    """A model in training: everything that a checkpoint must hold, and the tools to move it on."""

    config: RunConfig
    model: nn.Module
    optimizer: torch.optim.AdamW
    accelerator: Any
    class_weights: Tensor
    """(classes,) on the device."""
    total_steps: int
    step: int = 0
    window: list[float] = field(default_factory=lambda: [0.0, 0.0])
    """Sum of the losses and number of steps since the last journal record: part of the checkpoint."""


def new_trainee(config: RunConfig, model: nn.Module, labels: NDArray[np.int64], *, classes: int) -> Trainee:
    """Put a fresh model on the device with its optimizer; `labels` are those of the training rows."""
    accelerator = _accelerator(config.train.precision)
    model.to(accelerator.device)
    optimizer = new_optimizer(model, config.train)
    model, optimizer = accelerator.prepare(model, optimizer)
    weights = loss_weights(labels, classes=classes, config=config.train)
    return Trainee(
        config=config,
        model=model,
        optimizer=optimizer,
        accelerator=accelerator,
        class_weights=torch.tensor(weights, dtype=torch.float32, device=accelerator.device),
        total_steps=total_steps(len(labels), config.train),
    )


def train_steps(trainee: Trainee, material: Material, *, until: int) -> Iterator[StepLog]:
    """Train up to optimizer step `until`, yielding after each step. Stopping between steps leaves it resumable."""
    per_epoch = steps_per_epoch(len(material.labels), trainee.config.train.batch_size)
    until = min(until, trainee.total_steps)
    while trainee.step < until:
        epoch, first = divmod(trainee.step, per_epoch)
        batches = epoch_batches(
            material.encoded.lengths, trainee.config.train.batch_size, seed=trainee.config.seed, epoch=epoch
        )
        for rows in batches[first : first + until - trainee.step]:
            yield _step(trainee, material, rows)


def _step(trainee: Trainee, material: Material, rows: NDArray[np.int64]) -> StepLog:
    """One optimizer step on one batch, in as many micro-batches as configured."""
    train, accelerator = trainee.config.train, trainee.accelerator
    rate = train.learning_rate * rate_factor(trainee.step, trainee.total_steps, train)
    for group in trainee.optimizer.param_groups:
        group["lr"] = rate * group["scale"]
    torch.manual_seed(trainee.config.seed * 1_000_003 + trainee.step)  # dropout
    train_mode(trainee.model, trainee.config)
    trainee.optimizer.zero_grad(set_to_none=True)
    labels = torch.from_numpy(material.labels[rows]).to(accelerator.device)
    weight, loss = trainee.class_weights[labels].sum(), torch.zeros((), device=accelerator.device)
    micro = min(train.micro_batch_size or len(rows), len(rows))
    for start in range(0, len(rows), micro):
        part = slice(start, start + micro)
        logits = forward(trainee.model, material, rows[part], device=accelerator.device)
        share = weighted_loss(logits, labels[part], trainee.class_weights, smoothing=train.label_smoothing) / weight
        accelerator.backward(share)
        loss += share.detach()
    norm = accelerator.clip_grad_norm_(trainee.model.parameters(), train.max_grad_norm or math.inf)
    trainee.optimizer.step()
    trainee.step += 1
    return StepLog(trainee.step, loss, torch.as_tensor(norm), learning_rate=rate)


def forward(model: nn.Module, material: Material, rows: NDArray[np.int64], *, device: torch.device) -> Tensor:
    """Logits of some rows, (rows, classes), float32."""
    ids, mask = material.encoded.padded(rows, material.pad)
    with entering(model, material.prefix, rows):
        output = model(input_ids=torch.from_numpy(ids).to(device), attention_mask=torch.from_numpy(mask).to(device))
    logits: Tensor = output.logits.float()
    return logits


def weighted_loss(logits: Tensor, labels: Tensor, weights: Tensor, *, smoothing: float) -> Tensor:
    """Sum over rows of the weighted cross-entropy; divide by the sum of the batch's weights for the mean.

    Dividing by the *whole* batch's weight makes accumulated and plain batches give the same gradient.
    """
    return functional.cross_entropy(logits, labels, weight=weights, label_smoothing=smoothing, reduction="sum")


@torch.inference_mode()
def predict_logits(trainee: Trainee, material: Material) -> NDArray[np.float32]:
    """Logits of all rows in their own order, (rows, classes)."""
    trainee.model.eval()
    device = trainee.accelerator.device
    logits = np.empty((len(material.labels), len(trainee.class_weights)), dtype=np.float32)
    for rows in evaluation_batches(material.encoded.lengths, tokens=_EVALUATION_TOKENS):
        logits[rows] = forward(trainee.model, material, rows, device=device).cpu().numpy()
    return logits


def rate_factor(step: int, total: int, config: TrainConfig) -> float:
    """The learning rate of step `step` (from 0) as a share of its peak, between 0 and 1.

    Warm-up: linear from 0 over `warmup_ratio` of the steps. Then as `config.schedule` says; linear and cosine are
    those of transformers' `get_linear_schedule_with_warmup` and `get_cosine_schedule_with_warmup`.
    """
    warmup = math.ceil(config.warmup_ratio * total)
    if step < warmup:
        return step / warmup
    progress = (step - warmup) / max(1, total - warmup)
    if config.schedule == "linear":
        return 1.0 - progress
    if config.schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * progress))
    cooldown = math.ceil(config.cooldown_ratio * total)
    return min(1.0, (total - step) / cooldown) if cooldown else 1.0


def loss_weights(labels: NDArray[np.int64], *, classes: int, config: TrainConfig) -> NDArray[np.float64]:
    """Weight of each class in the loss, (classes,); `balanced` is rows / (classes * rows of the class)."""
    if config.class_weights == "none":
        return np.ones(classes)
    return len(labels) / (classes * np.maximum(np.bincount(labels, minlength=classes), 1.0))


def new_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW, fused; weight decay for matrices only (biases and normalization weights are vectors).

    A group's `scale` is its share of the learning rate.
    """
    scales = rate_scales(model, config.layer_decay)
    trained = [(scales[name], parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for own, p in trained if own == scale and (p.ndim >= 2) is matrix], "scale": scale}
        | {"weight_decay": config.weight_decay if matrix else 0.0}
        for scale in sorted({own for own, _ in trained}, reverse=True)
        for matrix in (True, False)
    ]
    return torch.optim.AdamW(
        groups, lr=config.learning_rate, betas=(config.beta1, config.beta2), eps=config.epsilon, fused=True
    )


def _accelerator(precision: str) -> Any:
    """A fresh Accelerator. Its state is shared by the whole process, and a trial may ask for another precision."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, GradientState

    AcceleratorState._reset_state()
    GradientState._reset_state()
    accelerator = Accelerator(mixed_precision="no" if precision in {"fp32", "auto"} else precision)
    if precision == "fp16" and accelerator.device.type == "cpu":
        raise ConfigError("train.precision: fp16 needs a GPU (a CPU would silently compute in fp32); take bf16 or fp32")
    return accelerator
