"""What a study delivers, and its way to champion and back, by hand: `hpo promote` and `hpo rollback`."""

import optuna

from hpo.champion import roll_back
from hpo.decision import Decision
from hpo.history import ReignRow
from hpo.lease import leased
from hpo.ledger import Ledger
from hpo.listing import known_model, spec_of
from hpo.patience import in_one_line
from hpo.places import Places
from hpo.promotion import Winner, promote
from hpo.selection import read_selection
from hpo.spec import StudySpec
from hpo.storage import best_trial, open_study
from pipelines.connection import connect, tracking_errors
from pipelines.data import open_dataset
from pipelines.errors import ModelError


def winner_of(spec: StudySpec, study: optuna.Study, places: Places) -> Winner | None:
    """What the study delivers: what was selected or, in a study of an earlier version, its best trial."""
    selection = read_selection(places.study(spec.name) / "report")
    if selection is not None:
        return Winner(selection.trial, places.study(spec.name) / selection.name, selection.name)
    trial = best_trial(study)
    if trial is None:
        return None
    directory = places.trial(spec.name, trial.number)
    return Winner(trial.number, directory, directory.name)


def promote_study(name: str, *, places: Places, force: str | None = None) -> Decision:
    """Promote the winner of a study that has been run; `force` says why it becomes champion whatever the gate says.

    Raises `ModelError` where the study has no winner, and `UserError`s as `promote` does.
    """
    from pipelines.finish import finish_model
    from pipelines.generalize.floors import score_elsewhere
    from pipelines.loader import prove
    from pipelines.locked import score_on_test
    from pipelines.segment import Unwatched

    spec, ledger = spec_of(places, name), Ledger(places.storage)
    with in_one_line(places.storage), leased(ledger, name):
        winner = winner_of(spec, open_study(spec, places=places), places)
        if winner is None:
            raise ModelError(f"study {name!r} has no COMPLETE trial yet")
        return promote(
            spec,
            winner,
            dataset=open_dataset(places.study(name) / "data"),
            places=places,
            ledger=ledger,
            client=connect(places.tracking),
            score_on_test=lambda job: score_on_test(job, watch=Unwatched()),
            prove=prove,
            finish=lambda job: finish_model(job, watch=Unwatched()),
            score_elsewhere=lambda job: score_elsewhere(job, watch=Unwatched()),
            force=force,
        )


def roll_back_model(name: str, *, places: Places) -> ReignRow:
    """Make a registered model's previous champion champion again; returns the reign that begins.

    Raises `ModelError` where there is no such model, or no champion to go back to.
    """
    from pipelines.loader import prove

    ledger = known_model(name, places)
    with in_one_line(places.storage), tracking_errors(places.tracking, alone=False):
        return roll_back(name, ledger=ledger, client=connect(places.tracking), prove=prove)
