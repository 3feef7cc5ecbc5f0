"""What was sampled arrives in the optimizer and in the schedule of its rate."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipelines.batches import total_steps
from pipelines.config import RunConfig, TrainConfig
from pipelines.models import Pretrained, new_classifier
from pipelines.train import Material, rate_factor, train_steps

from .trained import arrives, batches, changed, inputs, start, train


def adamw_by_hand(config: RunConfig, bert: Pretrained, material: Material, steps: int) -> dict[str, Tensor]:
    """The weights after some steps of AdamW as its paper writes it, with the linear schedule and no dropout."""
    settings = config.train
    network = new_classifier(bert, dropout=0.0, seed=config.seed)
    weights = dict(network.named_parameters())
    first = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    second = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    total = total_steps(len(material.labels), settings)
    for step, rows in zip(range(steps), batches(config, material), strict=False):
        network.zero_grad()
        labels = torch.from_numpy(material.labels[rows])
        functional.cross_entropy(network(**inputs(material, rows)).logits, labels).backward()
        norm = torch.sqrt(sum(weight.grad.square().sum() for weight in weights.values()))
        shrink = min(1.0, (settings.max_grad_norm or torch.inf) / float(norm))
        warmup = round(settings.warmup_ratio * total)
        rate = settings.learning_rate * min(step / warmup if warmup else 1.0, (total - step) / (total - warmup))
        with torch.no_grad():
            for name, weight in weights.items():
                gradient = weight.grad * shrink
                first[name] = settings.beta1 * first[name] + (1 - settings.beta1) * gradient
                second[name] = settings.beta2 * second[name] + (1 - settings.beta2) * gradient**2
                mean = first[name] / (1 - settings.beta1 ** (step + 1))
                spread = second[name] / (1 - settings.beta2 ** (step + 1))
                if weight.ndim > 1:
                    weight *= 1 - rate * settings.weight_decay
                weight -= rate * mean / (spread.sqrt() + settings.epsilon)
    return {name: weight.detach() for name, weight in weights.items()}


@arrives(
    "train.learning_rate",
    "train.weight_decay",
    "train.beta1",
    "train.beta2",
    "train.epsilon",
    "train.max_grad_norm",
)
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"learning_rate": 3e-4},
        {"weight_decay": 8.0},
        {"beta1": 0.5},
        {"beta2": 0.9},
        {"epsilon": 1e-2},
        {"max_grad_norm": 0.05},
        {"max_grad_norm": None},
    ],
    ids=str,
)
def test_optimizer_settings_do_what_adamw_does_with_them(
    change: dict[str, Any], bert: Pretrained, material: Material
) -> None:
    # Epsilon is large enough for the sums to be well-conditioned, the norm small enough to bind.
    usual = {"warmup_ratio": 0.1, "epsilon": 1e-4, "max_grad_norm": 0.5}
    config, plain = changed(**(usual | change)), changed(**usual)
    trainee = start(config, bert, material)
    train(trainee, material, 6)
    weights = {name: weight.detach() for name, weight in trainee.model.named_parameters()}
    expected = adamw_by_hand(config, bert, material, 6)
    assert weights.keys() == expected.keys()
    for name, weight in weights.items():
        assert torch.allclose(weight, expected[name], rtol=1e-4, atol=3e-6), name
    if change:
        others = adamw_by_hand(plain, bert, material, 6)
        assert max(float((weights[name] - others[name]).abs().max()) for name in weights) > 1e-4


def test_first_step_with_warm_up_changes_nothing_and_without_it_does(bert: Pretrained, material: Material) -> None:
    for ratio, moves in ((0.1, False), (0.0, True)):
        trainee = start(changed(warmup_ratio=ratio), bert, material)
        before = {name: weight.detach().clone() for name, weight in trainee.model.named_parameters()}
        train(trainee, material, 1)
        after = dict(trainee.model.named_parameters())
        assert any(not torch.equal(after[name], before[name]) for name in after) is moves


def theirs(name: str, *, total: int, warmup: int, cooldown: int) -> list[float]:
    """The factors of transformers' own schedules."""
    import transformers

    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    if name == "constant_with_cooldown":
        schedule = transformers.get_wsd_schedule(
            optimizer,
            num_warmup_steps=warmup,
            num_stable_steps=total - warmup - cooldown,
            num_decay_steps=cooldown,
            warmup_type="linear",
            decay_type="linear",
            min_lr_ratio=0.0,
        )
    else:
        make = getattr(transformers, f"get_{name}_schedule_with_warmup")
        schedule = make(optimizer, num_warmup_steps=warmup, num_training_steps=total)
    factors = []
    for _ in range(total):
        factors.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return factors


@arrives("train.schedule", "train.warmup_ratio", "train.cooldown_ratio")
@pytest.mark.parametrize("warmup_ratio", [0.0, 0.12, 0.45])
@pytest.mark.parametrize("cooldown_ratio", [0.21, 0.5])
@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant_with_cooldown"])
def test_learning_rate_follows_the_schedule_of_transformers(
    schedule: Any, warmup_ratio: float, cooldown_ratio: float, bert: Pretrained, material: Material
) -> None:
    config = changed(schedule=schedule, warmup_ratio=warmup_ratio, cooldown_ratio=cooldown_ratio)
    total = 20
    warmup, cooldown = math.ceil(warmup_ratio * total), math.ceil(cooldown_ratio * total)  # as the Trainer rounds
    expected = theirs(schedule, total=total, warmup=warmup, cooldown=cooldown)
    assert [rate_factor(step, total, config.train) for step in range(total)] == pytest.approx(expected, abs=1e-12)

    trainee, rates = start(config, bert, material), []
    for log in train_steps(trainee, material, until=total):
        assert {group["lr"] for group in trainee.optimizer.param_groups} == {log.learning_rate}
        rates.append(log.learning_rate)
    assert rates == pytest.approx([1e-3 * factor for factor in expected], abs=1e-15)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant_with_cooldown"])
@pytest.mark.parametrize("total", [1, 2, 3, 7, 1000])
def test_learning_rate_stays_between_zero_and_its_peak(schedule: Any, total: int) -> None:
    for ratio in (0.0, 0.001, 0.5, 1.0):
        config = TrainConfig(schedule=schedule, warmup_ratio=ratio, cooldown_ratio=min(0.2, 1 - ratio))
        factors = [rate_factor(step, total, config) for step in range(total)]
        assert all(0 <= factor <= 1 for factor in factors)
        assert ratio == 1.0 or total < 3 or max(factors) == pytest.approx(1.0, abs=0.51)
