"""One hash over everything that training and judging see."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from itertools import islice

from pipelines.config import SPLIT_NAMES, SplitName
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
