"""Proof that a stored model can be used: a worker loads it as whoever serves it would."""

from pathlib import Path

from pipelines.loader import open_model
from pipelines.segment import Watch


def prove(directory: Path, *, watch: Watch) -> None:
    """Verify a model's directory and load it. Raises `ModelError` where it cannot be used."""
    open_model(directory)
