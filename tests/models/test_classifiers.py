"""Checkpoints of every family become fresh classifiers."""

from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.config import ModelConfig
from pipelines.models import (
    DROPOUT_FIELDS,
    Pretrained,
    load_config,
    load_pretrained,
    load_tokenizer,
    longest_input,
    new_classifier,
)
from tests import tiny

LABELS = ("negative", "positive")

TEXTS = ["awful", "the film was wonderful", "the plot was boring, on a rainy sunday, as my brother said"]


@pytest.fixture(params=tiny.FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def pretrained(family: str, tiny_checkpoints: dict[str, Path]) -> Pretrained:
    return load_pretrained(ModelConfig(name=str(tiny_checkpoints[family])), labels=LABELS)


def batch(pretrained: Pretrained, texts: list[str]) -> dict[str, torch.Tensor]:
    rows = [torch.tensor(pretrained.tokenizer(text)["input_ids"]) for text in texts]
    pad = torch.nn.utils.rnn.pad_sequence
    ids = pad(rows, batch_first=True, padding_value=pretrained.tokenizer.pad_token_id)
    mask = pad([torch.ones_like(row) for row in rows], batch_first=True)
    return {"input_ids": ids, "attention_mask": mask}


@torch.inference_mode()
def logits(network: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    result: torch.Tensor = network(**inputs).logits
    return result


def test_logits_are_those_of_from_pretrained_with_the_same_head(
    pretrained: Pretrained, family: str, tiny_checkpoints: dict[str, Path]
) -> None:
    from transformers import AutoModelForSequenceClassification

    network = new_classifier(pretrained, dropout=None, seed=3).eval()
    theirs = AutoModelForSequenceClassification.from_pretrained(
        tiny_checkpoints[family], num_labels=2, pad_token_id=pretrained.tokenizer.pad_token_id
    ).eval()
    assert pretrained.fresh
    theirs.load_state_dict({name: network.state_dict()[name] for name in pretrained.fresh}, strict=False)
    inputs = batch(pretrained, TEXTS)
    ours = logits(network, inputs)
    assert torch.allclose(ours, logits(theirs, inputs), rtol=0, atol=1e-6)
    assert float(ours.std(dim=0).min()) > 0.01  # texts differ, so equality means something


def test_padding_does_not_change_the_logits(pretrained: Pretrained) -> None:
    network = new_classifier(pretrained, dropout=None, seed=3).eval()
    alone = torch.cat([logits(network, batch(pretrained, [text])) for text in TEXTS])
    assert torch.allclose(logits(network, batch(pretrained, TEXTS)), alone, rtol=0, atol=1e-5)


def test_only_the_head_is_drawn_and_the_seed_draws_it(pretrained: Pretrained) -> None:
    first, again, other = (new_classifier(pretrained, dropout=None, seed=seed).state_dict() for seed in (1, 1, 2))
    drawn = {name for name in first if not torch.equal(first[name], other[name])}
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert drawn
    assert drawn <= set(pretrained.fresh)
    assert set(pretrained.fresh) - drawn <= {name for name in pretrained.fresh if name.endswith("bias")}


def test_the_drawn_head_has_the_spread_that_the_family_draws(pretrained: Pretrained) -> None:
    weights = new_classifier(pretrained, dropout=None, seed=1).state_dict()
    for name in pretrained.fresh:
        if name.endswith("bias"):
            assert not weights[name].any(), name
        else:
            assert 0.02 < float(weights[name].std()) < 0.5, name


def test_training_one_classifier_leaves_the_checkpoint_and_the_others_alone(pretrained: Pretrained) -> None:
    first, second = (new_classifier(pretrained, dropout=None, seed=0) for _ in range(2))
    others = [second.state_dict(), pretrained.weights]
    before = [{name: tensor.clone() for name, tensor in weights.items()} for weights in others]
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.add_(1.0)
    for weights, old in zip(others, before, strict=True):
        assert all(torch.equal(tensor, old[name]) for name, tensor in weights.items())


def test_sampled_dropout_arrives_in_every_layer(pretrained: Pretrained) -> None:
    network = new_classifier(pretrained, dropout=0.37, seed=0)
    kept = {name: value for name, value in network.config.to_dict().items() if "drop" in name and value is not None}
    kept.pop("qa_dropout", None)  # DistilBERT's question answering
    assert kept
    assert set(kept.values()) == {0.37}
    layers = [module for module in network.modules() if "dropout" in type(module).__name__.lower()]
    assert layers
    assert {getattr(layer, "p", getattr(layer, "drop_prob", None)) for layer in layers} == {0.37}


def test_dropout_of_zero_silences_training_noise_and_more_makes_it(pretrained: Pretrained) -> None:
    def noise(dropout: float) -> float:
        network, results = new_classifier(pretrained, dropout=dropout, seed=0).train(), []
        for seed in (1, 2):
            torch.manual_seed(seed)
            results.append(logits(network, batch(pretrained, TEXTS)))
        return float((results[0] - results[1]).abs().max())

    assert noise(0.0) == 0.0
    assert noise(0.5) > 0.01


def test_left_out_dropout_keeps_the_checkpoints_own(pretrained: Pretrained) -> None:
    network = new_classifier(pretrained, dropout=None, seed=0)
    for name in DROPOUT_FIELDS:
        assert getattr(network.config, name, None) == getattr(pretrained.config, name, None)


def test_classes_arrive_in_the_configuration(family: str, tiny_checkpoints: dict[str, Path]) -> None:
    three = ("negative", "neutral", "positive")
    pretrained = load_pretrained(ModelConfig(name=str(tiny_checkpoints[family])), labels=three)
    network = new_classifier(pretrained, dropout=None, seed=0).eval()
    assert network.config.id2label == {0: "negative", 1: "neutral", 2: "positive"}
    assert network.config.label2id == {"negative": 0, "neutral": 1, "positive": 2}
    assert logits(network, batch(pretrained, TEXTS)).shape == (3, 3)


def test_every_tokenizer_can_pad_and_the_model_knows_how(pretrained: Pretrained) -> None:
    assert pretrained.tokenizer.padding_side == "right"
    assert pretrained.tokenizer.pad_token_id is not None
    assert pretrained.config.pad_token_id == pretrained.tokenizer.pad_token_id


def test_gpt2_pads_with_its_end_token(tiny_checkpoints: dict[str, Path]) -> None:
    tokenizer = load_tokenizer(ModelConfig(name=str(tiny_checkpoints["gpt2"])))
    assert (tokenizer.pad_token, tokenizer.pad_token_id) == ("<|endoftext|>", tokenizer.eos_token_id)


def test_a_head_of_another_size_is_drawn_anew(tiny_bert: Path, tmp_path: Path) -> None:
    pretrained = load_pretrained(ModelConfig(name=str(tiny_bert)), labels=("a", "b", "c", "d", "e"))
    new_classifier(pretrained, dropout=None, seed=0).save_pretrained(tmp_path / "five")  # type: ignore[operator]
    pretrained.tokenizer.save_pretrained(tmp_path / "five")
    again = load_pretrained(ModelConfig(name=str(tmp_path / "five")), labels=LABELS)
    assert again.fresh == ("classifier.bias", "classifier.weight")
    assert again.weights["classifier.weight"].shape == (2, tiny.HIDDEN)


def test_a_head_of_the_right_size_is_kept(tiny_bert: Path, tmp_path: Path) -> None:
    pretrained = load_pretrained(ModelConfig(name=str(tiny_bert)), labels=LABELS)
    network = new_classifier(pretrained, dropout=None, seed=5)
    network.save_pretrained(tmp_path / "two")  # type: ignore[operator]
    pretrained.tokenizer.save_pretrained(tmp_path / "two")
    again = load_pretrained(ModelConfig(name=str(tmp_path / "two")), labels=LABELS)
    assert again.fresh == ()
    state = new_classifier(again, dropout=None, seed=9).state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize(
    ("family", "limit"),
    [
        ("bert", 512),
        ("roberta", 512),  # of 514 rows
        ("gpt2", 1024),
        ("distilbert", 512),
        ("electra", 512),
        ("albert", 512),
        ("deberta", 512),
        ("modernbert", 8192),
    ],
)
def test_longest_input_is_what_the_model_can_take(family: str, limit: int, tiny_checkpoints: dict[str, Path]) -> None:
    assert longest_input(load_config(ModelConfig(name=str(tiny_checkpoints[family])), labels=LABELS)) == limit


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "electra", "albert", "gpt2"])
def test_longest_input_works_and_one_token_more_does_not(family: str, tiny_checkpoints: dict[str, Path]) -> None:
    pretrained = load_pretrained(ModelConfig(name=str(tiny_checkpoints[family])), labels=LABELS)
    network = new_classifier(pretrained, dropout=None, seed=0).eval()
    limit = longest_input(pretrained.config)
    assert limit is not None
    assert logits(network, _ones(limit)).isfinite().all()
    with pytest.raises((IndexError, RuntimeError)):
        logits(network, _ones(limit + 1))


def _ones(length: int) -> dict[str, torch.Tensor]:
    return {"input_ids": torch.full((1, length), 6), "attention_mask": torch.ones(1, length, dtype=torch.long)}


def test_a_model_without_a_table_of_positions_has_no_limit(tiny_bert: Path) -> None:
    config = load_config(ModelConfig(name=str(tiny_bert)), labels=LABELS)
    config.max_position_embeddings = -1
    assert longest_input(config) is None
