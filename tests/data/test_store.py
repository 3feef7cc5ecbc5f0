import json
import multiprocessing
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipelines.config import SPLIT_NAMES, DataConfig, Fractions
from pipelines.data import Dataset, Split, load_data, open_dataset, save_dataset
from pipelines.errors import DataError

from .rows import Write, pairs, table


@pytest.fixture
def dataset(write: Write) -> Dataset:
    rows = [*pairs(60), ("emoji 🙂\nand a line", "positive"), ("NA", "negative"), ("NA ", "positive")]
    write("reviews.csv", table(rows))
    return load_data(DataConfig(source="reviews.csv", fractions=Fractions(calibrate=0)))


def _content(dataset: Dataset) -> list[object]:
    splits = [dataset.splits[name] for name in SPLIT_NAMES]
    rows = [(list(split.texts), split.labels.tolist(), list(split.ids)) for split in splits]
    return [dataset.name, dataset.source, dataset.labels, dataset.digest, dataset.notes, rows]


def _state(directory: Path) -> dict[str, tuple[int, int]]:
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in directory.iterdir()}


def test_opened_data_set_equals_the_saved_one(dataset: Dataset, tmp_path: Path) -> None:
    save_dataset(dataset, tmp_path / "deep" / "saved")
    opened = open_dataset(tmp_path / "deep" / "saved")
    assert _content(opened) == _content(dataset)
    assert dataset.notes
    assert opened.splits["train"].labels.dtype == np.int64


def test_texts_are_read_like_a_list(dataset: Dataset, tmp_path: Path) -> None:
    save_dataset(dataset, tmp_path / "saved")
    texts = open_dataset(tmp_path / "saved").splits["train"].texts
    plain = list(texts)
    assert (texts[0], texts[-1], list(texts[2:9:3]), len(texts)) == (plain[0], plain[-1], plain[2:9:3], len(plain))
    assert list(pickle.loads(pickle.dumps(texts))) == plain
    with pytest.raises(IndexError):
        texts[len(texts)]


def test_saving_an_equal_data_set_again_changes_nothing(dataset: Dataset, tmp_path: Path) -> None:
    save_dataset(dataset, tmp_path / "saved")
    before = _state(tmp_path / "saved")
    save_dataset(dataset, tmp_path / "saved")
    assert _state(tmp_path / "saved") == before


def test_plain_lists_can_be_saved(dataset: Dataset, tmp_path: Path) -> None:
    plain = {n: Split(list(s.texts), s.labels, list(s.ids)) for n, s in dataset.splits.items()}
    save_dataset(replace(dataset, splits=plain), tmp_path / "saved")
    assert _content(open_dataset(tmp_path / "saved")) == _content(dataset)


def test_another_data_set_is_never_overwritten(dataset: Dataset, tmp_path: Path) -> None:
    save_dataset(dataset, tmp_path / "saved")
    with pytest.raises(DataError, match=r"saved: holds another data set \([0-9a-f]{12}\); name a new directory"):
        save_dataset(replace(dataset, digest="0" * 64), tmp_path / "saved")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("keep me")
    with pytest.raises(DataError, match=r"mine: holds other files; name an empty or new directory"):
        save_dataset(dataset, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "keep me"


@pytest.mark.parametrize("name", [*(f"{split}.arrow" for split in SPLIT_NAMES), "dataset.json"])
@pytest.mark.parametrize("damage", ["truncated", "flipped", "gone"])
def test_damaged_file_is_named_and_mended_by_saving_again(
    dataset: Dataset, tmp_path: Path, name: str, damage: str
) -> None:
    directory = tmp_path / "saved"
    save_dataset(dataset, directory)
    path = directory / name
    content = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    else:
        content[0] ^= 1
        path.write_bytes(content if damage == "flipped" else content[: len(content) // 2])
    with pytest.raises(DataError, match=rf"/{name}: is missing"):
        open_dataset(directory)
    if (directory / "dataset.json").exists():
        save_dataset(dataset, directory)
        assert _content(open_dataset(directory)) == _content(dataset)


def test_directory_of_another_format_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    save_dataset(dataset, tmp_path / "saved")
    path = tmp_path / "saved" / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 2}))
    with pytest.raises(DataError, match=r"dataset\.json: is not of format 1; it was written by another version"):
        open_dataset(tmp_path / "saved")


def test_manifest_without_its_fields_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    save_dataset(dataset, tmp_path / "saved")
    (tmp_path / "saved" / "dataset.json").write_text('{"format": 1}')
    with pytest.raises(DataError, match=r"dataset\.json: is missing or damaged"):
        open_dataset(tmp_path / "saved")


def test_failed_save_leaves_nothing_behind(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipelines.data.store.write_json", full)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(OSError, match="No space left"):
        save_dataset(dataset, tmp_path / "saved")
    assert sorted({*tmp_path.iterdir()} - {tmp_path / "saved.lock"}) == before


def test_processes_that_save_at_once_agree(dataset: Dataset, tmp_path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(4) as pool:
        pool.starmap(save_dataset, [(dataset, tmp_path / "saved")] * 8)
    assert _content(open_dataset(tmp_path / "saved")) == _content(dataset)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["reviews.csv", "saved", "saved.lock"]
