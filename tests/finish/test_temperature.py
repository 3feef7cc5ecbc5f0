"""A winner is calibrated on its split, and every tool gives its probabilities."""

from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file

from pipelines import finish
from pipelines.answers import answers
from pipelines.calibration import tempered
from pipelines.data import open_dataset
from pipelines.errors import ModelError
from pipelines.export import read_facts
from pipelines.finish import finish_model
from pipelines.hpo_classifier import Classifier
from pipelines.loader import open_model, prove
from pipelines.scores import score
from pipelines.segment import FinishJob, Unwatched
from tests import tiny

from .trained import LABELS, content, data, export, hot

TEXTS = ["the film was wonderful", "the plot was bland, boring", "🙂 moving"]


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
