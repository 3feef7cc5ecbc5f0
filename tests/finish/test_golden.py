"""Golden predictions betray what is not the model that was written."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from pipelines import golden
from pipelines.errors import ModelError
from pipelines.export import read_facts, seal
from pipelines.golden import golden_texts, read_golden
from pipelines.hpo_classifier import Classifier
from pipelines.loader import open_model, prove, verify

from .trained import LABELS, export


def test_golden_texts_try_what_goes_wrong_and_are_longer_than_the_model_reads(trained: Path) -> None:
    texts = golden_texts(12)
    assert len(texts) == 16
    assert "" in texts
    tokenizer = Classifier(trained).tokenizer
    assert [len(tokenizer(text)["input_ids"]) > 12 for text in texts][-1]
    for length in (4, 128, 512):
        assert len(golden_texts(length)[-1].split()) >= length
    assert len(golden_texts(8192)[-1].split()) < 1300


def test_a_sound_model_is_proven(final: Path) -> None:
    found = read_golden(final)
    assert found is not None
    classifier = prove(final)
    assert classifier.device.type == "cpu"
    assert found.difference(classifier) < 1e-6


def test_a_model_of_an_older_release_is_proven_by_loading_it(trained: Path) -> None:
    assert prove(trained).labels == LABELS


def resealed(directory: Path) -> None:
    """As someone does who can write the hashes anew."""
    seal(directory, read_facts(directory))


def edit_golden(final: Path, **changes: Any) -> None:
    values = json.loads((final / "golden.json").read_text())
    (final / "golden.json").write_text(json.dumps(values | changes))


def test_other_weights_are_betrayed_by_their_answers(final: Path) -> None:
    weights = load_file(final / "model.safetensors")
    weights["classifier.bias"][0] += 0.01
    save_file(weights, final / "model.safetensors", metadata={"format": "pt"})
    resealed(final)
    open_model(final)
    with pytest.raises(ModelError) as caught:
        prove(final)
    text = str(caught.value)
    assert text.startswith(f"{final}: its answers are not those that it gave when it was written (probabilities differ")
    assert "by up to 2." in text, "the largest difference: a quarter of 0.01 at 0.5"
    assert text.endswith("e-03, 1e-05 are allowed); do not use it: pull it again, or train it again")


def test_a_difference_of_rounding_is_none(final: Path) -> None:
    values = json.loads((final / "golden.json").read_text())["probabilities"]
    for shift, sound in ((8e-6, True), (2e-5, False)):
        edit_golden(final, probabilities=[[row[0] + shift, row[1] - shift] for row in values])
        resealed(final)
        if sound:
            prove(final)
        else:
            with pytest.raises(ModelError, match="differ by up to 2"):
                prove(final)


def test_a_changed_golden_file_is_refused_by_its_hash(final: Path) -> None:
    edit_golden(final, texts=["x"])
    with pytest.raises(ModelError, match=r"golden\.json: damaged \(its content is not what was written\)"):
        verify(final)


BAD: dict[str, Any] = {
    "no rows": {"texts": [], "probabilities": []},
    "a row too many": {"texts": ["x"], "probabilities": [[0.5, 0.5], [0.5, 0.5]]},
    "ragged rows": {"texts": ["x", "y"], "probabilities": [[0.5], [0.5, 0.5]]},
    "no table": {"texts": ["x"], "probabilities": [0.5]},
    "no texts": {"texts": [1], "probabilities": [[0.5, 0.5]]},
    "null": {"texts": None},
}


@pytest.mark.parametrize("kind", BAD)
def test_golden_predictions_of_another_shape_are_refused_in_one_line(kind: str, final: Path) -> None:
    edit_golden(final, **BAD[kind])
    resealed(final)
    with pytest.raises(ModelError) as caught:
        prove(final)
    assert str(caught.value).startswith(f"{final}/golden.json: damaged (")
    assert "\n" not in str(caught.value)


def test_golden_predictions_of_another_model_are_refused(final: Path) -> None:
    for changes in (
        {"texts": ["x"], "probabilities": [[0.2, 0.3, 0.5]]},
        {"texts": ["x"] * 101, "probabilities": [[0.5, 0.5]] * 101},
    ):
        edit_golden(final, **changes)
        resealed(final)
        with pytest.raises(ModelError, match=r"golden\.json: not of this model"):
            prove(final)


def test_answers_that_are_no_numbers_are_no_proof(final: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Classifier, "probabilities", lambda self, texts: np.full((len(texts), 2), np.nan))
    with pytest.raises(ModelError, match="differ by up to inf"):
        prove(final)


def test_another_models_tokenizer_is_betrayed_by_golden_predictions(
    final: Path, tiny_checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    """M10: it has no more tokens than the model knows, and its hashes are written anew: only the answers tell."""
    other = export(tiny_checkpoints["electra"], tmp_path / "other")
    values = json.loads((other / "tokenizer.json").read_text())
    vocabulary = values["model"]["vocab"]
    turned = dict(zip(vocabulary, reversed(vocabulary.values()), strict=True))
    special = {name: vocabulary[name] for name in vocabulary if name.startswith("[")}
    free = sorted(set(turned.values()) - set(special.values()), reverse=True)
    values["model"]["vocab"] = special | dict(
        zip([name for name in vocabulary if name not in special], free, strict=True)
    )
    (final / "tokenizer.json").write_text(json.dumps(values))
    resealed(final)
    open_model(final)
    with pytest.raises(ModelError, match="its answers are not those that it gave"):
        prove(final)


def test_the_tolerance_is_the_promised_one() -> None:
    assert golden.TOLERANCE == 1e-5


def test_a_copy_elsewhere_is_as_good(final: Path, tmp_path: Path) -> None:
    prove(shutil.copytree(final, tmp_path / "elsewhere"))
