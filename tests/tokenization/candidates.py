"""Made-up tokenizers and texts."""

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing

from pipelines.data import Dataset
from pipelines.tokenization.candidates import Candidate
from pipelines.tokenization.corpus import Corpus
from pipelines.tokenization.measuring import Measures, measure
from tests import tiny

LICENSE = Path(__file__).parents[2] / "LICENSE"
TEXTS = [line.strip() for line in LICENSE.read_text(encoding="utf-8").splitlines() if line.strip()]


def a_candidate(name: str, backend: Any, *, unknown: int | None = 0, positions: int | None = None) -> Candidate:
    return Candidate(name, "checkpoint", f"the tokenizer of {name}", backend, unknown, positions)


def whole_words(*words: str, name: str = "words", ends: bool = True, lower: bool = False, **more: Any) -> Candidate:
    """A tokenizer that knows just these words, cut at white space, between two special tokens."""
    vocabulary = {word: number for number, word in enumerate(("[UNK]", "[CLS]", "[SEP]", *words))}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.add_special_tokens(["[UNK]", "[CLS]", "[SEP]"])
    if lower:
        backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    if ends:
        backend.post_processor = TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    return a_candidate(name, backend, **more)


def without_vocabulary() -> Candidate:
    """A byte-level tokenizer that came without its files: it makes nothing of any text."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    return a_candidate("empty", backend, unknown=None)


def measured(candidate: Candidate, *texts: str) -> Measures:
    return measure(candidate, Corpus.of(texts), None)


def a_dataset(train: list[str], select: list[str] | None = None) -> Dataset:
    base = tiny.dataset(sizes={"train": len(train), "select": len(select or []), "calibrate": 0, "test": 0})
    for name, texts in (("train", train), ("select", select or [])):
        base.splits[name].texts[:] = texts  # type: ignore[index]
    return base
