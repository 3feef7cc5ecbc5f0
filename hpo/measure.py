"""Workers for a study: as many as measured fastest here, with what each model costs on them.

What is measured is kept under the cache and measured again only when machine, libraries, model or data are others.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from hpo.estimate import Prospect, default_configs, needed_by_defaults
from hpo.executors import Executor, WorkerLostError
from hpo.executors.local import LocalExecutor
from hpo.machine import GIB, Arrangement, Machine, Share, arrangements, look_at_machine, share_of_machine
from hpo.space import batch_sizes, longest_configs
from hpo.spec import StudySpec
from pipelines.config import RunConfig
from pipelines.cost import ENGINE, Cost, bare, combined, rows_per_second
from pipelines.files import digest, write_text
from pipelines.segment import ProbeJob

PROBE = "pipelines.probe:probe"
_GPU_SHARE = 0.9  # of a GPU's memory: the rest is its driver's and the libraries'
_COST = TypeAdapter(Cost)


@dataclass(frozen=True)
class Site:
    """Where a study's data lies, and where measurements are kept."""

    data: Path
    """Where `save_dataset` put it."""
    digest: str
    """The data's."""
    encoded: Path
    measurements: Path
    logs: Path


@dataclass(frozen=True)
class Staff:
    """Workers, why they are so many, and what is to be expected of them."""

    executor: LocalExecutor
    share: Share
    prospect: Prospect
    warm: bool
    """Whether the processes run already, because something was measured."""


@contextmanager
def staffed(spec: StudySpec, site: Site, *, say: Callable[[str], None], measuring: bool = True) -> Iterator[Staff]:
    """Choose the workers, by measurement where that is open; they end with the block.

    Without `measuring`, what was not measured before stays unknown.

    Arrangements are compared by the study's first model; the others are measured in the faster one. The presumed
    winner comes last, so that its workers are warm for the study. Raises `ModelError` for a model that cannot be used.
    """
    machine, configs = look_at_machine(), longest_configs(spec)
    with closing(_Crew(spec, site.logs)) as crew:
        prober = _Prober(spec, site, machine, crew if measuring else None, say)
        tried = {
            arrangement: prober.costs(configs[:1], arrangement)
            for arrangement in reversed(arrangements(spec.workers, machine, trials=spec.budget.trials))
        }
        rates = {
            arrangement: _rate(spec, costs, workers=arrangement[0]) for arrangement, costs in reversed(tried.items())
        }
        fastest = max(rates, key=lambda arrangement: rates[arrangement])
        costs = tried[fastest] | prober.costs(configs[1:], fastest)
        machine = _with_memory_of_gpu(machine, costs)
        peak = needed_by_defaults(spec, costs)
        share = share_of_machine(spec.workers, machine, trials=spec.budget.trials, rates=rates, peak=peak)
        prospect = Prospect(costs, each=machine.memory / share.workers, whole=machine.memory)
        executor = crew.of(share.workers, share.threads)
        yield Staff(executor, share, prospect, warm=executor in prober.used)


class _Crew:
    """The executor in one arrangement at a time: what is measured needs the machine for itself."""

    def __init__(self, spec: StudySpec, logs: Path) -> None:
        self._settings, self._logs = spec.workers, logs
        self._arrangement: Arrangement | None = None
        self._executor: LocalExecutor | None = None

    def of(self, workers: int, threads: int) -> LocalExecutor:
        """The executor so arranged; one that is arranged otherwise ends."""
        if self._executor is None or self._arrangement != (workers, threads):
            self.close()
            self._arrangement = (workers, threads)
            self._executor = LocalExecutor(
                workers=workers,
                threads=threads,
                logs=self._logs,
                max_growth=self._settings.max_growth_gib * GIB,
                silence=self._settings.silence_minutes * 60,
            )
        return self._executor

    def close(self) -> None:
        """End all workers now."""
        if self._executor is not None:
            self._executor.close()


@dataclass
class _Prober:
    """Measures, or remembers."""

    spec: StudySpec
    site: Site
    machine: Machine
    crew: _Crew | None
    """None: only remember."""
    say: Callable[[str], None]
    used: list[LocalExecutor] = field(default_factory=list)
    """Executors whose workers have measured something."""

    def costs(self, configs: Sequence[RunConfig], arrangement: Arrangement) -> dict[str, Cost]:
        """What models cost in an arrangement, by name; one that is not known and cannot be measured is missing."""
        found = {config.model.name: self._cost(config, arrangement) for config in configs}
        return {name: cost for name, cost in found.items() if cost is not None}

    def _cost(self, config: RunConfig, arrangement: Arrangement) -> Cost | None:
        memory = self.machine.memory / arrangement[0]
        sizes = batch_sizes(self.spec)
        job = ProbeJob(config, batch_sizes=sizes, data=self.site.data, cache=self.site.encoded, memory=memory)
        file = self.site.measurements / f"{_key(job, self.site, self.machine, arrangement)}.json"
        cost = _read(file)
        if cost is None and self.crew is not None:
            workers, threads = arrangement
            self.say(f"measuring {config.model.name} with {workers} x {threads} threads: some seconds, once")
            self.used.append(self.crew.of(workers, threads))
            cost = _measure(job, self.used[-1], say=self.say)
            if cost is not None:
                self.site.measurements.mkdir(parents=True, exist_ok=True)
                write_text(file, _COST.dump_json(cost).decode())
        return cost


def _measure(job: ProbeJob, executor: Executor, *, say: Callable[[str], None]) -> Cost | None:
    """Let all workers measure at the same time, as they will train; None when one did not survive it."""
    futures = [executor.submit(PROBE, job, key=f"probe-{index}") for index in range(executor.slots)]
    try:
        return combined([future.result() for future in futures])
    except WorkerLostError as error:
        say(f"{job.config.model.name} could not be measured, nothing is foretold of it: {error}")
        return None


def _key(job: ProbeJob, site: Site, machine: Machine, arrangement: Arrangement) -> str:
    """Equal only where a measurement would say the same."""
    model = bare(job.config).model_dump_json(exclude={"data"})
    parts = (machine.device, version("torch"), *arrangement, ENGINE, site.digest, *job.batch_sizes, model)
    return digest(*map(str, parts))[:32]


def _read(file: Path) -> Cost | None:
    """A measurement that was kept; None where there is none, or none that can be read."""
    try:
        return _COST.validate_json(file.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def _rate(spec: StudySpec, costs: Mapping[str, Cost], *, workers: int) -> float:
    """Rows per second of all workers together, training the first model's default; 0 where it was not measured."""
    config = default_configs(spec)[0]
    cost = costs.get(config.model.name)
    return workers * rows_per_second(cost, config) if cost else 0.0


def _with_memory_of_gpu(machine: Machine, costs: Mapping[str, Cost]) -> Machine:
    """On a GPU, its memory is what workers share."""
    sizes = [cost.facts.device_memory for cost in costs.values() if cost.facts.device_memory is not None]
    return replace(machine, memory=min(sizes) * _GPU_SHARE) if sizes else machine
