"""`hpo export`: on which texts an export is compared with the original."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hpo import exporting
from pipelines import registry
from pipelines.config import SplitName
from pipelines.data import save_dataset
from pipelines.errors import DataError
from pipelines.export import ModelFacts, seal
from tests import tiny

SIZES: dict[SplitName, int] = {"train": 12, "select": 8, "calibrate": 4, "test": 6}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Facts of a model whose classes stand in another order than the data's."""
    (tmp_path / "model").mkdir()
    seal(tmp_path / "model", ModelFacts(labels=("positive", "negative"), max_length=12, truncation="head"))
    return tmp_path / "model"


def a_trial(model: Path, home: Path, *, data: str | None = None, digest: str = "") -> Any:
    version: Any = SimpleNamespace(tags={"hpo.study": "toy", registry.DATA: digest})
    places: Any = SimpleNamespace(study=lambda name: home / name)
    return exporting._trial(version, model, data=data, places=places)


def test_rows_that_the_model_was_not_trained_on_judge_it(model: Path, tmp_path: Path) -> None:
    dataset = tiny.dataset(2, SIZES)
    save_dataset(dataset, tmp_path / "toy" / "data")
    found = a_trial(model, tmp_path, digest=dataset.digest)
    parts = [dataset.splits["select"], dataset.splits["calibrate"]]
    assert list(found.texts) == [text for part in parts for text in part.texts]
    theirs = [dataset.labels[code] for part in parts for code in part.labels]
    assert [("positive", "negative")[code] for code in found.labels] == theirs
    assert found.source == "select and calibrate rows of study toy"


def test_without_the_studys_own_rows_the_golden_texts_judge_it(model: Path, tmp_path: Path) -> None:
    save_dataset(tiny.dataset(2, SIZES), tmp_path / "toy" / "data")
    for other in (a_trial(model, tmp_path, digest="of other rows"), a_trial(model, tmp_path / "away")):
        assert other.labels is None
        assert "--data" in other.source


def test_data_of_the_users_judges_it_whole(model: Path, tmp_path: Path) -> None:
    rows = "\n".join(f"text number {n},{'positive' if n % 3 else 'negative'}" for n in range(60))
    (tmp_path / "my.csv").write_text(f"text,label\n{rows}\n")
    found = a_trial(model, tmp_path, data=str(tmp_path / "my.csv"))
    assert len(found.texts) == 60
    assert np.bincount(found.labels).tolist() == [40, 20]


def test_data_of_other_classes_is_refused(model: Path, tmp_path: Path) -> None:
    rows = "\n".join(f"text number {n},{'good' if n % 2 else 'bad'}" for n in range(40))
    (tmp_path / "my.csv").write_text(f"text,label\n{rows}\n")
    with pytest.raises(DataError, match=r"has the classes bad, good; the model knows positive, negative"):
        a_trial(model, tmp_path, data=str(tmp_path / "my.csv"))
