"""What the controller costs when a study is large: stored trials by the thousand, and 64 workers that train in no time.

    python -m benchmarks.controller            100, 1,000 and 10,000 stored trials, on SQLite and PostgreSQL
    python -m benchmarks.controller --quick    100 and 1,000

What Optuna's storage, the ledger and the schedule cost is real; training and the tracker are left out. Each study is
measured in a fresh process: at its end, where nearly all of its trials are over, and with as many trials stored in its
middle, where three times as many are planned and nearly all of those stored rest, since they may yet be promoted.
Writes `benchmarks/results/controller.json` and `controller.md`. PostgreSQL is left out where `pgserver` is not
installed.
"""

import argparse
import importlib.util
import json
import multiprocessing
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.postgres import Postgres
from benchmarks.report import machine
from benchmarks.stored import ROWS, a_spec, accuracy, fill
from benchmarks.timing import Stopwatch, Timed
from hpo.executors import Event
from hpo.lease import leased
from hpo.ledger import Ledger
from hpo.places import Places
from hpo.storage import engine_of, open_study
from hpo.study import Controller
from pipelines.batches import total_steps
from pipelines.mirror import MirrorThread
from pipelines.segment import SegmentJob, SegmentResult

_RESULTS = Path(__file__).parent / "results"
_TARGET = 1.0  # seconds: ask + tell of one trial in 95 of 100
_MIB = 2**20


@dataclass(frozen=True)
class Case:
    """One study to measure."""

    database: str
    stored: int
    further: int
    """Trials to finish beyond those stored."""
    middle: bool = False
    """Three times as many trials are planned as are stored; else the further ones are its last."""
    slots: int = 64

    @property
    def planned(self) -> int:
        """Trials of the whole study."""
        return 3 * self.stored if self.middle else self.stored + self.further


@dataclass
class Costs:
    """What one study cost; seconds of the controller."""

    start_up: float = 0.0
    """Until the first trial could be asked for."""
    wall: float = 0.0
    ended: int = 0
    """Trials that the session ended."""
    ask: list[float] = field(default_factory=list)
    """Each new trial: proposed, written down and sent to a worker."""
    resume: list[float] = field(default_factory=list)
    """Each trial that rested and was sent to its next stage."""
    tell: list[float] = field(default_factory=list)
    """Each result of a segment: written down, decided upon, and told where the trial is over."""
    settle: list[float] = field(default_factory=list)
    """Each look at who cannot be promoted any more, and the end of those."""
    cpu: list[float] = field(default_factory=list)
    """The same trials, in seconds of processor time: what other programs on the machine do not change."""
    whole: list[float] = field(default_factory=list)
    """Each new trial until its end, or until it rests: all of its ask, tell and settle together."""
    memory: list[float] = field(default_factory=list)
    """MiB held at the start, and after each tenth of the further trials."""


class Stub:
    """Workers that have done their segment at once."""

    devices = 1

    def __init__(self, slots: int) -> None:
        self.slots = slots

    def submit(self, task: str, payload: Any, *, key: str) -> Future[Any]:
        """Answer as a training would."""
        future: Future[Any] = Future()
        future.set_result(_trained(payload))
        return future

    def events(self) -> list[Event]:
        """Nothing to tell."""
        return []

    def stop(self) -> None:
        """Nothing is under way."""

    def close(self) -> None:
        """Nothing to end."""


def _trained(job: SegmentJob) -> SegmentResult:
    total, train = total_steps(ROWS, job.config.train), job.config.train
    step = min(job.until, total)
    score = accuracy(train.learning_rate, job.config.model.dropout or 0.0, share=step / total)
    scores = {"accuracy": score, "log_loss": 1 - score}
    return SegmentResult(step, step * train.batch_size, total, scores, finished=step == total, seconds={"train": 1.0})


class Watched(Controller):
    """A controller whose every action is timed, and which stops after so many trials."""

    def watch(self, case: Case, costs: Costs, *, since: float) -> None:
        """Write into `costs` from now on; the session began at `since`."""
        self._case, self._costs, self._since = case, costs, since
        self._before = len(self.trials.ended)
        self._spent: dict[int, list[Timed]] = {}

    def run(self) -> str:
        """As ever; with the time that it all took."""
        reason = super().run()
        self._costs.wall = time.perf_counter() - self._since - self._costs.start_up
        self._costs.ended = len(self.trials.ended) - self._before
        fresh = [timed for number, timed in self._spent.items() if number >= self._case.stored]
        self._costs.whole = [sum(one.wall for one in timed) for timed in fresh]
        self._costs.cpu = [sum(one.cpu or 0.0 for one in timed) for timed in fresh]
        return reason

    def _begin_one(self) -> bool:
        if not self._costs.memory:
            self._costs.start_up = time.perf_counter() - self._since
            self._costs.memory.append(_memory())
        known, watch = len(self.trials.standings), Stopwatch()
        begun = super()._begin_one()
        timed = watch.read()
        if len(self.trials.standings) > known:
            self._costs.ask.append(timed.wall)
            self._spent[max(self.trials.standings)] = [timed]
        elif begun:
            self._costs.resume.append(timed.wall)
        return begun

    def _receive(self, active: Any, future: Future[Any]) -> None:
        watch = Stopwatch()
        super()._receive(active, future)
        self._spent.setdefault(active.number, []).append(watch.read())
        self._costs.tell.append(self._spent[active.number][-1].wall)

    def _settle(self) -> None:
        before, watch = set(self.trials.ended), Stopwatch()
        super()._settle()
        timed, ended = watch.read(), self.trials.ended.keys() - before
        self._costs.settle.append(timed.wall)
        for number in ended:
            share = Timed(timed.wall / len(ended), (timed.cpu or 0.0) / len(ended))
            self._spent.setdefault(number, []).append(share)
        self._look()

    def _look(self) -> None:
        """Note the memory now and then, and stop in the middle of a study where enough was seen."""
        asked = len(self._costs.ask)
        if asked >= len(self._costs.memory) * self._case.further / 10:
            self._costs.memory.append(_memory())
        if self._case.middle and asked >= self._case.further and not self.stopped_on_request:
            self.request_stop(signal.SIGINT)


def _memory() -> float:
    return float(psutil.Process().memory_info().rss) / _MIB


def session(case: Case, places: Places) -> Costs:
    """Fill a study, and go on with it in a fresh process."""
    fill(a_spec(trials=case.planned), places, stored=case.stored)
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=fresh) as process:
        return process.submit(continued, case, places).result()


def continued(case: Case, places: Places) -> Costs:
    """Go on with a stored study in this process."""
    spec, costs, mirror = a_spec(trials=case.planned), Costs(), MirrorThread(lambda directory: None)
    with leased(Ledger(places.storage), spec.name) as lease:
        began = time.perf_counter()
        controller = Watched(
            spec=spec,
            study=open_study(spec, places=places),
            places=places,
            ledger=lease.ledger,
            executor=Stub(case.slots),
            mirror=mirror,
            rows=ROWS,
            precision="fp32",
        )
        controller.watch(case, costs, since=began)
        with lease.guard(engine_of(controller.study)):
            controller.run()
    mirror.close(patience=60.0)
    return costs


def measured(case: Case, url: str | None) -> Costs:
    """Measure in an empty home, in the database of this address, or in an SQLite file there."""
    with tempfile.TemporaryDirectory(prefix="hpo-bench-") as folder:
        home = Path(folder)
        places = Places(home=home, tracking="sqlite:///nowhere.db", storage=url or f"sqlite:///{home}/studies.db")
        return session(case, places)


def cases(*, quick: bool, further: int, databases: Sequence[str]) -> list[Case]:
    """What is measured, the smallest first."""
    sizes = (100, 1_000) if quick else (100, 1_000, 10_000)
    return [
        Case(database, stored, further, middle=middle)
        for middle in (False, True)
        for database in databases
        for stored in sizes
    ]


def write(found: Sequence[tuple[Case, Costs]], *, name: str) -> None:
    """Write `NAME.json`, with every single measurement, and `NAME.md`."""
    values = [asdict(case) | asdict(costs) for case, costs in found]
    about = {"machine": machine(), "date": datetime.now(UTC).date().isoformat(), "studies": values}
    _RESULTS.mkdir(exist_ok=True)
    (_RESULTS / f"{name}.json").write_text(json.dumps(about) + "\n", "utf-8")
    text = markdown(found, f"{about['machine']}, {about['date']}")
    (_RESULTS / f"{name}.md").write_text(text, "utf-8")


def markdown(found: Sequence[tuple[Case, Costs]], where: str) -> str:
    """One row for each study. `where` it was measured, and when."""
    columns = ["database", "stored", "planned", "ask", "resume", "tell", "settle", "ask + tell", "its CPU", "aim"]
    columns += ["trials/s", "start-up", "MiB: start, middle, end"]
    lines = [
        f"Measured on {where}, by `make bench-controller`: {found[0][0].slots} workers that train in no time, a search "
        "by TPE over six dimensions, halving with three rungs. Milliseconds as median / 95th percentile / longest: "
        "`ask` for each new trial, `resume` for each that rested, `tell` for each result of a segment, `settle` for "
        "the end of all that cannot be promoted any more, `ask + tell` for all of a trial from its proposal to its end "
        f"or rest. The aim: at most {_TARGET:g} s in 95 of 100 trials, and memory flat.\n",
        f"| {' | '.join(columns)} |",
        "|---" * len(columns) + "|",
    ]
    return "\n".join([*lines, *(_row(case, costs) for case, costs in found), ""])


def _row(case: Case, costs: Costs) -> str:
    kinds = (costs.ask, costs.resume, costs.tell, costs.settle, costs.whole, costs.cpu)
    shown = " | ".join(_milliseconds(one) for one in kinds)
    verdict = "met" if float(np.percentile(costs.whole, 95)) <= _TARGET else "missed"
    memory, speed = costs.memory, len(costs.whole) / costs.wall
    sizes = f"{memory[0]:.0f}, {memory[len(memory) // 2]:.0f}, {memory[-1]:.0f}"
    sides = f"| {case.database} | {case.stored:,} | {case.planned:,}"
    return f"{sides} | {shown} | {verdict} | {speed:.1f} | {costs.start_up:.1f} s | {sizes} |"


def _milliseconds(seconds: Sequence[float]) -> str:
    if not seconds:
        return ""
    return " / ".join(f"{1000 * float(one):.0f}" for one in np.percentile(seconds, [50, 95, 100]))


def main(words: Sequence[str]) -> None:
    """Parse the options, measure, write and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.controller", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small studies: a trial of the benchmark")
    parser.add_argument("--further", type=int, default=400, help="trials to finish beyond those stored")
    options = parser.parse_args(words)
    with ExitStack() as stack:
        servers = [stack.enter_context(closing(Postgres()))] if importlib.util.find_spec("pgserver") else []
        found = []
        for case in cases(
            quick=options.quick, further=options.further, databases=["SQLite", *("PostgreSQL" for _ in servers)]
        ):
            print(f"measuring {case} ...", file=sys.stderr, flush=True)
            costs = measured(case, servers[0].new_database() if case.database == "PostgreSQL" else None)
            print(_row(case, costs), file=sys.stderr, flush=True)
            found.append((case, costs))
            write(found, name="partial-controller" if options.quick else "controller")
    print((_RESULTS / f"{'partial-' if options.quick else ''}controller.md").read_text("utf-8"))


if __name__ == "__main__":
    main(sys.argv[1:])
