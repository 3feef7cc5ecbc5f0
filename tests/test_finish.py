"""The model that is shipped: calibrated in its weights, with golden predictions that any change of it betrays."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from pipelines import finish, golden
from pipelines.answers import answers
from pipelines.calibration import CalibrationFacts, tempered
from pipelines.config import ModelConfig, TokensConfig
from pipelines.data import Dataset, open_dataset, save_dataset
from pipelines.errors import ModelError
from pipelines.export import export_model, read_facts, seal
from pipelines.finish import finish_model
from pipelines.golden import golden_texts, read_golden
from pipelines.hpo_classifier import Classifier
from pipelines.loader import open_model, prove, verify
from pipelines.models import load_pretrained, new_classifier
from pipelines.scores import score
from pipelines.segment import FinishJob, Unwatched
from tests import tiny

LABELS = ("negative", "positive")
TEXTS = ["the film was wonderful", "the plot was bland, boring", "🙂 moving"]


def export(checkpoint: Path, directory: Path, *, labels: tuple[str, ...] = LABELS) -> Path:
    """An untrained classifier, as a trial leaves it."""
    pretrained = load_pretrained(ModelConfig(name=str(checkpoint)), labels=labels)
    network = new_classifier(pretrained, dropout=None, seed=1).eval()
    export_model(network, pretrained.tokenizer, directory, labels=labels, tokens=TokensConfig(max_length=12))
    return directory


def data(directory: Path, *, rows: int = 200, classes: int = 2) -> Path:
    """The toy data set with so many calibrate rows."""
    save_dataset(tiny.dataset(classes, {"train": 24, "select": 24, "calibrate": rows, "test": 24}), directory)
    return directory


@pytest.fixture(scope="module")
def trained(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(tiny_bert, tmp_path_factory.mktemp("trained") / "model")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return data(tmp_path_factory.mktemp("data") / "toy")


def content(directory: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in directory.iterdir()}


def hot(monkeypatch: pytest.MonkeyPatch, **facts: Any) -> CalibrationFacts:
    """Let calibration find this, whatever the rows say."""
    found = CalibrationFacts(rows=200, **facts)
    monkeypatch.setattr(finish, "calibrate", lambda predictions, **_: found)
    return found


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_every_tool_gives_the_calibrated_probabilities(
    family: str, tiny_checkpoints: dict[str, Path], rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import pipeline

    model, final = export(tiny_checkpoints[family], tmp_path / "model"), tmp_path / "final"
    before = Classifier(model).probabilities(TEXTS)
    hot(monkeypatch, temperature=0.4)
    finish_model(FinishJob(model, rows, final), watch=Unwatched())
    expected = tempered(before, 0.4)
    assert float(abs(expected - before).max()) > 0.01
    assert open_model(final).probabilities(TEXTS) == pytest.approx(expected, abs=1e-5)
    told = pipeline("text-classification", model=str(final), device="cpu")(TEXTS, truncation=True)
    assert [answer["score"] for answer in told] == pytest.approx(expected.max(axis=1), abs=1e-5)
    assert [answer["label"] for answer in told] == [LABELS[best] for best in expected.argmax(axis=1)]


def test_a_winner_is_calibrated_on_its_split_and_the_trained_model_stays(
    trained: Path, rows: Path, tmp_path: Path
) -> None:
    before, final = content(trained), tmp_path / "final"
    facts = finish_model(FinishJob(trained, rows, final, threshold="macro_f1"), watch=Unwatched())
    assert facts.rows == 200
    assert facts.metric == "macro_f1"
    assert read_facts(final) == replace(read_facts(trained), calibration=facts)
    assert content(trained) == before
    assert set(content(final)) == {*before, "golden.json"}
    assert [path.name for path in tmp_path.iterdir()] == ["final"]
    found = score(answers(open_model(final), open_dataset(rows), "calibrate", watch=Unwatched()))
    assert found["log_loss"] == pytest.approx(facts.after["log_loss"], abs=0.02)


def test_only_the_last_layer_of_the_weights_changes(
    trained: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hot(monkeypatch, temperature=1.6)
    finish_model(FinishJob(trained, rows, tmp_path / "final"), watch=Unwatched())
    before, after = (load_file(path / "model.safetensors") for path in (trained, tmp_path / "final"))
    assert before.keys() == after.keys()
    changed = {name for name in before if not before[name].equal(after[name])}
    assert changed <= {"classifier.weight", "classifier.bias"}
    assert before["classifier.weight"] / 1.6 == pytest.approx(after["classifier.weight"])


def test_without_a_temperature_the_weights_are_the_trained_ones(trained: Path, rows: Path, tmp_path: Path) -> None:
    job = FinishJob(trained, rows, tmp_path / "final", temperature=False)
    assert finish_model(job, watch=Unwatched()).temperature == 1.0
    weights = "model.safetensors"
    assert (tmp_path / "final" / weights).read_bytes() == (trained / weights).read_bytes()


def test_finishing_again_gives_the_same_files_whatever_lay_there(trained: Path, rows: Path, tmp_path: Path) -> None:
    job = FinishJob(trained, rows, tmp_path / "final", threshold="mcc")
    first = finish_model(job, watch=Unwatched())
    before = content(job.output)
    (job.output / "README.md").write_text("of a promotion that was killed before it sealed")
    (job.output / "model.safetensors").unlink()
    assert finish_model(job, watch=Unwatched()) == first
    assert content(job.output) == before


def test_few_calibrate_rows_ship_the_model_as_it_was_trained(trained: Path, tmp_path: Path) -> None:
    job = FinishJob(trained, data(tmp_path / "toy", rows=0), tmp_path / "final", threshold="accuracy")
    facts = finish_model(job, watch=Unwatched())
    assert facts.notes == ("0 calibrate rows are fewer than 50, so nothing was fitted.",)
    assert prove(tmp_path / "final").thresholds is None


def test_a_model_without_a_last_linear_layer_gets_no_temperature(
    trained: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finish, "last_layer", lambda classifier: None)
    facts = finish_model(FinishJob(trained, rows, tmp_path / "final"), watch=Unwatched())
    assert facts.temperature == 1.0
    assert facts.notes[0].startswith("The model does not end in a linear layer")
    prove(tmp_path / "final")


def test_a_layer_that_only_looks_like_the_last_is_not_taken_for_it(trained: Path) -> None:
    import torch

    classifier = Classifier(trained)
    assert finish.last_layer(classifier) == "classifier"
    classifier.model.add_module("bystander", torch.nn.Linear(4, 2))
    assert finish.last_layer(classifier) is None


def test_a_model_of_other_classes_is_not_finished(tiny_bert: Path, rows: Path, tmp_path: Path) -> None:
    model = export(tiny_bert, tmp_path / "model", labels=("bad", "good"))
    with pytest.raises(ModelError) as caught:
        finish_model(FinishJob(model, rows, tmp_path / "final"), watch=Unwatched())
    assert str(caught.value) == f"{model}: knows the classes ('bad', 'good'), the data has ('negative', 'positive')"
    assert not (tmp_path / "final").exists()


# --- thresholds


def test_thresholds_decide_wherever_the_model_answers(
    trained: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    final, texts = tmp_path / "final", list(open_dataset(rows).splits["test"].texts)
    second = Classifier(trained).probabilities(texts)[:, 1]
    threshold = float(np.quantile(second, 0.25))  # so that many answers move
    hot(monkeypatch, thresholds=(1 - threshold, threshold), metric="mcc")
    finish_model(FinishJob(trained, rows, final, threshold="mcc"), watch=Unwatched())
    classifier = open_model(final)
    decided = (second > threshold).astype(int)
    assert not (decided == (second > 0.5)).all()
    assert classifier.predicted(classifier.probabilities(texts)).tolist() == decided.tolist()

    predictions = answers(classifier, flipped(open_dataset(rows)), "test", watch=Unwatched())
    assert predictions.names == ("positive", "negative")
    assert (1 - predictions.predicted).tolist() == decided.tolist(), "in the order of the data"

    table = mlflow_table(classifier, texts)
    assert table["label"].tolist() == [LABELS[index] for index in decided]
    assert table["probability"].tolist() == pytest.approx(np.where(decided, second, 1 - second), abs=1e-6)


def test_thresholds_are_kept_in_the_order_of_the_models_classes(
    trained: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_dataset(flipped(open_dataset(rows)), tmp_path / "flipped")
    hot(monkeypatch, thresholds=(0.9, 0.1), metric="mcc")
    finish_model(FinishJob(trained, tmp_path / "flipped", tmp_path / "final", threshold="mcc"), watch=Unwatched())
    assert open_model(tmp_path / "final").thresholds == (0.1, 0.9)


def flipped(dataset: Dataset) -> Dataset:
    return replace(dataset, labels=dataset.labels[::-1])


def mlflow_table(classifier: Classifier, texts: list[str]) -> Any:
    from pipelines.mlflow_model import as_table

    return as_table(classifier, texts)


# --- golden predictions


def test_golden_texts_try_what_goes_wrong_and_are_longer_than_the_model_reads(trained: Path) -> None:
    texts = golden_texts(12)
    assert len(texts) == 16
    assert "" in texts
    tokenizer = Classifier(trained).tokenizer
    assert [len(tokenizer(text)["input_ids"]) > 12 for text in texts][-1]
    for length in (4, 128, 512):
        assert len(golden_texts(length)[-1].split()) >= length
    assert len(golden_texts(8192)[-1].split()) < 1300


@pytest.fixture
def final(trained: Path, rows: Path, tmp_path: Path) -> Path:
    """A finished model of one's own."""
    finish_model(FinishJob(trained, rows, tmp_path / "final"), watch=Unwatched())
    return tmp_path / "final"


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
