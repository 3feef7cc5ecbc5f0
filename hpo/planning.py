"""From a proposal of the sampler to a trial that can be trained: its whole configuration and its segments."""

from dataclasses import dataclass, field

import optuna
from pydantic import ValidationError

from hpo.estimate import Prospect, excess_gib, fitted, planned_seconds
from hpo.schedule import Schedule
from hpo.space import suggest, trial_config
from hpo.spec import StudySpec
from hpo.trials import Active
from pipelines.config import RunConfig, replaced
from pipelines.segment import InfeasibleError

_MICRO = "micro_batch_size"  # a trial's attribute: the micro-batch that was chosen to fit into memory


@dataclass(frozen=True)
class Planner:
    """Plans trials of one study on this machine."""

    spec: StudySpec
    schedule: Schedule
    rows: int
    """Training rows of the data."""
    precision: str
    prospect: Prospect
    """What the models cost, and the memory there is."""
    compiled: dict[str, str] = field(default_factory=dict)
    """`on` or `off` by model name: whether it is compiled."""

    def plan(self, trial: optuna.Trial) -> tuple[Active, str | None]:
        """A new or an unfinished trial, and why it cannot be trained (None: it can)."""
        try:
            config = self._chosen(trial_config(self.spec, suggest(trial, self.spec)))
        except ValidationError as error:
            return Active(trial, self.spec.run, stages=[]), f"infeasible: {error.errors()[0]['msg']}"
        try:
            config = self._within_memory(trial, config)
        except InfeasibleError as error:
            trial.set_constraint("memory_gib", excess_gib(config, self.prospect))  # so that the sampler learns
            return Active(trial, config, stages=[]), f"infeasible: {error}"
        return Active(trial, config, self.schedule.stages(config, number=trial.number, rows=self.rows)), None

    def _chosen(self, config: RunConfig) -> RunConfig:
        """The configuration with what this study chose in the place of `auto`."""
        chosen = {"precision": self.precision, "compile": self.compiled.get(config.model.name, "off")}
        fresh = {name: value for name, value in chosen.items() if getattr(config.train, name) == "auto"}
        return config.model_copy(update={"train": config.train.model_copy(update=fresh)})

    def _within_memory(self, trial: optuna.Trial, config: RunConfig) -> RunConfig:
        """The configuration in micro-batches that fit; chosen once a trial, for a resumed one must be the same."""
        if _MICRO not in trial.user_attrs:
            chosen = fitted(config, self.prospect).train.micro_batch_size
            if chosen == config.train.micro_batch_size:
                return config
            trial.set_user_attr(_MICRO, chosen)
        return replaced(config, {"train.micro_batch_size": trial.user_attrs[_MICRO]})


def foretold(active: Active, prospect: Prospect) -> dict[str, float]:
    """Seconds of a trial that trains to its end, by kind of work; empty where its model was not measured."""
    seconds = planned_seconds(active.config, prospect)
    if seconds and active.stages:
        seconds["evaluate"] *= len(active.stages) / active.config.train.evaluations
    return seconds
