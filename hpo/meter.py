"""What a study uses up over all its sessions, and whether that is enough to end it; what a session wastes."""

import time
from dataclasses import dataclass, field

import optuna

from hpo.budget import Progress, spent
from hpo.convergence import Convergence
from hpo.ledger import Ledger
from hpo.spec import StudySpec

_BEAT_SECONDS = 5.0  # between two entries of wall time in the ledger


@dataclass
class Meter:
    """Counts for one session of a study, on top of what the earlier ones entered in the ledger."""

    spec: StudySpec
    ledger: Ledger
    devices: int
    """GPUs, or machines where there is none, that the study holds."""
    examples: dict[int, int]
    """Training examples seen, by trial; those of the last report for trials of earlier sessions."""
    useful: float = 0.0
    """Seconds of training and evaluation in this session, summed over the workers."""
    idle: float = 0.0
    """Seconds that workers had nothing to do because no trial was left to begin, summed over the workers."""
    _entered: float = 0.0
    _since: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._entered = self.ledger.add_seconds(self.spec.name, 0.0)
        self._convergence = Convergence(self.spec.budget.converged)

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of the study."""
        return self._entered + time.monotonic() - self._since

    def enter(self, *, at_once: bool = False) -> None:
        """Write the wall time since the last entry into the ledger, when it is time for one."""
        now = time.monotonic()
        if at_once or now - self._since > _BEAT_SECONDS:
            self._entered = self.ledger.add_seconds(self.spec.name, now - self._since)
            self._since = now

    def see(self, number: int, examples: int) -> None:
        """Trial `number` has come so far; one that repeats a lost segment is not counted twice."""
        self.examples[number] = max(examples, self.examples.get(number, 0))

    def progress(self, *, finished: int) -> Progress:
        """What the study has used so far."""
        seconds = self.seconds
        return Progress(
            finished=finished,
            minutes=seconds / 60,
            examples=sum(self.examples.values()),
            device_hours=seconds / 3600 * self.devices,
        )

    def reason_to_end(self, study: optuna.Study, *, finished: int, complete: int) -> str | None:
        """Why the budget is spent; None while it is not. `finished` trials include the `complete` ones."""
        progress, kept = self.progress(finished=finished), self.spec.kept_for_confirmation if complete else 0.0
        if reason := spent(self.spec.budget, progress, kept=kept):  # without a trained model nothing can be confirmed
            return reason
        return self._convergence.reason(study, complete=complete)

    def overhead(self, *, wall: float, tested: float, workers: int) -> float:
        """Share of a session's `wall` seconds in which workers neither trained, nor evaluated, nor lacked work.

        `tested` are the seconds of the evaluation on the locked split.
        """
        return max(0.0, wall - (self.useful + self.idle) / workers - tested) / wall
