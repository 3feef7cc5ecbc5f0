"""Rows of one split that stand in another one in nearly the same words: told before any compute is spent."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.config import SPLIT_NAMES, SplitName
from pipelines.data.keys import normalized
from pipelines.data.near import CROWD, MAX_CHARACTERS, THRESHOLD, near_duplicates
from pipelines.data.values import Dataset, Split
from pipelines.data.wording import counted, listing, shortened
from pipelines.files import built_once, digest, read_json, write_json

MAX_ROWS = 20_000
MAX_SIZE = 10_000_000  # characters in all; both bounds keep the search below some ten seconds and a quarter of a GiB
_EXAMPLES = 3
_WIDTH = 60
_FORMAT = 1

Place = tuple[SplitName, int]
"""A row of a split."""


class Leakage(NamedTuple):
    """What a person should know about near duplicates, one sentence each."""

    notes: tuple[str, ...]
    """Counts, without the text of any row, so that they may stand in a model card."""
    examples: tuple[str, ...]
    """Up to three pairs with their rows and texts, those of the test split first."""


class _Pair(NamedTuple):
    one: Place
    two: Place
    similarity: float

    @property
    def across(self) -> bool:
        return self.one[0] != self.two[0]


def find_leakage(dataset: Dataset, cache: Path) -> Leakage:
    """The near duplicates across the splits of `dataset`, and within train. Equal texts are not told again.

    Large data are sampled, and the notes say so. What was found is kept in the directory `cache` by the data's digest,
    as places in the splits: these are the same for the same content, whatever file it came from.
    """
    settings = (_FORMAT, THRESHOLD, CROWD, MAX_CHARACTERS, MAX_ROWS, MAX_SIZE)
    found = built_once(
        cache / f"{digest(dataset.digest, *map(str, settings))}.json",
        read=_kept,
        write=lambda path: write_json(path, _compared(dataset.splits)),
    )
    return Leakage(tuple(_notes(found, dataset)), tuple(_examples(found, dataset)))


def _kept(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] | None = read_json(path)
    except ValueError:
        return None
    return found


def _compared(splits: Mapping[SplitName, Split]) -> dict[str, Any]:
    """By split, how many rows were compared and how many nearly repeat others; and the pairs to show."""
    sample = _sample(splits)
    places = [(name, row) for name, texts in sample.items() for row in range(len(texts))]
    texts = [normalized(text) for part in sample.values() for text in part]
    pairs = [
        _Pair(places[left], places[right], round(similarity, 4))
        for left, right, similarity in near_duplicates(texts)
        if texts[left] != texts[right]
    ]
    repeats = Counter(name for name, _ in {place for pair in pairs if pair.across for place in pair[:2]})
    repeats["train"] = len({pair.two for pair in pairs if pair.two[0] == "train"})  # which is the first split
    return {
        "compared": {name: len(part) for name, part in sample.items()},
        "repeats": {name: repeats[name] for name in SPLIT_NAMES},
        "examples": list(islice(_telling(pairs), _EXAMPLES)),
    }


def _sample(splits: Mapping[SplitName, Split]) -> dict[SplitName, list[str]]:
    """The same share of each split. Rows are ordered by a hash of their text, so the first ones are drawn at random."""
    share = min(1.0, MAX_ROWS / sum(map(len, splits.values())))
    sample = _first(splits, share)
    size = sum(min(len(text), MAX_CHARACTERS) for part in sample.values() for text in part)
    return sample if size <= MAX_SIZE else _first(splits, share * MAX_SIZE / size)


def _first(splits: Mapping[SplitName, Split], share: float) -> dict[SplitName, list[str]]:
    return {name: list(islice(splits[name].texts, math.ceil(share * len(splits[name])))) for name in SPLIT_NAMES}


def _telling(pairs: Sequence[_Pair]) -> Iterator[_Pair]:
    """The pairs worth showing: rows of test first, then the most similar, and no row twice."""
    seen: set[Place] = set()
    told = [pair for pair in pairs if pair.across or pair.two[0] == "train"]
    for pair in sorted(told, key=lambda pair: (-SPLIT_NAMES.index(pair.two[0]), -pair.similarity, pair)):
        if seen.isdisjoint(pair[:2]):
            seen.update(pair[:2])
            yield pair


def _notes(found: Mapping[str, Any], dataset: Dataset) -> Iterator[str]:
    compared, repeats = found["compared"], found["repeats"]
    across = [
        f"{repeats[name]:,} of {counted(compared[name], 'row')} of {name}"
        for name in reversed(SPLIT_NAMES)
        if name != "train" and repeats[name]
    ]
    if across:
        yield (
            f"near duplicates: {listing(across)} nearly repeat a row of another split, so scores on them flatter a "
            "model; delete such rows, or keep them together by data.group."
        )
    if repeats["train"]:
        rows = counted(compared["train"], "row")
        yield f"near duplicates: {repeats['train']:,} of {rows} of train nearly repeat another row of train."
    looked, total = sum(compared.values()), sum(map(len, dataset.splits.values()))
    if looked < total:
        more = "there may be more" if across or repeats["train"] else "none was found, but there may be some"
        yield f"near duplicates: only a sample of {looked:,} of {counted(total, 'row')} was compared; {more}."


def _examples(found: Mapping[str, Any], dataset: Dataset) -> Iterator[str]:
    for one, two, similarity in found["examples"]:
        rows = listing([_shown(dataset.splits[name], name, row) for name, row in (one, two)])
        yield f"near duplicates, for instance ({similarity:.0%} alike): {rows}."


def _shown(split: Split, name: SplitName, row: int) -> str:
    return f"{split.ids[row]} ({name}) {shortened(split.texts[row], _WIDTH)!r}"
