"""The tokenizers that are compared: those of checkpoints, by short name, hub id or directory."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pipelines.config import ModelConfig
from pipelines.families import FAMILIES
from pipelines.tokens import backend_of


@dataclass(frozen=True, eq=False)
class Candidate:
    """One tokenizer to compare."""

    name: str
    """As tables name it: `minilm`, `google-bert/bert-base-uncased`, `unigram 4000`."""
    origin: Literal["checkpoint", "trained"]
    what: str
    """Where it comes from, in words."""
    backend: Any
    """tokenizers.Tokenizer, which neither cuts nor pads."""
    unknown: int | None
    """Id of the unknown token; None where there is none."""
    positions: int | None
    """The longest input of its model, in tokens, special ones included; None where there is no limit or no model."""
    model: str | None = None
    """What `model.name` takes to train with it; None for a tokenizer without a model."""

    @property
    def specials(self) -> int:
        """How many special tokens are put around each text."""
        return int(self.backend.num_special_tokens_to_add(False))

    @property
    def size(self) -> int:
        """Entries of the vocabulary, special tokens included."""
        return int(self.backend.get_vocab_size(with_added_tokens=True))


def load_candidates(models: Iterable[str]) -> list[Candidate]:
    """The tokenizers of checkpoints, each once. Raises `ModelError` for one that cannot be loaded."""
    return named_apart([_load(name) for name in dict.fromkeys(models)])


def named_apart(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates with names that are all different: a second `checkpoint` becomes `checkpoint (2)`."""
    met: Counter[str] = Counter()
    apart = []
    for candidate in candidates:
        met[candidate.name] += 1
        count = met[candidate.name]
        apart.append(candidate if count == 1 else replace(candidate, name=f"{candidate.name} ({count})"))
    return apart


def _load(name: str) -> Candidate:
    from pipelines.models import load_config, load_tokenizer, longest_input  # imports torch, which takes seconds

    model = ModelConfig(name=name)
    tokenizer = load_tokenizer(model)
    backend = backend_of(tokenizer)
    backend.no_truncation()  # what its tokenizer.json cuts at or pads to is no trait of the tokenizer
    backend.no_padding()
    directory = Path(name).expanduser()
    bare = directory.is_dir() and not (directory / "config.json").is_file()
    return Candidate(
        name=directory.resolve().name if directory.is_dir() else name,
        origin="checkpoint",
        what=_origin(name, directory),
        backend=backend,
        unknown=tokenizer.unk_token_id,
        positions=_stated(tokenizer) if bare else longest_input(load_config(model, labels=("a", "b"))),
        model=None if bare else name,
    )


def _origin(name: str, directory: Path) -> str:
    if directory.is_dir():
        return f"a checkpoint in {directory}"
    return f"short for {FAMILIES[name].checkpoint}" if name in FAMILIES else "a checkpoint of the hub"


def _stated(tokenizer: Any) -> int | None:
    """The longest input that a tokenizer without a model states; transformers writes 1e30 where it states none."""
    return int(tokenizer.model_max_length) if tokenizer.model_max_length < 1e9 else None
