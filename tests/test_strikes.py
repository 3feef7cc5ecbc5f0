"""Each fault at each phase: what it leaves is made whole by the same command, run again."""

import itertools
import shutil
import signal
import sqlite3
from pathlib import Path

import pytest

from pipelines.journal import read_journal
from tests import strikes
from tests.crashes import SPEC, check
from tests.faults import moments, shows
from tests.strikes import LOST, begin, content, do, end, session, struck_session, wait_until_stopped
from tests.stub import a_spec, instruct

NINE = SPEC.model_copy(update={"budget": SPEC.budget.model_copy(update={"trials": 9})})


@pytest.fixture(scope="module")
def template(empty_mlflow: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with both databases set up: setting them up takes seconds."""
    home = tmp_path_factory.mktemp("template")
    shutil.copy(empty_mlflow, home / "mlflow.db")
    assert do(strikes.set_up, home) == 0
    return home


@pytest.fixture
def home(template: Path, tmp_path: Path) -> Path:
    return shutil.copytree(template, tmp_path / "home")


def expire(home: Path) -> None:
    """As if the holder had given no sign of life for long."""
    with sqlite3.connect(home / "studies.db") as connection:
        connection.execute("UPDATE hpo_leases SET expires = 1.0")


@shows("SIGTERM, SIGINT", "BDHI")
def test_requests_to_stop_lose_nothing_whenever_they_come(home: Path) -> None:
    """Once, each session ends in order; twice, it ends at once. While data is written nobody has promised an order."""
    assert do(struck_session, home, {"D": strikes.terminate_me}) == -signal.SIGTERM
    code = do(struck_session, home, {"D": strikes.interrupt_me_twice})
    assert code in {0, 1}, "the first request may have ended it in order before the second one comes"
    for phase, fault in itertools.product("BHI", (strikes.terminate_me, strikes.interrupt_me_twice)):
        code = do(struck_session, home, {phase: fault}, 1, NINE)
        assert code == (0 if fault is strikes.terminate_me else 1), phase
    assert do(session, home, NINE) == 0
    assert do(check, home, NINE) == 0


@pytest.mark.parametrize("phase", [*moments("SIGSTOP past the lease", "BCGHI"), "record", "state"])
def test_a_controller_that_slept_past_its_lease_writes_nothing_more(home: Path, phase: str) -> None:
    asleep = begin(struck_session, home, {phase: strikes.stop_me})
    wait_until_stopped(asleep)
    expire(home)
    assert do(session, home) == 0
    before = content(home)
    strikes.go_on(asleep)
    assert end(asleep) == LOST
    assert content(home) == before
    assert do(check, home) == 0


@shows("SIGSTOP past the lease", "EF")
def test_workers_that_slept_past_the_lease_write_nothing_beside_those_of_the_next_session(tmp_path: Path) -> None:
    spec = a_spec(budget={"trials": 2})
    instruct(tmp_path / "work" / "toy", faults={"1": ["well", "stop"]}, at="commit")
    asleep = begin(strikes.group_session, tmp_path, spec)
    wait_until_stopped(asleep)
    expire(tmp_path)
    instruct(tmp_path / "work" / "toy")
    assert do(strikes.group_session, tmp_path, spec) == 0
    before = content(tmp_path)
    strikes.go_on(asleep, group=True)
    assert end(asleep) == LOST
    assert content(tmp_path) == before
    for trial in (0, 1):
        journal = list(read_journal(tmp_path / f"work/toy/trial-{trial:05d}/progress.jsonl"))
        assert [record["step"] for record in journal if record["kind"] == "step"] == list(range(1, 9))


@pytest.mark.long
@shows("SIGSTOP past the lease", "D")
def test_who_sleeps_while_it_writes_the_data_is_waited_for_and_then_writes_nothing(home: Path) -> None:
    asleep = begin(struck_session, home, {"D": strikes.stop_me})
    wait_until_stopped(asleep)
    expire(home)
    heir = begin(session, home)
    heir.join(3.0)
    assert heir.is_alive(), "it waits: the sleeper holds the file lock of the data"
    strikes.go_on(asleep)
    assert (end(asleep), end(heir)) == (LOST, 0)
    assert do(check, home) == 0


@pytest.mark.long
@shows("SIGTERM, SIGINT", "CG")
def test_requests_to_stop_in_the_middle_of_mirroring_lose_nothing(home: Path) -> None:
    for phase, fault in itertools.product("CG", (strikes.terminate_me, strikes.interrupt_me_twice)):
        code = do(struck_session, home, {phase: fault}, 1, NINE)
        assert code == (0 if fault is strikes.terminate_me else 1), phase
    assert do(session, home, NINE) == 0
    assert do(check, home, NINE) == 0


@shows("clock", "BEH")
@pytest.mark.parametrize("first", [strikes.clock_forward, strikes.clock_back])
def test_a_clock_that_jumps_two_hours_changes_nothing(home: Path, first: strikes.Fault) -> None:
    then = strikes.clock_back if first is strikes.clock_forward else strikes.clock_forward
    assert do(struck_session, home, {"B": first, "E": then, "H": then}) == 0
    assert do(check, home) == 0


@shows("two controllers", "BCD")
def test_a_second_controller_is_refused_at_any_moment(home: Path) -> None:
    assert do(struck_session, home, dict.fromkeys("BCD", strikes.be_another_controller)) == 0
    assert do(check, home) == 0


SET_UPS = [(database, at, strikes.kill_me) for database, at in (("storage", 1), ("storage", 11), ("tracker", 150))]


@shows("SIGKILL controller", "A")
@shows("SIGTERM, SIGINT", "A")  # nobody listens yet: it ends at once
@pytest.mark.parametrize(("database", "at", "fault"), [*SET_UPS, ("storage", 16, strikes.terminate_me)])
def test_a_kill_while_databases_are_set_up_leaves_nothing_that_stands_in_the_way(
    tmp_path: Path, database: str, at: int, fault: strikes.Fault
) -> None:
    set_up = {"storage": strikes.set_up, "tracker": strikes.track}[database]
    expected = -signal.SIGKILL if fault is strikes.kill_me else -signal.SIGTERM
    assert do(strikes.ended_while_it_sets_up, set_up, tmp_path, at, fault) == expected
    assert do(set_up, tmp_path) == 0
    assert not list(tmp_path.glob(".*.tmp"))


def goes_well(home: Path, defect: strikes.Fault, phase: str, fault: strikes.Fault) -> bool:
    """Whether a session of this code, struck and run again, ends as if nothing had happened."""
    struck = begin(strikes.defective_session, home, defect, phase, fault)
    if fault is strikes.stop_me:
        wait_until_stopped(struck)
        expire(home)
    else:
        end(struck)
    if do(strikes.defective_session, home, defect, "", strikes.no_fault) != 0:
        return False
    before = content(home)
    if fault is strikes.stop_me:
        strikes.go_on(struck)
        end(struck)
    return content(home) == before and do(check, home) == 0


@pytest.mark.long
@pytest.mark.parametrize(
    ("defect", "phase", "fault"),
    [
        (strikes.no_fence, "record", strikes.stop_me),
        (strikes.no_flush, "H", strikes.power_fails),
        (strikes.no_search_for_runs, "params", strikes.kill_me),
        (strikes.no_memory_of_steps, "E", strikes.kill_me),
        (strikes.no_sweeping, "rename", strikes.kill_me),
        (strikes.no_freeing_of_disk, "H", strikes.kill_me),
        (strikes.no_record_of_the_end, "H", strikes.kill_me),
    ],
)
def test_the_checks_find_what_a_defect_does_and_nothing_without_it(
    home: Path, template: Path, tmp_path: Path, defect: strikes.Fault, phase: str, fault: strikes.Fault
) -> None:
    sound = shutil.copytree(template, tmp_path / "sound")
    assert goes_well(sound, strikes.no_fault, phase, fault)
    assert not goes_well(home, defect, phase, fault)
