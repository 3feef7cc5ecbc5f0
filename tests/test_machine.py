"""Workers and threads, from measured values."""

from pathlib import Path

import pytest

from hpo.machine import (
    GIB,
    Machine,
    Share,
    arrangements,
    available_memory,
    look_at_machine,
    own_cores,
    pinned,
    share_of_machine,
)
from hpo.spec import Workers

TWO = Machine(cores=2, memory=16 * GIB, device="Acme 9000", gpu=False)
EIGHT = Machine(cores=8, memory=16 * GIB, device="Acme 9000", gpu=False)
GPU = Machine(cores=16, memory=24 * GIB, device="Acme G1", gpu=True)


def share(machine: Machine, rates: dict[tuple[int, int], float], *, peak: float = GIB, trials: int = 100) -> Share:
    return share_of_machine(Workers(), machine, trials=trials, rates=rates, peak=peak)


def test_the_faster_arrangement_wins_and_says_by_how_much() -> None:
    assert share(TWO, {(2, 1): 140.0, (1, 2): 100.0}) == Share(
        2, 1, "2 workers x 1 thread: 1.40x the rows/s of 1 worker x 2 threads, measured"
    )
    assert share(TWO, {(2, 1): 80.0, (1, 2): 100.0}) == Share(
        1, 2, "1 worker x 2 threads: 1.25x the rows/s of 2 workers x 1 thread, measured"
    )


def test_memory_bounds_the_workers_and_the_others_cores_become_threads() -> None:
    assert share(EIGHT, {(8, 1): 500.0, (1, 8): 100.0}, peak=7 * GIB) == Share(
        2, 4, "7.0 GiB a worker, 16.0 GiB available: memory for 2"
    )
    assert share(EIGHT, {(8, 1): 500.0, (1, 8): 100.0}, peak=40 * GIB).workers == 1


def test_what_is_asked_for_is_not_second_guessed() -> None:
    asked = Workers(count=3, threads=2)
    assert share_of_machine(asked, TWO, trials=1, rates={}, peak=99 * GIB) == Share(3, 2, "asked for")
    assert arrangements(Workers(count=4), EIGHT, trials=9) == [(4, 2)]
    assert arrangements(Workers(threads=2), EIGHT, trials=9) == [(4, 2)]


def test_side_by_side_is_compared_with_one_wide_worker_last_the_presumed_winner() -> None:
    assert arrangements(Workers(), EIGHT, trials=100) == [(8, 1), (1, 8)]


@pytest.mark.parametrize(
    ("machine", "trials", "expected"),
    [
        (EIGHT, 3, (3, 2)),
        (EIGHT, 1, (1, 8)),
        (Machine(8, 4 * GIB, "Acme", gpu=False), 100, (4, 2)),
        (Machine(1, 4 * GIB, "Acme", gpu=False), 100, (1, 1)),
    ],
)
def test_there_are_never_more_workers_than_trials_memory_or_cores(
    machine: Machine, trials: int, expected: tuple[int, int]
) -> None:
    assert arrangements(Workers(), machine, trials=trials)[0] == expected


@pytest.mark.parametrize(("peak", "trials", "workers"), [(1, 100, 4), (10, 100, 2), (100, 100, 1), (1, 2, 2)])
def test_a_gpu_takes_as_many_workers_as_fit_and_few_at_most(peak: float, trials: int, workers: int) -> None:
    assert arrangements(Workers(), GPU, trials=trials) == [(1, 16)]
    found = share(GPU, {(1, 16): 500.0}, peak=peak * GIB, trials=trials)
    assert (found.workers, found.threads) == (workers, 16 // workers)
    assert f"the GPU has memory for {max(1, int(24 // peak))}" in found.reason


def test_nothing_measured_is_said_and_side_by_side_is_taken() -> None:
    assert share(TWO, {(2, 1): 0.0, (1, 2): 0.0}, peak=0.0) == Share(2, 1, "nothing could be measured here")


def test_workers_get_cores_of_their_own_while_there_are_enough() -> None:
    assert pinned([0, 1, 4, 5], workers=2, threads=2) == [(0, 1), (4, 5)]
    assert pinned([0, 1, 4, 5], workers=2, threads=1) == [(0,), (1,)]
    assert pinned([0, 1], workers=2, threads=2) == [None, None]


@pytest.mark.parametrize("version", [1, 2])
def test_a_limit_of_the_control_group_counts_and_its_file_cache_does_not(tmp_path: Path, version: int) -> None:
    names = {
        1: (
            "memory/memory.limit_in_bytes",
            "memory/memory.usage_in_bytes",
            "memory/memory.stat",
            "total_inactive_file",
        ),
        2: ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    }[version]
    (tmp_path / "memory").mkdir()
    for name, text in zip(names, ("4000000", "3000000", f"anon 5\n{names[3]} 500000\n"), strict=False):
        (tmp_path / name).write_text(text)
    assert available_memory(tmp_path) == 1_500_000
    (tmp_path / names[0]).write_text("9223372036854771712" if version == 1 else "max")
    assert available_memory(tmp_path) > 4_000_000
    assert available_memory(tmp_path / "nowhere") > 4_000_000


def test_this_machine_has_something_to_offer() -> None:
    here = look_at_machine()
    assert here.cores == len(own_cores()) >= 1
    assert here.memory > 0
    assert here.device
