"""The one door through which stored models come in: names, sizes and hashes first, then safetensors and JSON only."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import ModelError
from pipelines.export import FACTS_FILE
from pipelines.files import sha256

if TYPE_CHECKING:
    from pipelines.hpo_classifier import Classifier

ALLOWED = {
    "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "vocab.txt", "vocab.json", "merges.txt", "spiece.model", "sentencepiece.bpe.model",
    "chat_template.jinja", "README.md", FACTS_FILE,
}  # fmt: skip
_RUN_CODE = {"auto_map", "attn_implementation", "_attn_implementation"}  # the latter two: kernels from the hub
_SCHEMA = 1
_LARGEST = 20 * 2**30  # bytes


def verify(directory: Path) -> dict[str, Any]:
    """Check an exported model before anything in it is interpreted; returns its facts.

    Raises `ModelError` for a file that is missing, damaged, unknown, a link, or could make a library run code.
    """
    facts_file = directory / FACTS_FILE
    if not facts_file.is_file():
        raise ModelError(f"{directory}: no model of ours ({FACTS_FILE} is missing)")
    facts: dict[str, Any] = _json(facts_file)
    if facts.get("schema") != _SCHEMA:
        raise ModelError(f"{directory}: written by a newer version (schema {facts.get('schema')}); update hpo-finetune")
    if not isinstance(facts.get("files"), dict) or not isinstance(facts.get("labels"), list):
        raise ModelError(f"{facts_file}: damaged (files or labels are missing); pull the model again")
    for file in sorted(directory.rglob("*")):
        if file.is_symlink() or not file.is_file() or file.name not in ALLOWED or file.parent != directory:
            raise ModelError(
                f"{directory}: {file.relative_to(directory)} does not belong into a model; nothing was loaded"
            )
    for name, expected in facts["files"].items():
        _verify_file(directory / name, expected)
    for name in {file.name for file in directory.iterdir()} - set(facts["files"]) - {FACTS_FILE}:
        raise ModelError(f"{directory}: {name} was added after the model was written; nothing was loaded")
    config = _json(directory / "config.json")
    for key in sorted(_RUN_CODE & {*config, *_json(directory / "tokenizer_config.json")}):
        raise ModelError(f"{directory}: its configuration wants to run code ({key}); nothing was loaded")
    named = _classes(config)
    if named != list(facts["labels"]):
        raise ModelError(f"{directory}: config.json names the classes {named}, {FACTS_FILE} {facts['labels']}")
    return facts


def open_model(directory: Path) -> "Classifier":
    """Verify a model directory and load it. Raises `ModelError`."""
    import torch

    from pipelines.hpo_classifier import Classifier

    verify(directory)
    classifier = Classifier(directory)
    for name, tensor in classifier.model.state_dict().items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ModelError(f"{directory}: the weights {name} hold NaN or infinity")
    return classifier


def _verify_file(file: Path, expected: dict[str, Any]) -> None:
    if not file.is_file():
        raise ModelError(f"{file}: missing; pull the model again")
    size = file.stat().st_size
    if size > _LARGEST:
        raise ModelError(f"{file}: {size} bytes are more than a model may have")
    if size != expected["bytes"] or sha256(file) != expected["sha256"]:
        raise ModelError(f"{file}: damaged (its content is not what was written); pull the model again")


def _classes(config: dict[str, Any]) -> list[str]:
    """The class names of a config.json, in the order of their indices; empty where it numbers none."""
    try:
        return [name for _, name in sorted((int(index), name) for index, name in config["id2label"].items())]
    except (KeyError, ValueError, AttributeError):
        return []


def _json(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"{file}: missing; pull the model again") from error
    except (ValueError, OSError) as error:
        raise ModelError(f"{file}: damaged ({error}); pull the model again") from error
    if not isinstance(value, dict):
        raise ModelError(f"{file}: damaged (no JSON object); pull the model again")
    return value
