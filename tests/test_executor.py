import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from hpo.executors import Executor, TaskFailedError, WorkerLostError
from hpo.executors.local import LocalExecutor
from pipelines.errors import DataError
from pipelines.segment import InfeasibleError
from tests.faults import shows

ROOT = Path(__file__).parents[1]


def run(executor: Executor, task: str, payload: Any = None, *, key: str = "a") -> Any:
    return executor.submit(f"tests.stub:{task}", payload, key=key).result(timeout=60)


def occupy(executor: Executor, folder: Path, *keys: str) -> None:
    """Have all workers at work at the same time, one for each key, and stop them."""
    futures = [executor.submit("tests.stub:wait_for_stop", folder / key, key=key) for key in keys]
    with pytest.raises(RuntimeError, match="no free worker: submit at most `slots` tasks at a time"):
        executor.submit("tests.stub:echo", None, key="another")
    assert eventually(lambda: all((folder / key).exists() for key in keys))
    executor.stop()
    assert [type(future.result(timeout=60)) for future in futures] == [int] * len(keys)


def eventually(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + 30
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def test_a_task_answers_with_its_result(executor: LocalExecutor) -> None:
    payload = {"path": Path("a"), "numbers": (1, 2.5, None)}
    assert run(executor, "echo", payload) == payload
    assert executor.slots == 2


def test_tasks_run_side_by_side_and_never_more_than_there_are_workers(executor: LocalExecutor, tmp_path: Path) -> None:
    occupy(executor, tmp_path, "a", "b")


def test_a_users_error_arrives_as_itself(executor: LocalExecutor) -> None:
    with pytest.raises(DataError) as caught:
        run(executor, "fail", "data")
    assert str(caught.value) == "reviews.csv: line 3: no label"
    assert caught.value.exit_code == 3


def test_an_infeasible_configuration_arrives_as_itself(executor: LocalExecutor) -> None:
    with pytest.raises(InfeasibleError, match="diverged: the loss is not finite at step 1"):
        run(executor, "fail", "infeasible")


def test_our_own_bug_arrives_with_its_traceback(executor: LocalExecutor) -> None:
    with pytest.raises(TaskFailedError) as caught:
        run(executor, "fail", "raise")
    headline, _, rest = str(caught.value).partition("\n")
    assert headline == "ValueError: a bug"
    assert rest.startswith("Traceback (most recent call last)")
    assert "raise error\nValueError: a bug" in rest


@shows("exception, exit", "E")
@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("no_such_task", "AttributeError: module 'tests.stub' has no attribute 'no_such_task'"),
        ("answer_with_a_lambda", "its answer cannot be sent: "),
        ("fail_stubbornly", "its answer cannot be read: TypeError: "),
    ],
)
def test_an_answer_that_cannot_travel_fails_the_task_and_spares_the_worker(
    executor: LocalExecutor, task: str, message: str
) -> None:
    pid, _ = run(executor, "whoami", "travel")
    with pytest.raises(TaskFailedError) as caught:
        run(executor, task)
    assert str(caught.value).startswith(message)
    assert run(executor, "whoami", "travel", key="a")[0] == pid


@pytest.mark.parametrize(
    ("task", "payload", "message"),
    [
        ("fail", "exit", "the worker process ended with code 3"),
        ("leave", 5, "the worker process ended with code 5"),
        ("fail", "kill", "the worker process was killed (by the kernel when memory ran out, or by hand)"),
    ],
)
def test_a_dead_worker_is_named_and_replaced(
    executor: LocalExecutor, tmp_path: Path, task: str, payload: Any, message: str
) -> None:
    pid, _ = run(executor, "whoami", "before")
    with pytest.raises(WorkerLostError) as caught:
        run(executor, task, payload)
    assert str(caught.value) == message
    assert run(executor, "whoami", "after")[0] != pid
    occupy(executor, tmp_path, "a", "b")


def test_a_worker_that_died_between_tasks_is_replaced(executor: LocalExecutor) -> None:
    pid, _ = run(executor, "whoami", "idle")
    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    assert run(executor, "whoami", "idle")[0] != pid


def test_a_trial_stays_warm_on_its_worker(executor: LocalExecutor, tmp_path: Path) -> None:
    occupy(executor, tmp_path, "left", "right")
    first = {key: run(executor, "whoami", key, key=key) for key in ("left", "right")}
    assert first["left"][0] != first["right"][0]
    for calls in (2, 3):
        for key in ("right", "left"):
            assert run(executor, "whoami", key, key=key) == (first[key][0], calls)


def test_a_new_trial_does_not_push_out_one_that_is_about_to_go_on(executor: LocalExecutor, tmp_path: Path) -> None:
    """Both workers are free; the one that became so a moment ago may still be needed."""
    for rested, left in (("a", "b"), ("b", "a")):
        futures = {key: executor.submit("tests.stub:wait_for_stop", tmp_path / key, key=key) for key in ("a", "b")}
        seats = {seat.last_key: seat for seat in executor._seats}
        for key in (rested, left):  # in this order they become free
            seats[key].stop()
            futures[key].result(timeout=60)
        run(executor, "echo", key="new")
        assert (seats[rested].last_key, seats[left].last_key) == ("new", left)


def test_progress_is_told_under_the_tasks_key_and_not_too_often(executor: LocalExecutor) -> None:
    executor.events()
    assert run(executor, "tell", 120, key="study/7") == "told"
    events = executor.events()
    assert {event.key for event in events} == {"study/7"}
    assert events[0].progress == {"step": 0.0}
    assert 2 <= len(events) <= 12, "about two a second"
    assert executor.events() == []


def test_a_stop_reaches_every_running_task_at_once(executor: LocalExecutor, tmp_path: Path) -> None:
    """Also one that was submitted a moment ago: the stop must not overtake it."""
    for _ in range(5):
        futures = [executor.submit("tests.stub:wait_for_stop", tmp_path / name, key=name) for name in "ab"]
        executor.stop()
        assert [type(future.result(timeout=60)) for future in futures] == [int, int]


def test_a_stop_that_comes_too_late_does_not_stop_the_next_task(executor: LocalExecutor, tmp_path: Path) -> None:
    seat = executor._seats[0]
    run(executor, "echo", key="late")
    assert seat._pipe is not None
    seat._pipe.send("stop")  # what a stop leaves behind that crossed the answer
    later: Future[int] = executor.submit("tests.stub:wait_for_stop", tmp_path / "work", key=seat.last_key)
    assert eventually(lambda: (tmp_path / "work").exists())
    executor.stop()
    assert later.result(timeout=60) > 0


def test_what_workers_print_goes_to_their_logs(tmp_path: Path) -> None:
    executor = LocalExecutor(workers=1, threads=1, logs=tmp_path / "logs")
    with closing(executor), pytest.raises(TaskFailedError):
        run(executor, "fail", "raise")
    assert "ValueError: a bug" in (tmp_path / "logs" / "worker-0.log").read_text()


def test_closing_leaves_no_process_and_no_open_future(tmp_path: Path) -> None:
    executor = LocalExecutor(workers=2, threads=1, logs=tmp_path / "logs")
    pids = {executor.submit("tests.stub:whoami", name, key=name).result(timeout=60)[0] for name in "ab"}
    at_work = executor.submit("tests.stub:wait_for_stop", tmp_path / "work", key="c")
    assert eventually(lambda: (tmp_path / "work").exists())
    executor.close()
    assert [pid for pid in pids if psutil.pid_exists(pid)] == []
    with pytest.raises(WorkerLostError):
        at_work.result(timeout=60)
    executor.close()  # a second time does no harm


_CONTROLLER = """
import sys, time
from pathlib import Path
from hpo.executors.local import LocalExecutor

if __name__ == "__main__":
    home = Path(sys.argv[1])
    executor = LocalExecutor(workers=2, threads=1, logs=home / "logs")
    resting = executor.submit("tests.stub:wait_for_stop", home / "resting", key="resting")
    executor.submit("tests.stub:be_deaf", home / "working", key="working")
    while not (home / "resting").exists() or not (home / "working").exists():
        time.sleep(0.02)
    executor._seats[0].stop()
    resting.result()
    print("ready", flush=True)
    time.sleep(60)
"""


def test_workers_end_at_once_when_their_controller_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "controller.py"
    script.write_text(_CONTROLLER)
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, str(script), str(tmp_path)], stdout=subprocess.PIPE, env=env) as controller:
        assert controller.stdout is not None
        assert controller.stdout.readline()
        workers = psutil.Process(controller.pid).children(recursive=True)
        assert len(workers) >= 2
        controller.kill()
    assert eventually(lambda: not any(map(alive, workers)))


def alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_each_worker_runs_on_cores_of_its_own(tmp_path: Path) -> None:
    here = sorted(os.sched_getaffinity(0))
    if len(here) < 2:
        pytest.skip("one core cannot be shared out")
    with closing(LocalExecutor(workers=2, threads=1, logs=tmp_path / "logs")) as pair:
        futures = [pair.submit("tests.costs:cores", None, key=key) for key in "ab"]
        assert [future.result(timeout=60) for future in futures] == [here[:1], here[1:2]]
    with closing(LocalExecutor(workers=1, threads=len(here) + 1, logs=tmp_path / "logs")) as wide:
        assert wide.submit("tests.costs:cores", None, key="a").result(timeout=60) == here


def test_a_worker_that_leaks_is_replaced_between_two_trials_and_not_before(tmp_path: Path) -> None:
    def leak(key: str, mebibytes: int) -> int:
        pid: int = leaking.submit("tests.costs:leak", mebibytes, key=key).result(timeout=60)
        return pid

    with closing(LocalExecutor(workers=1, threads=1, logs=tmp_path, max_growth=50 * 2**20)) as leaking:
        first = leak("warm-up", 1)
        assert leak("trial 0", 100) == first, "what it grows by while it settles is its working size"
        assert [leak("trial 1", 30) for _ in range(4)] == [first] * 4, "it may hold this trial's state"
        second = leak("trial 2", 1)
        assert second != first
        assert not psutil.pid_exists(first)
        assert [leak(f"trial {number}", 5) for number in range(3, 8)] == [second] * 5, "it counts from its own start"


def test_a_worker_that_does_not_grow_stays(tmp_path: Path) -> None:
    with closing(LocalExecutor(workers=1, threads=1, logs=tmp_path, max_growth=20 * 2**20)) as steady:
        pids = {steady.submit("tests.costs:leak", 1, key=f"trial {n}").result(timeout=60) for n in range(8)}
    assert len(pids) == 1


@shows("hang", "E")
def test_a_silent_worker_is_ended_and_the_next_task_gets_a_new_one(tmp_path: Path) -> None:
    with closing(LocalExecutor(workers=1, threads=1, logs=tmp_path, silence=2.0)) as executor:
        with pytest.raises(WorkerLostError, match="told nothing for 2 seconds, and was ended"):
            executor.submit("tests.stub:be_deaf", tmp_path / "deaf", key="a").result(timeout=30)
        assert executor.submit("tests.stub:echo", "well", key="b").result(timeout=30) == "well"


def test_a_worker_that_asks_whether_to_stop_is_not_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(LocalExecutor(workers=1, threads=1, logs=tmp_path, silence=7.0)) as executor:
        future = executor.submit("tests.stub:wait_for_stop", tmp_path / "works", key="a")
        time.sleep(9.0)  # it tells nothing of its own; signs of life come every 5 seconds
        executor.stop()
        assert future.result(timeout=10) > 100
