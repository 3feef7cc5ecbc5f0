"""What a person should know about the rows of one table: repeated texts, contradictions, leaking labels."""

import re
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.data.keys import Keys, equal_keys
from pipelines.data.values import Table
from pipelines.data.wording import counted, numbered

_LEAK_SHARE = 0.9


def duplicates(table: Table, keys: Keys, *, codes: NDArray[np.int64], names: Sequence[str]) -> Iterator[str]:
    """Notes on texts that stand several times in one table, and on those of them with different labels."""
    numbers = equal_keys(keys)
    first = np.full(numbers.max() + 1, len(numbers))
    np.minimum.at(first, numbers, np.arange(len(numbers)))
    repeats = np.flatnonzero(first[numbers] != np.arange(len(numbers)))
    if len(repeats):
        where = numbered(table.rows[repeats], table.unit)
        yield f"{table.shown}: rows that repeat the text of an earlier row: {len(repeats):,} ({where})."
    conflicting = repeats[codes[repeats] != codes[first[numbers[repeats]]]]
    if len(conflicting):
        later = int(conflicting[0])
        earlier = int(first[numbers[later]])
        texts = len(np.unique(numbers[conflicting]))
        yield (
            f"{table.shown}: texts with different labels: {texts:,}, for instance {table.unit} {table.rows[earlier]} "
            f"({names[codes[earlier]]}) and {table.unit} {table.rows[later]} ({names[codes[later]]})."
        )


def label_leaks(table: Table, codes: NDArray[np.int64], names: Sequence[str]) -> Iterator[str]:
    """A note when nearly every text holds the name of its own class, and other texts hold it more rarely."""
    own = others = 0
    for code, name in enumerate(names):
        pattern = rf"(?i)(^|[^\pL\pN]){re.escape(name)}($|[^\pL\pN])"
        holds = pc.match_substring_regex(table.texts, pattern).to_numpy()
        own += int(holds[codes == code].sum())
        others += int(holds[codes != code].sum())
    rest = len(codes) * (len(names) - 1)
    if own >= _LEAK_SHARE * len(codes) and others / rest < own / len(codes) - 0.3:
        yield (
            f"{table.shown}: {own:,} of {counted(len(codes), 'text')} hold the name of their own label; a model that "
            "only spots it will look good, so check whether the label leaks into the text."
        )
