"""Fresh trainings of the finalists: on the study's own splits, or once for each fold of its train and select rows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hpo.errands import Errand, Errands, finished
from hpo.study import Controller
from pipelines.config import RunConfig, flatten
from pipelines.data import Dataset, folds, open_dataset, save_dataset
from pipelines.files import digest, remove
from pipelines.predictions import Predictions, pooled, read_parquet
from pipelines.segment import AverageJob, SegmentJob


def fresh_seed(seed: int, number: int) -> int:
    """The seed of all fresh trainings of round `number` (from 1) in a study whose trials have `seed`."""
    return int(digest("confirm", str(seed), str(number))[:7], 16)


def refuse_too_few_rows(dataset: Dataset, count: int) -> None:
    """Raise `DataError` where the rows cannot be dealt into so many folds: before the search, not after it."""
    if count > 1:
        folds(dataset, count, seed=1)


@dataclass(frozen=True, eq=False)
class Candidate:
    """A COMPLETE trial as the confirmation sees it."""

    number: int
    config: RunConfig
    predictions: Predictions
    """Of its training in the search."""
    value: float
    """Its first objective there."""
    parameters: float
    seconds: float
    """That its training took."""
    examples: int
    """That it sees in one training."""


@dataclass
class Retraining:
    """Trains candidates anew with a study's workers; what is on disk is not done again."""

    controller: Controller
    errands: Errands

    @property
    def folds(self) -> int:
        """Trainings of each candidate in a round."""
        return self.controller.spec.confirm.folds

    def missing(self, one: Candidate, number: int) -> int:
        """How many trainings of round `number` are still to be done."""
        return sum(finished(errand) is None for errand in self._of_round(one, number))

    def round(self, contestants: Sequence[Candidate], number: int) -> dict[int, Predictions]:
        """What each contestant's trainings of round `number` say, without those that failed.

        Of the select rows, or with folds of all train and select rows, each judged by the training that did not see it.
        """
        errands = {one.number: self._of_round(one, number) for one in contestants}
        done = self.errands.do(errand for errands_of_one in errands.values() for errand in errands_of_one)
        return {
            trial: pooled([predictions_of(errand.directory) for errand in errands_of_one])
            for trial, errands_of_one in errands.items()
            if all(errand.name in done for errand in errands_of_one)
        }

    def delivered(self, one: Candidate) -> Errand:
        """The training that the study delivers where this candidate wins: the first one on the study's own splits."""
        return self._errand(one, 1, name=f"confirm-{one.number:05d}-1", data=self._home / "data")

    def deliver(self, winner: Candidate) -> Predictions | None:
        """Train what is to be delivered, where its model is not there (any more); what it says of the select rows.

        None where that was stopped.
        """
        errand = replace(self.delivered(winner), urgent=True)  # it must be there, time or no time
        return predictions_of(errand.directory) if self._with_models([errand]) else None

    def average(self, one: Candidate, rounds: int) -> Errand:
        """The mean of the weights of a candidate's first `rounds` fresh trainings."""
        directory = self._home / f"confirm-{one.number:05d}-average-{rounds}"
        models = tuple(errand.directory / "model" for errand in self._first(one, rounds))
        job = AverageJob(models, self._home / "data", directory)
        about = f"The mean of the weights of {rounds} fresh trainings of trial {one.number}"
        params = {"averages": one.number, "trainings": rounds}
        return Errand(directory, "confirmation", about, params, "pipelines.average:average_models", (job,), urgent=True)

    def averaged(self, one: Candidate, rounds: int, *, with_model: bool = False) -> Predictions | None:
        """What the mean of so many trainings says of the select rows; None where that was stopped or failed.

        Its own model may be gone, removed by an earlier decision, unless `with_model`.
        """
        errand = self.average(one, rounds)
        if finished(errand) is None or (with_model and not (errand.directory / "model").is_dir()):
            remove(errand.directory)
            if not self._with_models(self._first(one, rounds)):
                return None
        return predictions_of(errand.directory) if self.errands.do([errand]) else None

    def _first(self, one: Candidate, rounds: int) -> list[Errand]:
        return [errand for number in range(1, rounds + 1) for errand in self._of_round(one, number)]

    def _with_models(self, errands: Sequence[Errand]) -> bool:
        """Do these where their models are not there (any more); whether all are done."""
        for errand in errands:
            if not (errand.directory / "model").is_dir():
                remove(errand.directory)
        return len(self.errands.do(errands)) == len(errands)

    @property
    def _home(self) -> Path:
        return self.controller.places.study(self.controller.spec.name)

    def _of_round(self, one: Candidate, number: int) -> list[Errand]:
        name = f"confirm-{one.number:05d}-{number}"
        if self.folds == 1:
            return [self._errand(one, number, name=name, data=self._home / "data")]
        return [
            self._errand(one, number, name=f"{name}-fold-{fold}", data=data)
            for fold, data in enumerate(self._dealt(number), start=1)
        ]

    def _dealt(self, number: int) -> list[Path]:
        """Where the folds of round `number` are, dealt out where they are not there yet."""
        places = [self._home / f"data-{number}-{fold}" for fold in range(1, self.folds + 1)]
        if not all(place.is_dir() for place in places):
            dataset = open_dataset(self._home / "data")
            for fold, place in zip(folds(dataset, self.folds, seed=number), places, strict=True):
                save_dataset(fold, place)
        return places

    def _errand(self, one: Candidate, number: int, *, name: str, data: Path) -> Errand:
        """The training of a configuration with fresh seed `number`."""
        controller, spec = self.controller, self.controller.spec
        config = one.config.model_copy(update={"seed": fresh_seed(spec.run.seed, number)})
        rows = controller.rows if self.folds == 1 else len(open_dataset(data).splits["train"])
        stages = controller.schedule.stages(config, number=one.number, rows=rows)
        jobs = tuple(
            SegmentJob(
                trial=f"{spec.name}/{name}",
                config=config,
                data=data,
                directory=self._home / name,
                cache=controller.places.cache / "encoded",
                until=stage.until,
            )
            for stage in (stages if config.train.early_stopping else stages[-1:])
        )
        fold = name.rpartition("-fold-")[2] if "-fold-" in name else ""
        about = f"Trial {one.number} of study {spec.name}, trained anew with fresh seed {number}"
        about += f", without fold {fold}" if fold else ""
        params = flatten(config.model_dump()) | {"confirms": one.number} | ({"fold": int(fold)} if fold else {})
        return Errand(self._home / name, "confirmation", about, params, controller.task, jobs)


def predictions_of(directory: Path) -> Predictions:
    """What a training in a directory says of the rows that it was judged on."""
    return read_parquet(directory / "artifacts" / "predictions.parquet")
