from pathlib import Path

import pytest

from hpo.places import Places, find_places, make_home
from pipelines.errors import StorageError


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HPO_HOME", "HPO_STORAGE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)


def test_everything_is_below_mlruns_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    places = find_places()
    assert places == Places(
        home=tmp_path / "mlruns",
        tracking=f"sqlite:///{tmp_path}/mlruns/mlflow.db",
        storage=f"sqlite:///{tmp_path}/mlruns/studies.db",
    )
    assert list(tmp_path.iterdir()) == [], "nothing is created by looking"
    assert places.trial("toy", 7) == tmp_path / "mlruns" / "work" / "toy" / "trial-00007"


def test_arguments_come_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPO_HOME", "~/studies")
    monkeypatch.setenv("HPO_STORAGE", "sqlite:///s.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    home = Path.home() / "studies"
    assert find_places() == Places(home=home, tracking="http://127.0.0.1:5000", storage="sqlite:///s.db")
    mine = find_places(tracking="sqlite:///t.db", storage="postgresql://h/x")
    assert mine == Places(home=home, tracking="sqlite:///t.db", storage="postgresql://h/x")


@pytest.mark.parametrize("uri", ["file:///tmp/mlruns", "file:mlruns", "mlruns", "./mlruns", "databricks"])
def test_plain_files_as_tracker_are_refused(uri: str) -> None:
    with pytest.raises(StorageError) as caught:
        find_places(tracking=uri)
    assert caught.value.exit_code == 4
    assert str(caught.value) == (
        f"tracking {uri}: MLflow no longer writes to plain files; use sqlite:///PATH, postgresql://... or the http:// "
        "address of a tracking server"
    )


def test_one_database_for_both_is_refused() -> None:
    with pytest.raises(StorageError) as caught:
        find_places(tracking="postgresql://u:CANARY@h/x", storage="postgresql://u:CANARY@h/x")
    assert str(caught.value) == ("tracking and storage must be two databases: MLflow and Optuna share a table name")


@pytest.mark.parametrize("uri", ["file://u:CANARY@h/mlruns", "u:CANARY@h", "postgresql:u:CANARY@h/x"])
def test_a_refused_uri_is_not_shown_with_its_password(uri: str) -> None:
    with pytest.raises(StorageError) as caught:
        find_places(tracking=uri)
    assert "CANARY" not in str(caught.value)


def test_a_home_that_cannot_be_made_is_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    places = Places(home=tmp_path / "file" / "home", tracking="sqlite:///t.db", storage="sqlite:///s.db")
    with pytest.raises(StorageError) as caught:
        make_home(places)
    assert str(caught.value) == f"{places.home}: Not a directory; set HPO_HOME to a writable directory"
    make_home(Places(home=tmp_path / "home", tracking="sqlite:///t.db", storage="sqlite:///s.db"))
    assert sorted(path.name for path in (tmp_path / "home").iterdir()) == ["artifacts", "work"]
