import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipelines import mirror as mirror_module
from pipelines.mirror import MirrorThread
from tests.faults import shows

A, B = Path("a"), Path("b")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror_module, "_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(mirror_module, "_RETRY_SECONDS", (0.01, 0.05))


class Tracker:
    """Stands in for MLflow: remembers what came, and fails while it is down."""

    def __init__(self) -> None:
        self.came: list[Path] = []
        self.tries = 0
        self.down = False
        self.hangs = threading.Event()
        self.hangs.set()

    def sync(self, directory: Path) -> None:
        self.tries += 1
        self.hangs.wait(timeout=30)
        if self.down:
            raise ConnectionError("tracking http://127.0.0.1:1: refused\nand many more lines")
        self.came.append(directory)


@pytest.fixture
def tracker() -> Iterator[Tracker]:
    stand_in = Tracker()
    yield stand_in
    stand_in.down = False
    stand_in.hangs.set()


def eventually(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + 10
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    return condition()


def test_what_changed_is_sent_and_closing_says_that_all_is_sent(tracker: Tracker) -> None:
    mirror = MirrorThread(tracker.sync)
    mirror.changed(A)
    mirror.changed(B)
    assert mirror.close(patience=10)
    assert tracker.came == [A, B]
    assert mirror.error is None


def test_closing_with_nothing_to_send_takes_no_time(tracker: Tracker) -> None:
    start = time.monotonic()
    assert MirrorThread(tracker.sync).close(patience=10)
    assert time.monotonic() - start < 1
    assert tracker.came == []


def test_a_trial_that_changes_often_is_sent_now_and_then_and_last_at_its_end(tracker: Tracker) -> None:
    mirror, start = MirrorThread(tracker.sync), time.monotonic()
    for _ in range(100):
        mirror.changed(A)
        time.sleep(0.002)
    assert eventually(lambda: bool(tracker.came))
    sent = len(tracker.came)
    assert sent <= (time.monotonic() - start) / 0.05 + 1
    mirror.changed(A)
    assert mirror.close(patience=10)
    assert len(tracker.came) > sent


@shows("tracker away", "G")
def test_it_tries_again_until_it_succeeds(tracker: Tracker) -> None:
    tracker.down = True
    mirror = MirrorThread(tracker.sync)
    mirror.changed(A)
    assert eventually(lambda: tracker.tries >= 3)
    assert mirror.error == "tracking http://127.0.0.1:1: refused", "its first line"
    assert tracker.came == []
    tracker.down = False
    assert eventually(lambda: tracker.came == [A])
    assert eventually(lambda: mirror.error is None)
    assert mirror.close(patience=10)


def test_one_trial_that_cannot_be_sent_does_not_hold_up_the_others() -> None:
    came = []

    def sync(directory: Path) -> None:
        if directory == A:
            raise ValueError("a record that nobody can read")
        came.append(directory)

    mirror = MirrorThread(sync)
    for directory in (A, B, Path("c"), Path("d")):
        mirror.changed(directory)
    assert eventually(lambda: set(came) == {B, Path("c"), Path("d")})
    assert not mirror.close(patience=0.3)
    assert mirror.error == "a record that nobody can read"


@shows("tracker away", "E")
def test_a_tracker_that_hangs_never_blocks_the_study(tracker: Tracker) -> None:
    tracker.hangs.clear()
    mirror = MirrorThread(tracker.sync)
    mirror.changed(A)
    assert eventually(lambda: tracker.tries == 1)
    start = time.monotonic()
    for number in range(1000):
        mirror.changed(Path(f"trial-{number}"))
    assert time.monotonic() - start < 1
    tracker.hangs.set()
    assert mirror.close(patience=10)
    assert len(set(tracker.came)) == 1001


def test_what_changes_while_it_is_sent_is_sent_again(tracker: Tracker) -> None:
    tracker.hangs.clear()
    mirror = MirrorThread(tracker.sync)
    mirror.changed(A)
    assert eventually(lambda: tracker.tries == 1)
    mirror.changed(A)
    tracker.hangs.set()
    assert mirror.close(patience=10)
    assert tracker.came == [A, A]


@pytest.mark.parametrize("hangs", [False, True])
def test_closing_gives_up_when_the_tracker_stays_away(tracker: Tracker, hangs: bool) -> None:
    tracker.down = True
    if hangs:
        tracker.hangs.clear()
    mirror = MirrorThread(tracker.sync)
    mirror.changed(A)
    start = time.monotonic()
    assert mirror.close(patience=0.3) is False
    assert 0.3 <= time.monotonic() - start < 3


def test_closing_gives_up_when_each_try_takes_its_time_to_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror_module, "_RETRY_SECONDS", (0.3, 0.3))

    def refused(directory: Path) -> None:
        time.sleep(0.3)
        raise ConnectionError

    mirror = MirrorThread(refused)
    for directory in (A, B):
        mirror.changed(directory)
    start = time.monotonic()
    assert not mirror.close(patience=1.0)
    assert time.monotonic() - start < 3.0


def test_closing_waits_as_long_as_there_is_progress() -> None:
    def slow(directory: Path) -> None:
        time.sleep(0.2)

    mirror = MirrorThread(slow)
    for number in range(8):
        mirror.changed(Path(str(number)))
    assert mirror.close(patience=1.0), "1.6 seconds in all, but never 1.0 without one that is sent"
