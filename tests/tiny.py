"""Tiny stand-ins: made-up sentences whose words decide the label, and random checkpoints of every family."""

import json
import random
import string
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.config import RunConfig, SplitName, replaced
from pipelines.data import Dataset, Split
from pipelines.data.digest import content_digest
from pipelines.segment import SegmentJob

_TELLING = {
    "negative": ("awful", "boring", "dreadful", "clumsy", "tedious", "bland"),
    "neutral": ("average", "ordinary", "typical", "usual", "plain", "standard"),
    "positive": ("wonderful", "brilliant", "charming", "superb", "delightful", "moving"),
}
_THINGS = ("film", "plot", "cast", "music", "ending", "script", "camera work", "dialogue", "second act", "director")
_ASIDES = (
    "as my brother said",
    "on a rainy sunday",
    "for the price of a ticket",
    "and nobody in the room laughed",
    "which the critics did not see coming",
    "long after the lights went on again",
)
_SIZES: dict[SplitName, int] = {"train": 240, "select": 60, "calibrate": 24, "test": 60}
_LABELS = {2: ("negative", "positive"), 3: ("negative", "neutral", "positive")}

HIDDEN = 32
_SPREAD = 0.2  # of the random weights: wide enough for logits that differ visibly from text to text
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def sentence(label: str, draw: random.Random) -> str:
    """One made-up opinion; its adjectives give the label away, everything else is noise."""
    clauses = [f"the {draw.choice(_THINGS)} was {draw.choice(_TELLING[label])}" for _ in range(draw.randint(1, 2))]
    return ", ".join([*clauses, *draw.sample(_ASIDES, draw.choice((0, 0, 1, 1, 2, 4)))])


def dataset(classes: int = 2, sizes: dict[SplitName, int] = _SIZES) -> Dataset:
    """Four splits of sentences; the classes take turns."""
    draw, labels = random.Random(classes), _LABELS[classes]
    splits: dict[SplitName, Split] = {}
    for name, rows in sizes.items():
        codes = np.arange(rows, dtype=np.int64) % classes
        texts = [sentence(labels[code], draw) for code in codes.tolist()]
        splits[name] = Split(texts, codes, [f"{name}:{row}" for row in range(rows)])
    return Dataset("toy", "toy", labels, splits, digest=content_digest(labels, splits), notes=())


def as_csv(rows: int = 160) -> str:
    """Two-class sentences as a CSV file, each once."""
    data = dataset(sizes={"train": rows, "select": 0, "calibrate": 0, "test": 0})
    split = data.splits["train"]
    lines = [f'"{text}",{data.labels[code]}' for text, code in zip(split.texts, split.labels.tolist(), strict=True)]
    return "\n".join(["text,label", *dict.fromkeys(lines)]) + "\n"


def job(model: Path, data: Path, home: Path, *, until: int = 10**6, **changes: Any) -> SegmentJob:
    """A quick trial on toy data. Changes are addresses: `{"train.epochs": 1.0}`."""
    config = replaced(
        RunConfig(),
        {
            "model.name": str(model),
            "tokens.max_length": 24,
            "train.epochs": 1.0,
            "train.batch_size": 24,
            "train.learning_rate": 1e-3,
            "train.evaluations": 2,
            "train.precision": "fp32",
            "train.checkpoint_seconds": 3600.0,
            **changes,
        },
    )
    return SegmentJob("toy/0", config, data, home / "trial", home / "cache", until=until)


@cache
def _corpus() -> list[str]:
    draw = random.Random(0)
    spelled = [f"{letter} x{letter}" for letter in string.ascii_lowercase + string.digits]
    return [*spelled, *(sentence(label, draw) for label in _TELLING for _ in range(150))]


@cache
def _word_pieces() -> dict[str, int]:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=list(_SPECIAL), show_progress=False)
    tokenizer.train_from_iterator(_corpus(), trainer)
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    return vocabulary


@cache
def _byte_pairs(special: tuple[str, ...]) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=list(special), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(_corpus(), trainer)
    return tokenizer


@cache
def _pieces(special: tuple[str, ...], unknown: str) -> list[tuple[str, float]]:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=250, special_tokens=list(special), unk_token=unknown, show_progress=False
    )
    tokenizer.train_from_iterator(_corpus(), trainer)
    return [(piece, score) for piece, score in json.loads(tokenizer.to_str())["model"]["vocab"]]


def _parts(tokenizer: Any) -> dict[str, Any]:
    """Vocabulary and merges of a byte-pair tokenizer, as the constructors of transformers take them."""
    model = json.loads(tokenizer.to_str())["model"]
    return {"vocab": model["vocab"], "merges": [tuple(merge) for merge in model["merges"]]}


def _bert() -> tuple[Any, Any]:
    from transformers import BertConfig, BertModel, BertTokenizer

    tokenizer = BertTokenizer(vocab=_word_pieces())
    return tokenizer, BertModel(BertConfig(vocab_size=len(tokenizer), intermediate_size=64, **_SHAPE))


def _distilbert() -> tuple[Any, Any]:
    from transformers import DistilBertConfig, DistilBertForMaskedLM, DistilBertTokenizer

    tokenizer = DistilBertTokenizer(vocab=_word_pieces())
    config = DistilBertConfig(
        vocab_size=len(tokenizer), dim=HIDDEN, hidden_dim=64, n_layers=2, n_heads=2, initializer_range=_SPREAD
    )
    return tokenizer, DistilBertForMaskedLM(config)


def _electra() -> tuple[Any, Any]:
    from transformers import ElectraConfig, ElectraModel, ElectraTokenizer

    tokenizer = ElectraTokenizer(vocab=_word_pieces())
    config = ElectraConfig(vocab_size=len(tokenizer), embedding_size=16, intermediate_size=64, **_SHAPE)
    return tokenizer, ElectraModel(config)


def _roberta() -> tuple[Any, Any]:
    from transformers import RobertaConfig, RobertaForMaskedLM, RobertaTokenizer

    tokenizer = RobertaTokenizer(**_parts(_byte_pairs(("<s>", "<pad>", "</s>", "<unk>", "<mask>"))))
    config = RobertaConfig(
        vocab_size=len(tokenizer), intermediate_size=64, max_position_embeddings=514, type_vocab_size=1, **_SHAPE
    )
    return tokenizer, RobertaForMaskedLM(config)


def _gpt2() -> tuple[Any, Any]:
    from transformers import GPT2Config, GPT2Model, GPT2Tokenizer

    tokenizer = GPT2Tokenizer(**_parts(_byte_pairs(("<|endoftext|>",))))
    end = tokenizer.eos_token_id
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_embd=HIDDEN,
        n_layer=2,
        n_head=2,
        initializer_range=_SPREAD,
        bos_token_id=end,
        eos_token_id=end,
    )
    return tokenizer, GPT2Model(config)


def _albert() -> tuple[Any, Any]:
    from transformers import AlbertConfig, AlbertModel, AlbertTokenizer

    tokenizer = AlbertTokenizer(vocab=_pieces(("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"), "<unk>"))
    config = AlbertConfig(
        vocab_size=len(tokenizer), embedding_size=16, intermediate_size=64, max_position_embeddings=512, **_SHAPE
    )
    return tokenizer, AlbertModel(config)


def _deberta() -> tuple[Any, Any]:
    from transformers import DebertaV2Config, DebertaV2Model, DebertaV2Tokenizer

    tokenizer = DebertaV2Tokenizer(vocab=_pieces(("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"), "[UNK]"), unk_id=3)
    config = DebertaV2Config(  # as deberta-v3-base has it
        vocab_size=len(tokenizer),
        intermediate_size=64,
        relative_attention=True,
        position_buckets=16,
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        pos_att_type=["p2c", "c2p"],
        position_biased_input=False,
        type_vocab_size=0,
        **_SHAPE,
    )
    return tokenizer, DebertaV2Model(config)


def _modernbert() -> tuple[Any, Any]:
    from tokenizers.processors import TemplateProcessing
    from transformers import ModernBertConfig, ModernBertForMaskedLM, PreTrainedTokenizerFast

    pairs = _byte_pairs(_SPECIAL)
    ends = [(token, pairs.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    pairs.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), _SPECIAL, strict=True))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=pairs, **names)
    config = ModernBertConfig(
        vocab_size=len(tokenizer),
        intermediate_size=64,
        max_position_embeddings=8192,
        local_attention=8,
        pad_token_id=tokenizer.pad_token_id,
        cls_token_id=tokenizer.cls_token_id,
        sep_token_id=tokenizer.sep_token_id,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id,
        **_SHAPE,
    )
    return tokenizer, ModernBertForMaskedLM(config)


_SHAPE = {"hidden_size": HIDDEN, "num_hidden_layers": 2, "num_attention_heads": 2, "initializer_range": _SPREAD}
_BUILDERS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "bert": _bert,
    "roberta": _roberta,
    "gpt2": _gpt2,
    "distilbert": _distilbert,
    "electra": _electra,
    "albert": _albert,
    "deberta": _deberta,
    "modernbert": _modernbert,
}
FAMILIES = tuple(_BUILDERS)


def save_checkpoint_of(family: str, home: Path) -> Path:
    """A random checkpoint without a classification head, as a plain Hugging Face directory."""
    import torch

    torch.manual_seed(0)
    directory = home / family
    tokenizer, network = _BUILDERS[family]()
    tokenizer.save_pretrained(directory)
    network.save_pretrained(directory)
    return directory
