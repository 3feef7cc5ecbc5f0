"""What a run leaves behind."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from pipelines import run as run_module
from pipelines.batches import evaluation_steps
from pipelines.data import Dataset
from pipelines.journal import read_journal
from pipelines.predictions import read_parquet
from pipelines.run import run
from pipelines.scores import score
from pipelines.segment import SegmentJob

from .jobs import Fresh, assert_tidy, elsewhere, exported, journal, make_job


@pytest.mark.usefixtures("workbench")
def test_run_learns_and_leaves_scores_model_and_pictures(tiny_bert: Path, toy_data_dir: Path, tmp_path: Path) -> None:
    changes = {"train.epochs": 3.0, "train.learning_rate": 5e-3, "model.dropout": 0.0}
    job = make_job(tiny_bert, toy_data_dir, tmp_path, **changes)
    result = run(job)
    assert (result.step, result.total_steps, result.examples) == (30, 30, 720)
    assert (result.finished, result.interrupted) == (True, False)
    assert result.scores["accuracy"] > 0.9
    assert result.scores["latency_ms"] > 0
    assert set(result.seconds) == {"prepare", "train", "evaluate", "finish"}
    weights = load_file(job.directory / "model" / "model.safetensors")
    assert result.scores["parameters"] == sum(tensor.numel() for tensor in weights.values())
    artifacts = {path.name for path in (job.directory / "artifacts").iterdir()}
    assert {"predictions.parquet", "mistakes.json", "config.json", "training.png"} <= artifacts
    assert len([name for name in artifacts if name.endswith(".png")]) > 2
    assert json.loads((job.directory / "artifacts" / "config.json").read_text()) == job.config.model_dump()
    assert_tidy(job)


@pytest.mark.usefixtures("workbench", "no_pictures")
def test_stored_predictions_are_those_of_the_select_split_and_of_the_scores(
    job: SegmentJob, toy_dataset: Dataset
) -> None:
    result = run(job)
    predictions = read_parquet(job.directory / "artifacts" / "predictions.parquet")
    split = toy_dataset.splits["select"]
    assert (list(predictions.texts), list(predictions.ids)) == (split.texts, split.ids)
    assert predictions.labels.tolist() == split.labels.tolist()
    assert score(predictions) == {name: result.scores[name] for name in score(predictions)}


@pytest.mark.usefixtures("workbench", "no_pictures")
def test_three_classes_are_learned_like_two(tiny_bert: Path, toy_data_dir_3: Path, tmp_path: Path) -> None:
    changes = {  # epochs enough for any of the vocabularies that the tokenizer's trainer makes of equal texts
        "train.epochs": 6.0,
        "train.learning_rate": 5e-3,
        "train.batch_size": 12,
        "train.class_weights": "balanced",
        "model.dropout": 0.0,
    }
    result = run(make_job(tiny_bert, toy_data_dir_3, tmp_path, **changes))
    assert result.scores["accuracy"] > 0.8
    assert {"f1.negative", "f1.neutral", "f1.positive"} <= result.scores.keys()


@pytest.mark.usefixtures("workbench", "no_pictures")
def test_journal_holds_each_step_and_each_evaluation_once(job: SegmentJob) -> None:
    result = run(job)
    records = journal(job)
    assert [step for kind, step, _ in records if kind == "step"] == list(range(1, 11))
    evaluations = [(step, values) for kind, step, values in records if kind == "evaluation"]
    assert [step for step, _ in evaluations] == evaluation_steps(240, job.config.train) == [5, 10]
    assert evaluations[-1][1].items() <= result.scores.items()
    steps = [values for kind, _, values in records if kind == "step"]
    assert [values["epoch"] for values in steps] == pytest.approx([step / 10 for step in range(1, 11)])
    assert all(set(values) == {"loss", "learning_rate", "grad_norm", "epoch"} for values in steps)


@pytest.mark.usefixtures("no_pictures")
def test_long_runs_journal_the_mean_loss_of_some_steps(
    job: SegmentJob, fresh: Fresh, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(job)
    losses = [values["loss"] for kind, _, values in journal(job) if kind == "step"]
    monkeypatch.setattr(run_module, "_RECORDS", 3)
    fresh()
    run(elsewhere(job))
    records = [(step, values["loss"]) for kind, step, values in journal(elsewhere(job)) if kind == "step"]
    assert [step for step, _ in records] == [4, 8, 10]
    means = [np.mean(losses[:4]), np.mean(losses[4:8]), np.mean(losses[8:])]
    assert [loss for _, loss in records] == pytest.approx(means, rel=1e-12)


@pytest.mark.usefixtures("workbench", "no_pictures")
def test_memory_and_processor_are_journalled_now_and_then(job: SegmentJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "_SYSTEM_SECONDS", 0.0)
    run(job)
    records = [r for r in read_journal(job.directory / "progress.jsonl") if r["kind"] == "system"]
    assert [record["step"] for record in records] == list(range(1, 11))
    for name in ("cpu_utilization_percentage", "system_memory_usage_megabytes", "worker_memory_megabytes"):
        assert records[-1]["values"][name] >= 0
    assert 10 < records[-1]["values"]["worker_memory_megabytes"] < 100_000


@pytest.mark.usefixtures("workbench", "no_pictures")
def test_more_evaluations_than_steps_are_one_at_each_step(tiny_bert: Path, toy_data_dir: Path, tmp_path: Path) -> None:
    changes = {"train.batch_size": 120, "train.evaluations": 7}
    job = make_job(tiny_bert, toy_data_dir, tmp_path, **changes)
    assert run(job).finished
    assert [(kind, step) for kind, step, _ in journal(job)] == [
        ("step", 1),
        ("evaluation", 1),
        ("step", 2),
        ("evaluation", 2),
    ]


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_equal_configurations_give_equal_files_whatever_the_process_did_before(
    family: str, fresh: Fresh, tiny_checkpoints: dict[str, Path], toy_data_dir: Path, tmp_path: Path
) -> None:
    job = make_job(tiny_checkpoints[family], toy_data_dir, tmp_path, **{"tokens.truncation": "tail"})
    run(job)
    fresh()
    other = make_job(tiny_checkpoints[family], toy_data_dir, tmp_path / "other", **{"tokens.max_length": 16})
    run(other)
    again = elsewhere(job)  # now its texts come from the cache, and the tokenizer served another trial
    run(again)
    assert exported(again) == exported(job)
    assert exported(other) != exported(job)
