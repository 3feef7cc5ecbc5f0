"""A run may be interrupted or killed anywhere: it ends as the undisturbed one."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines import run as run_module
from pipelines.run import run, train_segment
from pipelines.segment import SegmentJob, Unwatched
from tests.faults import shows

from .jobs import (
    Fresh,
    Stop,
    assert_interruption_changes_nothing,
    assert_same_outcome,
    elsewhere,
    exported,
    journal,
    make_job,
    newest,
)


class KilledError(RuntimeError):
    """Stands for the end of a process."""


class Kill(Unwatched):
    """Ends the process in the middle of its work, once it has told of this step."""

    def __init__(self, at: int) -> None:
        self.at = at

    def tell(self, progress: Mapping[str, float]) -> None:
        if progress["step"] >= self.at:
            raise KilledError


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
    assert_interruption_changes_nothing(make_job(tiny_checkpoints[family], toy_data_dir, tmp_path), fresh)


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
