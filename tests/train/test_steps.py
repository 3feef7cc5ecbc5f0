"""What was sampled arrives in the steps: their rows, their loss, their arithmetic and their noise."""

import shutil
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipelines.config import TrainConfig, replaced
from pipelines.errors import ConfigError
from pipelines.models import Pretrained, new_classifier
from pipelines.train import Material, Trainee, loss_weights, new_trainee, predict_logits, train_steps

from .trained import PLAIN, arrives, batches, changed, inputs, losses, start, train

CPU = torch.device("cpu")


def passes(trainee: Trainee) -> list[int]:
    """Gets the number of rows of every forward pass from now on."""
    sizes: list[int] = []

    def note(module: nn.Module, arguments: Any, options: dict[str, Tensor]) -> None:
        sizes.append(len(options["input_ids"]))

    trainee.model.register_forward_pre_hook(note, with_kwargs=True)
    return sizes


@arrives("train.batch_size")
@pytest.mark.parametrize(("batch_size", "steps"), [(24, 10), (32, 8), (240, 1), (1000, 1)])
def test_batch_size_is_the_rows_of_an_optimizer_step(
    batch_size: int, steps: int, bert: Pretrained, material: Material
) -> None:
    trainee = start(changed(batch_size=batch_size, epochs=1.0), bert, material)
    sizes = passes(trainee)
    assert trainee.total_steps == steps
    train(trainee, material, 1000)
    assert sorted(sizes, reverse=True) == [
        *[batch_size] * (240 // batch_size),
        *[240 % batch_size] * (240 % batch_size > 0),
    ]


@arrives("train.micro_batch_size")
@pytest.mark.parametrize(
    ("micro", "sizes"),
    [(None, [24, 24]), (24, [24, 24]), (100, [24, 24]), (10, [10, 10, 4, 10, 10, 4]), (12, [12] * 4)],
)
def test_micro_batch_size_is_the_rows_of_a_forward_pass(
    micro: int | None, sizes: list[int], bert: Pretrained, material: Material
) -> None:
    trainee = start(changed(micro_batch_size=micro), bert, material)
    seen = passes(trainee)
    assert len(train(trainee, material, 2)) == 2
    assert seen == sizes


@arrives("train.label_smoothing")
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.6])
def test_label_smoothing_is_that_of_torch(smoothing: float, bert: Pretrained, material: Material) -> None:
    trainee = start(changed(label_smoothing=smoothing), bert, material)
    rows = next(batches(PLAIN, material))
    with torch.no_grad():
        logits = trainee.model(**inputs(material, rows)).logits
    expected = functional.cross_entropy(logits, torch.from_numpy(material.labels[rows]), label_smoothing=smoothing)
    assert losses(trainee, material, 1) == pytest.approx([float(expected)], rel=1e-5)


@arrives("train.class_weights")
@pytest.mark.parametrize("kind", ["none", "balanced"])
def test_class_weights_are_those_of_scikit_learn(kind: Any, bert: Pretrained, uneven: Material) -> None:
    from sklearn.utils.class_weight import compute_class_weight

    weights = compute_class_weight(None if kind == "none" else kind, classes=np.arange(2), y=uneven.labels)
    config = changed(class_weights=kind)
    assert loss_weights(uneven.labels, classes=2, config=config.train) == pytest.approx(weights)
    trainee = start(config, bert, uneven)
    rows = next(batches(PLAIN, uneven))
    with torch.no_grad():
        logits = trainee.model(**inputs(uneven, rows)).logits
    labels = torch.from_numpy(uneven.labels[rows])
    expected = functional.cross_entropy(logits, labels, weight=torch.tensor(weights, dtype=torch.float32))
    assert losses(trainee, uneven, 1) == pytest.approx([float(expected)], rel=1e-5)


def test_class_without_training_rows_gets_a_finite_weight() -> None:
    weights = loss_weights(np.array([0, 0, 1]), classes=3, config=TrainConfig(class_weights="balanced"))
    assert weights.tolist() == [0.5, 1.0, 1.0]


@arrives("train.epochs")
@pytest.mark.parametrize(("epochs", "steps"), [(0.5, 5), (1.0, 10), (2.3, 23)])
def test_epochs_are_passes_over_the_rows(epochs: float, steps: int, bert: Pretrained, material: Material) -> None:
    trainee = start(changed(epochs=epochs), bert, material)
    assert trainee.total_steps == steps
    logs = train(trainee, material, 1000)
    assert [log.step for log in logs] == list(range(1, steps + 1))
    assert logs[-1].learning_rate == pytest.approx(1e-3 / (steps - round(0.1 * steps + 0.4)))  # one step short of zero


@arrives("train.precision")
@pytest.mark.parametrize(("precision", "inside"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_precision_is_that_of_the_forward_pass(
    precision: str, inside: torch.dtype, bert: Pretrained, material: Material
) -> None:
    trainee, seen = start(changed(precision=precision), bert, material), set()
    trainee.model.bert.encoder.layer[0].output.dense.register_forward_hook(
        lambda module, arguments, output: seen.add(output.dtype)
    )
    train(trainee, material, 1)
    assert seen == {inside}
    assert {weight.dtype for weight in trainee.model.parameters()} == {torch.float32}
    assert predict_logits(trainee, material).dtype == np.float32
    assert seen == {inside}


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU can")
@pytest.mark.parametrize("precision", ["fp16", "tf32"])
def test_arithmetic_of_gpus_is_refused_where_it_would_silently_be_fp32(
    precision: str, bert: Pretrained, material: Material
) -> None:
    with pytest.raises(ConfigError) as caught:
        start(changed(precision=precision), bert, material)
    assert str(caught.value) == (
        f"train.precision: {precision} needs a GPU (a CPU would silently compute in fp32); take bf16 or fp32"
    )


@arrives("train.compile")
@pytest.mark.parametrize(
    ("change", "compiled"), [({"compile": "on"}, True), ({}, False), ({"compile": "on", "frozen_layers": 1}, False)]
)
def test_model_is_compiled_where_it_is_asked_for_and_can_be(
    change: dict[str, Any], compiled: bool, bert: Pretrained, material: Material, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(nn.Module, "compile", lambda module, *, dynamic: asked.append(dynamic))
    start(changed(**change), bert, material)
    assert asked == [True] * compiled


@pytest.mark.long
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles for a CPU with g++")
def test_compiled_model_has_the_losses_of_the_plain_one(bert: Pretrained, material: Material) -> None:
    usual, compiled = (losses(start(changed(compile=value), bert, material), material, 6) for value in ("off", "on"))
    assert compiled == pytest.approx(usual, rel=1e-4)


def test_one_trial_does_not_inherit_the_precision_of_another(bert: Pretrained, material: Material) -> None:
    start(changed(precision="bf16"), bert, material)
    assert start(changed(precision="fp32"), bert, material).accelerator.mixed_precision == "no"


@arrives("seed")
def test_seed_draws_head_batches_and_dropout(bert: Pretrained, material: Material) -> None:
    def noise(seed: int) -> list[float]:
        # The same head and the same batches for both: what is left is dropout.
        config = replaced(changed(batch_size=240, epochs=5.0), {"seed": seed, "model.dropout": 0.3})
        network = new_classifier(bert, dropout=0.3, seed=0)
        return losses(new_trainee(config, network, material.labels, classes=2), material, 2)

    heads, orders = [], []
    for seed in (0, 1):
        trainee = start(replaced(PLAIN, {"seed": seed}), bert, material)
        heads.append(trainee.model.classifier.weight.detach().clone())
        seen: list[list[int]] = []
        trainee.model.register_forward_pre_hook(
            lambda module, arguments, options, seen=seen: seen.append(options["input_ids"].tolist()), with_kwargs=True
        )
        train(trainee, material, 2)
        orders.append(seen)
    assert not torch.equal(*heads)
    assert orders[0] != orders[1]
    assert noise(0) == noise(0)
    assert noise(0) != noise(1)


def test_seed_and_step_alone_decide_the_noise(bert: Pretrained, material: Material) -> None:
    config = replaced(PLAIN, {"model.dropout": 0.3})
    quiet = losses(start(config, bert, material), material, 4)
    trainee, disturbed = start(config, bert, material), []
    for log in train_steps(trainee, material, until=4):
        disturbed.append(log.loss.item())
        torch.rand(1000)  # somebody else draws numbers too
    assert disturbed == quiet


def test_every_step_has_noise_of_its_own(bert: Pretrained, material: Material, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.arange(24)
    monkeypatch.setattr("pipelines.train.epoch_batches", lambda *_, **__: [rows] * 10)
    for dropout, different in ((0.0, 1), (0.3, 4)):
        config = replaced(changed(learning_rate=1e-12), {"model.dropout": dropout})
        seen = losses(start(config, bert, material), material, 4)
        assert len(set(seen)) == different
