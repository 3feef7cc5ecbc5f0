"""What a study begins with, and what does not change while it lives."""

import os
import threading
import time
from pathlib import Path

import pytest

from hpo.executors.local import LocalExecutor
from hpo.lease import take
from hpo.ledger import Ledger
from hpo.study import Controller
from pipelines.errors import ConfigError, StorageError
from tests.faults import shows
from tests.stub import instruct

from .checks import Session, check, records, run_apart, states

pytestmark = pytest.mark.usefixtures("quick_sqlite")


@pytest.mark.parametrize("sampler", ["grid", "GridSampler", "brute_force", "BruteForce"])
def test_a_sampler_that_enumerates_starts_with_no_defaults(session: Session, sampler: str) -> None:
    controller = session(sampler=sampler, space={"train.learning_rate": [1e-4, 1e-3]})
    assert states(controller) == {}


@pytest.mark.parametrize(("trials", "models", "waiting"), [(4, 2, 2), (1, 2, 1), (4, 1, 1)])
def test_a_study_starts_with_the_defaults_of_its_models_once(
    session: Session, trials: int, models: int, waiting: int
) -> None:
    space = {"model.name": ["bert", "gpt2"][:models], "train.learning_rate": {"low": 1e-6, "high": 1e-2}}
    for _ in range(2):
        controller = session(space=space, budget={"trials": trials})
        assert states(controller) == {"WAITING": waiting}
    assert states(session(name="without", space=space, start_with_defaults=False)) == {}


@shows("changed spec or data", "A")
def test_a_changed_definition_is_refused_with_the_difference(session: Session) -> None:
    session(budget={"trials": 1}).run()
    session(budget={"trials": 2}, pruner="median", description="another", workers={"count": 3})  # may change
    with pytest.raises(ConfigError) as caught:
        session(seed=1, space={"train.learning_rate": {"low": 1e-5, "high": 1e-2, "log": True}}, objective="macro_f1")
    assert str(caught.value).splitlines()[1:] == [
        "  objective: was [{'metric': 'accuracy', 'direction': None}], is [{'metric': 'macro_f1', 'direction': None}]",
        "  seed: was 0, is 1",
        "  space.train.learning_rate.low: was 1e-06, is 1e-05",
    ]


def test_a_second_controller_is_kept_out(home: Path) -> None:
    instruct(home / "work" / "toy", pace=0.1)
    with run_apart(home, {"budget": {"trials": 20}}, workers=1) as controller:
        while not list(home.glob("work/toy/trial-*/calls.txt")):
            time.sleep(0.02)
        holder = f"{controller.pid} on {os.uname().nodename}"
        with pytest.raises(StorageError, match=f"study 'toy' is being run by process {holder}"):
            take(Ledger(f"sqlite:///{home}/studies.db"), "toy")
        controller.kill()


def test_the_precision_of_the_study_reaches_its_trials(session: Session) -> None:
    controller = session(budget={"trials": 1}, precision="bf16")
    controller.run()
    assert records(controller)[0]["params"]["train.precision"] == "bf16"
    own = session(name="own", budget={"trials": 1}, precision="bf16", run={"train": {"precision": "fp32", "epochs": 1}})
    own.run()
    assert records(own)[0]["params"]["train.precision"] == "fp32"


def test_the_display_sees_the_progress_of_what_runs(session: Session) -> None:
    seen: list[dict[str, float]] = []

    def look(controller: Controller) -> None:
        seen.extend(dict(running.progress) for running in controller.running.values() if running.progress)

    session({"pace": 0.1}, budget={"trials": 1}, show=look).run()
    assert seen
    assert all(progress["total"] == 8 and 1 <= progress["step"] <= 8 for progress in seen)


def test_two_studies_share_a_database(session: Session, home: Path, tmp_path: Path) -> None:
    names = ("left", "right")
    executors = [LocalExecutor(workers=1, threads=1, logs=tmp_path / "logs" / name) for name in names]
    controllers = [
        session(name=name, using=one, budget={"trials": 3}) for name, one in zip(names, executors, strict=True)
    ]
    threads = [threading.Thread(target=controller.run) for controller in controllers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in executors:
        one.close()
    for controller in controllers:
        assert len(check(home, controller.spec)) == 3
