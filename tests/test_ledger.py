from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
import sqlalchemy as sa

from hpo.ledger import Ledger, created, printable
from hpo.storage import open_storage, refuse_changes
from pipelines.errors import ConfigError, StorageError
from tests.faults import shows


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/studies.db"


def at_once(url: str, *, controllers: int, times: int) -> None:
    """Several ledgers on one database, each counting half seconds, as several controllers would."""

    def count(barrier: Barrier) -> None:
        barrier.wait()
        ledger = Ledger(url)
        for _ in range(times):
            ledger.add_seconds("a", 0.5)

    barrier = Barrier(controllers)
    with ThreadPoolExecutor(controllers) as pool:
        for future in [pool.submit(count, barrier) for _ in range(controllers)]:
            future.result()


def test_controllers_that_count_at_once_lose_nothing(url: str) -> None:
    Ledger(url).open_study("a", {}, spec="{}")
    at_once(url, controllers=4, times=15)
    assert Ledger(url).add_seconds("a", 0.0) == 30.0


@shows("two controllers", "A")
def test_controllers_may_create_the_tables_at_once(url: str) -> None:
    at_once(url, controllers=6, times=0)
    assert Ledger(url).studies() == []


def test_what_another_process_just_created_is_opened() -> None:
    tries = []

    def make() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise sa.exc.OperationalError("CREATE TABLE studies", {}, Exception("table studies already exists"))
        return "open"

    assert created(make) == "open"


def test_other_errors_are_not_tried_again() -> None:
    tries = []

    def make() -> None:
        tries.append(1)
        raise sa.exc.OperationalError("SELECT", {}, Exception("database is locked"))

    with pytest.raises(sa.exc.OperationalError):
        created(make)
    assert len(tries) == 1


def test_a_study_keeps_its_first_definition_and_its_last_spec(url: str) -> None:
    ledger = Ledger(url)
    assert ledger.definition("a") is None
    ledger.open_study("a", {"seed": 1}, spec='{"x": 1}')
    ledger.open_study("b", {"seed": 2}, spec="{}")
    ledger.open_study("a", {"seed": 1}, spec='{"x": 2}')
    row = Ledger(url).study("a")
    assert row is not None
    assert (ledger.definition("a"), row.spec, row.seconds) == ({"seed": 1}, '{"x": 2}', 0.0)
    assert [row.name for row in ledger.studies()] == ["a", "b"]
    assert ledger.study("c") is None


def test_seconds_add_up(url: str) -> None:
    ledger = Ledger(url)
    ledger.open_study("a", {}, spec="{}")
    assert ledger.add_seconds("a", 1.5) == 1.5
    assert Ledger(url).add_seconds("a", 2.0) == 3.5


def test_the_spend_of_a_trial_counts_lost_segments(url: str) -> None:
    ledger = Ledger(url)
    segment = {"study": "a", "trial": 0, "attempt": 1, "step": 4, "outcome": "done"}
    ledger.add_segment(**segment, wall=3.0, seconds={"train": 2.0})
    ledger.add_segment(**segment | {"outcome": "lost", "attempt": 2}, wall=5.0, seconds={})
    ledger.add_segment(**segment, wall=1.0, seconds={"train": 0.5, "evaluate": 0.25})
    ledger.add_segment(**segment | {"trial": 1}, wall=7.0, seconds={})
    ledger.add_segment(**segment | {"study": "b"}, wall=9.0, seconds={})
    assert ledger.trial_seconds("a", 0) == {"wall": 9.0, "train": 2.5, "evaluate": 0.25}
    assert ledger.trial_seconds("a", 1) == {"wall": 7.0}
    assert ledger.trial_seconds("a", 2) == {}


@shows("changed spec or data", "D")
def test_a_changed_definition_is_refused_with_every_difference() -> None:
    first = {"seed": 0, "run.train.epochs": 2.0, "space": {}, "data_digest": "a"}
    refuse_changes("toy", None, first)
    refuse_changes("toy", first, dict(first))
    with pytest.raises(ConfigError) as caught:
        refuse_changes("toy", first, {"seed": 1, "run.train.epochs": 2.0, "data_digest": "b", "run.text": "t"})
    assert str(caught.value).splitlines() == [
        "study 'toy' exists with another definition; its trials could not be compared. Give this one a name of its "
        "own (name=...; with --from toy it learns from what is there), or undo:",
        "  data_digest: was 'a', is 'b'",
        "  run.text: was None, is 't'",
        "  seed: was 0, is 1",
        "  space: was {}, is None",
    ]


def test_a_study_from_before_there_was_a_setting_goes_on_with_its_default() -> None:
    before = {"seed": 0, "run.train.epochs": 2.0}
    refuse_changes("toy", before, before | {"run.tokens.lowercase": False})
    with pytest.raises(ConfigError, match=r"run\.tokens\.lowercase: was False, is True"):
        refuse_changes("toy", before, before | {"run.tokens.lowercase": True})


@shows("database away", "A")
@pytest.mark.parametrize("opened", [Ledger, open_storage])
@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("rubbish", "the storage is not a database URL; for instance sqlite:///mlruns/studies.db"),
        ("nodb://u:CANARY@h/x", "the storage is not a database URL; for instance sqlite:///mlruns/studies.db"),
        ("sqlite:////nowhere/at/all.db", "storage sqlite:////nowhere/at/all.db: unable to open database file"),
        ("postgresql://u:CANARY@127.0.0.1:1/x", "storage postgresql://u:***@127.0.0.1:1/x: "),
        ("mysql://u:CANARY@127.0.0.1:1/x", "storage mysql://u:***@127.0.0.1:1/x: "),
    ],
)
def test_a_database_that_does_not_answer_is_one_line_without_its_password(opened: Any, url: str, message: str) -> None:
    with pytest.raises(StorageError) as caught:
        opened(url)
    assert caught.value.exit_code == 4
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
    assert "CANARY" not in str(caught.value)


def test_a_database_of_something_else_is_refused_in_one_line(url: str) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"))
        connection.execute(sa.text("INSERT INTO alembic_version VALUES ('of_mlflow')"))
    engine.dispose()
    with pytest.raises(StorageError, match=r"storage sqlite:.*no longer compatible with the table schema"):
        open_storage(url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:CANARY@h:5432/x", "postgresql://u:***@h:5432/x"),
        ("postgresql://u:CAN@ARY/CANARY@h/x", "postgresql://u:***@h/x"),
        ("postgresql://u@h/x?password=CANARY&sslmode=require", "postgresql://u@h/x?password=***&sslmode=require"),
        ("http://u:CANARY@h", "http://u:***@h"),
        ("postgresql://h:5432/x", "postgresql://h:5432/x"),
        ("sqlite:////home/me/a:b@c.db", "sqlite:////home/me/a:b@c.db"),
        ("CANARY", "(not a database URL)"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert printable(url) == shown
