"""What a study settles when its workers get ready, and keeps to: its trials must be comparable."""

from collections.abc import Callable
from dataclasses import replace

import optuna

from hpo.estimate import Prospect
from hpo.executors import Executor
from hpo.places import Places
from hpo.space import most_demanding
from hpo.spec import StudySpec
from pipelines.segment import Choice, WarmUpJob


def begin_warm_up(spec: StudySpec, *, places: Places, executor: Executor) -> Callable[[], Choice]:
    """Let all workers load models and data while this process opens its databases; call the result to wait."""
    configs = tuple(most_demanding(spec, model) for model in spec.models)
    everything = WarmUpJob(configs, data=places.study(spec.name) / "data", cache=places.cache / "encoded")
    first_model = replace(everything, configs=configs[:1])  # one worker checks all models, the others get ready
    futures = [
        executor.submit("pipelines.run:warm_up", first_model if index else everything, key=f"warm-up-{index}")
        for index in range(executor.slots)
    ]

    def all_ready() -> Choice:
        choices: list[Choice] = [future.result() for future in futures]
        return choices[0]

    return all_ready


def fixed_precision(study: optuna.Study, choice: Choice | None, *, say: Callable[[str], None]) -> str:
    """The precision of the whole study, fixed when it first runs: its trials must be comparable."""
    if choice is not None and "precision" not in study.user_attrs:
        study.set_user_attr("precision", choice.value)
    chosen = str(study.user_attrs.get("precision", "fp32"))
    if choice is not None:
        say(f"precision {chosen}: {choice.reason if chosen == choice.value else 'as when the study began'}")
    return chosen


def fixed_compile(study: optuna.Study, prospect: Prospect) -> dict[str, str]:
    """Whether each model is compiled, fixed when it is first measured: a resumed trial must be the same."""
    before: dict[str, str] = study.user_attrs.get("compile", {})
    now = {name: cost.facts.compile.value for name, cost in prospect.costs.items()} | before
    if now != before:
        study.set_user_attr("compile", now)
    return now
