"""The numbers of a training are those of plain PyTorch, and its memory is kept within limits."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipelines.config import replaced
from pipelines.models import Pretrained, new_classifier
from pipelines.train import Material, forward, predict_logits, train_steps

from .trained import PLAIN, batches, changed, inputs, losses, start, train


def test_same_seed_gives_the_same_losses_to_the_bit(bert: Pretrained, material: Material) -> None:
    config = replaced(PLAIN, {"model.dropout": 0.2})
    first, again = (losses(start(config, bert, material), material, 12) for _ in range(2))
    assert first == again
    assert len(set(first)) == 12


def test_losses_are_those_of_a_plain_transformers_loop(bert: Pretrained, material: Material) -> None:
    import transformers

    config = changed(epochs=2.0, warmup_ratio=0.1, weight_decay=0.01, max_grad_norm=1.0, learning_rate=2e-3)
    network = new_classifier(bert, dropout=0.0, seed=config.seed).train()
    spared = ("bias", "LayerNorm.weight")
    groups = [
        {"params": [w for n, w in network.named_parameters() if n.endswith(spared)], "weight_decay": 0.0},
        {"params": [w for n, w in network.named_parameters() if not n.endswith(spared)], "weight_decay": 0.01},
    ]
    optimizer = torch.optim.AdamW(groups, lr=2e-3, betas=(0.9, 0.999), eps=1e-8)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, num_warmup_steps=2, num_training_steps=20)
    expected = []
    for _, rows in zip(range(20), batches(config, material), strict=False):
        loss = network(**inputs(material, rows), labels=torch.from_numpy(material.labels[rows])).loss
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        expected.append(loss.item())

    trainee = start(config, bert, material)
    assert losses(trainee, material, 20) == pytest.approx(expected, abs=1e-5)
    untouched = new_classifier(bert, dropout=0.0, seed=config.seed).state_dict()
    trained = trainee.model.state_dict()
    for name, weight in network.state_dict().items():
        if not name.endswith("key.bias"):  # attention does not depend on it: its gradient is rounding noise
            assert torch.allclose(weight, trained[name], atol=1e-4), name
            assert float((weight - untouched[name]).abs().max()) > 1e-3, name


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", ["none", "balanced"])
@pytest.mark.parametrize("micro", [1, 5, 10, 12])
def test_accumulated_gradient_is_that_of_the_plain_batch(
    micro: int, weights: Any, smoothing: float, bert: Pretrained, uneven: Material
) -> None:
    usual = {"class_weights": weights, "label_smoothing": smoothing, "max_grad_norm": None}
    plain, parts = (start(changed(**usual, micro_batch_size=size), bert, uneven) for size in (None, micro))
    (whole,), (summed,) = train(plain, uneven, 1), train(parts, uneven, 1)
    assert summed.loss.item() == pytest.approx(whole.loss.item(), rel=1e-5)
    assert summed.grad_norm.item() == pytest.approx(whole.grad_norm.item(), rel=1e-4)
    for expected, actual in zip(plain.model.parameters(), parts.model.parameters(), strict=True):
        assert expected.grad is not None
        assert actual.grad is not None
        assert torch.allclose(actual.grad, expected.grad, rtol=1e-3, atol=1e-6)
    assert whole.grad_norm.item() > 0.1


def test_memory_that_runs_out_halves_the_micro_batch_and_changes_no_loss(
    bert: Pretrained, material: Material, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = losses(start(PLAIN, bert, material), material, 4)
    trainee, sizes = start(PLAIN, bert, material), []

    def small(model: nn.Module, material: Material, rows: Any, *, device: torch.device) -> Tensor:
        if len(rows) > 7:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: 9 bytes")
        sizes.append(len(rows))
        return forward(model, material, rows, device=device)

    monkeypatch.setattr("pipelines.train.forward", small)
    assert losses(trainee, material, 4) == pytest.approx(usual, rel=1e-5)
    assert trainee.micro_batch == 6  # 24, 12, 6
    assert sizes == [6] * 16
    assert trainee.notes == [
        "memory ran out at step 1: micro-batches of 12 from there",
        "memory ran out at step 1: micro-batches of 6 from there",
    ]


def test_other_errors_of_torch_are_not_taken_for_a_lack_of_memory(
    bert: Pretrained, material: Material, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Tensor:
        raise RuntimeError("shapes cannot be multiplied")

    monkeypatch.setattr("pipelines.train.forward", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        train(start(PLAIN, bert, material), material, 1)


_TRAIN_WITH_LITTLE_MEMORY = """
import resource, sys
from pathlib import Path
import numpy as np
from pipelines.config import ModelConfig, RunConfig, replaced
from pipelines.models import load_pretrained, new_classifier
from pipelines.tokens import Encoded
from pipelines.train import Material, new_trainee, train_steps

bert = load_pretrained(ModelConfig(name=sys.argv[1]), labels=("a", "b"))
config = replaced(RunConfig(), {"train.batch_size": 1024, "train.precision": "fp32"})
rows = Material(Encoded(np.full(1024 * 400, 7, dtype=np.int32), np.arange(1025) * 400), np.arange(1024) % 2, 0)
trainee = new_trainee(config, new_classifier(bert, dropout=0.0, seed=0), rows.labels, classes=2)
in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (in_use + 900 * 2**20, -1))
(log,) = train_steps(trainee, rows, until=1)
print(trainee.micro_batch, log.loss.item() > 0, *trainee.notes, sep="; ")
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
def test_step_larger_than_the_memory_limit_is_done_in_parts(tiny_bert: Path) -> None:
    command = [sys.executable, "-c", _TRAIN_WITH_LITTLE_MEMORY, str(tiny_bert)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    micro, trained, first, *_ = done.stdout.strip().splitlines()[-1].split("; ")
    assert int(micro) in {8, 16, 32, 64, 128, 256, 512}
    assert (trained, first) == ("True", "memory ran out at step 1: micro-batches of 512 from there")


def test_bf16_learns(bert: Pretrained, material: Material) -> None:
    trainee = start(changed(precision="bf16", epochs=3.0, learning_rate=5e-3), bert, material)
    seen = losses(trainee, material, 30)
    assert np.mean(seen[-5:]) < 0.5 * np.mean(seen[:5])
    accuracy = np.mean(predict_logits(trainee, material).argmax(axis=1) == material.labels)
    assert accuracy > 0.9


def test_norm_that_is_told_is_that_before_clipping(bert: Pretrained, material: Material) -> None:
    free, clipped = (start(changed(max_grad_norm=norm), bert, material) for norm in (None, 0.01))
    (first,), (second,) = train(free, material, 1), train(clipped, material, 1)
    assert first.grad_norm.item() == pytest.approx(second.grad_norm.item(), rel=1e-5)
    assert first.grad_norm.item() > 0.1


def test_training_may_stop_anywhere_and_go_on(bert: Pretrained, material: Material) -> None:
    config = replaced(PLAIN, {"model.dropout": 0.2})
    whole = losses(start(config, bert, material), material, 20)
    trainee = start(config, bert, material)
    parts = [losses(trainee, material, count) for count in (3, 7, 5, 0, 5)]  # epochs end at 10 and 20
    left = train_steps(trainee, material, until=20)
    assert list(left) == []
    assert [loss for part in parts for loss in part] == whole


def test_abandoned_generator_loses_no_step(bert: Pretrained, material: Material) -> None:
    whole = losses(start(PLAIN, bert, material), material, 5)
    trainee = start(PLAIN, bert, material)
    first = [next(train_steps(trainee, material, until=5)).loss.item() for _ in range(2)]
    assert [*first, *losses(trainee, material, 3)] == whole


def test_training_ends_with_its_horizon(bert: Pretrained, material: Material) -> None:
    trainee = start(changed(epochs=0.3), bert, material)
    assert len(list(train_steps(trainee, material, until=10**6))) == 3
    assert trainee.step == trainee.total_steps == 3


def test_predictions_come_in_the_order_of_the_rows_and_leave_no_trace(bert: Pretrained, material: Material) -> None:
    config = replaced(PLAIN, {"model.dropout": 0.5})
    trainee = start(config, bert, material)
    logits = predict_logits(trainee, material)
    assert np.array_equal(logits, predict_logits(trainee, material))  # no dropout
    with torch.no_grad():
        for row in (0, 7, 239):
            alone = trainee.model(**inputs(material, np.array([row]))).logits
            assert logits[row] == pytest.approx(alone[0].numpy(), abs=1e-5)
    assert losses(trainee, material, 2) == losses(start(config, bert, material), material, 2)


def test_vectors_are_spared_from_weight_decay(bert: Pretrained, material: Material) -> None:
    trainee = start(changed(weight_decay=0.3), bert, material)
    decay = {id(w): group["weight_decay"] for group in trainee.optimizer.param_groups for w in group["params"]}
    for name, weight in trainee.model.named_parameters():
        spared = name.endswith("bias") or "LayerNorm" in name
        assert decay[id(weight)] == (0.0 if spared else 0.3), name
