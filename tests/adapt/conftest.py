"""A bench for all tests of a file."""

from pathlib import Path

import pytest

from pipelines.data import Dataset

from .bench import Bench


@pytest.fixture(scope="package")
def bench(tiny_checkpoints: dict[str, Path], toy_dataset: Dataset) -> Bench:
    return Bench(tiny_checkpoints, toy_dataset)
