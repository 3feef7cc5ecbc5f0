"""The command `hpo screen`: real checkpoints, real MLflow, and bad input in one line."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import Result
from mlflow import MlflowClient
from mlflow.entities import Run
from typer.testing import CliRunner

from hpo.cli import app
from pipelines.errors import ConfigError, ModelError, StorageError, UserError
from pipelines.families import locate
from tests import tiny


@pytest.fixture
def home(tmp_path: Path, empty_mlflow: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home with MLflow's tables, and `reviews.csv` beside it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HPO_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    shutil.copy(empty_mlflow, tmp_path / "home" / "mlflow.db")
    Path("reviews.csv").write_text(tiny.as_csv())
    return tmp_path / "home"


def screen(*words: str) -> Result:
    return CliRunner().invoke(app, ["screen", *words])


def runs(home: Path) -> list[Run]:
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    experiment = client.get_experiment_by_name("screen")
    return list(client.search_runs([experiment.experiment_id])) if experiment else []


def test_checkpoints_are_ranked_and_kept_in_mlflow(home: Path, tiny_checkpoints: dict[str, Path]) -> None:
    models = f"{tiny_checkpoints['bert']},{tiny_checkpoints['gpt2']}"
    words = [
        "--data",
        "reviews.csv",
        "--models",
        models,
        "--keep",
        "1",
        "--rows",
        "60",
        "--json",
        "--html",
        "page.html",
    ]
    done = screen(*words)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["basis"]["rows"], found["basis"]["classes"], found["keep"]) == (60, 2, 1)
    assert {one["label"] for one in found["models"]} == {"bert", "gpt2"}
    assert found["shortlist"] == [found["models"][0]["name"]]
    assert found["cost"].startswith("Screening took ")
    page = Path("page.html").read_text()
    assert found["verdict"].partition(":")[0] in page
    (run,) = runs(home)
    assert done.stderr.splitlines()[-1] == f"kept in MLflow: experiment screen, run {run.info.run_id}"
    assert run.data.tags["mlflow.note.content"] == f"{found['verdict']} {found['cost']}"
    assert run.data.params["shortlist"] == found["shortlist"][0]
    for one in found["models"]:
        assert run.data.params[f"{one['label']}/license"] == "not stated"
        assert run.data.metrics[f"{one['label']}/logme"] == pytest.approx(one["logme"])
        assert run.data.metrics[f"{one['label']}/linear_probe"] == pytest.approx(one["linear"]["accuracy"])
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    assert Path(client.download_artifacts(run.info.run_id, "screen.html")).read_text() == page
    assert json.loads(Path(client.download_artifacts(run.info.run_id, "screen.json")).read_text()) == found


def test_the_table_says_what_to_train_and_no_track_leaves_mlflow_alone(
    home: Path, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.connection.connect", lambda _: pytest.fail("MLflow was asked"))
    done = screen("--data", "reviews.csv", "--models", str(tiny_bert), "--rows", "40", "--no-track")
    assert done.exit_code == 0, done.output
    first, second, third, *_ = done.stdout.splitlines()
    assert first.startswith("measured on 40 of the ")
    assert second.startswith("Fine-tune bert: there is no other; a linear probe has bert ")
    assert third.startswith("Screening took ")
    assert "not stated" in done.stdout


@pytest.mark.parametrize(
    ("words", "kind", "message"),
    [
        (["--models", "minilm,,bert"], ConfigError, "--models 'minilm,,bert': a checkpoint is missing; "),
        (["--models", "./absent"], ModelError, "model './absent' cannot be used: there is no such directory"),
        (["--models", "acme/absent"], ModelError, "model 'acme/absent' cannot be used: it is not on this machine"),
        (["--models", "minilm", "--html", "."], ConfigError, "--html .: is a directory"),
        (["--models", "minilm", "--tracking-uri", "file:mlruns"], StorageError, "tracking file:mlruns: MLflow no"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_refused_in_one_line(words: list[str], kind: type[UserError], message: str, home: Path) -> None:
    done = screen("--data", "reviews.csv", *words)
    assert isinstance(done.exception, kind), done.output
    assert "\n" not in str(done.exception)
    assert str(done.exception).startswith(message)
    assert runs(home) == []


@pytest.mark.long
@pytest.mark.skipif(not Path(locate("minilm")).is_dir(), reason="needs the packaged checkpoint")
def test_a_pretrained_checkpoint_comes_before_a_random_one_and_screening_is_cheap(home: Path, tiny_bert: Path) -> None:
    done = screen("--data", "sample:movies", "--models", f"{tiny_bert},minilm", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    first, second = found["models"]
    assert (first["name"], second["name"]) == ("minilm", str(tiny_bert))
    assert found["shortlist"] == ["minilm"]
    assert first["license"] == "apache-2.0"
    assert first["linear"]["accuracy"] > second["linear"]["accuracy"] + 0.1
    assert sum(one["fine_tuning"] for one in found["models"]) > 8 * sum(one["seconds"] for one in found["models"])
