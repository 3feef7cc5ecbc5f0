"""One training run: what it leaves behind, and that it is the same run whatever interrupts it."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pipelines import run as run_module
from pipelines import workbench as workbench_module
from pipelines.batches import evaluation_steps
from pipelines.checkpoint import read_sound_manifest
from pipelines.config import replaced
from pipelines.data import Dataset, save_dataset
from pipelines.errors import ModelError
from pipelines.files import sha256
from pipelines.journal import read_journal
from pipelines.loader import open_model
from pipelines.notes import Notes, read_notes
from pipelines.predictions import read_parquet
from pipelines.run import run, train_segment, warm_up
from pipelines.scores import score
from pipelines.segment import Choice, InfeasibleError, SegmentJob, SegmentResult, Unwatched, WarmUpJob, Watch
from pipelines.workbench import Workbench
from tests import tiny
from tests.faults import shows

Fresh = Callable[[], Workbench]
Records = list[tuple[str, int, dict[str, float]]]


class KilledError(RuntimeError):
    """Stands for the end of a process."""


class Stop:
    """Asks a segment to stop after so many steps of it, and hears what it tells."""

    def __init__(self, after: int) -> None:
        self.left, self.told = after, []  # type: ignore[var-annotated]

    def stop_requested(self) -> bool:
        self.left -= 1
        return self.left < 0

    def tell(self, progress: Mapping[str, float]) -> None:
        self.told.append(dict(progress))


class Kill(Unwatched):
    """Ends the process in the middle of its work, once it has told of this step."""

    def __init__(self, at: int) -> None:
        self.at = at

    def tell(self, progress: Mapping[str, float]) -> None:
        if progress["step"] >= self.at:
            raise KilledError


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, workbench: Workbench) -> Fresh:
    """Gives the process an empty workbench, as a new process has it."""

    def make() -> Workbench:
        made = Workbench()
        monkeypatch.setattr(run_module, "_WORKBENCH", made)
        return made

    return make


def make_job(model: Path, data: Path, home: Path, **changes: Any) -> SegmentJob:
    """Ten steps with dropout and two evaluations."""
    return tiny.job(model, data, home, **{"model.dropout": 0.1, **changes})


@pytest.fixture
def job(tiny_bert: Path, toy_data_dir: Path, tmp_path: Path) -> SegmentJob:
    return make_job(tiny_bert, toy_data_dir, tmp_path)


def elsewhere(job: SegmentJob) -> SegmentJob:
    """The same job in another directory; the encoded texts are shared."""
    return replace(job, directory=job.directory.with_name("elsewhere"))


def journal(job: SegmentJob) -> Records:
    """Everything but what depends on the clock."""
    records = read_journal(job.directory / "progress.jsonl")
    return [(record["kind"], record["step"], record["values"]) for record in records if record["kind"] != "system"]


def exported(job: SegmentJob) -> dict[str, str]:
    """The hash of every file of the exported model."""
    return {file.name: sha256(file) for file in (job.directory / "model").iterdir()}


def assert_tidy(job: SegmentJob) -> None:
    """Nothing temporary is left, at most two checkpoints, and those are sound."""
    assert not list(job.directory.rglob("*.tmp"))
    assert not list(job.directory.rglob(".*"))
    checkpoints = list((job.directory / "checkpoints").glob("*"))
    assert len(checkpoints) <= 2
    assert all(read_sound_manifest(directory) is not None for directory in checkpoints)


def assert_same_outcome(first: SegmentJob, second: SegmentJob, results: tuple[SegmentResult, SegmentResult]) -> None:
    """The same weights to the bit, the same journal, the same scores."""
    assert exported(first) == exported(second)
    assert journal(first) == journal(second)
    scores = [{k: v for k, v in result.scores.items() if k != "latency_ms"} for result in results]
    assert scores[0] == scores[1]
    assert (results[0].step, results[0].examples) == (results[1].step, results[1].examples)
    assert_tidy(second)


# --- what a run leaves behind


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


# --- interruptions


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize(("records", "stop"), [(200, 1), (3, 5), (3, 7), (200, 9)])
def test_interrupted_run_ends_as_the_uninterrupted_one(
    records: int, stop: int, job: SegmentJob, fresh: Fresh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "_RECORDS", records)
    whole = run(job)
    fresh()
    second = elsewhere(job)
    watch = Stop(after=stop)
    partly = run(second, watch=watch)
    assert (partly.step, partly.interrupted, partly.finished, partly.scores) == (stop, True, False, {})
    assert [path.name for path in (second.directory / "checkpoints").iterdir()] == [f"step-{stop:08d}"]
    assert all(told["total"] == 10 for told in watch.told)
    fresh()
    assert_same_outcome(job, second, (whole, run(second)))


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("family", ["gpt2", "albert", "deberta"])
def test_interrupted_run_of_other_families_ends_as_the_uninterrupted_one(
    family: str, fresh: Fresh, tiny_checkpoints: dict[str, Path], toy_data_dir: Path, tmp_path: Path
) -> None:
    job = make_job(tiny_checkpoints[family], toy_data_dir, tmp_path)
    whole = run(job)
    fresh()
    second = elsewhere(job)
    run(second, watch=Stop(after=6))
    fresh()
    assert_same_outcome(job, second, (whole, run(second)))


@pytest.mark.usefixtures("no_pictures")
def test_run_interrupted_at_every_step_ends_as_the_uninterrupted_one(job: SegmentJob, fresh: Fresh) -> None:
    whole = run(job)
    second = elsewhere(job)
    for step in range(1, 11):
        fresh()
        result = run(second, watch=Stop(after=1))
        assert result.step == step
    assert_same_outcome(job, second, (whole, result))


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def newest(job: SegmentJob) -> Path:
    return max((job.directory / "checkpoints").glob("step-*"))


AFTERMATHS: dict[str, Callable[[SegmentJob], Any]] = {
    "nothing more": lambda job: None,
    "torn journal": lambda job: (
        (job.directory / "progress.jsonl").open("a").write('{"kind": "step", "step": 8, "values": {"lo')
    ),
    "damaged newest checkpoint": lambda job: flip(newest(job) / "model.safetensors"),
    "torn manifest": lambda job: (newest(job) / "manifest.json").write_text('{"fing'),
    "no sound checkpoint": lambda job: [
        (path / "manifest.json").unlink() for path in (job.directory / "checkpoints").iterdir()
    ],
    "half a checkpoint": lambda job: newest(job).rename(job.directory / "checkpoints" / ".step-00000007.0a0a0a0a.tmp"),
}


@shows("SIGKILL worker", "EF")
@shows("damaged file", "F")
@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("aftermath", AFTERMATHS)
def test_killed_run_ends_as_the_undisturbed_one(
    aftermath: str, fresh: Fresh, tiny_bert: Path, toy_data_dir: Path, tmp_path: Path
) -> None:
    job = make_job(tiny_bert, toy_data_dir, tmp_path, **{"train.checkpoint_seconds": 0.0})
    whole = run(job)
    fresh()
    second = elsewhere(job)
    with pytest.raises(KilledError):
        run(second, watch=Kill(at=8))
    assert newest(second).name == "step-00000007"
    AFTERMATHS[aftermath](second)
    fresh()
    result = run(second)
    for leftover in (second.directory / "checkpoints").glob(".*"):
        assert aftermath == "half a checkpoint"  # it is not read; only this crash left it
        (leftover / "manifest.json").unlink()
        [file.unlink() for file in leftover.iterdir()]
        leftover.rmdir()
    assert_same_outcome(job, second, (whole, result))


@pytest.mark.usefixtures("no_pictures")
def test_run_killed_before_its_result_ends_at_the_same_early_stop(
    fresh: Fresh, monkeypatch: pytest.MonkeyPatch, tiny_bert: Path, toy_data_dir: Path, tmp_path: Path
) -> None:
    at_step = {2: 0.5, 4: 0.4, 6: 0.6, 8: 0.7, 10: 0.1}

    def prescribed(_: object) -> dict[str, float]:
        trial = run_module._WORKBENCH._trial
        assert trial is not None
        return {"log_loss": at_step[trial.trainee.step]}

    monkeypatch.setattr(run_module, "score", prescribed)
    changes = {"train.evaluations": 5, "train.early_stopping": 2}
    job = make_job(tiny_bert, toy_data_dir, tmp_path, **changes)
    run(job, watch=Stop(after=4))
    fresh()
    whole = run(job)
    assert (whole.step, whole.finished) == (8, True)
    files, records = exported(job), journal(job)
    (job.directory / "result.json").unlink()  # killed just before it; the checkpoint is that of step 4
    fresh()
    again = run(job)
    assert (again.step, again.finished, again.scores["log_loss"]) == (8, True, 0.7)
    assert (exported(job), journal(job)) == (files, records)


@pytest.mark.usefixtures("no_pictures")
def test_finished_trial_is_returned_without_training(
    job: SegmentJob, fresh: Fresh, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(job)
    files = exported(job)
    workbench = fresh()
    monkeypatch.setattr(run_module, "train_steps", lambda *_, **__: pytest.fail("trained again"))
    assert run(job) == first
    assert train_segment(replace(job, until=3), watch=Unwatched()) == first
    assert workbench._trial is None
    assert exported(job) == files


@shows("changed spec or data", "F")
@pytest.mark.usefixtures("no_pictures")
def test_result_and_checkpoint_of_another_configuration_are_not_taken_for_ours(
    fresh: Fresh, tiny_bert: Path, toy_data_dir: Path, tmp_path: Path
) -> None:
    theirs = make_job(tiny_bert, toy_data_dir, tmp_path, **{"train.learning_rate": 1e-4})
    run(theirs, watch=Stop(after=6))
    fresh()
    run(theirs)
    ours = make_job(tiny_bert, toy_data_dir, tmp_path)
    fresh()
    result = run(ours)
    fresh()
    expected = run(elsewhere(ours))
    assert exported(ours) == exported(elsewhere(ours))
    assert result.scores["log_loss"] == expected.scores["log_loss"]


@shows("changed spec or data", "D")
@pytest.mark.usefixtures("no_pictures")
def test_result_on_other_data_is_not_taken_for_ours(fresh: Fresh, job: SegmentJob, toy_data_dir_3: Path) -> None:
    run(job)
    fresh()
    assert "f1.neutral" in run(replace(job, data=toy_data_dir_3)).scores


# --- segments


@pytest.mark.usefixtures("workbench", "no_pictures")
def test_segments_are_scored_and_only_the_last_one_finishes(job: SegmentJob) -> None:
    first = train_segment(replace(job, until=5), watch=Unwatched())
    assert (first.step, first.examples, first.finished, first.interrupted) == (5, 120, False, False)
    assert "accuracy" in first.scores
    assert not (job.directory / "result.json").exists()
    assert not (job.directory / "checkpoints").exists()  # the trial stays in memory
    last = train_segment(replace(job, until=10), watch=Unwatched())
    assert (last.step, last.examples, last.finished) == (10, 240, True)


@pytest.mark.usefixtures("no_pictures")
def test_trial_that_moves_to_another_process_ends_as_the_one_that_stays(job: SegmentJob, fresh: Fresh) -> None:
    whole = run(job)
    second = elsewhere(job)
    fresh()
    train_segment(replace(second, until=5, pause=True), watch=Unwatched())
    assert newest(second).name == "step-00000005"
    fresh()
    last = train_segment(replace(second, until=10), watch=Unwatched())
    assert_same_outcome(job, second, (whole, last))


@pytest.mark.usefixtures("no_pictures")
def test_segment_done_again_gives_the_same_result(job: SegmentJob, fresh: Fresh) -> None:
    first = train_segment(replace(job, until=5), watch=Unwatched())
    records = journal(job)
    fresh()  # its result was lost, and so was its memory
    again = train_segment(replace(job, until=5), watch=Unwatched())
    assert (again.scores, again.step) == (first.scores, first.step)
    assert journal(job) == records


@pytest.mark.usefixtures("no_pictures")
def test_segment_before_the_checkpoint_is_answered_from_the_journal(job: SegmentJob, fresh: Fresh) -> None:
    first = train_segment(replace(job, until=5), watch=Unwatched())
    train_segment(replace(job, until=8, pause=True), watch=Unwatched())
    records = journal(job)
    fresh()
    again = train_segment(replace(job, until=5), watch=Unwatched())
    assert again.scores == first.scores
    assert again.step == 8
    assert not again.finished
    assert journal(job) == records


@pytest.mark.parametrize(("batch_size", "step", "examples"), [(100, 2, 200), (100, 3, 240), (100, 4, 340)])
@pytest.mark.usefixtures("workbench", "no_pictures")
def test_examples_count_rows_and_the_last_batch_of_an_epoch_is_smaller(
    batch_size: int, step: int, examples: int, tiny_bert: Path, toy_data_dir: Path, tmp_path: Path
) -> None:
    changes = {"train.batch_size": batch_size, "train.epochs": 2.0}
    job = make_job(tiny_bert, toy_data_dir, tmp_path, **changes)
    assert train_segment(replace(job, until=step), watch=Unwatched()).examples == examples


def test_trials_do_not_disturb_each_other(
    no_pictures: None, fresh: Fresh, tiny_bert: Path, toy_data_dir: Path, tmp_path: Path
) -> None:
    jobs = [
        replace(
            make_job(tiny_bert, toy_data_dir, tmp_path / str(number), **{"train.learning_rate": rate}),
            trial=f"toy/{number}",
        )
        for number, rate in enumerate((1e-3, 2e-3))
    ]
    alone = []
    for one in jobs:
        fresh()
        run(elsewhere(one))
        alone.append(exported(elsewhere(one)))
    fresh()
    for until in (5, 10):  # in turns, paused in between
        for one in jobs:
            train_segment(replace(one, until=until, pause=until == 5), watch=Unwatched())
    assert [exported(one) for one in jobs] == alone


@pytest.mark.usefixtures("workbench", "no_pictures")
def test_equal_trials_train_apart(job: SegmentJob) -> None:
    twin = replace(elsewhere(job), trial="toy/1")
    first, second = run(job), run(twin)
    assert_same_outcome(job, twin, (first, second))


# --- configurations that cannot be trained


def refused(job: SegmentJob, watch: Watch | None = None) -> str:
    with pytest.raises(InfeasibleError) as caught:
        run(job, watch=watch)
    for record in read_journal(job.directory / "progress.jsonl"):
        assert np.isfinite(list(record["values"].values())).all()
    assert not (job.directory / "result.json").exists()
    assert not (job.directory / "model").exists()
    return str(caught.value)


def held(workbench: Workbench, job: SegmentJob) -> torch.nn.Module:
    """The model of a trial that is in memory."""
    job.directory.mkdir(parents=True)
    return workbench.trial(job).trainee.model


@shows("not finite", "E")
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_poisoned_weight_is_divergence(value: float, workbench: Workbench, job: SegmentJob) -> None:
    with torch.no_grad():
        held(workbench, job).classifier.weight[0, 0] = value
    assert refused(job) == "diverged: the loss or its gradient is not finite at step 1"


def test_divergence_in_the_middle_is_noticed_at_the_next_record(
    workbench: Workbench, job: SegmentJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "_RECORDS", 3)  # records of steps 4, 8 and 10
    weight = held(workbench, job).classifier.weight
    trainee = workbench.trial(job).trainee

    class Poison(Unwatched):
        def stop_requested(self) -> bool:
            if trainee.step == 5:
                weight.data.fill_(float("nan"))
            return False

    assert refused(job, watch=Poison()) == "diverged: the loss or its gradient is not finite at step 8"
    assert [step for _, step, _ in journal(job)] == [4, 5]  # the record of step 4, the evaluation of step 5


@shows("not finite", "E")
def test_logits_that_are_not_finite_are_divergence(
    workbench: Workbench, job: SegmentJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict = run_module.predict_logits

    def poisoned(*arguments: Any, each: Any = None) -> Any:
        logits = predict(*arguments)
        logits[3, 1] = np.inf
        logits[4, 0] = np.nan
        return logits

    monkeypatch.setattr(run_module, "predict_logits", poisoned)
    assert refused(job) == "diverged: 2 of 60 rows have probabilities that are NaN or infinite"


@shows("memory limit", "E")
@pytest.mark.parametrize("micro", [None, 10, 1])
def test_too_little_memory_for_a_single_row_is_infeasible_and_says_what_to_try(
    micro: int | None,
    workbench: Workbench,
    monkeypatch: pytest.MonkeyPatch,
    tiny_bert: Path,
    toy_data_dir: Path,
    tmp_path: Path,
) -> None:
    def exhausted(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("pipelines.train.forward", exhausted)
    job = make_job(tiny_bert, toy_data_dir, tmp_path, **{"train.micro_batch_size": micro})
    remedy = "try a smaller tokens.max_length or model.name"
    assert refused(job) == f"out of memory even with one example at a time; {remedy}"
    assert workbench._trial is None  # its memory is free for the next trial


def test_gradient_that_overflows_fp16_is_a_skipped_step_and_no_divergence(
    workbench: Workbench, job: SegmentJob
) -> None:
    held(workbench, job)
    trial = workbench.trial(job)
    trial.trainee.step, trial.trainee.window = 1, [0.7, 1.0]
    trial.trainee.accelerator.scaler = torch.amp.GradScaler("cpu")
    assert run_module._journal_window(trial, 1e-3, grad_norm=float("inf")) == 0.7
    ((kind, step, values),) = journal(job)
    assert (kind, step, set(values)) == ("step", 1, {"loss", "learning_rate", "epoch"})
    trial.trainee.window = [float("nan"), 1.0]
    with pytest.raises(InfeasibleError):
        run_module._journal_window(trial, 1e-3, grad_norm=float("inf"))


# --- arithmetic that does not suffice


class Spoil(Unwatched):
    """Makes a weight of the trial in memory infinite once it stands at this step, in anything but fp32."""

    def __init__(self, workbench: Workbench, job: SegmentJob, at: int, *, always: bool = False) -> None:
        self.workbench, self.job, self.at, self.always = workbench, job, at, always
        self.precisions: list[str] = []

    def stop_requested(self) -> bool:
        trainee = self.workbench.trial(self.job).trainee
        precision = trainee.config.train.precision
        self.precisions.append(precision)
        if trainee.step == self.at and (self.always or precision != "fp32"):
            trainee.model.classifier.weight.data.fill_(float("inf"))
        return False


def with_settings(job: SegmentJob, **values: Any) -> SegmentJob:
    """The same job with other training settings; its trial is another one."""
    return replace(job, config=replaced(job.config, {f"train.{name}": value for name, value in values.items()}))


@pytest.mark.usefixtures("no_pictures")
def test_trial_that_diverges_in_bf16_goes_on_in_fp32_from_its_last_checkpoint(
    workbench: Workbench, job: SegmentJob
) -> None:
    job = with_settings(job, precision="bf16", checkpoint_seconds=0.0)
    spoil = Spoil(workbench, replace(job, until=5), at=3)
    assert train_segment(replace(job, until=5), watch=spoil).step == 5
    assert spoil.precisions == ["bf16"] * 4 + ["fp32"] * 2  # before steps 1 to 4, and again from the checkpoint of 3
    assert read_notes(job.directory) == Notes(
        ("diverged: the loss or its gradient is not finite at step 4, in bf16; from its last checkpoint on in fp32",),
        precision="fp32",
    )
    assert run(job).finished
    assert [step for kind, step, _ in journal(job) if kind == "step"] == list(range(1, 11))
    assert all(np.isfinite(list(values.values())).all() for _, _, values in journal(job))


@pytest.mark.usefixtures("no_pictures")
def test_trial_without_a_checkpoint_begins_again_in_fp32_and_stays_there(
    workbench: Workbench, job: SegmentJob, fresh: Fresh
) -> None:
    job = replace(with_settings(job, precision="bf16"), until=5)
    spoil = Spoil(workbench, job, at=3)
    assert train_segment(job, watch=spoil).step == 5
    assert spoil.precisions == ["bf16"] * 4 + ["fp32"] * 5
    again = Spoil(fresh(), replace(job, until=10), at=99)  # another process
    assert train_segment(replace(job, until=10), watch=again).finished
    assert set(again.precisions) == {"fp32"}


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_trial_that_diverges_in_fp32_too_has_diverged(precision: str, workbench: Workbench, job: SegmentJob) -> None:
    job = replace(with_settings(job, precision=precision, evaluations=1), until=10)
    assert refused(job, Spoil(workbench, job, at=2, always=True)).startswith("diverged: ")


def test_weights_that_are_not_finite_are_never_committed(
    workbench: Workbench, job: SegmentJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "_RECORDS", 1)  # only the checkpoints look
    job = replace(with_settings(job, checkpoint_seconds=0.0, evaluations=1), until=10)
    refused(job, Spoil(workbench, job, at=4, always=True))
    newest = max((job.directory / "checkpoints").iterdir())
    assert newest.name == "step-00000004"
    assert all(torch.isfinite(tensor).all() for tensor in load_file(newest / "model.safetensors").values())


# --- the warm process


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
