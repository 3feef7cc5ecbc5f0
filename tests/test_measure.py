"""Workers by measurement, and measurements that are kept; the measuring itself is made up."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from hpo import measure
from hpo.machine import GIB, Machine
from hpo.measure import Site, staffed
from tests.stub import a_spec

MACHINE = Machine(cores=2, memory=16 * GIB, device="Acme 9000", gpu=False)


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "look_at_machine", lambda: MACHINE)
    monkeypatch.setattr(measure, "PROBE", "tests.costs:probe")


def a_site(home: Path, *, digest: str = "digest") -> Site:
    return Site(home / "data", digest, encoded=home / "encoded", measurements=home / "costs", logs=home / "logs")


def staff(home: Path, *, digest: str = "digest", measuring: bool = True, **changes: Any) -> tuple[str, int, int, bool]:
    """The reason, workers, threads, and whether something had to be measured."""
    said: list[str] = []
    site = a_site(home, digest=digest)
    with staffed(a_spec(**changes), site, say=said.append, measuring=measuring) as found:
        assert found.executor.slots == found.share.workers
        return found.share.reason, found.share.workers, found.share.threads, bool(said)


def probes(home: Path) -> Counter[str]:
    file = home / "probes.txt"
    return Counter(file.read_text().splitlines() if file.exists() else [])


def test_both_arrangements_are_measured_once_and_the_faster_one_works(tmp_path: Path) -> None:
    reason = "2 workers x 1 thread: 3.00x the rows/s of 1 worker x 2 threads, measured"
    assert staff(tmp_path) == (reason, 2, 1, True)
    assert probes(tmp_path) == {"minilm x 2": 1, "minilm x 1": 2}, "side by side, both measure at the same time"
    assert staff(tmp_path) == (reason, 2, 1, False)
    assert sum(probes(tmp_path).values()) == 3


def test_workers_that_measured_are_those_of_the_study(tmp_path: Path) -> None:
    for warm in (True, False):
        with staffed(a_spec(), a_site(tmp_path), say=lambda _: None) as found:
            assert found.warm == warm
            assert [seat._process is not None for seat in found.executor._seats] == [warm] * 2


def test_one_wide_worker_works_where_it_is_faster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "PROBE", "tests.costs:probe_wide")
    with staffed(a_spec(), a_site(tmp_path), say=lambda _: None) as found:
        assert (found.share.workers, found.share.threads) == (1, 2)
        assert found.share.reason.startswith("1 worker x 2 threads: ")
        assert not found.warm, "those that measured last are gone"


def test_what_is_asked_for_is_not_compared_but_its_cost_is_known(tmp_path: Path) -> None:
    asked = {"count": 1, "threads": 1}
    assert staff(tmp_path, workers=asked) == ("asked for", 1, 1, True)
    assert probes(tmp_path) == {"minilm x 1": 1}


def test_every_model_is_measured_in_the_arrangement_that_won(tmp_path: Path) -> None:
    space = {"model.name": ["minilm", "bert"]}
    with staffed(a_spec(space=space), a_site(tmp_path), say=lambda _: None) as found:
        assert sorted(found.prospect.costs) == ["bert", "minilm"]
    assert probes(tmp_path) == {"minilm x 2": 1, "minilm x 1": 2, "bert x 1": 2}


@pytest.mark.parametrize(
    "change",
    [
        {"digest": "other"},
        {"run": {"tokens": {"max_length": 64}}},
        {"run": {"train": {"batch_size": 64}}},
        {"run": {"train": {"precision": "fp32"}}},
        {"run": {"model": {"revision": "abc"}}},
        {"workers": {"count": 1, "threads": 2}},
    ],
)
def test_it_is_measured_again_when_something_else_is_asked(tmp_path: Path, change: dict[str, Any]) -> None:
    one = {"workers": {"count": 1, "threads": 1}}
    assert staff(tmp_path, **one)[3]
    assert staff(tmp_path, **one | change)[3]


def test_it_is_measured_again_on_another_machine_or_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = {"workers": {"count": 1, "threads": 1}}
    staff(tmp_path, **one)
    assert not staff(tmp_path, **one, run={"train": {"batch_size": 16, "learning_rate": 1e-3}})[3], "no matter of cost"
    monkeypatch.setattr(measure, "ENGINE", 10**6)
    assert staff(tmp_path, **one)[3]
    monkeypatch.setattr(measure, "look_at_machine", lambda: Machine(2, 16 * GIB, "Acme 9001", gpu=False))
    assert staff(tmp_path, **one)[3]


def test_a_damaged_measurement_is_made_again(tmp_path: Path) -> None:
    one = {"workers": {"count": 1, "threads": 1}}
    staff(tmp_path, **one)
    (file,) = (tmp_path / "costs").iterdir()
    file.write_text(file.read_text()[:-20])
    assert staff(tmp_path, **one)[3]
    assert not staff(tmp_path, **one)[3]


def test_a_model_that_kills_its_worker_leaves_the_study_without_a_forecast(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "PROBE", "tests.costs:die")
    said: list[str] = []
    with staffed(a_spec(workers={"count": 1, "threads": 1}), a_site(tmp_path), say=said.append) as found:
        assert found.prospect.costs == {}
    assert said[-1].startswith("minilm could not be measured, nothing is foretold of it: the worker process ended")
    assert not (tmp_path / "costs").exists()


def test_a_study_that_is_over_measures_nothing(tmp_path: Path) -> None:
    assert staff(tmp_path, measuring=False) == ("nothing could be measured here", 2, 1, False)
    assert probes(tmp_path) == {}


def test_memory_bounds_the_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "look_at_machine", lambda: Machine(2, 2.05 * GIB, "Acme 9000", gpu=False))
    reason, workers, threads, _ = staff(tmp_path)
    assert (workers, threads) == (1, 2)
    assert reason == "1.4 GiB a worker, 2.0 GiB available: memory for 1"
