from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from pipelines.config import DataConfig
from pipelines.data import load_data, published
from pipelines.errors import ConfigError, DataError

from .rows import Refused

Hub = dict[str, Any]
NAMES = ("neg", "pos")


def _split(count: int, start: int = 0, *, text: str = "text", names: tuple[str, ...] | None = NAMES) -> Dataset:
    label = ClassLabel(names=list(names)) if names else Value("int64")
    rows = {
        text: [f"example number {row}" for row in range(start, start + count)],
        "label": [row % 2 for row in range(count)],
        "idx": list(range(count)),
    }
    return Dataset.from_dict(rows, features=Features({text: Value("string"), "label": label, "idx": Value("int64")}))


def _unlabelled(count: int) -> Dataset:
    rows = {"sentence": [f"secret {row}" for row in range(count)], "label": [-1] * count}
    return Dataset.from_dict(
        rows, features=Features({"sentence": Value("string"), "label": ClassLabel(names=list(NAMES))})
    )


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    """A hub with the given data sets; `asked` holds what it was asked for, in order."""
    shelf: Hub = {"asked": []}

    def load_dataset(path: str, **settings: Any) -> Any:
        shelf["asked"].append((path, settings))
        if path not in shelf:
            raise datasets.exceptions.DatasetNotFoundError(f"Dataset '{path}' doesn't exist on the Hub.\nSecond line.")
        return shelf[path]

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(published, "prepare", lambda place: shelf["asked"].append(place))
    return shelf


def _sizes(config: DataConfig) -> dict[str, int]:
    return {name: len(split) for name, split in load_data(config).splits.items()}


def test_hub_data_set_is_asked_for_with_its_configuration_and_revision(hub: Hub) -> None:
    hub["owner/name"] = DatasetDict(train=_split(100))
    dataset = load_data(DataConfig(source="owner/name", config="plain", revision="abc"))
    assert hub["asked"] == ["owner/name", ("owner/name", {"name": "plain", "revision": "abc"})]
    assert (dataset.name, dataset.source, dataset.labels) == ("owner/name", "owner/name", NAMES)
    assert dataset.splits["train"].ids[0].startswith("owner/name/train:")


def test_usual_splits_are_used_and_the_rest_is_cut_from_train(hub: Hub) -> None:
    hub["owner/name"] = DatasetDict(train=_split(100), validation=_split(30, 200), test=_split(20, 300))
    assert _sizes(DataConfig(source="owner/name")) == {"train": 96, "select": 30, "calibrate": 4, "test": 20}


def test_splits_can_be_named(hub: Hub) -> None:
    hub["owner/name"] = DatasetDict(train=_split(100), validation=_split(30, 200), extra=_split(20, 300))
    config = DataConfig(source="owner/name", test="validation", calibrate="extra")
    assert _sizes(config) == {"train": 86, "select": 14, "calibrate": 20, "test": 30}


def test_unknown_split_is_refused_with_a_suggestion(hub: Hub, refused: Refused) -> None:
    hub["owner/name"] = DatasetDict(train=_split(100), validation=_split(30, 200))
    assert refused("owner/name", test="validaton") == (
        "owner/name: has no split 'validaton' (data.test); did you mean 'validation'?; its splits are 'train' and "
        "'validation'"
    )


def test_data_set_without_train_split_is_refused_unless_it_has_only_one(hub: Hub, refused: Refused) -> None:
    hub["owner/name"] = DatasetDict(a=_split(100), b=_split(30, 200))
    assert refused("owner/name") == "owner/name: has no split 'train'; its splits are 'a' and 'b'"
    hub["owner/name"] = DatasetDict(everything=_split(100))
    assert sum(_sizes(DataConfig(source="owner/name")).values()) == 100


def test_one_split_in_two_roles_is_a_contradiction(hub: Hub) -> None:
    hub["owner/name"] = DatasetDict(train=_split(100))
    with pytest.raises(ConfigError, match=r"^the split 'train' of owner/name would be used twice"):
        load_data(DataConfig(source="owner/name", test="train"))


def test_unknown_hub_id_is_told_in_one_line(hub: Hub, refused: Refused) -> None:
    assert refused("owner/nowhere") == (
        "owner/nowhere: cannot be loaded from the Hugging Face hub (Dataset 'owner/nowhere' doesn't exist on the Hub); "
        "check the name, data.config and the connection (HF_ENDPOINT, HF_HUB_OFFLINE), or name a local file or "
        "directory"
    )


def test_hub_that_cannot_be_reached_is_told_in_one_line(refused: Refused) -> None:
    message = refused("owner/name-that-is-in-no-cache")
    assert message.startswith("owner/name-that-is-in-no-cache: cannot be loaded from the Hugging Face hub (")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("preset", "hub_id", "text", "names"),
    [
        ("imdb", "stanfordnlp/imdb", "text", ("neg", "pos")),
        ("yelp_polarity", "fancyzhx/yelp_polarity", "text", ("1", "2")),
        ("amazon_polarity", "fancyzhx/amazon_polarity", "content", ("negative", "positive")),
        ("rotten_tomatoes", "cornell-movie-review-data/rotten_tomatoes", "text", ("neg", "pos")),
        ("imdb", "stanfordnlp/imdb", "text", None),
    ],
)
def test_presets_know_columns_classes_and_splits(
    hub: Hub, preset: str, hub_id: str, text: str, names: tuple[str, ...] | None
) -> None:
    hub[hub_id] = DatasetDict(train=_split(100, text=text, names=names), test=_split(20, 300, text=text, names=names))
    dataset = load_data(DataConfig(source=preset))
    assert (dataset.name, dataset.source, dataset.labels) == (hub_id, preset, ("negative", "positive"))
    assert len(dataset.splits["test"]) == 20
    assert dataset.notes == ()


def test_sst2_is_tested_on_its_validation_split_because_the_test_labels_are_secret(hub: Hub) -> None:
    names = ("negative", "positive")
    train, validation = (_split(count, start, text="sentence", names=names) for count, start in ((100, 0), (30, 200)))
    hub["stanfordnlp/sst2"] = DatasetDict(train=train, validation=validation, test=_unlabelled(10))
    assert _sizes(DataConfig(source="sst2")) == {"train": 80, "select": 16, "calibrate": 4, "test": 30}


def test_unlabelled_hub_split_is_refused_with_the_remedy(hub: Hub, refused: Refused) -> None:
    hub["owner/name"] = DatasetDict(train=_split(100, text="sentence"), test=_unlabelled(10))
    assert refused("owner/name").startswith(
        "owner/name/test, rows 1, 2, 3, 4, 5 and 5 more, column 'label': is -1, which usually means 'not labelled'; "
        "remove these rows or name another split"
    )


def test_class_that_is_declared_but_unused_is_left_out_and_noted(hub: Hub) -> None:
    hub["owner/name"] = DatasetDict(train=_split(100, names=("z", "a", "never")))
    dataset = load_data(DataConfig(source="owner/name"))
    assert dataset.labels == ("z", "a")
    assert dataset.notes == ("owner/name/train: 1 declared class without rows left out: 'never'.",)


def test_rows_of_train_that_stand_in_a_published_test_split_are_left_out_and_noted(hub: Hub) -> None:
    hub["owner/name"] = DatasetDict(train=_split(100), test=_split(20, 98))
    dataset = load_data(DataConfig(source="owner/name"))
    assert sum(len(split) for split in dataset.splits.values()) == 118
    assert dataset.notes == (
        "owner/name/train, rows 99 and 100, and owner/name/test, rows 1 and 2, hold the same texts (2 rows of "
        "owner/name/train, 2 rows of owner/name/test).",
        "owner/name/train: 2 such rows left out of train.",
    )
    accepted = load_data(DataConfig(source="owner/name", allow_overlap=True))
    assert sum(len(split) for split in accepted.splits.values()) == 120


def test_directory_saved_by_datasets_is_read(tmp_path: Path) -> None:
    DatasetDict(train=_split(100), test=_split(20, 300)).save_to_disk(str(tmp_path / "several"))
    _split(100).select(range(10, 90)).save_to_disk(str(tmp_path / "one"))
    several = load_data(DataConfig(source=str(tmp_path / "several")))
    one = load_data(DataConfig(source=str(tmp_path / "one")))
    assert (several.name, several.source, several.labels) == ("several", str(tmp_path / "several"), NAMES)
    assert len(several.splits["test"]) == 20
    assert sum(len(split) for split in one.splits.values()) == 80


def test_rows_that_were_selected_and_shuffled_keep_their_labels(tmp_path: Path) -> None:
    _split(100).shuffle(seed=3).save_to_disk(str(tmp_path / "shuffled"))
    dataset = load_data(DataConfig(source=str(tmp_path / "shuffled")))
    for split in dataset.splits.values():
        assert [int(text.split()[-1]) % 2 for text in split.texts] == split.labels.tolist()


def test_damaged_saved_directory_is_refused(tmp_path: Path, refused: Refused) -> None:
    _split(100).save_to_disk(str(tmp_path / "saved"))
    (arrow,) = (tmp_path / "saved").glob("*.arrow")
    arrow.write_bytes(arrow.read_bytes()[:50])
    message = refused(str(tmp_path / "saved"))
    assert message.startswith(f"{tmp_path}/saved: cannot be read (")
    assert message.endswith("); save it again by save_to_disk")


def test_columns_of_a_hub_data_set_are_suggested(hub: Hub) -> None:
    hub["owner/name"] = DatasetDict(train=_split(100))
    with pytest.raises(DataError, match=r"^owner/name/train: no column 'txt' \(data\.text\); did you mean 'text'\?"):
        load_data(DataConfig(source="owner/name", text="txt"))
