"""A study that was stopped or killed is continued by the same command."""

import signal
from pathlib import Path

import pytest

from tests.commands import kill_group, new_home, wait_until
from tests.faults import shows

from .studies import assert_whole, trial_steps, write_study


@shows("SIGTERM, SIGINT", "EF")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_request_keeps_everything_and_the_same_command_continues(
    tmp_path: Path, tiny_bert: Path, number: signal.Signals
) -> None:
    home = new_home(tmp_path)
    write_study(tmp_path, tiny_bert, epochs=30)
    process = home.start("run", "own.yaml")
    wait_until(lambda: trial_steps(home) > 2_000)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + number, output
    assert "run the same command again to continue" in output
    states = {row["trial"]: row["state"] for row in home.json("show", "own")}
    assert "INTERRUPTED" in states.values()
    assert {run.info.status for run in home.runs("own")} <= {"SCHEDULED", "FINISHED"}
    assert list(home.path.glob("mlruns/work/own/trial-*/checkpoints/step-*"))
    assert home.json("doctor", "own")["ok"], "what rests is not wrong"
    done = home.hpo("run", "own.yaml")
    assert done.returncode == 0, done.stderr
    assert_whole(home)


@shows("SIGKILL controller", "E")
@pytest.mark.parametrize("bytes_written", [100, 2_000, 12_000])
def test_a_killed_study_is_continued_by_the_same_command(tmp_path: Path, tiny_bert: Path, bytes_written: int) -> None:
    home = new_home(tmp_path)
    write_study(tmp_path, tiny_bert, epochs=30, trials=3)
    process = home.start("run", "own.yaml")
    wait_until(lambda: trial_steps(home) > bytes_written)
    kill_group(process)
    done = home.hpo("run", "own.yaml")
    assert done.returncode == 0, done.stderr
    assert_whole(home, trials=3)
    assert home.json("doctor", "own")["ok"]


@shows("SIGKILL controller", "E")
def test_a_study_killed_while_it_trains_its_finalists_anew_goes_on_there(tmp_path: Path, tiny_bert: Path) -> None:
    home = new_home(tmp_path)
    write_study(tmp_path, tiny_bert, epochs=30, trials=2)
    process = home.start("run", "own.yaml")
    wait_until(lambda: any(tmp_path.glob("mlruns/work/own/confirm-*/progress.jsonl")))
    kill_group(process)
    done = home.hpo("run", "own.yaml")
    assert done.returncode == 0, done.stderr
    assert_whole(home, trials=2)
    assert home.json("doctor", "own")["ok"]


@shows("SIGKILL controller", "E")
@pytest.mark.long
def test_a_study_killed_three_times_ends_as_if_nothing_had_happened(tmp_path: Path, tiny_bert: Path) -> None:
    home = new_home(tmp_path)
    write_study(tmp_path, tiny_bert, epochs=30, trials=3)
    for kill in range(1, 4):
        process, before = home.start("run", "own.yaml"), trial_steps(home)
        wait_until(lambda before=before, kill=kill: trial_steps(home) > before + 1_500 * kill)  # type: ignore[misc]
        kill_group(process)
    done = home.hpo("run", "own.yaml")
    assert done.returncode == 0, done.stderr
    assert_whole(home, trials=3)


def test_a_second_controller_is_told_who_holds_the_study(tmp_path: Path, tiny_bert: Path) -> None:
    home = new_home(tmp_path)
    write_study(tmp_path, tiny_bert, epochs=30)
    process = home.start("run", "own.yaml")
    try:
        wait_until(lambda: trial_steps(home) > 0)
        second = home.hpo("run", "own.yaml")
        assert second.returncode == 4
        assert f"study 'own' is being run by process {process.pid}" in second.stderr
    finally:
        kill_group(process)
