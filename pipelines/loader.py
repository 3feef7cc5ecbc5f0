"""The one door through which stored models come in: names, sizes and hashes first, then safetensors and JSON only."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.errors import ModelError
from pipelines.export import FACTS_FILE
from pipelines.files import sha256
from pipelines.golden import GOLDEN_FILE, TOLERANCE, read_golden

if TYPE_CHECKING:
    from pipelines.hpo_classifier import Classifier

ALLOWED = {
    "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "vocab.txt", "vocab.json", "merges.txt", "spiece.model", "sentencepiece.bpe.model",
    "chat_template.jinja", "README.md", GOLDEN_FILE, FACTS_FILE,
}  # fmt: skip
_NEEDED = ("config.json", "model.safetensors", "tokenizer_config.json")
_PARSED = ("config.json", "tokenizer_config.json", GOLDEN_FILE, FACTS_FILE)
# Keys with which a configuration names code: of its own, of a kernel on the hub, or of a library for packed weights.
_RUN_CODE = {
    "auto_map", "custom_pipelines", "quantization_config", "attn_implementation", "_attn_implementation",
    "_attn_implementation_internal", "experts_implementation", "_experts_implementation",
    "_experts_implementation_internal", "use_kernels", "kernel_config", "transformers_weights",
}  # fmt: skip
_SCHEMAS = (1, 2)
_LARGEST = 20 * 2**30  # bytes of a file
_LARGEST_JSON = 64 * 2**20  # bytes of a file that is parsed here, as a whole
_GOLDEN_TEXTS = 100  # at most: a proof takes seconds


def admit(name: str, size: int | None) -> None:
    """Refuse a file by its name and bytes (None: not known), before it is fetched or opened. Raises `ModelError`."""
    if name not in ALLOWED:
        raise ModelError(f"{name} does not belong into a model; nothing was loaded")
    if size is not None and size > (most := _LARGEST_JSON if name in _PARSED else _LARGEST):
        raise ModelError(f"{name}: {size} bytes are more than the {most} that it may have; nothing was loaded")


def verify(directory: Path) -> dict[str, Any]:
    """Check an exported model before anything in it is interpreted; returns its facts.

    Raises `ModelError` for a file that is missing, damaged, unknown, a link, or could make a library run code.
    """
    if not (directory / FACTS_FILE).is_file():
        raise ModelError(f"{directory}: no model of ours ({FACTS_FILE} is missing)")
    facts = _json(directory / FACTS_FILE)
    _verify_facts(directory, facts)
    for file in sorted(directory.rglob("*")):
        if file.is_symlink() or not file.is_file() or file.parent != directory:
            raise _foreign(directory, str(file.relative_to(directory)))
        _admit(directory, file.name, file.stat().st_size)
    for name, expected in facts["files"].items():
        _verify_file(directory / name, expected)
    for name in {file.name for file in directory.iterdir()} - set(facts["files"]) - {FACTS_FILE}:
        raise ModelError(f"{directory}: {name} was added after the model was written; nothing was loaded")
    config = _json(directory / "config.json")
    for key in sorted(_RUN_CODE & {*_keys(config), *_keys(_json(directory / "tokenizer_config.json"))}):
        raise ModelError(f"{directory}: its configuration wants to run code ({key}); nothing was loaded")
    named = _classes(config)
    if named != list(facts["labels"]):
        raise ModelError(f"{directory}: config.json names the classes {named}, {FACTS_FILE} {facts['labels']}")
    return facts


def open_model(directory: Path, *, device: str | None = None) -> "Classifier":
    """Verify a model directory and load it, on the accelerator where there is one by default. Raises `ModelError`."""
    import torch

    verify(directory)
    classifier = _loaded(directory, device)
    for name, tensor in classifier.model.state_dict().items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ModelError(f"{directory}: the weights {name} hold NaN or infinity")
    rows, last = classifier.model.get_input_embeddings().num_embeddings, max(classifier.tokenizer.get_vocab().values())
    if last >= rows:
        raise ModelError(
            f"{directory}: the tokenizer gives tokens up to {last}, the model knows {rows}; it is another model's"
        )
    return classifier


def prove(directory: Path) -> "Classifier":
    """Verify a model, load it on the CPU, and hold its answers against its golden predictions; returns it.

    A model without golden predictions, written by an older release, is only verified and loaded. Raises `ModelError`.
    """
    classifier = open_model(directory, device="cpu")
    try:
        golden = read_golden(directory)
    except ValueError as error:
        raise ModelError(f"{directory / GOLDEN_FILE}: damaged ({error}); pull the model again") from error
    if golden is None:
        return classifier
    if len(golden.texts) > _GOLDEN_TEXTS or golden.probabilities.shape[1] != len(classifier.labels):
        raise ModelError(f"{directory / GOLDEN_FILE}: not of this model ({golden.probabilities.shape} probabilities)")
    difference = golden.difference(classifier)
    if difference > TOLERANCE:
        raise ModelError(
            f"{directory}: its answers are not those that it gave when it was written (probabilities differ by up to "
            f"{difference:.1e}, {TOLERANCE:.0e} are allowed); do not use it: pull it again, or train it again"
        )
    return classifier


def _loaded(directory: Path, device: str | None) -> "Classifier":
    from safetensors import SafetensorError

    from pipelines.hpo_classifier import Classifier

    try:
        return Classifier(directory, device=device)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"{directory}: cannot be loaded ({reason}); pull the model again") from error


def _admit(directory: Path, name: str, size: int) -> None:
    try:
        admit(name, size)
    except ModelError as error:
        raise ModelError(f"{directory}: {error}") from error


def _foreign(directory: Path, name: str) -> ModelError:
    return ModelError(f"{directory}: {name} does not belong into a model; nothing was loaded")


def _verify_facts(directory: Path, facts: dict[str, Any]) -> None:
    """Raise `ModelError` where `hpo.json` is not of the shape that the rest relies on."""
    where = directory / FACTS_FILE
    if facts.get("schema") not in _SCHEMAS:
        raise ModelError(f"{directory}: written by a newer version (schema {facts.get('schema')}); update hpo-finetune")
    if not isinstance(facts.get("files"), dict) or not isinstance(facts.get("labels"), list):
        raise ModelError(f"{where}: damaged (files or labels are missing); pull the model again")
    for name, entry in facts["files"].items():
        if name not in ALLOWED:
            raise _foreign(directory, name)
        if not _is_entry(entry):
            raise ModelError(f"{where}: damaged (no size and hash of {name}); pull the model again")
    for name in _NEEDED:
        if name not in facts["files"]:
            raise ModelError(f"{directory / name}: missing; pull the model again")
    if fault := _fault_of_tokens(facts):
        raise ModelError(f"{where}: damaged ({fault}); pull the model again")
    thresholds = (facts.get("calibration") or {}).get("thresholds")
    if thresholds is not None and not _are_thresholds(thresholds, classes=len(facts["labels"])):
        raise ModelError(f"{where}: damaged (thresholds {str(thresholds)[:80]}); pull the model again")


def _fault_of_tokens(facts: dict[str, Any]) -> str | None:
    """What is wrong with the facts that say how texts become tokens."""
    read = {"lowercase": False, "normalize": "none"} | facts  # older models do not have these
    length, truncation = read.get("max_length"), read.get("truncation")
    if not isinstance(length, int) or length < 1 or truncation not in ("head", "tail", "head_tail"):
        return f"max_length {length}, truncation {truncation}"
    if not isinstance(read["lowercase"], bool) or read["normalize"] not in ("none", "nfkc"):
        return f"lowercase {read['lowercase']}, normalize {read['normalize']}"
    return None


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("bytes"), int) and isinstance(entry.get("sha256"), str)


def _are_thresholds(values: Any, *, classes: int) -> bool:
    """Whether these are positive finite numbers, one for each class."""
    if not isinstance(values, list) or len(values) != classes or not all(type(one) in {int, float} for one in values):
        return False
    return all(0 < one < np.inf for one in values)


def _verify_file(file: Path, expected: dict[str, Any]) -> None:
    if not file.is_file():
        raise ModelError(f"{file}: missing; pull the model again")
    if file.stat().st_size != expected["bytes"] or sha256(file) != expected["sha256"]:
        raise ModelError(f"{file}: damaged (its content is not what was written); pull the model again")


def _classes(config: dict[str, Any]) -> list[str]:
    """The class names of a config.json, in the order of their indices; empty where it numbers none."""
    try:
        return [name for _, name in sorted((int(index), name) for index, name in config["id2label"].items())]
    except (KeyError, ValueError, AttributeError):
        return []


def _keys(config: dict[str, Any]) -> Iterator[str]:
    """All keys of a configuration, at any depth: a nested one is read as the outer one is. Class names are no keys."""
    waiting: list[Any] = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield from value
            waiting += [inner for key, inner in value.items() if key != "label2id"]
        elif isinstance(value, list):
            waiting += value


def _json(file: Path) -> dict[str, Any]:
    try:
        if (size := file.stat().st_size) > _LARGEST_JSON:
            raise ModelError(f"{file}: {size} bytes are more than the {_LARGEST_JSON} that it may have")
        value = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"{file}: missing; pull the model again") from error
    except (ValueError, OSError, RecursionError) as error:
        raise ModelError(f"{file}: damaged ({error}); pull the model again") from error
    if not isinstance(value, dict):
        raise ModelError(f"{file}: damaged (no JSON object); pull the model again")
    return value
