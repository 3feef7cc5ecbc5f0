"""A run goes segment by segment, in one process or in several."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.run import run, train_segment
from pipelines.segment import SegmentJob, Unwatched

from .jobs import Fresh, assert_same_outcome, elsewhere, exported, journal, make_job, newest


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
