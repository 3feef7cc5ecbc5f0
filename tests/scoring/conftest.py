"""Chunks of a few rows, so that small files have many."""

import pytest

from pipelines.scoring import score


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten rows a chunk."""
    monkeypatch.setattr(score, "CHUNK", 10)
