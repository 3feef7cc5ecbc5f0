"""A tiny checkpoint and its data."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipelines.config import ModelConfig
from pipelines.data import Dataset
from pipelines.models import Pretrained, load_pretrained
from pipelines.tokens import encode
from pipelines.train import Material

from .trained import PLAIN


@pytest.fixture(scope="package")
def bert(tiny_bert: Path) -> Pretrained:
    return load_pretrained(ModelConfig(name=str(tiny_bert)), labels=("negative", "positive"))


@pytest.fixture(scope="package")
def material(toy_dataset: Dataset, bert: Pretrained) -> Material:
    split = toy_dataset.splits["train"]
    encoded = encode(split.texts, bert.tokenizer, PLAIN.tokens)
    return Material(encoded, split.labels, bert.tokenizer.pad_token_id)


@pytest.fixture(scope="package")
def uneven(material: Material) -> Material:
    """The same rows with labels of which one in five is positive."""
    return replace(material, labels=(np.arange(len(material.labels)) % 5 == 0).astype(np.int64))
