"""Several tokenizers side by side, and what follows from it in one sentence."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from pipelines.data import Dataset
from pipelines.scratch.tokenizer import SEED
from pipelines.tokenization.candidates import Candidate
from pipelines.tokenization.corpus import Corpus
from pipelines.tokenization.examples import Example, choose_examples
from pipelines.tokenization.measuring import Measures, measure
from pipelines.tokenization.verdict import verdict


@dataclass(frozen=True, eq=False)
class Comparison:
    """What was measured of each tokenizer on the same texts."""

    data: str
    """Name of the data set."""
    digest: str
    """Digest of the data set's content."""
    corpus: Corpus
    unseen: Corpus | None
    measures: tuple[Measures, ...]
    examples: tuple[Example, ...]

    @cached_property
    def verdict(self) -> str:
        """What follows from it, in plain words."""
        return verdict(self.measures)

    def basis(self) -> str:
        """On which texts it was measured."""
        texts, available = len(self.corpus.texts), self.corpus.available
        drawn = f"{texts:,} texts" if texts == available else f"a sample of {texts:,} of the {available:,} texts"
        beside = f"; unseen: {len(self.unseen.texts):,} texts of the select split" if self.unseen else ""
        return f"{drawn} of the train split of {self.data}{beside}"

    def as_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        return {
            "data": {
                "name": self.data,
                "digest": self.digest,
                "split": "train",
                "texts": len(self.corpus.texts),
                "available": self.corpus.available,
                "unseen_texts": len(self.unseen.texts) if self.unseen else 0,
                "seed": SEED,
            },
            "verdict": self.verdict,
            "tokenizers": [_as_json(one) for one in self.measures],
            "examples": [_example_as_json(one) for one in self.examples],
        }


def compare(
    candidates: Sequence[Candidate], dataset: Dataset, *, say: Callable[[str], None] = lambda _: None
) -> Comparison:
    """Measure every candidate on a sample of the train split, and its rates on the select split."""
    corpus = Corpus.of(dataset.splits["train"].texts)
    select = dataset.splits["select"].texts
    unseen = Corpus.of(select) if len(select) else None
    measures = []
    for candidate in candidates:
        say(f"measuring {candidate.name} on {len(corpus.texts):,} texts")
        measures.append(measure(candidate, corpus, unseen))
    examples = choose_examples(corpus.texts, candidates, [one.lengths for one in measures])
    return Comparison(dataset.name, dataset.digest, corpus, unseen, tuple(measures), tuple(examples))


def _as_json(one: Measures) -> dict[str, Any]:
    candidate, recommended = one.candidate, one.recommended
    return {
        "name": candidate.name,
        "origin": candidate.origin,
        "what": candidate.what,
        "broken": one.is_broken,
        "vocabulary": candidate.size,
        "vocabulary_used": one.used,
        "special_tokens_per_text": candidate.specials,
        "positions": candidate.positions,
        **asdict(one.seen),
        "unseen": asdict(one.unseen) if one.unseen else None,
        "survival": {name: asdict(survival) for name, survival in one.survival.items()},
        "lengths": _lengths(one),
        "truncation": [asdict(cut) for cut in one.cuts],
        "max_length": recommended.length,
        "max_length_reason": recommended.reason,
        "settings": one.settings,
        "texts_per_second": one.texts_per_second,
    }


def _lengths(one: Measures) -> dict[str, float]:
    median, most, nearly_all = np.quantile(one.lengths, [0.5, 0.9, 0.99]).tolist()
    mean, longest = float(one.lengths.mean()), int(one.lengths.max())
    return {"mean": mean, "median": median, "p90": most, "p99": nearly_all, "longest": longest}


def _example_as_json(one: Example) -> dict[str, Any]:
    tokens = {
        name: {"tokens": len(pieces), "pieces": [piece.text for piece in pieces], "line": line}
        for (name, pieces), line in zip(one.pieces.items(), one.lines().values(), strict=True)
    }
    return {"text": one.text, "why": one.why, "tokenizers": tokens}
