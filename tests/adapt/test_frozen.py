"""Frozen parts, rates by layer, and gradients that are computed anew."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pipelines.adapt import layers_of, rate_scales, train_mode
from pipelines.config import replaced
from pipelines.families import ANATOMIES
from pipelines.train import train_steps
from tests import tiny

from .bench import HEADS, PLAIN, WITHOUT_ALBERT, Bench, moved


@pytest.mark.parametrize("family", WITHOUT_ALBERT)
def test_frozen_layers_stay_and_all_above_learns(family: str, bench: Bench) -> None:
    trainee = bench.trainee(family, **{"train.frozen_layers": 1})
    parts = ANATOMIES[trainee.model.config.model_type]
    below = (*(f"{name}." for name in parts.embeddings), f"{parts.layers}.0.")
    frozen = {name for name, _ in trainee.model.named_parameters() if name.startswith(below)}
    changed = moved(bench, trainee, family)
    assert len(frozen) > 3
    assert changed == {name for name, _ in trainee.model.named_parameters()} - frozen


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_frozen_embeddings_stay_and_the_layers_learn(family: str, bench: Bench) -> None:
    trainee = bench.trainee(family, **{"train.freeze_embeddings": True})
    parts = ANATOMIES[trainee.model.config.model_type]
    frozen = {
        name
        for name, _ in trainee.model.named_parameters()
        if name.startswith(tuple(f"{part}." for part in parts.embeddings))
    }
    word = trainee.model.get_input_embeddings().weight
    assert any(weight is word for name, weight in trainee.model.named_parameters() if name in frozen)
    assert moved(bench, trainee, family) == {name for name, _ in trainee.model.named_parameters()} - frozen


@pytest.mark.parametrize("family", WITHOUT_ALBERT)
def test_frozen_layers_run_without_dropout_and_the_others_with_it(family: str, bench: Bench) -> None:
    network = bench.network(family, replaced(PLAIN, {"train.frozen_layers": 1, "model.dropout": 0.5}))
    train_mode(network, replaced(PLAIN, {"train.frozen_layers": 1}))
    first, second = ([] for _ in range(2))  # type: ignore[var-annotated]
    for layer, outputs in zip(layers_of(network), (first, second), strict=True):
        layer.register_forward_hook(
            lambda module, given, out, outputs=outputs: outputs.append(out[0] if isinstance(out, tuple) else out)
        )
    ids, mask = (torch.from_numpy(part) for part in bench.material(family).encoded.padded(np.arange(8), 0))
    for _ in range(2):
        network(input_ids=ids, attention_mask=mask)
    assert torch.equal(*first)
    assert not torch.allclose(*second)


# --- rates by layer


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_rates_decay_from_the_head_to_the_embeddings(family: str, bench: Bench) -> None:
    network = bench.trainee(family).model
    parts, scales = ANATOMIES[network.config.model_type], rate_scales(network, 0.5)
    layers = 1 if family == "albert" else 2
    expected = {f"{name}.": 0.5 ** (layers + 1) for name in parts.embeddings}
    expected |= {f"{parts.layers}.{index}.": 0.5 ** (layers - index) for index in range(layers)}
    expected |= dict.fromkeys(HEADS[family], 1.0)
    for start, scale in expected.items():
        own = {own for name, own in scales.items() if name.startswith(start)}
        assert own <= {scale}, start
    assert set(scales.values()) == {0.5**depth for depth in range(layers + 2)}
    assert set(rate_scales(network, 1.0).values()) == {1.0}


def test_each_group_steps_at_its_own_rate_and_the_head_at_the_full_one(bench: Bench) -> None:
    trainee = bench.trainee("bert", **{"train.layer_decay": 0.5})
    scales = rate_scales(trainee.model, 0.5)
    log = next(train_steps(trainee, bench.material("bert"), until=1))
    assert log.learning_rate == 1e-2
    rates = {id(w): group["lr"] for group in trainee.optimizer.param_groups for w in group["params"]}
    for name, weight in trainee.model.named_parameters():
        assert rates[id(weight)] == 1e-2 * scales[name], name


def test_no_decay_is_one_group_of_matrices_and_one_of_vectors(bench: Bench) -> None:
    groups = bench.trainee("bert").optimizer.param_groups
    assert [{weight.ndim for weight in group["params"]} for group in groups] == [{2}, {1}]
    assert [group["weight_decay"] for group in groups] == [0.01, 0.0]


# --- gradient checkpointing


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("family", WITHOUT_ALBERT)
def test_checkpointed_gradients_are_the_same(family: str, dropout: float, bench: Bench) -> None:
    plainly = bench.losses(family, **{"model.dropout": dropout})
    again = bench.losses(family, **{"model.dropout": dropout, "train.gradient_checkpointing": True})
    assert again == pytest.approx(plainly, abs=1e-6)


def remembered(bench: Bench, **changes: Any) -> int:
    """Bytes that one forward pass keeps for the way back."""
    trainee, total = bench.trainee("bert", **changes), [0]
    ids, mask = (torch.from_numpy(part) for part in bench.material("bert").encoded.padded(np.arange(24), 0))
    train_mode(trainee.model, trainee.config)

    def pack(tensor: Tensor) -> Tensor:
        total[0] += tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        trainee.model(input_ids=ids, attention_mask=mask)
    return total[0]


def test_checkpointed_layers_remember_less(bench: Bench) -> None:
    assert remembered(bench, **{"train.gradient_checkpointing": True}) < remembered(bench) / 2
