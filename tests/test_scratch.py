"""Models that are made of a study's own training texts: always the same ones, once, and trained like any other."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pipelines.config import ModelConfig, RunConfig, replaced, scratch_parts
from pipelines.data import Dataset, open_dataset, save_dataset
from pipelines.data.digest import content_digest
from pipelines.errors import ConfigError, ModelError
from pipelines.families import SCRATCH, family_called
from pipelines.files import sha256
from pipelines.loader import open_model
from pipelines.models import load_config, load_pretrained, load_tokenizer, longest_input
from pipelines.predictions import read_parquet
from pipelines.provenance import read_provenance
from pipelines.run import run
from pipelines.scratch.checkpoint import Recipe, checkpoint
from pipelines.segment import SegmentJob
from pipelines.workbench import Workbench
from tests import tiny

SMALL = {"scratch.layers": 1, "scratch.heads": 1}
TEXTS = tiny._corpus()


def recipe(name: str = "scratch:wordpiece-150", **changes: Any) -> Recipe:
    found = Recipe.of(replaced(RunConfig(), {"model.name": name, **SMALL, **changes}))
    assert found is not None
    return found


def made(home: Path, **changes: Any) -> dict[str, str]:
    """Hashes of the files of a checkpoint."""
    place = checkpoint(recipe(**changes), lambda: TEXTS, content="texts", home=home)
    return {name: sha256(place / name) for name in ("model.safetensors", "tokenizer.json")}


@pytest.mark.parametrize("kind", ["bpe-150", "unigram", "wordpiece-150", "bytes-300"])
def test_same_texts_and_seed_give_the_same_model(kind: str, tmp_path: Path) -> None:
    name = f"scratch:{kind}"
    assert made(tmp_path / "one", name=name) == made(tmp_path / "two", name=name)


def test_another_seed_draws_other_weights_for_the_same_tokenizer(tmp_path: Path) -> None:
    first, second = made(tmp_path), made(tmp_path, seed=1)
    assert first["model.safetensors"] != second["model.safetensors"]
    assert first["tokenizer.json"] == second["tokenizer.json"]


def test_tokenizer_learns_from_texts_as_they_will_be_read(tmp_path: Path) -> None:
    plain, lower = (
        checkpoint(
            recipe("scratch:wordpiece", **{"tokens.lowercase": one}),
            lambda: ["One TWO three"] * 9,
            content="c",
            home=tmp_path,
        )
        for one in (False, True)
    )
    assert "T" in load_tokenizer(ModelConfig(name=str(plain))).get_vocab()
    assert "T" not in load_tokenizer(ModelConfig(name=str(lower))).get_vocab()


def test_a_checkpoint_is_made_once_and_again_where_it_is_damaged(tmp_path: Path) -> None:
    asked = []

    def texts() -> list[str]:
        asked.append(1)
        return TEXTS

    for _ in range(2):
        place = checkpoint(recipe(), texts, content="texts", home=tmp_path)
    assert len(asked) == 1
    before = (place / "model.safetensors").read_bytes()
    (place / "model.safetensors").write_bytes(b"torn")
    checkpoint(recipe(), texts, content="texts", home=tmp_path)
    assert (place / "model.safetensors").read_bytes() == before
    assert len({recipe(**one).place("texts", tmp_path) for one in ({}, {"seed": 2}, {"scratch.layers": 2})}) == 3


def test_a_vocabulary_that_the_texts_do_not_give_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^model.name: scratch: bpe gets 248 from these texts, not 9000; choo"):
        made(tmp_path, name="scratch:bpe-9000")
    with pytest.raises(ConfigError, match=r"scratch: bytes needs 261 at least, its special tokens and alphabet, not"):
        made(tmp_path, name="scratch:bytes-9")


@pytest.mark.parametrize("name", ["", "bpe4000", "word-4000", "bpe-0", "bpe-4e3", "bpe-"])
def test_a_name_that_only_begins_like_one_from_scratch_is_refused(name: str) -> None:
    with pytest.raises(
        ValidationError, match="a model from scratch is scratch:KIND-SIZE, as scratch:bpe-4000; the kinds"
    ):
        ModelConfig(name=f"scratch:{name}")


def test_a_model_from_scratch_has_a_name_defaults_and_no_life_outside_of_a_study() -> None:
    assert scratch_parts("scratch:bpe-4000") == ("bpe", 4000)
    assert scratch_parts("scratch:bytes") == ("bytes", None)
    assert scratch_parts("bert") is None
    assert family_called("scratch:bpe-4000") is SCRATCH
    with pytest.raises(ModelError, match="'scratch:bpe' is made of a study's training texts: outside of one"):
        load_pretrained(ModelConfig(name="scratch:bpe"), labels=("a", "b"))


@pytest.fixture
def workbench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Workbench]:
    bench = Workbench()
    monkeypatch.setattr("pipelines.run._WORKBENCH", bench)
    yield bench
    bench.put_down()


@pytest.fixture
def job(toy_dataset: Dataset, tmp_path: Path) -> SegmentJob:
    """A trial of a model from scratch, on data whose select split alone has a paragraph sign."""
    select = replace(toy_dataset.splits["select"], texts=[f"{text} §" for text in toy_dataset.splits["select"].texts])
    splits = {**toy_dataset.splits, "select": select}
    dataset = replace(toy_dataset, splits=splits, digest=content_digest(toy_dataset.labels, splits))
    save_dataset(dataset, tmp_path / "data")
    return replace(tiny.job(Path("scratch:wordpiece-150"), tmp_path / "data", tmp_path, **SMALL), trial=f"{tmp_path}/0")


def test_a_model_from_scratch_is_trained_and_shipped_like_any_other(
    workbench: Workbench, job: SegmentJob, no_pictures: None
) -> None:
    assert run(job).finished
    trained = read_parquet(job.directory / "artifacts" / "predictions.parquet")
    served = open_model(job.directory / "model", device="cpu")
    assert served.probabilities(list(trained.texts)) == pytest.approx(trained.probabilities, abs=1e-5)
    assert served.tokenizer.convert_ids_to_tokens(served.encode(["the film §"])[0])[-2] == "[UNK]"  # train split alone

    (place,) = (job.cache / "scratch").glob("*[!k]")
    pretrained = load_pretrained(ModelConfig(name=str(place)), labels=("negative", "positive"))
    provenance = read_provenance(job.directory)
    assert provenance is not None
    assert provenance.sessions[0].facts.items() >= pretrained.digests.items()
    assert workbench.facts(job)["pretrained weights"] == pretrained.digests["pretrained weights"]  # as `hpo rerun` asks


def test_workers_hold_each_model_from_scratch_apart(workbench: Workbench, job: SegmentJob) -> None:
    dataset = open_dataset(job.data)
    prints = set()
    for changes in ({}, {"seed": 5}, {"model.name": "scratch:bpe-150"}):
        config = replaced(job.config, changes)
        workbench.warm_up(dataset, config, cache=job.cache)
        facts = workbench.facts(replace(job, config=config))
        prints.add((facts["tokenizer"], facts["pretrained weights"]))
    assert len(prints) == 3
    workbench.warm_up(dataset, replaced(job.config, {"tokens.max_length": 600}), cache=job.cache)
    longest = [
        load_config(ModelConfig(name=str(one)), labels=("a", "b")) for one in (job.cache / "scratch").glob("*[!k]")
    ]
    assert sorted(longest_input(one) or 0 for one in longest) == [512, 512, 512, 600]
