"""Moves a registered model's champion alias: one promoter at a time, knowingly, on record, and back again.

MLflow's alias has no history, and its last writer wins. So the move is written into the ledger first, as a reign that
is not done; then the alias is set and read back; then the reign is done. A kill in between leaves a reign that says
what was to happen, and whoever comes next does it. The lease keeps others out, and a promoter that slept while another
took the lease puts the alias back to what the history says.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from hpo.history import OUTSIDE, ROLLBACK, History, ReignRow, a_reign, predecessor
from hpo.lease import HeldError, Lease, LeaseLostError, leased, name_for
from hpo.ledger import Ledger
from pipelines import registry
from pipelines.errors import ModelError, StorageError

_PATIENCE_SECONDS = 60.0  # for another promoter, who holds the lease for a second or two
_ROUNDS = 10  # of trying to move an alias that others move

Prove = Callable[[Path], object]
"""Loads a downloaded model as whoever serves it would; raises `ModelError` where it cannot be used."""


@dataclass(frozen=True)
class Ruling:
    """A decision about a version, to be entered and carried out."""

    model: str
    version: str
    key: str
    alias: str
    """`champion` or `challenger`."""
    kind: str
    """Why a reign begins: `promoted` or `forced`."""
    why: str
    decision: Mapping[str, Any]
    """All of it, as JSON."""
    expected: str | None
    """The champion's version that it was decided against; None: there was none."""


def carry_out(ruling: Ruling, *, ledger: Ledger, client: MlflowClient) -> bool:
    """Enter a decision and set the alias, both or neither. False: the champion is not the expected one any more.

    Raises `StorageError` where the lease cannot be had, or was lost on the way.
    """
    history = History(ledger)
    with _alone(ruling.model, ledger) as lease:
        if _settled(ruling.model, history, client=client, lease=lease) != ruling.expected:
            return False
        crowns = ruling.alias == registry.CHAMPION and ruling.version != ruling.expected
        reign = None
        if crowns:
            reign = a_reign(
                ruling.model,
                version=ruling.version,
                previous=ruling.expected,
                kind=ruling.kind,
                why=ruling.why,
                key=ruling.key,
            )
        elif ruling.alias != registry.CHAMPION:
            client.set_registered_model_alias(ruling.model, ruling.alias, ruling.version)
        history.decide(model=ruling.model, key=ruling.key, decision=ruling.decision, reign=reign)
        if crowns:
            _crown(ruling.model, ruling.version, history, client=client, lease=lease)
    return True


def settle(model: str, *, ledger: Ledger, client: MlflowClient) -> None:
    """Finish what a kill cut short: a reign that was entered, and whose alias was not moved yet."""
    history = History(ledger)
    if (last := history.last(model)) is not None and not last.done:
        with _alone(model, ledger) as lease:
            _settled(model, history, client=client, lease=lease)


def roll_back(model: str, *, ledger: Ledger, client: MlflowClient, prove: Prove) -> ReignRow:
    """Make the previous champion champion again, proved first; returns the reign that begins.

    A rollback that a kill cut short is finished, and counts as this one. Raises `ModelError` where there is none to go
    back to, or it cannot be used any more.
    """
    history = History(ledger)
    if (last := history.last(model)) is not None and not last.done and last.kind == ROLLBACK:
        settle(model, ledger=ledger, client=client)
        return last
    for _ in range(_ROUNDS):
        settle(model, ledger=ledger, client=client)
        now = registry.alias_of(client, model, registry.CHAMPION)
        target = _target(model, history, now=now, client=client)
        prove_version(registry.find_version(client, f"{model}/{target}"), client=client, prove=prove)
        with _alone(model, ledger) as lease:
            settled = _settled(model, history, client=client, lease=lease)
            if settled != now or predecessor(history.reigns(model)) != target:
                continue
            why = f"back from version {now}" if now else "the alias had been deleted"
            reign = a_reign(model, version=target, previous=now, kind=ROLLBACK, why=why)
            history.begin(reign)
            _crown(model, target, history, client=client, lease=lease)
        return history.reigns(model)[-1]
    raise StorageError(f"model {model!r}: others keep moving its alias; try again")


def prove_version(version: ModelVersion, *, client: MlflowClient, prove: Prove) -> None:
    """Download a version to an empty place, compare its hashes, and load it there. Raises `ModelError`."""
    with TemporaryDirectory(prefix="hpo-proof-") as empty:
        prove(registry.pull(client, version, Path(empty) / "model"))


def _target(model: str, history: History, *, now: str | None, client: MlflowClient) -> str:
    reigns = history.reigns(model)
    last = reigns[-1].version if reigns else None
    if last != now:  # moved by other hands: that counts as a reign too, as soon as the lease is ours
        reigns = [*reigns, a_reign(model, version=now, previous=last, kind=OUTSIDE, why="")]
    target = predecessor(reigns)
    if target is None:
        known = f"version {now} is its only champion on record" if now else "it has no champion"
        if not reigns:
            registry.find_version(client, model)  # names what there is, where there is no such model
        raise ModelError(f"model {model!r} cannot be rolled back: {known}; see: hpo history {model}")
    return target


@contextmanager
def _alone(model: str, ledger: Ledger) -> Iterator[Lease]:
    """Hold the model's lease; another promoter is waited for. Raises `HeldError` naming who does not let go."""
    patience = Retrying(
        retry=retry_if_exception_type(HeldError),
        wait=wait_fixed(0.2),
        stop=stop_after_delay(_PATIENCE_SECONDS),
        reraise=True,
    )
    with ExitStack() as stack:
        yield patience(lambda: stack.enter_context(leased(ledger, name_for(model))))


def _settled(model: str, history: History, *, client: MlflowClient, lease: Lease) -> str | None:
    """The champion's version, once the history and the alias say the same; the caller holds the lease.

    A reign that was not done is done now, if the alias still stands where it began. An alias that other hands have
    moved is entered as it is found, so that the history has no gap.
    """
    last, found = history.last(model), registry.alias_of(client, model, registry.CHAMPION)
    if last is not None and not last.done:
        if found == last.previous and last.version is not None:
            _crown(model, last.version, history, client=client, lease=lease)
            return last.version
        history.close(model)
    if found != (last.version if last else None):
        why = "the alias was moved by other hands" if last else "it was champion when the history began"
        previous = last.version if last else None
        history.begin(a_reign(model, version=found, previous=previous, kind=OUTSIDE, why=why))
    return found


def _crown(model: str, version: str, history: History, *, client: MlflowClient, lease: Lease) -> None:
    """Set the alias as the history's last reign says, read it back, and mark the reign as done."""
    lease.check()
    client.set_registered_model_alias(model, registry.CHAMPION, version)
    try:
        lease.check()
    except LeaseLostError:  # this process slept just before it set the alias: who holds the lease now has the last word
        if (last := history.last(model)) is not None and last.version is not None:
            client.set_registered_model_alias(model, registry.CHAMPION, last.version)
        raise
    if (found := registry.alias_of(client, model, registry.CHAMPION)) != version:
        raise StorageError(f"{model}@champion was set to version {version} and reads {found}: others move it too")
    if registry.alias_of(client, model, registry.CHALLENGER) == version:
        client.delete_registered_model_alias(model, registry.CHALLENGER)
    history.close(model)
