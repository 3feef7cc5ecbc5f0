"""A promotion that is killed at one of its writes."""

import json
from dataclasses import asdict
from typing import Any

import pytest
import sqlalchemy as sa
from mlflow import MlflowClient

from hpo.champion import roll_back
from hpo.history import History
from hpo.lease import Holder, LeaseRow, name_for
from hpo.openings import Openings
from tests.court import Court

NOT_BETTER = "not better than the champion on the locked test rows (accuracy)"


class KilledError(BaseException):
    """The process ends here."""


WRITES = (
    (MlflowClient, "create_registered_model"),
    (MlflowClient, "create_logged_model"),
    (MlflowClient, "log_model_artifacts"),
    (MlflowClient, "log_outputs"),
    (MlflowClient, "finalize_logged_model"),
    (MlflowClient, "create_model_version"),
    (MlflowClient, "log_batch"),
    (MlflowClient, "log_artifacts"),
    (MlflowClient, "log_artifact"),
    (MlflowClient, "set_model_version_tag"),
    (MlflowClient, "set_registered_model_alias"),
    (Openings, "open"),
    (History, "decide"),
    (History, "begin"),
    (History, "close"),
)


def killed_at(patch: pytest.MonkeyPatch, name: str, owner: type, *, after: bool) -> list[str]:
    """Let the next call of this kind end the process, before it is done or after it; returns the list of such ends."""
    real, ends = getattr(owner, name), list[str]()

    def dying(*args: Any, **kwargs: Any) -> Any:
        if ends:
            return real(*args, **kwargs)
        done = real(*args, **kwargs) if after else None
        ends.append(name)
        raise KilledError(done)

    patch.setattr(owner, name, dying)
    return ends


def elsewhere(court: Court) -> None:
    """As if whoever holds the model's lease were on another machine, and had given no sign of life for long."""
    holder = json.dumps(asdict(Holder("elsewhere", "another boot", 4711, "123")))
    mine = LeaseRow.study == name_for("sentiment")
    with court.ledger.engine.begin() as connection:
        connection.execute(sa.update(LeaseRow).where(mine).values(holder=holder, expires=1.0))


def back(court: Court) -> str | None:
    return roll_back("sentiment", ledger=court.ledger, client=court.client, prove=court.prove).version


def three_champions(court: Court) -> None:
    for study, right in (("one", 300), ("two", 340), ("three", 380)):
        assert court.asks(study, right=right).alias == "champion"
