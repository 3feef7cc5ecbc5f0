"""Digests of test rows, and hashes of the texts that a training saw."""

import numpy as np

from pipelines.data import Split, rows_digest, text_hashes


def split(*rows: tuple[str, int]) -> Split:
    texts, labels = zip(*rows, strict=True)
    return Split(list(texts), np.array(labels, dtype=np.int64), [str(row) for row in range(len(rows))])


ROWS = (("a fine film", 1), ("dull", 0), ("dull", 0), ("odd", 1))


def test_test_rows_are_known_in_any_order_and_by_any_numbers_of_their_classes() -> None:
    digest = rows_digest(("bad", "good"), split(*ROWS))
    assert rows_digest(("bad", "good"), split(*reversed(ROWS))) == digest
    assert rows_digest(("good", "bad"), split(*((text, 1 - label) for text, label in ROWS))) == digest


def test_other_rows_are_told_apart() -> None:
    digests = {
        rows_digest(("bad", "good"), split(*rows))
        for rows in (ROWS, ROWS[:3], (*ROWS, ROWS[1]), (("A fine film", 1), *ROWS[1:]), (("a fine film", 0), *ROWS[1:]))
    }
    assert len(digests) == 5
    assert rows_digest(("poor", "good"), split(*ROWS)) not in digests


def test_each_different_text_has_one_hash_whatever_its_case_and_spaces() -> None:
    hashes = text_hashes(split(*ROWS), split(("  A  fine FILM", 0), ("new", 1)))
    assert (hashes.dtype, len(hashes)) == (np.uint64, 4)
    assert (np.diff(hashes.astype(object)) > 0).all()
    assert np.isin(text_hashes(split(("DULL", 0))), hashes).all()
    assert not np.isin(text_hashes(split(("dul", 0))), hashes).any()
    assert len(text_hashes()) == 0
