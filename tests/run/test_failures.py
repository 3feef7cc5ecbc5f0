"""Configurations that cannot be trained, and arithmetic that does not suffice."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pipelines import run as run_module
from pipelines.config import replaced
from pipelines.journal import read_journal
from pipelines.notes import Notes, read_notes
from pipelines.run import run, train_segment
from pipelines.segment import InfeasibleError, SegmentJob, Unwatched, Watch
from pipelines.workbench import Workbench
from tests.faults import shows

from .jobs import Fresh, journal, make_job


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
