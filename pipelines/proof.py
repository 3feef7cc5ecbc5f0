"""Proof that a stored model can be used: a worker loads it as whoever serves it would, and asks it."""

from pathlib import Path

from pipelines import loader
from pipelines.segment import Watch


def prove(directory: Path, *, watch: Watch) -> None:
    """As `pipelines.loader.prove`, as a task. Raises `ModelError` where the model cannot be used."""
    loader.prove(directory)
