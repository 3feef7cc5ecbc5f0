"""A trainer without torch that keeps the contract of `pipelines.run.train_segment`, and sessions of studies with it.

`python -m tests.stub HOME SPEC` is such a session in a process of its own, which tests may kill.
"""

import errno
import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import DataError
from pipelines.files import built_once, new_directory, read_json, read_sealed, sha256, write_json
from pipelines.journal import Journal
from pipelines.segment import InfeasibleError, SegmentJob, SegmentResult, Watch

if TYPE_CHECKING:
    from hpo.executors import Executor
    from hpo.spec import StudySpec
    from hpo.study import Controller

ROWS = 64
"""Training rows that the stub pretends to have."""
CHECKPOINT_EVERY = 3
_HELD: dict[Path, int] = {}  # the trial in this worker's memory, and its step


def train(job: SegmentJob, *, watch: Watch) -> SegmentResult:
    """Count steps instead of training; what goes wrong is written in the study's `stub.json` (see `instruct`)."""
    from pipelines.batches import total_steps

    job.directory.mkdir(parents=True, exist_ok=True)
    if (finished := read_json(job.directory / "result.json")) is not None:
        return SegmentResult(**finished)
    orders = read_json(job.data.parent / "stub.json") or {}
    step, total = _pick_up(job.directory), total_steps(ROWS, job.config.train)
    strike = _fault(job, orders, step)
    strike("start")
    read_cache(job.cache / "stub", half_way=lambda: strike("cache"))
    journal = Journal(job.directory / "progress.jsonl")
    with closing(journal):
        while step < min(job.until, total):
            while not (stopped := watch.stop_requested()) and step == orders.get("wait_at"):
                time.sleep(0.01)
            if stopped:
                _commit(job.directory, step)
                _hold(job.directory, step)
                return SegmentResult(step, step, total, {}, finished=False, interrupted=True)
            time.sleep(orders.get("pace", 0.0))
            step += 1
            journal.append("step", step=step, values={"loss": 1.0 / step})
            watch.tell({"step": step, "total": total, "loss": 1.0 / step})
            if step % CHECKPOINT_EVERY == 0:
                _commit(job.directory, step)
                strike("commit")
        scores = _scores(job, step / total) | orders.get("scores", {})
        journal.append("evaluation", step=step, values={"accuracy": scores.get("accuracy", 0.0)})
    if job.pause:
        _commit(job.directory, step)
    _hold(job.directory, step)
    result = SegmentResult(step, step, total, scores, finished=step >= total, seconds={"train": 0.01, "evaluate": 0.01})
    if result.finished and orders.get("predicts"):
        _predict(job, scores["accuracy"])
    return _finish(job.directory, result, half_way=lambda: strike("finish")) if result.finished else result


def instruct(study: Path, **orders: Any) -> None:
    """Tell the stub how to behave in a study: `pace` (seconds a step), `scores` (instead of its own), `wait_at` (a step
    at which it waits to be stopped), `predicts` (it keeps predictions of the data's select rows), `faults`, and `at`,
    the moment at which those strike: `start`, or in the middle of writing the `cache`, after the first `commit` of a
    checkpoint, or in the middle of its `finish`.

    `faults` maps a trial's number, or `*` for all, to the fault of each of its calls; one word stands for every call.
    """
    study.mkdir(parents=True, exist_ok=True)
    write_json(study / "stub.json", orders)


def calls(directory: Path) -> list[int]:
    """The steps at which the segments of a trial began, in order; one entry for each time that a worker took it."""
    file = directory / "calls.txt"
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def read_cache(directory: Path, *, half_way: Callable[[], None] = lambda: None) -> str:
    """What all trials share and the first one writes."""

    def read(whole: Path) -> str | None:
        found = read_sealed(whole, "rows")
        return (whole / "rows").read_text() if found else None

    def write(whole: Path) -> None:
        with new_directory(whole) as beside:
            (beside / "rows").write_text("encoded")
            half_way()
            write_json(beside / "manifest.json", {"sha256": sha256(beside / "rows")})

    return built_once(directory, read=read, write=write)


def _fault(job: SegmentJob, orders: dict[str, Any], step: int) -> Callable[[str], None]:
    """What does the fault of this call, once told that its moment has come; notes the call."""
    before = len(calls(job.directory))
    with (job.directory / "calls.txt").open("a") as file:
        file.write(f"{step}\n")
    faults = orders.get("faults", {})
    named = faults.get(job.trial.rpartition("/")[2], faults.get("*", []))
    fault = named if isinstance(named, str) else named[before] if before < len(named) else ""
    return lambda moment: _FAULTS[fault]() if fault and moment == orders.get("at", "start") else None


def _swell() -> None:
    """Take memory until the kernel has had enough; a limit of this process stands for the machine's."""
    taken = []
    while sum(map(len, taken)) < 200 * 2**20:
        taken.append(bytearray(os.urandom(2**20)) * 8)
    os.kill(os.getpid(), signal.SIGKILL)


def _raise(error: Exception) -> None:
    raise error


_FAULTS: dict[str, Callable[[], None]] = {
    "well": lambda: None,
    "exit": lambda: os._exit(3),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "stop": lambda: os.killpg(0, signal.SIGSTOP),  # the controller and all workers
    "raise": lambda: _raise(ValueError("a bug")),
    "full": lambda: _raise(OSError(errno.ENOSPC, "No space left on device")),
    "swell": _swell,
    "hang": lambda: time.sleep(60),
    "data": lambda: _raise(DataError("reviews.csv: line 3: no label")),
    "infeasible": lambda: _raise(InfeasibleError("diverged: the loss is not finite at step 1")),
}


def _pick_up(directory: Path) -> int:
    """The step to go on from: held in memory, else that of the newest checkpoint, else 0."""
    if directory in _HELD and (directory / "progress.jsonl").exists():  # else another test's, under the same path
        return _HELD[directory]
    return max((int(path.name.removeprefix("step-")) for path in (directory / "checkpoints").glob("step-*")), default=0)


def _hold(directory: Path, step: int) -> None:
    """Keep this trial in memory, and no other."""
    _HELD.clear()
    _HELD[directory] = step


def _commit(directory: Path, step: int) -> None:
    (directory / "checkpoints").mkdir(exist_ok=True)
    (directory / "checkpoints" / f"step-{step:08d}").touch()


def _scores(job: SegmentJob, progress: float) -> dict[str, float]:
    """The nearer the learning rate is to 1e-4, and the longer it trained, the better."""
    accuracy = (1 - abs(math.log10(job.config.train.learning_rate) + 4) / 5) * (0.5 + progress / 2)
    return {"accuracy": accuracy, "log_loss": 1 - accuracy}


def _predict(job: SegmentJob, accuracy: float) -> None:
    """Keep predictions that are right with this chance; another seed has other rows right."""
    import numpy as np

    from pipelines.data import open_dataset
    from pipelines.predictions import Predictions, write_parquet

    split, names = (data := open_dataset(job.data)).splits["select"], data.labels
    right = np.random.default_rng(job.config.seed).random(len(split)) < accuracy
    predicted = np.where(right, split.labels, 1 - split.labels)
    probabilities = np.eye(2)[predicted] * 0.8 + 0.1
    (job.directory / "artifacts").mkdir(exist_ok=True)
    path = job.directory / "artifacts" / "predictions.parquet"
    write_parquet(Predictions(split.ids, split.texts, split.labels, probabilities, names), path)
    write_json(job.directory / "artifacts" / "config.json", job.config.model_dump())


def _finish(directory: Path, result: SegmentResult, *, half_way: Callable[[], None]) -> SegmentResult:
    (directory / "model").mkdir(exist_ok=True)
    half_way()
    (directory / "model" / "weights").write_text("weights")
    (directory / "artifacts").mkdir(exist_ok=True)
    write_json(directory / "artifacts" / "mistakes.json", {"columns": [], "data": []})
    result.scores["latency_ms"] = 1.0
    result.scores["parameters"] = 22.0
    if all(map(math.isfinite, result.scores.values())):
        write_json(directory / "result.json", vars(result))
    return result


def make_whole(model: Path) -> None:
    """Turn what the stub left into a model of which every file is as it was written."""
    from pipelines.export import ModelFacts, seal

    (model / "weights").rename(model / "model.safetensors")
    write_json(model / "config.json", {"id2label": {"0": "bad", "1": "good"}})
    write_json(model / "tokenizer_config.json", {})
    seal(model, ModelFacts(labels=("bad", "good"), max_length=12, truncation="head"))


# Tasks for tests of the executor


def echo(payload: Any, *, watch: Watch) -> Any:
    """Answer with what came."""
    return payload


def whoami(payload: Any, *, watch: Watch) -> tuple[int, int]:
    """This process, and how many calls with this payload it has seen."""
    _HELD[Path(payload)] = _HELD.get(Path(payload), 0) + 1
    return os.getpid(), _HELD[Path(payload)]


def fail(payload: str, *, watch: Watch) -> None:
    """Go wrong in the way that the payload names."""
    _FAULTS[payload]()


def leave(payload: int, *, watch: Watch) -> None:
    """End the interpreter, as a library might."""
    sys.exit(payload)


def answer_with_a_lambda(payload: Any, *, watch: Watch) -> Any:
    """An answer that cannot be pickled."""
    return lambda: None


class _StubbornError(DataError):
    """An error that pickles and does not unpickle."""

    def __init__(self, file: str, line: int) -> None:
        super().__init__(f"{file}: {line}")


def fail_stubbornly(payload: Any, *, watch: Watch) -> None:
    """Raise an error that arrives broken."""
    raise _StubbornError("reviews.csv", 3)


def tell(payload: int, *, watch: Watch) -> str:
    """Tell progress, more often than anybody wants to hear."""
    for step in range(payload):
        watch.tell({"step": float(step)})
        time.sleep(0.01)
    return "told"


def wait_for_stop(payload: Path, *, watch: Watch) -> int:
    """Work until asked to stop; touch the payload's file once at work. Returns the steps done."""
    step = 0
    while not watch.stop_requested():
        payload.touch()
        time.sleep(0.01)
        step += 1
    return step


def be_deaf(payload: Path, *, watch: Watch) -> None:
    """Work for a minute without ever asking whether to stop."""
    payload.touch()
    time.sleep(60)


# Sessions of studies


class Silent:
    """A mirror that only remembers what it was shown."""

    def __init__(self) -> None:
        self.shown: list[Path] = []

    def changed(self, directory: Path) -> None:
        """Remember."""
        self.shown.append(directory)


def a_spec(**changes: Any) -> "StudySpec":
    """A study of eight steps a trial, scored after every second one."""
    from hpo.spec import StudySpec

    plain: dict[str, Any] = {
        "name": "toy",
        "budget": {"trials": 4},
        "sampler": "random",
        "schedule": "full",
        "pruner": "nop",
        "run": {"train": {"epochs": 2.0, "batch_size": 16, "evaluations": 4}},
        "space": {"train.learning_rate": {"low": 1e-6, "high": 1e-2, "log": True}},
        "confirm": {"finalists": 0},  # sessions of the stub are searches alone, where a test does not ask for more
    }
    return StudySpec.model_validate(plain | changes)


def a_controller(
    spec: "StudySpec", home: Path, executor: "Executor", storage: str | None = None, **changes: Any
) -> "Controller":
    """A controller over the real storage and ledger (an SQLite in `home`, or another), with the stub as its trainer."""
    from hpo.ledger import Ledger
    from hpo.places import find_places, make_home
    from hpo.storage import definition, open_study, refuse_changes
    from hpo.study import Controller

    places = find_places(tracking="sqlite:///nowhere.db", storage=storage or f"sqlite:///{home}/studies.db")
    places = type(places)(home=home, tracking=places.tracking, storage=places.storage)
    make_home(places)
    ledger = Ledger(places.storage)
    now = definition(spec, data_digest="digest")
    refuse_changes(spec.name, ledger.definition(spec.name), now)
    study = open_study(spec, places=places)
    ledger.open_study(spec.name, now, spec=spec.model_dump_json())
    plain: dict[str, Any] = {"mirror": Silent(), "rows": ROWS, "precision": "fp32", "task": "tests.stub:train"}
    return Controller(spec=spec, study=study, places=places, ledger=ledger, executor=executor, **plain | changes)


def main(home: Path, spec: "StudySpec", *, workers: int) -> None:
    """One session of a study, to its end."""
    from hpo.executors.local import LocalExecutor
    from hpo.launch import _stopping_on_signals
    from hpo.lease import leased
    from hpo.ledger import Ledger
    from hpo.storage import engine_of

    with (
        leased(Ledger(f"sqlite:///{home}/studies.db"), spec.name) as lease,
        closing(LocalExecutor(workers=workers, threads=1, logs=home / "logs")) as executor,
    ):
        controller = a_controller(spec, home, executor)
        engines = (engine_of(controller.study), controller.ledger.engine)
        with _stopping_on_signals(controller), lease.guard(engines[0]), lease.guard(engines[1]):
            print(controller.run())


if __name__ == "__main__":
    main(Path(sys.argv[1]), a_spec(**json.loads(sys.argv[2])), workers=int(sys.argv[3]))
