"""The engine computes what the plain model computes: equal outputs, equal gradients, equal weights in the end."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipelines.config import ModelConfig, RunConfig, replaced
from pipelines.data import Dataset
from pipelines.engine import attention as attention_module
from pipelines.engine import make_whole, speed_up
from pipelines.engine.attention import attention
from pipelines.engine.dropout import Dropout, keep_mask, replace_dropout
from pipelines.engine.lastlayer import pool_early
from pipelines.engine.vocabulary import CompactEmbedding, compact_embeddings
from pipelines.models import Pretrained, load_pretrained, new_classifier
from pipelines.tokens import encode
from pipelines.train import Material, decay_of_untouched, new_trainee, train_steps
from tests import tiny

LABELS = ("negative", "positive")
FEW = [2, 5, 9, 11]  # tokens of a small text


@pytest.fixture(scope="module", params=tiny.FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def pretrained(family: str, tiny_checkpoints: dict[str, Path]) -> Pretrained:
    return load_pretrained(ModelConfig(name=str(tiny_checkpoints[family])), labels=LABELS)


@pytest.fixture(scope="module")
def bert(tiny_bert: Path) -> Pretrained:
    return load_pretrained(ModelConfig(name=str(tiny_bert)), labels=LABELS)


def material_of(pretrained: Pretrained, dataset: Dataset, *, rows: int) -> Material:
    texts, labels = dataset.splits["train"].texts[:rows], dataset.splits["train"].labels[:rows]
    encoded = encode(texts, pretrained.tokenizer, RunConfig().tokens)
    return Material(encoded, labels, pretrained.tokenizer.pad_token_id)


def batch(material: Material) -> dict[str, Tensor]:
    ids, mask = material.encoded.padded(np.arange(len(material.labels)), material.pad)
    return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}


# --- dropout


@pytest.mark.parametrize("probability", [0.01, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_mask_drops_its_share_and_keeps_the_expectation(probability: float, dtype: torch.dtype) -> None:
    torch.manual_seed(3)
    mask = keep_mask((400, 1001), probability, dtype=dtype)
    assert (mask.shape, mask.dtype) == ((400, 1001), dtype)
    kept = mask[mask != 0]
    assert kept.unique().numel() == 1
    assert kept[0].item() == pytest.approx(1 / (1 - probability), rel=0.005)
    error = 4 * math.sqrt(probability * (1 - probability) / mask.numel())
    assert (mask == 0).float().mean().item() == pytest.approx(probability, abs=error)


def test_neighbours_in_a_mask_are_independent() -> None:
    torch.manual_seed(5)
    dropped = (keep_mask((400_000,), 0.3, dtype=torch.float32) == 0).float()
    for distance in (1, 2, 3, 4, 5, 8):  # four elements share one random word
        both = (dropped[:-distance] * dropped[distance:]).mean().item()
        assert both == pytest.approx(0.09, abs=0.0025)


def test_mask_is_a_function_of_torchs_random_state() -> None:
    masks = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        masks.append([keep_mask((50,), 0.5, dtype=torch.float32) for _ in range(2)])
    assert all(torch.equal(first, again) for first, again in zip(masks[0], masks[1], strict=True))
    assert not torch.equal(masks[0][0], masks[0][1])
    assert not torch.equal(masks[0][0], masks[2][0])


def test_dropout_is_off_outside_training_and_scales_gradients_within() -> None:
    layer, values = Dropout(0.5), torch.ones(1000, requires_grad=True)
    assert layer.eval()(values) is values
    assert Dropout(0.0).train()(values) is values
    output = layer.train()(values)
    output.sum().backward()
    assert values.grad is not None
    assert set(output.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(values.grad, output.detach())


def test_every_dropout_of_a_model_is_replaced(pretrained: Pretrained) -> None:
    network = new_classifier(pretrained, dropout=0.25, seed=0)
    before = [module.p for module in network.modules() if isinstance(module, nn.Dropout)]
    replace_dropout(network)
    assert [module.p for module in network.modules() if isinstance(module, Dropout)] == before
    assert not any(isinstance(module, nn.Dropout) for module in network.modules())


# --- attention


def heads() -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(2, 3, 5, 4), torch.randn(2, 3, 5, 4), torch.randn(2, 3, 5, 4)


PADDED = torch.tensor([True, True, True, False, False]).view(1, 1, 1, 5).expand(2, 1, 5, 5)


@pytest.mark.parametrize("mask", [None, PADDED], ids=["no mask", "padded"])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("scaling", [None, 0.3])
def test_attention_with_dropout_that_drops_nothing_is_torchs(
    scaling: float | None, causal: bool, mask: Tensor | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = nn.Module()
    module.is_causal = causal  # type: ignore[assignment]
    monkeypatch.setattr(attention_module, "keep_mask", lambda shape, *_, dtype: torch.ones(shape, dtype=dtype))
    exact, _ = attention(module, *heads(), mask, dropout=0.0, scaling=scaling)
    ours, weights = attention(module, *heads(), mask, dropout=0.1, scaling=scaling)
    assert weights is None
    assert torch.allclose(ours, exact, atol=1e-6)


def test_attention_drops_weights_and_keeps_the_expectation() -> None:
    module = nn.Module()
    module.is_causal = False  # type: ignore[assignment]
    parts = heads()
    exact, _ = attention(module, *parts, PADDED)
    draws = torch.stack([attention(module, *parts, PADDED, dropout=0.2)[0] for _ in range(3000)])
    assert torch.allclose(draws.mean(dim=0), exact, atol=0.06)
    assert draws.std(dim=0).min() > 0.02


# --- the model as a whole


def test_sped_up_model_gives_equal_logits_and_gradients(pretrained: Pretrained, toy_dataset: Dataset) -> None:
    material = material_of(pretrained, toy_dataset, rows=12)
    plain, fast = (new_classifier(pretrained, dropout=0.0, seed=1) for _ in range(2))
    speed_up(fast, tokens=material.encoded.vocabulary(), cpu=True)
    outputs = []
    for network in (plain.train(), fast.train()):
        logits = network(**batch(material)).logits
        logits.square().sum().backward()
        outputs.append(logits.detach())
    assert torch.allclose(outputs[0], outputs[1], atol=1e-5)
    gradients = {name: weight.grad for name, weight in plain.named_parameters()}
    compact = fast.get_input_embeddings()  # type: ignore[operator]
    assert isinstance(compact, CompactEmbedding)
    for name, weight in fast.named_parameters():
        expected = gradients[name]
        if expected is None:
            assert weight.grad is None
            continue
        expected = expected[compact.tokens] if weight is compact.weight else expected
        assert torch.allclose(weight.grad, expected, rtol=1e-3, atol=1e-4), name
    assert outputs[0].std() > 0.01


def test_sped_up_model_learns_with_dropout(pretrained: Pretrained, toy_dataset: Dataset) -> None:
    material = material_of(pretrained, toy_dataset, rows=48)
    config = replaced(
        RunConfig(),
        {"train.precision": "bf16", "train.batch_size": 12, "train.epochs": 10.0, "train.learning_rate": 2e-3},
    )
    network = new_classifier(pretrained, dropout=0.1, seed=0)
    speed_up(network, tokens=material.encoded.vocabulary(), cpu=True)
    trainee = new_trainee(config, network, material.labels, classes=2)
    losses = [log.loss.item() for log in train_steps(trainee, material, until=40)]
    assert np.mean(losses[-8:]) < 0.9 * np.mean(losses[:4])


@pytest.mark.parametrize("family", ["bert", "roberta", "electra", "distilbert"])
def test_last_layer_gives_the_first_token_alone(family: str, tiny_checkpoints: dict[str, Path]) -> None:
    checkpoint = load_pretrained(ModelConfig(name=str(tiny_checkpoints[family])), labels=LABELS)
    network = new_classifier(checkpoint, dropout=0.0, seed=0).eval()
    layers = [module for module in network.modules() if type(module).__name__.endswith(("Layer", "Block"))]
    layers = [layer for layer in layers if hasattr(layer, "attention")]
    shapes: list[Any] = []
    for layer in layers:
        layer.register_forward_hook(lambda module, arguments, output: shapes.append(tuple(output.shape)))
    ids = torch.tensor([FEW, FEW])
    exact = network(input_ids=ids).logits
    pool_early(network)
    shapes.clear()
    assert torch.allclose(network(input_ids=ids).logits, exact, atol=1e-6)
    assert [shape[1] for shape in shapes] == [4, 1]


def test_eager_attention_keeps_its_last_layer(bert: Pretrained) -> None:
    network = new_classifier(bert, dropout=0.0, seed=0).eval()
    network.set_attn_implementation("eager")  # type: ignore[operator]
    ids = torch.tensor([FEW])
    exact = network(input_ids=ids).logits
    pool_early(network)
    assert torch.equal(network(input_ids=ids).logits, exact)


# --- the embedding table


def test_rare_tokens_have_no_rows_and_looking_one_up_fails(bert: Pretrained) -> None:
    network = new_classifier(bert, dropout=0.0, seed=0)
    whole = network.get_input_embeddings().weight.detach().clone()  # type: ignore[operator]
    compact_embeddings(network, np.array(FEW))
    table = network.get_input_embeddings()  # type: ignore[operator]
    padding = bert.config.pad_token_id
    assert table.weight.shape == (5, tiny.HIDDEN)
    assert torch.equal(table(torch.tensor([9, padding])), whole[[9, padding]])
    with pytest.raises(IndexError):
        table(torch.tensor([3]))


def test_table_that_is_nearly_all_used_stays_as_it_is(bert: Pretrained) -> None:
    network = new_classifier(bert, dropout=0.0, seed=0)
    table = network.get_input_embeddings()  # type: ignore[operator]
    compact_embeddings(network, np.arange(len(bert.tokenizer)))
    assert network.get_input_embeddings() is table  # type: ignore[operator]
    make_whole(network, bert.weights, decay=0.5)
    assert network.get_input_embeddings() is table  # type: ignore[operator]


def test_training_with_the_cut_table_ends_with_the_weights_of_the_whole_one(
    pretrained: Pretrained, toy_dataset: Dataset
) -> None:
    material = material_of(pretrained, toy_dataset, rows=24)
    change = {"train.weight_decay": 2.0, "train.learning_rate": 1e-3, "train.epochs": 4.0, "train.batch_size": 8}
    config = replaced(RunConfig(), {"train.precision": "fp32", **change})
    results = []
    for cut in (False, True):
        network = new_classifier(pretrained, dropout=0.0, seed=0)
        if cut:
            compact_embeddings(network, material.encoded.vocabulary())
        trainee = new_trainee(config, network, material.labels, classes=2)
        for _ in train_steps(trainee, material, until=9):
            pass
        decay = decay_of_untouched(trainee, network.get_input_embeddings().weight)  # type: ignore[operator]
        make_whole(network, pretrained.weights, decay=decay)
        results.append(network.state_dict())
    assert 0.9 < decay < 0.995
    name = next(
        name for name in results[0] if name.endswith(("word_embeddings.weight", "wte.weight", "tok_embeddings.weight"))
    )
    assert results[0].keys() == results[1].keys()
    assert torch.allclose(results[1][name], results[0][name], atol=2e-5)
    rare = np.setdiff1d(np.arange(len(results[0][name])), [*material.encoded.vocabulary(), material.pad])
    assert len(rare) > 10
    assert torch.allclose(results[1][name][rare], pretrained.weights[name][rare] * decay, atol=1e-6)
