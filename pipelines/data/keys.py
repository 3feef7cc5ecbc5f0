"""A key for every text that says where it goes, whatever the order of the file."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]
"""(rows, 2): the first 128 bits of a hash of the normalised text."""


def text_keys(texts: Iterable[str], seed: int) -> Keys:
    """(rows, 2), equal for texts that differ only by case and white space; another seed shuffles them anew."""
    salted = hashlib.sha256(f"{seed}\n".encode())
    buffer = bytearray()
    for text in texts:
        state = salted.copy()
        state.update(normalized(text).encode())
        buffer += state.digest()[:16]
    return np.frombuffer(buffer, dtype=">u8").reshape(-1, 2).astype(np.uint64)


def normalized(text: str) -> str:
    """`text` in lower case, with one space wherever it has white space."""
    return " ".join(text.lower().split())


def by_key(keys: Keys, *ties: NDArray[Any]) -> NDArray[np.int64]:
    """(rows,) row indices in the order of the keys; `ties` decide between equal keys, the first one first."""
    return np.lexsort((*reversed(ties), keys[:, 1], keys[:, 0]))


def equal_keys(keys: Keys) -> NDArray[np.int64]:
    """(rows,) a number for each row, the same for rows with the same key, counted from 0 in the order of the keys."""
    order = by_key(keys)
    sorted_keys = keys[order]
    new = np.any(sorted_keys[1:] != sorted_keys[:-1], axis=1)
    numbers = np.empty(len(keys), np.int64)
    numbers[order] = np.concatenate(([0], np.cumsum(new)))
    return numbers


def canonical_order(keys: Keys, texts: Sequence[str], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """(rows,) row indices in an order that depends on the rows' content only.

    Rows of equal keys are ordered by their exact text and label; what is equal in both is interchangeable.
    """
    numbers = equal_keys(keys)
    exact = np.zeros(len(keys), np.uint64)
    for row in np.flatnonzero(np.bincount(numbers)[numbers] > 1):
        digest = hashlib.sha256(texts[int(row)].encode()).digest()
        exact[row] = int.from_bytes(digest[:8], "big")
    return by_key(keys, exact, labels)
