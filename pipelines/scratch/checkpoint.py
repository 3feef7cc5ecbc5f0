"""A checkpoint of random weights with a tokenizer of the data's own: a Hugging Face directory like any other."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pipelines.config import RunConfig, scratch_parts
from pipelines.errors import ConfigError
from pipelines.files import built_once, digest, new_directory, read_sealed, sha256, write_json
from pipelines.scratch.tokenizer import SPECIAL, TRAINED_ON, alphabet_of, drawn, train_tokenizer

_WEIGHTS = "model.safetensors"
_MADE = 1  # raised whenever the same recipe gives another checkpoint
_PER_HEAD = 64  # width of an attention head, as in all sizes of BERT (Turc et al. 2019)
_POSITIONS = 512  # at least; more where longer inputs are asked for


@dataclass(frozen=True)
class Recipe:
    """All that a checkpoint from scratch depends on beside the training texts."""

    kind: str
    size: int | None
    """Entries of the vocabulary; None: 4,000, or as many as the texts give."""
    layers: int
    heads: int
    positions: int
    """Longest input, in tokens."""
    seed: int
    """Draws the weights."""
    lowercase: bool
    normalize: str
    """What is done to a text before the tokenizer, which learns from texts like that."""

    @classmethod
    def of(cls, config: RunConfig) -> "Recipe | None":
        """What a configuration asks for; None where it names a pretrained checkpoint."""
        if (parts := scratch_parts(config.model.name)) is None:
            return None
        return cls(
            kind=parts[0],
            size=parts[1],
            layers=config.scratch.layers,
            heads=config.scratch.heads,
            positions=max(_POSITIONS, config.tokens.max_length),
            seed=config.seed,
            lowercase=config.tokens.lowercase,
            normalize=config.tokens.normalize,
        )

    def place(self, content: str, home: Path) -> Path:
        """Where it lies, or will; `content` is the digest of the training texts."""
        return home / "scratch" / digest(str(_MADE), content, json.dumps(asdict(self)))[:32]


def checkpoint(recipe: Recipe, texts: Callable[[], Sequence[str]], *, content: str, home: Path) -> Path:
    """The directory of a checkpoint, made at the first call: always the same for the same recipe and training texts.

    Of several processes that come at once, one makes it and the others wait for it. Raises `ConfigError` for a
    vocabulary that the texts do not give.
    """
    place = recipe.place(content, home)
    return built_once(
        place,
        read=lambda directory: directory if read_sealed(directory, _WEIGHTS) else None,
        write=lambda directory: _make(recipe, texts(), directory, content=content),
    )


def _refuse_fewer(recipe: Recipe, got: int) -> None:
    """The name of a model says how many entries its vocabulary has."""
    if recipe.size is not None and got != recipe.size:
        raise ConfigError(f"{recipe.kind} gets {got} from these texts, not {recipe.size}")


def _make(recipe: Recipe, texts: Sequence[str], directory: Path, *, content: str) -> None:
    from transformers import PreTrainedTokenizerFast

    from pipelines.hpo_classifier import Reading

    reading = Reading(recipe.positions, lowercase=recipe.lowercase, normalize=recipe.normalize)
    read = [reading.prepared(text) for text in drawn(texts, TRAINED_ON)]
    try:
        trained = train_tokenizer(recipe.kind, recipe.size, read, alphabet=alphabet_of(recipe.kind, read))
        _refuse_fewer(recipe, trained.get_vocab_size())
    except ConfigError as error:
        raise ConfigError(f"model.name: scratch: {error}; choose another size, or none") from error
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    special = dict(zip(names, SPECIAL, strict=True))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=trained, model_max_length=recipe.positions, **special)
    with new_directory(directory) as beside:
        tokenizer.save_pretrained(beside)
        _save_network(recipe, beside, vocabulary=len(tokenizer))
        # `content` says whose it is, for whoever tidies up.
        write_json(beside / "manifest.json", {"sha256": sha256(beside / _WEIGHTS), "content": content})


def _save_network(recipe: Recipe, directory: Path, *, vocabulary: int) -> None:
    """BERT's architecture with weights drawn from the seed; the noise of the process stays what it is."""
    import torch
    from transformers import BertConfig, BertModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    width = recipe.heads * _PER_HEAD
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        intermediate_size=4 * width,
        max_position_embeddings=recipe.positions,
        type_vocab_size=1,
        pad_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        BertModel(config).save_pretrained(directory)
