"""What a warm process keeps from trial to trial, and when."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines import workbench as workbench_module
from pipelines.data import Dataset, save_dataset
from pipelines.errors import ModelError
from pipelines.loader import open_model
from pipelines.predictions import read_parquet
from pipelines.run import run, train_segment, warm_up
from pipelines.segment import Choice, InfeasibleError, Unwatched, WarmUpJob
from pipelines.workbench import Workbench

from .jobs import make_job


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the checkpoints that are read from disk."""
    seen: list[str] = []
    load = workbench_module.load_pretrained

    def noted(model: Any, **options: Any) -> Any:
        seen.append(Path(model.name).name)
        return load(model, **options)

    monkeypatch.setattr(workbench_module, "load_pretrained", noted)
    return seen


@pytest.mark.usefixtures("no_pictures")
def test_warm_process_reads_each_checkpoint_once(
    workbench: Workbench, loads: list[str], tiny_checkpoints: dict[str, Path], toy_data_dir: Path, tmp_path: Path
) -> None:
    for number, (family, dropout) in enumerate([("bert", 0.1), ("bert", 0.3), ("roberta", None), ("bert", None)]):
        job = make_job(tiny_checkpoints[family], toy_data_dir, tmp_path / str(number), **{"model.dropout": dropout})
        job.directory.mkdir(parents=True)
        trial = workbench.trial(replace(job, trial=f"toy/{number}"))
        assert trial.trainee.model.config.hidden_dropout_prob == (0.1 if dropout is None else dropout)
    assert loads == ["bert", "roberta"]


def test_memory_holds_two_checkpoints_and_no_more(
    workbench: Workbench, loads: list[str], tiny_checkpoints: dict[str, Path], toy_data_dir: Path, tmp_path: Path
) -> None:
    for family in ("bert", "roberta", "gpt2", "gpt2", "roberta", "bert"):
        config = make_job(tiny_checkpoints[family], toy_data_dir, tmp_path).config
        workbench.warm_up(workbench.dataset(toy_data_dir), config, cache=tmp_path / "cache")
        assert len(workbench._pretrained) <= 2
    assert loads == ["bert", "roberta", "gpt2", "bert"]


def test_warm_up_encodes_for_every_model_and_keeps_the_first(
    workbench: Workbench, loads: list[str], tiny_checkpoints: dict[str, Path], toy_data_dir: Path, tmp_path: Path
) -> None:
    configs = tuple(
        make_job(tiny_checkpoints[family], toy_data_dir, tmp_path).config for family in ("bert", "roberta", "gpt2")
    )
    job = WarmUpJob(configs, toy_data_dir, tmp_path / "cache")
    assert warm_up(job, watch=Unwatched()) == Choice("fp32", "asked for")
    assert loads == ["gpt2", "roberta", "bert"]
    assert len(list((tmp_path / "cache").glob("*/tokens.arrow"))) == 6  # train and select for each
    trial_job = make_job(tiny_checkpoints["bert"], toy_data_dir, tmp_path)
    trial_job.directory.mkdir(parents=True)
    workbench.trial(replace(trial_job, cache=tmp_path / "cache"))
    assert loads == ["gpt2", "roberta", "bert"]


@pytest.mark.parametrize(("family", "limit"), [("bert", 512), ("roberta", 512), ("gpt2", 1024)])
def test_length_beyond_the_model_is_refused_on_warm_up(
    family: str, limit: int, workbench: Workbench, tiny_checkpoints: dict[str, Path], toy_data_dir: Path, tmp_path: Path
) -> None:
    for length in (limit, limit + 1):
        job = make_job(tiny_checkpoints[family], toy_data_dir, tmp_path, **{"tokens.max_length": length})
        warm = WarmUpJob((job.config,), toy_data_dir, job.cache)
        if length == limit:
            warm_up(warm, watch=Unwatched())
            continue
        with pytest.raises(ModelError) as caught:
            warm_up(warm, watch=Unwatched())
        assert str(caught.value) == (
            f"tokens.max_length: {limit + 1} is beyond the {limit} positions of model {str(tiny_checkpoints[family])!r}"
        )


def test_lower_casing_that_would_change_nothing_is_refused_for_a_study_and_left_out_as_a_proposal(
    workbench: Workbench, tiny_checkpoints: dict[str, Path], toy_data_dir: Path, tmp_path: Path
) -> None:
    job = make_job(tiny_checkpoints["bert"], toy_data_dir, tmp_path, **{"tokens.lowercase": True})
    fault = f"tokens.lowercase: the tokenizer of {str(tiny_checkpoints['bert'])!r} lower-cases by itself, so nothing"
    with pytest.raises(ModelError) as caught:
        warm_up(WarmUpJob((job.config,), toy_data_dir, job.cache), watch=Unwatched())
    assert str(caught.value) == f"{fault} would change; leave it out, or choose a cased checkpoint"
    with pytest.raises(InfeasibleError, match=r"lower-cases by itself, so nothing would change$"):
        train_segment(job, watch=Unwatched())
    cased = make_job(tiny_checkpoints["roberta"], toy_data_dir, tmp_path, **{"tokens.lowercase": True})
    warm_up(WarmUpJob((cased.config,), toy_data_dir, job.cache), watch=Unwatched())


@pytest.mark.usefixtures("no_pictures")
def test_exported_model_reads_texts_as_its_training_did(
    workbench: Workbench, tiny_checkpoints: dict[str, Path], toy_dataset: Dataset, tmp_path: Path
) -> None:
    select = toy_dataset.splits["select"]
    shouted = replace(select, texts=[text.upper().replace(" ", "  ") for text in select.texts])
    dataset = replace(toy_dataset, splits={**toy_dataset.splits, "select": shouted})
    save_dataset(dataset, tmp_path / "data")
    ways = {"truncation": "head_tail", "lowercase": True, "normalize": "nfkc", "max_length": 9}
    job = make_job(tiny_checkpoints["gpt2"], tmp_path / "data", tmp_path, **{f"tokens.{k}": v for k, v in ways.items()})
    assert run(job).finished
    trained = read_parquet(job.directory / "artifacts" / "predictions.parquet")
    served = open_model(job.directory / "model", device="cpu")
    assert served.probabilities(shouted.texts) == pytest.approx(trained.probabilities, abs=1e-5)
    served.reading = replace(served.reading, lowercase=False)
    assert abs(served.probabilities(shouted.texts) - trained.probabilities).max() > 0.01
