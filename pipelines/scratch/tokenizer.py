"""Tokenizers of the data's own: trained on its texts, always the same ones for the same texts."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing

from pipelines.errors import ConfigError

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
UNKNOWN = 1
"""Place of `[UNK]` among the special tokens, which come first in every vocabulary."""
TRAINED_ON = 200_000
"""Of more texts, so many are drawn to train on."""
SEED = 0
"""Draws the texts, where they are too many."""
USUAL = 4_000
"""Entries of a vocabulary whose size is not asked for, where the texts give so many."""
_SEEN: Mapping[str, Any] = {"min_frequency": 2}  # what stands once says nothing about other texts
_DIGITS = 4  # kept of log probabilities: they are summed in the order of a hash table, another one in each run
_ADDED = 0.001  # above the lowest score: who is there was added, and not weighed


@dataclass(frozen=True)
class Kind:
    """A way of making a vocabulary."""

    what: str
    cut: Callable[[], Any]
    """How texts are cut before pieces are sought."""
    decoder: Callable[[], Any]
    model: Callable[[], Any]
    trainer: Callable[..., Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further options of the trainer."""
    settled: Callable[[Any], Any] = lambda trained: trained.model
    """From a trained tokenizer to its model, without what chance left in it."""


def _words_and_punctuation() -> Any:
    # As SentencePiece does: white space is a character of the word that follows, punctuation stands alone.
    return pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation()])


def _unigram_in_order(trained: Any) -> Any:
    pieces = json.loads(trained.to_str())["model"]["vocab"][len(SPECIAL) :]
    lowest = min(score for _, score in pieces)
    # Characters that were added for completeness share the lowest score, but one of them, by chance, has a bit more.
    settled = [(piece, round(lowest if score < lowest + _ADDED else score, _DIGITS)) for piece, score in pieces]
    ordered = sorted(settled, key=lambda pair: (-pair[1], pair[0]))
    return models.Unigram([*((token, 0.0) for token in SPECIAL), *ordered], unk_id=UNKNOWN, byte_fallback=False)


KINDS: Mapping[str, Kind] = {
    "bpe": Kind(
        "byte-pair encoding of characters (Sennrich et al. 2016)",
        cut=_words_and_punctuation,
        decoder=decoders.Metaspace,
        model=lambda: models.BPE(unk_token="[UNK]"),
        trainer=trainers.BpeTrainer,
        options=_SEEN,
    ),
    "unigram": Kind(
        "unigram language model (Kudo 2018), as ALBERT and DeBERTa have it",
        cut=_words_and_punctuation,
        decoder=decoders.Metaspace,
        model=models.Unigram,
        trainer=trainers.UnigramTrainer,
        options={"unk_token": "[UNK]"},
        settled=_unigram_in_order,
    ),
    "wordpiece": Kind(
        "WordPiece (Schuster & Nakajima 2012), as BERT has it, with case and accents kept",
        cut=pre_tokenizers.BertPreTokenizer,
        decoder=decoders.WordPiece,
        model=lambda: models.WordPiece(unk_token="[UNK]"),
        trainer=trainers.WordPieceTrainer,
        options=_SEEN,
        settled=lambda trained: models.WordPiece(trained.get_vocab(), unk_token="[UNK]"),
    ),
    "bytes": Kind(
        "byte-pair encoding of bytes (Radford et al. 2019), as GPT-2 and RoBERTa have it",
        cut=lambda: pre_tokenizers.ByteLevel(add_prefix_space=False),
        decoder=decoders.ByteLevel,
        model=models.BPE,
        trainer=trainers.BpeTrainer,
        options={**_SEEN, "initial_alphabet": sorted(pre_tokenizers.ByteLevel.alphabet())},
    ),
}
"""What `--train` and `scratch:` know, by name: `config.TOKENIZERS`."""


def drawn(texts: Sequence[str], limit: int) -> list[str]:
    """All texts, or `limit` of them in their order: always the same for the same texts."""
    if len(texts) <= limit:
        return list(texts)
    rows = np.sort(np.random.default_rng(SEED).choice(len(texts), size=limit, replace=False))
    return [texts[row] for row in rows.tolist()]


def train_tokenizer(kind: str, size: int | None, texts: Sequence[str], *, alphabet: Sequence[str]) -> Any:
    """A tokenizers.Tokenizer of this kind which puts `[CLS]` and `[SEP]` around each text; the same for the same texts.

    It has `size` entries (None: 4,000), or as many as the texts give. `alphabet` is `alphabet_of` them. Raises
    `ConfigError` for a size below the alphabet.
    """
    least = len(SPECIAL) + len(alphabet)
    if size is not None and size < least:
        raise ConfigError(f"{kind} needs {least} at least, its special tokens and alphabet, not {size}")
    trained = _train(kind, size or max(USUAL, least), alphabet=alphabet, texts=texts)
    if size is not None and (got := trained.get_vocab_size()) > size:  # Unigram may need more than its alphabet
        raise ConfigError(f"{kind} needs {got} at least for these texts, not {size}")
    return trained


def alphabet_of(kind: str, texts: Sequence[str]) -> list[str]:
    """The single characters (or bytes) that a vocabulary of this kind cannot do without, in order."""
    # The trainer of Unigram refuses to stop at its alphabet; it is that of the pairs, since both cut alike.
    bare = KINDS["bpe"] if kind == "unigram" else KINDS[kind]
    return sorted(_fitted(bare, 0, special=(), texts=texts).get_vocab())


def _train(kind: str, size: int, *, alphabet: Sequence[str], texts: Sequence[str]) -> Any:
    """A trained tokenizers.Tokenizer, which puts `[CLS]` and `[SEP]` around each text."""
    how = KINDS[kind]
    # WordPiece numbers its alphabet in the order of a hash table, and settles equal counts by number: it comes first.
    special = [*SPECIAL, *alphabet] if kind == "wordpiece" else SPECIAL
    trained = _assembled(how, how.settled(_fitted(how, size, special=special, texts=texts)))
    trained.add_special_tokens(list(SPECIAL))
    ends = [(token, trained.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    trained.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    return trained


def _fitted(kind: Kind, size: int, *, special: Sequence[str], texts: Sequence[str]) -> Any:
    trainer = kind.trainer(vocab_size=size, special_tokens=list(special), show_progress=False, **kind.options)
    tokenizer = _assembled(kind, kind.model())
    tokenizer.train_from_iterator(texts, trainer, length=len(texts))
    return tokenizer


def _assembled(kind: Kind, model: Any) -> Any:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer, tokenizer.decoder = kind.cut(), kind.decoder()
    return tokenizer
