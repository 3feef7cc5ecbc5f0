"""What was sampled arrives by way of a job: model, texts, evaluations, checkpoints, adapters."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines import run as run_module
from pipelines.batches import evaluation_steps
from pipelines.data import Dataset, save_dataset
from pipelines.journal import read_journal
from pipelines.run import run
from pipelines.segment import SegmentJob
from pipelines.train import Trainee
from pipelines.workbench import Trial, Workbench
from tests import tiny

from .trained import arrives, train


def pick_up(workbench: Workbench, job: SegmentJob) -> Trial:
    job.directory.mkdir(parents=True)
    return workbench.trial(job)


@arrives("model.name", "model.dropout", "tokens.max_length")
def test_model_and_length_of_the_job_are_those_that_train(
    workbench: Workbench, tiny_checkpoints: dict[str, Path], toy_data_dir: Path, tmp_path: Path
) -> None:
    for family, dropout, length in (("bert", 0.0, 12), ("roberta", 0.4, 20), ("bert", None, 12)):
        job = tiny.job(
            tiny_checkpoints[family],
            toy_data_dir,
            tmp_path / f"{family}-{dropout}",
            **{"model.dropout": dropout, "tokens.max_length": length},
        )
        trial = pick_up(workbench, job)
        config = trial.trainee.model.config
        assert config.model_type == family
        assert config.hidden_dropout_prob == (0.1 if dropout is None else dropout)
        for material in (trial.train, trial.select):
            assert material.encoded.lengths.max() == length


@arrives("tokens.truncation")
def test_truncation_of_the_job_is_what_trains(
    workbench: Workbench, tiny_bert: Path, toy_data_dir: Path, tmp_path: Path
) -> None:
    rows = {}
    for truncation in ("head", "tail"):
        job = tiny.job(tiny_bert, toy_data_dir, tmp_path / truncation, **{"tokens.truncation": truncation})
        trial = pick_up(workbench, job)
        longest = int(trial.train.encoded.lengths.argmax())
        ids = trial.train.encoded.row(longest).ids.tolist()
        text = trial.dataset.splits["train"].texts[longest]
        rows[truncation] = (ids[1:-1], trial.pretrained.tokenizer(text)["input_ids"][1:-1])
    ids, whole = rows["head"]
    assert len(whole) > len(ids) == 22
    assert ids == whole[:22]
    ids, whole = rows["tail"]
    assert ids == whole[-22:]


@arrives("tokens.lowercase", "tokens.normalize")
def test_texts_train_as_the_job_wants_them_read(
    workbench: Workbench, tiny_checkpoints: dict[str, Path], toy_dataset: Dataset, tmp_path: Path
) -> None:
    train = toy_dataset.splits["train"]
    shouted = replace(train, texts=[text.upper().replace(" ", "\u2003") for text in train.texts])
    splits = {**toy_dataset.splits, "train": shouted}
    save_dataset(replace(toy_dataset, splits=splits, digest="shouted"), tmp_path / "data")
    changes = {"tokens.lowercase": True, "tokens.normalize": "nfkc"}
    trial = pick_up(workbench, tiny.job(tiny_checkpoints["roberta"], tmp_path / "data", tmp_path, **changes))
    expected = trial.pretrained.tokenizer(list(train.texts), truncation=True, max_length=24)["input_ids"]
    assert [trial.train.encoded.row(row).ids.tolist() for row in range(len(train))] == expected


@arrives("scratch.layers", "scratch.heads")
def test_a_model_from_scratch_has_the_size_that_the_job_names(
    workbench: Workbench, toy_data_dir: Path, tmp_path: Path
) -> None:
    changes = {"model.name": "scratch:wordpiece-150", "scratch.layers": 1, "scratch.heads": 2}
    trial = pick_up(workbench, tiny.job(Path("scratch:wordpiece-150"), toy_data_dir, tmp_path, **changes))
    assert trial.pretrained.config.num_hidden_layers == 1
    assert (trial.pretrained.config.num_attention_heads, trial.pretrained.config.hidden_size) == (2, 128)


@arrives("model.revision")
def test_revision_of_the_job_chooses_the_weights(
    workbench: Workbench, hub_cache: str, toy_data_dir: Path, tmp_path: Path
) -> None:
    weights = []
    for revision in (None, "v2"):
        job = tiny.job(Path(hub_cache), toy_data_dir, tmp_path / str(revision), **{"model.revision": revision})
        model = pick_up(workbench, job).trainee.model
        weights.append(model.bert.embeddings.word_embeddings.weight.detach().clone())
    assert torch.equal(weights[0] * 2, weights[1])


@arrives("train.evaluations")
@pytest.mark.parametrize("evaluations", [1, 3])
@pytest.mark.usefixtures("workbench", "no_pictures")
def test_evaluations_are_so_many(evaluations: int, tiny_bert: Path, toy_data_dir: Path, tmp_path: Path) -> None:
    job = tiny.job(tiny_bert, toy_data_dir, tmp_path, **{"train.evaluations": evaluations})
    assert run(job).finished
    records = [record for record in read_journal(job.directory / "progress.jsonl") if record["kind"] == "evaluation"]
    assert [record["step"] for record in records] == evaluation_steps(240, job.config.train)
    assert len(records) == evaluations


@arrives("train.early_stopping")
@pytest.mark.parametrize(
    ("patience", "log_losses", "end"),
    [
        (None, [0.5, 0.6, 0.7, 0.8, 0.9], 10),
        (1, [0.5, 0.4, 0.4, 0.3, 0.2], 6),  # equal is not better
        (2, [0.5, 0.6, 0.4, 0.6, 0.5], 10),
        (2, [0.5, 0.4, 0.6, 0.5, 0.3], 8),
        (9, [0.5, 0.6, 0.7, 0.8, 0.9], 10),
    ],
)
@pytest.mark.usefixtures("workbench", "no_pictures")
def test_early_stopping_waits_for_so_many_evaluations(
    patience: int | None,
    log_losses: list[float],
    end: int,
    monkeypatch: pytest.MonkeyPatch,
    tiny_bert: Path,
    toy_data_dir: Path,
    tmp_path: Path,
) -> None:
    to_come = iter(log_losses)
    monkeypatch.setattr(run_module, "score", lambda predictions: {"log_loss": next(to_come), "accuracy": 0.5})
    changes = {"train.evaluations": 5, "train.early_stopping": patience}
    job = tiny.job(tiny_bert, toy_data_dir, tmp_path, **changes)
    result = run(job)
    assert (result.step, result.finished, result.total_steps) == (end, True, 10)
    assert result.scores["log_loss"] == log_losses[end // 2 - 1]
    assert (job.directory / "model" / "model.safetensors").is_file()


class Clock:
    """A clock that goes on by ten seconds at each look at its monotonic time."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 10.0
        return self.now

    def perf_counter(self) -> float:
        return self.now


@arrives("train.checkpoint_seconds")
@pytest.mark.parametrize(("seconds", "steps"), [(0.0, list(range(1, 11))), (65.0, [4, 8]), (1e6, [])])
@pytest.mark.usefixtures("workbench", "no_pictures")
def test_checkpoints_are_so_many_seconds_apart(
    seconds: float,
    steps: list[int],
    monkeypatch: pytest.MonkeyPatch,
    tiny_bert: Path,
    toy_data_dir: Path,
    tmp_path: Path,
) -> None:
    committed: list[int] = []
    save = run_module.save_checkpoint

    def noted(trainee: Trainee, home: Path, *, fingerprint: str) -> Path:
        committed.append(trainee.step)
        return save(trainee, home, fingerprint=fingerprint)

    monkeypatch.setattr(run_module, "save_checkpoint", noted)
    monkeypatch.setattr(run_module, "time", Clock())
    # Two looks a step, and a third after a commit.
    monkeypatch.setattr(run_module, "_SYSTEM_SECONDS", 1e9)
    changes = {"train.evaluations": 1, "train.checkpoint_seconds": seconds}
    job = tiny.job(tiny_bert, toy_data_dir, tmp_path, **changes)
    assert run(job).finished
    assert committed == steps


def three_steps(job: SegmentJob) -> tuple[Trainee, set[str]]:
    """The trainee of a job, and the names of the weights that three steps of it changed."""
    job.directory.mkdir(parents=True)
    trial = Workbench().trial(job)
    network = trial.trainee.model
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    train(trial.trainee, trial.train, 3)
    return trial.trainee, {name for name, weight in network.named_parameters() if not torch.equal(weight, before[name])}


@arrives("lora.rank", "lora.alpha", "lora.dropout")
def test_adapters_of_the_job_are_those_that_train(tiny_bert: Path, toy_data_dir: Path, tmp_path: Path) -> None:
    changes = {"lora.rank": 3, "lora.alpha": 12.0, "lora.dropout": 0.25}
    trainee, changed_ones = three_steps(tiny.job(tiny_bert, toy_data_dir, tmp_path, **changes))
    query = trainee.model.bert.encoder.layer[1].attention.self.query
    assert query.lora_A["default"].weight.shape == (3, tiny.HIDDEN)
    assert query.scaling == {"default": 12.0 / 3}
    assert query.lora_dropout["default"].p == 0.25
    assert all("lora_" in name or name.startswith(("classifier", "bert.pooler")) for name in changed_ones)


@arrives("train.frozen_layers", "train.freeze_embeddings")
@pytest.mark.parametrize(
    ("changes", "frozen"),
    [
        ({}, ()),
        ({"train.freeze_embeddings": True}, ("bert.embeddings.",)),
        ({"train.frozen_layers": 1}, ("bert.embeddings.", "bert.encoder.layer.0.")),
        ({"train.frozen_layers": 2}, ("bert.embeddings.", "bert.encoder.layer.")),
    ],
)
def test_what_the_job_freezes_does_not_train(
    changes: dict[str, Any], frozen: tuple[str, ...], tiny_bert: Path, toy_data_dir: Path, tmp_path: Path
) -> None:
    trainee, changed_ones = three_steps(tiny.job(tiny_bert, toy_data_dir, tmp_path, **changes))
    names = {name for name, _ in trainee.model.named_parameters()}
    assert changed_ones == {name for name in names if not name.startswith(frozen or "-")}


@arrives("train.layer_decay", "train.gradient_checkpointing")
def test_decay_and_checkpointing_of_the_job_are_those_that_train(
    tiny_bert: Path, toy_data_dir: Path, tmp_path: Path
) -> None:
    changes = {"train.layer_decay": 0.5, "train.gradient_checkpointing": True}
    trainee, _ = three_steps(tiny.job(tiny_bert, toy_data_dir, tmp_path, **changes))
    assert {group["scale"] for group in trainee.optimizer.param_groups} == {1.0, 0.5, 0.25, 0.125}
    assert trainee.model.is_gradient_checkpointing
    plain, _ = three_steps(tiny.job(tiny_bert, toy_data_dir, tmp_path / "plain"))
    assert {group["scale"] for group in plain.optimizer.param_groups} == {1.0}
    assert not plain.model.is_gradient_checkpointing
