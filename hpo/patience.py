"""Waiting for a database that is away: what was tried is tried again, as a whole, until it answers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import sqlalchemy as sa
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_exponential

from hpo.ledger import printable
from pipelines.errors import StorageError, UserError

_PATIENCE_SECONDS = 600.0
_LASTING = ("full", "No space", "readonly", "no such", "unable to open", "does not exist", "denied", "authentication")

Value = TypeVar("Value")


def patiently(action: Callable[[], Value], *, url: str, say: Callable[[str], None]) -> Value:
    """What `action` returns; while the database does not answer it is called again, for ten minutes.

    `action` must bear being repeated whatever it had done before. Raises `StorageError` when the database stays away,
    or when waiting cannot help, as with a full disk.
    """
    retrying = Retrying(
        retry=retry_if_exception(is_away),
        wait=wait_exponential(multiplier=0.25, max=5.0),
        stop=stop_after_delay(_PATIENCE_SECONDS),
        before_sleep=lambda state: _announce(state, url=url, say=say),
        reraise=True,
    )
    with in_one_line(url):
        return retrying(action)


@contextmanager
def in_one_line(url: str) -> Iterator[None]:
    """Turns what a driver of databases raises, itself or through SQLAlchemy or Optuna, into a `StorageError`."""
    try:
        yield
    except UserError:
        raise  # it says already what is wrong, also where a driver's error led to it
    except Exception as error:
        found = _database_error(error)
        if found is None:
            raise
        raise StorageError(
            f"storage {printable(url)}: {_cause(found)}; nothing is lost: mend that, and run the same command again"
        ) from error


def is_away(error: BaseException) -> bool:
    """Whether the database refuses for now: it restarts, is locked, or the connection broke."""
    found = _database_error(error)
    return found is not None and not any(word in str(found.orig) for word in _LASTING)


def _database_error(error: BaseException | None) -> sa.exc.DBAPIError | None:
    """The error of the driver behind an error of SQLAlchemy or Optuna; None for all others."""
    while error is not None:
        if isinstance(error, (sa.exc.OperationalError, sa.exc.InterfaceError)):
            return error
        if isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated:
            return error
        error = error.__cause__ or error.__context__  # the latter: a session that could not even roll back
    return None


def _announce(state: RetryCallState, *, url: str, say: Callable[[str], None]) -> None:
    if state.attempt_number in {3, 10} and state.outcome is not None:
        found = _database_error(state.outcome.exception())
        say(f"storage {printable(url)} does not answer ({_cause(found)}); waiting for it, the workers go on")


def _cause(error: sa.exc.DBAPIError | None) -> str:
    return str(error.orig if error is not None else "").strip().partition("\n")[0]
