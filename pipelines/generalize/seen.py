"""Rows of another data set that a model has seen before: looked for first, since on them it is judged too kindly."""

import math
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.config import SPLIT_NAMES
from pipelines.data import Dataset, Split, near_duplicates, text_hashes
from pipelines.data.keys import normalized, text_keys
from pipelines.data.leakage import MAX_ROWS, MAX_SIZE
from pipelines.data.near import CROWD, MAX_CHARACTERS, THRESHOLD
from pipelines.data.wording import counted, shortened
from pipelines.files import built_once, digest, read_json, write_json

_SEEN = tuple(split for split in SPLIT_NAMES if split != "test")
_EXAMPLES = 5
_WIDTH = 80
_FORMAT = 1


@dataclass(frozen=True, eq=False)
class Home:
    """What is known of the rows that a model was made with."""

    dataset: Dataset | None
    """The data of its study; None where it is not here."""
    hashes: NDArray[np.uint64] | None
    """Of the texts that its training saw, see `data.text_hashes`; None where none are kept."""


@dataclass(frozen=True, eq=False)
class Seen:
    """Which rows a model's training, choice or calibration has seen."""

    exact: NDArray[np.bool_]
    """(rows,) whether the text stands there, whatever its case and spaces."""
    near: NDArray[np.bool_]
    """(rows,) whether it stands there in nearly the same words, and not exactly."""
    basis: str
    """What it was compared with."""
    examples: tuple[dict[str, Any], ...]
    """Up to five: `id`, `text`, `like` (the text that it is like), `of` (its row), `similarity` (0 to 1)."""

    @property
    def rows(self) -> NDArray[np.bool_]:
        """(rows,) those that were seen either way."""
        return np.asarray(self.exact | self.near, dtype=np.bool_)

    def in_words(self) -> str:
        """In one sentence."""
        count = int(self.rows.sum())
        if not count:
            return f"none of {counted(len(self.rows), 'row')} repeats {self.basis}"
        near = int(self.near.sum())
        return (
            f"{count:,} of {counted(len(self.rows), 'row')} repeat {self.basis} ({near:,} of them nearly); "
            "on these the model is judged too kindly"
        )


def find_seen(rows: Split, content: str, home: Home, *, cache: Path) -> Seen:
    """Compare rows, whose digest is `content`, with those that the model's training, choice or calibration saw.

    Near duplicates need the study's data; of large data a sample is compared. What was found is kept under `cache`.
    """
    if home.dataset is None:
        known = np.empty(0, np.uint64) if home.hashes is None else home.hashes
        basis = (
            "a text of the training (near duplicates: not looked for, the study's data is not here)"
            if home.hashes is not None
            else "anything known: neither the study's data nor hashes of its texts are here"
        )
        exact = np.isin(text_keys(rows.texts, seed=0)[:, 0], known)
        return Seen(exact, np.zeros(len(rows), np.bool_), basis, tuple(_repeats(rows, exact)))
    seen = {name: home.dataset.splits[name] for name in _SEEN}
    exact = np.isin(text_keys(rows.texts, seed=0)[:, 0], text_hashes(*seen.values()))
    settings = (_FORMAT, THRESHOLD, CROWD, MAX_CHARACTERS, MAX_ROWS, MAX_SIZE)
    found = built_once(
        cache / f"{digest(home.dataset.digest, content, *map(str, settings))}.json",
        read=_kept,
        write=lambda path: write_json(path, _compared(rows, seen)),
    )
    near = np.zeros(len(rows), np.bool_)
    near[[row for row, *_ in found["pairs"]]] = True
    examples = [*_pairs(rows, seen, found["pairs"], exact), *_repeats(rows, exact)][:_EXAMPLES]
    basis = "a row that training, choice or calibration saw"
    if found["share"] < 1:
        basis += f" (near duplicates: a sample of {found['share']:.0%} was compared)"
    return Seen(exact, near & ~exact, basis, tuple(examples))


def _kept(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] | None = read_json(path)
    except ValueError:
        return None
    return found


def _compared(rows: Split, seen: dict[Any, Split]) -> dict[str, Any]:
    """Each row that is like one of the model's, with that one and how like they are; and which share was compared."""
    total = len(rows) + sum(map(len, seen.values()))
    size = sum(min(len(text), MAX_CHARACTERS) for split in (rows, *seen.values()) for text in split.texts)
    share = min(1.0, MAX_ROWS / total, MAX_SIZE / max(1, size))
    places = [(name, row) for name, split in seen.items() for row in range(math.ceil(share * len(split)))]
    left = [normalized(text) for split in seen.values() for text in _first(split, share)]
    right = [normalized(text) for text in _first(rows, share)]
    best: dict[int, tuple[int, str, int, float]] = {}
    for one, other, similarity in near_duplicates(left, right):
        if left[one] != right[other] and similarity > best.get(other, (0, "", 0, 0.0))[3]:
            best[other] = (other, *places[one], round(similarity, 4))
    return {"share": share, "pairs": sorted(best.values())}


def _first(split: Split, share: float) -> list[str]:
    return list(islice(split.texts, math.ceil(share * len(split))))


def _pairs(rows: Split, seen: dict[Any, Split], pairs: list[Any], exact: NDArray[np.bool_]) -> list[dict[str, Any]]:
    near = sorted((pair for pair in pairs if not exact[pair[0]]), key=lambda pair: (-pair[3], pair[0]))
    return [
        {
            "id": rows.ids[row],
            "text": shortened(rows.texts[row], _WIDTH),
            "like": shortened(seen[name].texts[other], _WIDTH),
            "of": f"{seen[name].ids[other]} ({name})",
            "similarity": similarity,
        }
        for row, name, other, similarity in near[: _EXAMPLES - 2]
    ]


def _repeats(rows: Split, exact: NDArray[np.bool_]) -> list[dict[str, Any]]:
    texts = [(rows.ids[row], shortened(rows.texts[row], _WIDTH)) for row in np.flatnonzero(exact)[:_EXAMPLES].tolist()]
    return [{"id": id, "text": text, "like": text, "of": "the model's rows", "similarity": 1.0} for id, text in texts]
