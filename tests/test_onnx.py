"""Models in ONNX Runtime: the same answers as PyTorch's, or a clear refusal."""

import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.calibration import CalibrationFacts
from pipelines.config import ModelConfig, TokensConfig
from pipelines.errors import ModelError
from pipelines.export import export_model, read_facts, seal
from pipelines.files import read_json
from pipelines.golden import golden_texts
from pipelines.hpo_classifier import Classifier
from pipelines.models import load_pretrained, new_classifier
from pipelines.onnx import Format, exporting, runtime
from pipelines.onnx.exporting import Trial, export_onnx
from pipelines.onnx.parity import Parity, compare_answers
from pipelines.onnx.runtime import FILE, OnnxClassifier, open_onnx, refuse_other_answers
from pipelines.onnx.write import write_onnx

LABELS = ("negative", "positive")
TEXTS = ["the film was wonderful", "the plot was bland, boring, and the music was loud", "", "🙂"]
TOKENS = TokensConfig(max_length=12, truncation="head_tail")
OTHERS = ["roberta", "gpt2", "distilbert", "electra", "albert", "deberta", "modernbert"]


def a_model(checkpoint: Path, directory: Path) -> Path:
    """An untrained classifier, as a trial leaves it."""
    pretrained = load_pretrained(ModelConfig(name=str(checkpoint)), labels=LABELS)
    network = new_classifier(pretrained, dropout=None, seed=1).eval()
    export_model(network, pretrained.tokenizer, directory, labels=LABELS, tokens=TOKENS)
    return directory


@pytest.fixture(scope="module")
def model(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return a_model(tiny_bert, tmp_path_factory.mktemp("onnx") / "model")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exports")


def test_onnx_gives_pytorchs_answers_whatever_the_shape_and_company(model: Path, home: Path) -> None:
    ours, theirs = open_onnx(model, int8=False, home=home), Classifier(model, device="cpu")
    texts = [*TEXTS, *golden_texts(12)]
    expected = theirs.probabilities(texts)
    assert ours.probabilities(texts) == pytest.approx(expected, abs=1e-5)
    assert np.concatenate([ours.probabilities([text]) for text in texts]) == pytest.approx(expected, abs=1e-5)
    assert (ours.labels, ours.max_length) == (LABELS, 12)
    assert ours.encode(texts) == theirs.encode(texts)


def test_batches_computed_beside_one_another_are_answered_in_order(
    model: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OnnxClassifier, "batch_tokens", 24)
    texts = [text * (1 + number % 3) for number, text in enumerate([*TEXTS, *golden_texts(12)] * 3)]
    seen: list[None] = []
    classifier = open_onnx(model, int8=False, home=home)
    found = classifier.probabilities(texts, each=lambda: seen.append(None))
    assert found == pytest.approx(Classifier(model, device="cpu").probabilities(texts), abs=1e-5)
    assert len(seen) > 10
    if sys.platform == "linux":
        policy = classifier._cores.submit(os.sched_getscheduler, 0).result()
        assert (policy, os.sched_getscheduler(0)) == (os.SCHED_BATCH, os.SCHED_OTHER), "who answers goes first"


def test_a_model_is_exported_once_and_a_damaged_export_anew(
    model: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_onnx(model, int8=False, home=home)
    written: list[Path] = []

    def spied(classifier: Classifier, target: Path, *, int8: bool) -> None:
        written.append(target)
        write_onnx(classifier, target, int8=int8)

    monkeypatch.setattr(runtime, "write_onnx", spied)
    open_onnx(model, int8=False, home=home)
    assert not written
    (file,) = home.glob(f"*/{FILE}")
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    open_onnx(model, int8=False, home=home)
    assert len(written) == 1


def test_another_process_exports_while_this_one_answers(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(runtime, "_build", lambda *_: pytest.fail("exported here"))
        found = open_onnx(model, int8=False, home=tmp_path, aside=True)
    assert found.probabilities(TEXTS) == pytest.approx(Classifier(model, device="cpu").probabilities(TEXTS), abs=1e-5)
    shutil.copytree(model, tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="model"):
        open_onnx(tmp_path / "model", int8=True, home=tmp_path, aside=True)


def test_eight_bits_are_another_export_with_nearly_the_same_answers(model: Path, tmp_path: Path) -> None:
    found = open_onnx(model, int8=True, home=tmp_path)
    (eighth,) = tmp_path.glob(f"*/{FILE}")
    assert eighth.stat().st_size < 2 * (model / "model.safetensors").stat().st_size
    difference = abs(found.probabilities(TEXTS) - Classifier(model, device="cpu").probabilities(TEXTS)).max()
    assert 0 < difference < 0.1
    assert read_json(eighth.parent / "manifest.json")["parity"]["agreement"] >= 0.8


def test_thresholds_decide_in_onnx_as_in_pytorch(model: Path, home: Path, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "model")
    calibration = CalibrationFacts(rows=9, thresholds=(0.999, 0.001), metric="accuracy")
    seal(tmp_path / "model", replace(read_facts(model), calibration=calibration))
    found = open_onnx(tmp_path / "model", int8=False, home=home)
    assert found.predicted(np.array([[0.9, 0.1]])).tolist() == [1]


def test_another_answer_is_refused() -> None:
    parity = Parity(100, "rows", agreement=0.99, largest_difference=2e-4, largest_logit_difference=0.1)
    refuse_other_answers(parity, int8=True)
    with pytest.raises(ModelError, match=r"differs from the original by up to 2\.0e-04 in a probability; use torch"):
        refuse_other_answers(parity, int8=False)
    with pytest.raises(ModelError, match="in eight bits only 70% of the answers"):
        refuse_other_answers(replace(parity, agreement=0.7), int8=True)
    with pytest.raises(ModelError, match="differs"):
        refuse_other_answers(replace(parity, largest_difference=float("nan")), int8=False)


def test_what_cannot_be_exported_is_one_line(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    def stumble(*_: object, **__: object) -> None:
        raise RuntimeError("no symbolic\nfor \x1b[96maten::new\x1b[0m")

    monkeypatch.setattr(torch.onnx, "export", stumble)
    with pytest.raises(ModelError, match=r"cannot be exported to ONNX \(no symbolic for aten::new\); use PyTorch"):
        open_onnx(model, int8=False, home=tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()], "nothing half made is left"


def test_an_export_holds_tokenizer_facts_network_and_proof(model: Path, tmp_path: Path) -> None:
    classifier, out = Classifier(model, device="cpu"), tmp_path / "out"
    trial = Trial(TEXTS, "four rows", labels=classifier.predicted(classifier.probabilities(TEXTS)))
    parity = export_onnx(model, out, form=Format.ONNX, trial=trial, limit=0.0)
    assert (parity.accuracy, parity.accuracy_change, parity.agreement) == (1.0, 0.0, 1.0)
    assert parity.largest_logit_difference < 1e-4
    written = json.loads((out / "parity.json").read_text())
    assert (written["format"], written["source"], written["texts"]) == ("onnx", "four rows", 4)
    assert {"model.onnx", "tokenizer.json", "config.json", "parity.json"} <= {*read_json(out / "hpo.json")["files"]}
    assert not (out / "model.safetensors").exists()
    assert b"site-packages" not in (out / FILE).read_bytes(), "paths of this machine travel with it"
    again = OnnxClassifier(out, out / FILE)
    assert again.probabilities(TEXTS) == pytest.approx(classifier.probabilities(TEXTS), abs=1e-5)
    with pytest.raises(ModelError, match="is there already"):
        export_onnx(model, out, form=Format.ONNX, trial=trial, limit=0.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [(-0.02, "2.00 points of accuracy are lost on 50 texts"), (None, "3.00 % of the answers are others on 50 texts")],
)
def test_an_export_that_loses_more_than_is_allowed_leaves_nothing(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: float | None, words: str
) -> None:
    parity = Parity(50, "rows", 0.97, 0.0, 0.0, accuracy=0.8, accuracy_change=change)
    monkeypatch.setattr(exporting, "compare_answers", lambda *_, **__: parity)
    monkeypatch.setattr(exporting, "write_onnx", lambda *_, **__: None)
    monkeypatch.setattr(exporting, "OnnxClassifier", lambda *_: None)
    trial = Trial(TEXTS, "rows")
    with pytest.raises(ModelError, match=words):
        export_onnx(model, tmp_path / "out", form=Format.ONNX_INT8, trial=trial, limit=1.9)
    assert not [*tmp_path.iterdir()]


def test_parity_counts_answers_and_differences(model: Path) -> None:
    class Contrary(Classifier):
        def logits(self, ids: Any, mask: Any) -> Any:
            return -super().logits(ids, mask)

    found = compare_answers(Classifier(model), Contrary(model), TEXTS, source="x", labels=np.array([0, 0, 0, 0]))
    assert found.agreement == 0.0
    assert found.largest_difference > 0
    assert found.accuracy is not None
    assert found.accuracy_change == pytest.approx(2 * found.accuracy - 1)


@pytest.mark.long
@pytest.mark.parametrize("family", OTHERS)
def test_every_family_is_exported_exactly(family: str, tiny_checkpoints: dict[str, Path], tmp_path: Path) -> None:
    model = a_model(tiny_checkpoints[family], tmp_path / "model")
    found = open_onnx(model, int8=False, home=tmp_path / "exports")
    assert found.probabilities(TEXTS) == pytest.approx(Classifier(model).probabilities(TEXTS), abs=1e-5)
