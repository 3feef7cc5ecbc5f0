"""A stored model answers rows from one encoded cache, faster and as ever; floors on other data are measured so."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines import tokens
from pipelines.config import DataConfig, ModelConfig, TokensConfig
from pipelines.data import Dataset, save_dataset
from pipelines.errors import DataError, ModelError
from pipelines.generalize.external import External, load_external
from pipelines.segment import ElsewhereJob, Unwatched
from tests import tiny

LABELS = ("negative", "positive")


@pytest.fixture(scope="module")
def stored(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random classifier, exported; it reads the end of long texts."""
    from pipelines.export import export_model
    from pipelines.models import load_pretrained, new_classifier

    directory = tmp_path_factory.mktemp("stored") / "model"
    pretrained = load_pretrained(ModelConfig(name=str(tiny_bert)), labels=LABELS)
    network = new_classifier(pretrained, dropout=None, seed=0)
    reading = TokensConfig(max_length=16, truncation="tail")
    export_model(network, pretrained.tokenizer, directory, labels=LABELS, tokens=reading)
    return directory


@pytest.fixture
def external(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> External:
    monkeypatch.chdir(tmp_path)
    write("d.csv", tiny.dataset())
    return load_external(DataConfig(source="d.csv"), LABELS, told={})


def write(name: str, data: Dataset, *, split: str = "select") -> None:
    rows = data.splits[split]  # type: ignore[index]
    lines = [f'"{text}",{LABELS[code]}' for text, code in zip(rows.texts, rows.labels.tolist(), strict=True)]
    Path(name).write_text("\n".join(["text,label", *dict.fromkeys(lines)]) + "\n")


def test_answers_are_those_of_the_shipped_classifier_from_one_encoded_cache(
    stored: Path, external: External, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.generalize.answering import answers_on, probabilities_of, ready
    from pipelines.hpo_classifier import Classifier

    texts = list(external.rows.texts)
    expected = Classifier(stored, device="cpu").probabilities(texts)
    classifier = ready(stored)
    said = answers_on(classifier, external.dataset, cache=tmp_path / "cache", watch=Unwatched())
    assert np.abs(said.probabilities - expected).max() < 1e-6
    assert np.ptp(expected[:, 0]) > 1e-3, "the texts are told apart at all"
    assert np.abs(probabilities_of(classifier, texts, watch=Unwatched()) - expected).max() < 1e-6

    def forgotten(*_: Any, **__: Any) -> None:
        raise AssertionError("encoded again")

    monkeypatch.setattr(tokens, "encode", forgotten)
    again = answers_on(classifier, external.dataset, cache=tmp_path / "cache", watch=Unwatched())
    assert (again.probabilities == said.probabilities).all()


def test_a_tokenizer_that_knows_nothing_of_the_texts_is_one_clear_line(
    stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.generalize.answering import answers_on, ready

    monkeypatch.chdir(tmp_path)
    Path("d.csv").write_text("text,label\n漢字仮名,positive\n漢字 平仮名,negative\n")
    external = load_external(DataConfig(source="d.csv"), LABELS, told={})
    with pytest.raises(
        ModelError, match=r"knows almost nothing of this text .*: its vocabulary is missing, or the text"
    ):
        answers_on(ready(stored), external.dataset, cache=tmp_path / "cache", watch=Unwatched())


def test_floors_on_other_data_are_measured_without_rows_of_the_models_own(
    stored: Path, external: External, tmp_path: Path
) -> None:
    from pipelines.generalize.floors import score_elsewhere

    own = tiny.dataset(sizes={"train": 8, "select": 8, "calibrate": 8, "test": 8})
    save_dataset(own, tmp_path / "own")
    write("known.csv", own, split="train")
    job = ElsewhereJob(stored, ("d.csv",), data=tmp_path / "own", cache=tmp_path / "cache")
    (scores,) = score_elsewhere(job, watch=Unwatched()).values()
    assert 0 < scores["accuracy"] < 1
    with pytest.raises(DataError, match="left out: the model's own data holds them; no row is left to test on"):
        score_elsewhere(ElsewhereJob(stored, ("known.csv",), data=job.data, cache=job.cache), watch=Unwatched())
