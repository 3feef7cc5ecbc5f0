"""The training loop, in plain sight: a generator of steps, with no side effect but on the model.

Nothing is logged, printed or saved here. All randomness of step `n` is a function of (seed, n), and the learning
rate is a function of n, so a run continued from a checkpoint is step for step the uninterrupted one.
"""

import gc
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from pipelines.adapt import rate_scales, train_mode
from pipelines.batches import EVALUATION_TOKENS, epoch_batches, evaluation_batches, steps_per_epoch, total_steps
from pipelines.config import RunConfig, TrainConfig
from pipelines.errors import ConfigError
from pipelines.prefix import Prefix, entering
from pipelines.tokens import Encoded

# torch has no class of its own for a CPU: what its allocator says, and what oneDNN says that cannot get its own.
_CPU_OUT_OF_MEMORY = ("can't allocate memory", "could not create a primitive", "could not create a memory")


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
    micro_batch: int
    """Examples per forward pass at most; halved when memory runs out."""
    step: int = 0
    window: list[float] = field(default_factory=lambda: [0.0, 0.0])
    """Sum of the losses and number of steps since the last journal record: part of the checkpoint."""
    unread: list[Tensor] = field(default_factory=list)
    """Losses that are not in the window yet: reading one waits for the device, so they are read together."""
    notes: list[str] = field(default_factory=list)
    """What the user should hear of, such as memory that ran out."""


def new_trainee(config: RunConfig, model: nn.Module, labels: NDArray[np.int64], *, classes: int) -> Trainee:
    """Put a fresh model on the device with its optimizer; `labels` are those of the training rows."""
    accelerator = _accelerator(config.train.precision)
    model.to(accelerator.device)
    optimizer = new_optimizer(model, config.train)
    model, optimizer = accelerator.prepare(model, optimizer)
    # Frozen layers are entered behind by changing the list of layers, which a compiled model must not notice.
    if config.train.compile == "on" and not config.train.frozen_layers:
        model.compile(dynamic=True)  # in place: names of weights and hooks stay
    weights = loss_weights(labels, classes=classes, config=config.train)
    return Trainee(
        config=config,
        model=model,
        optimizer=optimizer,
        accelerator=accelerator,
        class_weights=torch.tensor(weights, dtype=torch.float32, device=accelerator.device),
        total_steps=total_steps(len(labels), config.train),
        micro_batch=config.train.rows_at_once,
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
    """One optimizer step on one batch, in as many micro-batches as memory asks for."""
    train = trainee.config.train
    rate = train.learning_rate * rate_factor(trainee.step, trainee.total_steps, train)
    for group in trainee.optimizer.param_groups:
        group["lr"] = rate * group["scale"]
    train_mode(trainee.model, trainee.config)
    while (loss := _gradient(trainee, material, rows)) is None:
        _make_room(trainee)
    norm = _clip(trainee)
    trainee.optimizer.step()
    trainee.step += 1
    trainee.unread.append(loss)
    return StepLog(trainee.step, loss, norm, learning_rate=rate)


def _gradient(trainee: Trainee, material: Material, rows: NDArray[np.int64]) -> Tensor | None:
    """Put the gradient of a batch's mean loss into the model, and return that loss; None when memory ran out."""
    device, smoothing = trainee.accelerator.device, trainee.config.train.label_smoothing
    torch.manual_seed(trainee.config.seed * 1_000_003 + trainee.step)  # dropout
    trainee.optimizer.zero_grad(set_to_none=True)
    try:
        labels = torch.from_numpy(material.labels[rows]).to(device)
        weight, loss = trainee.class_weights[labels].sum(), torch.zeros((), device=device)
        for start in range(0, len(rows), trainee.micro_batch):
            part = slice(start, start + trainee.micro_batch)
            logits = forward(trainee.model, material, rows[part], device=device)
            share = weighted_loss(logits, labels[part], trainee.class_weights, smoothing=smoothing) / weight
            trainee.accelerator.backward(share)
            loss += share.detach()
    except (RuntimeError, MemoryError) as error:
        if trainee.micro_batch == 1 or not is_out_of_memory(error):
            raise
        return None
    return loss


def _make_room(trainee: Trainee) -> None:
    """After memory ran out: free what the failed pass held, and take half the examples at a time from here on."""
    gc.collect()
    torch.cuda.empty_cache()
    trainee.micro_batch = -(-trainee.micro_batch // 2)
    trainee.notes.append(
        f"memory ran out at step {trainee.step + 1}: micro-batches of {trainee.micro_batch} from there"
    )


def _clip(trainee: Trainee) -> Tensor:
    """Scale the gradient down to `max_grad_norm`; returns its norm before, a scalar on the device."""
    trainee.accelerator.unscale_gradients()  # fp16 only
    trained = [parameter for parameter in trainee.model.parameters() if parameter.grad is not None]
    norm = nn.utils.get_total_norm([parameter.grad for parameter in trained if parameter.grad is not None])
    limit = trainee.config.train.max_grad_norm
    # Asking a GPU for the norm would wait for it; on a CPU the answer mostly saves a pass over all gradients.
    if limit is not None and (norm.is_cuda or norm > limit):
        nn.utils.clip_grads_with_norm_(trained, limit, norm)
    return norm


def decay_of_untouched(trainee: Trainee, weight: nn.Parameter) -> float:
    """What weight decay alone has made of the parts of a weight that had no gradient in all steps, as a factor."""
    groups = (group for group in trainee.optimizer.param_groups if any(one is weight for one in group["params"]))
    train, group = trainee.config.train, next(groups, {"weight_decay": 0.0})
    decay = train.learning_rate * group.get("scale", 1.0) * group["weight_decay"]
    factors = (rate_factor(step, trainee.total_steps, train) for step in range(trainee.step))
    return math.prod(1 - factor * decay for factor in factors)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device, or this machine, has no more memory to give."""
    known = isinstance(error, (torch.OutOfMemoryError, MemoryError))
    return known or any(words in str(error) for words in _CPU_OUT_OF_MEMORY)


def read_losses(trainee: Trainee) -> None:
    """Move the unread losses into the window; waits for the device."""
    if trainee.unread:
        for loss in torch.stack(trainee.unread).tolist():  # one by one: the same sum wherever a run is interrupted
            trainee.window = [trainee.window[0] + loss, trainee.window[1] + 1]
        trainee.unread.clear()


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
def predict_logits(
    trainee: Trainee, material: Material, *, each: Callable[[], object] = lambda: None
) -> NDArray[np.float32]:
    """Logits of all rows in their own order, (rows, classes); `each` is called before every batch."""
    trainee.model.eval()
    device = trainee.accelerator.device
    logits = np.empty((len(material.labels), len(trainee.class_weights)), dtype=np.float32)
    for rows in evaluation_batches(material.encoded.lengths, tokens=EVALUATION_TOKENS):
        each()
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
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    accelerator = Accelerator(mixed_precision=precision if precision in {"bf16", "fp16"} else "no")
    if precision in {"fp16", "tf32"} and accelerator.device.type == "cpu":
        raise ConfigError(
            f"train.precision: {precision} needs a GPU (a CPU would silently compute in fp32); take bf16 or fp32"
        )
    return accelerator
