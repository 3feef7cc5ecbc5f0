"""Hashes of rows: one over everything that training and judging see, one over a split, one for each text."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from pipelines.config import SPLIT_NAMES, SplitName
from pipelines.data.keys import text_keys
from pipelines.data.values import Split

_BATCH = 8192


def content_digest(labels: Sequence[str], splits: Mapping[SplitName, Split]) -> str:
    """sha256 in hex of the class names and of every split's (text, class) rows in their order."""
    state = hashlib.sha256(json.dumps(list(labels)).encode())
    for name in SPLIT_NAMES:
        split = splits[name]
        state.update(f"\n{name} {len(split)}\n".encode())
        rows = zip(split.texts, split.labels.tolist(), strict=True)
        while batch := list(islice(rows, _BATCH)):
            # JSON keeps neighbours apart: ("ab", "c") and ("a", "bc") are different rows.
            state.update(json.dumps(batch).encode())
    return state.hexdigest()


def rows_digest(labels: Sequence[str], split: Split) -> str:
    """sha256 in hex of a split's (text, class name) rows, whatever their order and the numbers of the classes."""
    rows = zip(split.texts, split.labels.tolist(), strict=True)
    digests = sorted(hashlib.sha256(json.dumps([text, labels[label]]).encode()).digest() for text, label in rows)
    return hashlib.sha256(b"".join(digests)).hexdigest()


def text_hashes(*splits: Split) -> NDArray[np.uint64]:
    """(texts,) 64 bits of a hash of each different text of these splits, sorted; case and white space do not count.

    Of a million texts two different ones meet with a chance of one in 40 million.
    """
    found = [text_keys(split.texts, seed=0)[:, 0] for split in splits]
    return np.unique(np.concatenate(found)) if found else np.empty(0, np.uint64)
