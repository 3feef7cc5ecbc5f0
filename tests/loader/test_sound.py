"""An exported model answers as the one in memory."""

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipelines import hpo_classifier
from pipelines.config import ModelConfig, TokensConfig
from pipelines.export import ModelFacts, read_facts
from pipelines.hpo_classifier import Classifier
from pipelines.loader import open_model, verify
from pipelines.models import Pretrained, load_pretrained
from pipelines.predictions import softmax
from pipelines.tokens import encode
from tests import tiny

from .sealed import LABELS, TEXTS, export


@torch.inference_mode()
def trained_probabilities(network: Any, pretrained: Pretrained, tokens: TokensConfig) -> Any:
    """What the model in memory says about each text alone, encoded as for training."""
    encoded = encode(TEXTS, pretrained.tokenizer, tokens)
    logits = []
    for row in range(len(TEXTS)):
        ids, mask = encoded.padded(np.array([row]), pretrained.tokenizer.pad_token_id)
        logits.append(network(torch.from_numpy(ids), attention_mask=torch.from_numpy(mask)).logits[0].numpy())
    return softmax(np.stack(logits))


@pytest.mark.parametrize("truncation", ["head", "tail"])
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_exported_model_answers_as_the_one_in_memory(
    family: str, truncation: Any, tiny_checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    from transformers import pipeline

    pretrained = load_pretrained(ModelConfig(name=str(tiny_checkpoints[family])), labels=LABELS)
    tokens = TokensConfig(max_length=12, truncation=truncation)
    network = export(pretrained, tmp_path / "model", tokens)
    expected = trained_probabilities(network, pretrained, tokens)
    assert float(np.ptp(expected[:, 1])) > 0.02  # texts differ, so equality means something

    classifier = open_model(tmp_path / "model")
    assert classifier.labels == LABELS
    assert classifier.probabilities(TEXTS) == pytest.approx(expected, abs=1e-5)

    answers = pipeline("text-classification", model=str(tmp_path / "model"), device="cpu")(
        [text for text in TEXTS if text], truncation=True
    )
    rows = [row for row, text in enumerate(TEXTS) if text]
    assert [answer["label"] for answer in answers] == [LABELS[expected[row].argmax()] for row in rows]
    assert [answer["score"] for answer in answers] == pytest.approx(expected[rows].max(axis=1), abs=1e-5)


def test_sound_model_is_verified_and_its_facts_are_read(model: Path) -> None:
    facts = verify(model)
    assert facts["labels"] == list(LABELS)
    assert set(facts["files"]) == {path.name for path in model.iterdir()} - {"hpo.json"}
    assert read_facts(model) == ModelFacts(labels=LABELS, max_length=12, truncation="head", schema=1)


def test_answers_do_not_depend_on_the_company(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = open_model(model)
    together = classifier.probabilities(TEXTS)
    assert together.sum(axis=1) == pytest.approx(np.ones(len(TEXTS)))
    assert np.concatenate([classifier.probabilities([text]) for text in TEXTS]) == pytest.approx(together, abs=1e-6)
    monkeypatch.setattr(Classifier, "batch_tokens", 1)
    assert classifier.probabilities(TEXTS) == pytest.approx(together, abs=1e-6)
    assert classifier.probabilities([]).shape == (0, 2)


def test_batches_hold_all_rows_within_the_limit() -> None:
    lengths = [3, 9, 1, 40, 9, 5, 5, 2]
    batches = hpo_classifier._batches(lengths, 20)
    assert sorted(row for batch in batches for row in batch) == list(range(8))
    assert all(len(batch) * max(lengths[row] for row in batch) <= 20 or len(batch) == 1 for batch in batches)
    assert [len(batch) for batch in batches] == [4, 2, 1, 1]


def test_classifier_stands_alone() -> None:
    tree = ast.parse(Path(hpo_classifier.__file__).read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "." for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {name for name in imported if name.partition(".")[0] in {"pipelines", "hpo", ""}}
