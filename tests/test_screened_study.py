"""A study may screen its checkpoints: once, before its first trial, and the same ones after every restart."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hpo import screening as module
from hpo.executors import WorkerLostError
from hpo.places import Places
from hpo.screening import read_screening, screening_in_words, stored_screening, with_shortlist
from hpo.space import default_trials, narrowed
from hpo.spec import StudySpec
from hpo.specfile import read_spec
from hpo.storage import definition
from pipelines.data import Dataset
from pipelines.errors import ConfigError, ModelError
from pipelines.segment import ScreenJob
from tests import tiny
from tests.screens import measures, screening
from tests.stub import a_spec

ROOT = Path(__file__).parents[1]
CANDIDATES = ["bert", "roberta", "gpt2", "albert"]


def a_study(**changes: Any) -> StudySpec:
    rates = {
        "low": 1e-5,
        "high": 1e-3,
        "log": True,
        "per_model": {"roberta": {"low": 1e-5, "high": 3e-5}, "gpt2": {"low": 2e-5, "high": 2e-4}},
    }
    plain = {"model.screen": {"keep": 2}, "space": {"model.name": CANDIDATES, "train.learning_rate": rates}}
    return a_spec(**plain | changes)


class Worker:
    """Stands for the process that measures: GPT-2 first, then BERT."""

    def __init__(self) -> None:
        self.jobs: list[ScreenJob] = []

    def __call__(self, _: Any, job: ScreenJob, *, say: Any) -> Any:
        self.jobs.append(job)
        scores = {"gpt2": 0.8, "bert": 0.75, "albert": 0.7, "roberta": 0.65}
        return screening(*(measures(one.model.name, scores[one.model.name]) for one in job.configs), keep=job.keep)


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Worker:
    """A worker that measures nothing and counts how often it is asked."""
    stand_in = Worker()
    monkeypatch.setattr(module, "_answer", stand_in)
    return stand_in


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """A home that holds nothing."""
    return Places(tmp_path, tracking="sqlite:///nowhere.db", storage=f"sqlite:///{tmp_path}/studies.db")


def launched(spec: StudySpec, data: Dataset, places: Places, begun: StudySpec | None = None) -> StudySpec:
    return with_shortlist(spec, data, places=places, begun=begun, say=lambda _: None)


def test_the_search_has_the_shortlist_alone_in_the_order_of_the_file(
    worker: Worker, places: Places, toy_dataset: Dataset
) -> None:
    spec = launched(a_study(), toy_dataset, places)
    assert spec.models == ["bert", "gpt2"]
    assert list(spec.space["train.learning_rate"].per_model) == ["gpt2"]
    assert [trial["model.name"] for trial in default_trials(spec)] == ["bert", "gpt2"]
    (job,) = worker.jobs
    assert [config.model.name for config in job.configs] == CANDIDATES
    assert (job.keep, job.rows, job.seed) == (2, None, 0)


def test_a_study_that_asks_for_none_is_left_as_it_is(worker: Worker, places: Places, toy_dataset: Dataset) -> None:
    spec = a_study(**{"model.screen": None})
    assert launched(spec, toy_dataset, places) is spec
    assert worker.jobs == []


def test_a_launch_that_was_killed_later_finds_the_same_shortlist_without_measuring_again(
    worker: Worker, places: Places, toy_dataset: Dataset
) -> None:
    first = launched(a_study(), toy_dataset, places)
    assert launched(a_study(), toy_dataset, places) == first
    assert len(worker.jobs) == 1


def test_a_launch_that_was_killed_while_it_wrote_measures_again(
    worker: Worker, places: Places, toy_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(module, "write_json", lambda *_: pytest.exit("killed"))
        with pytest.raises(pytest.exit.Exception):
            launched(a_study(), toy_dataset, places)
    assert stored_screening(places.study("toy") / "report") is None
    assert launched(a_study(), toy_dataset, places).models == ["bert", "gpt2"]
    assert len(worker.jobs) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"model.screen": {"keep": 1}},
        {"model.screen": {"keep": 2, "rows": 50}},
        {"model.screen": {"keep": 2, "seed": 1}},
        {"space": {"model.name": CANDIDATES[1:]}},
    ],
    ids=str,
)
def test_before_the_first_trial_another_question_is_asked_anew(
    change: dict[str, Any], worker: Worker, places: Places, toy_dataset: Dataset
) -> None:
    launched(a_study(), toy_dataset, places)
    launched(a_study(**change), toy_dataset, places)
    assert len(worker.jobs) == 2


def test_other_data_are_screened_anew(
    worker: Worker, places: Places, toy_dataset: Dataset, toy_dataset_3: Dataset
) -> None:
    launched(a_study(), toy_dataset, places)
    launched(a_study(), toy_dataset_3, places)
    assert len(worker.jobs) == 2


def test_a_study_that_has_begun_keeps_its_checkpoints_whatever_became_of_the_file(
    worker: Worker, places: Places, toy_dataset: Dataset
) -> None:
    begun = StudySpec.model_validate_json(narrowed(a_study(), ["roberta", "albert"]).model_dump_json())
    assert launched(a_study(), toy_dataset, places, begun=begun).models == ["roberta", "albert"]
    assert worker.jobs == []


def test_the_definition_holds_all_candidates_and_what_was_asked() -> None:
    fixed = definition(a_study(), data_digest="d")
    assert fixed["space.model.name.choices"] == CANDIDATES
    assert fixed["model.screen.keep"] == 2
    assert definition(a_study(**{"model.screen": None}), data_digest="d")["model.screen"] is None


def test_check_says_what_will_be_done_and_then_what_was_done(
    worker: Worker, places: Places, toy_dataset: Dataset
) -> None:
    spec = a_study()
    assert read_screening(spec, toy_dataset, places=places) is None
    assert screening_in_words(spec, None) == (
        "before the first trial 4 checkpoints are ranked untrained on a third of the training rows, 2,000 at most; the "
        "best 2 at most go into the search (times, memory and disk here are those of all)"
    )
    launched(spec, toy_dataset, places)
    found = read_screening(spec, toy_dataset, places=places)
    assert screening_in_words(spec, found) == "done: gpt2, bert of gpt2, bert, albert, roberta"
    assert (places.study("toy") / "report" / "screening.html").read_text().startswith("<!doctype html>")
    assert screening_in_words(a_study(**{"model.screen": None}), None) is None


def test_a_worker_that_is_killed_for_its_memory_is_one_clear_line(toy_dataset: Dataset, tmp_path: Path) -> None:
    from concurrent.futures import Future

    class Executor:
        def submit(self, task: str, payload: Any, *, key: str) -> Future[Any]:
            lost: Future[Any] = Future()
            lost.set_exception(WorkerLostError("the worker process was killed"))
            return lost

        def events(self) -> list[Any]:
            return []

    from hpo.space import longest_configs

    job = ScreenJob(longest_configs(a_study()), tmp_path, tmp_path, keep=2, rows=None, seed=0)
    with pytest.raises(ModelError) as caught:
        module._answer(Executor(), job, say=lambda _: None)  # type: ignore[arg-type]
    assert str(caught.value) == (
        "model.screen: the worker process was killed, while it looked at bert, roberta, gpt2, albert; leave out the "
        "largest ones"
    )


@pytest.fixture
def file(tmp_path: Path) -> str:
    """A study as people write it."""
    (tmp_path / "my.yaml").write_text("model.screen: {keep: 2}\nspace:\n  model.name: [minilm, bert, roberta, gpt2]\n")
    return str(tmp_path / "my.yaml")


def test_it_is_one_address_in_the_file_and_on_the_command_line(file: str) -> None:
    spec = read_spec(file)
    assert spec.screen is not None
    assert spec.screen.keep == 2
    assert read_spec(file, ["model.screen.keep=1", "model.screen.seed=4"]).screen == spec.screen.model_copy(
        update={"keep": 1, "seed": 4}
    )
    assert read_spec(file, ["model.screen="]).screen is None
    assert read_spec(file, ["model.screen={keep: 1}"]).screen == spec.screen.model_copy(update={"keep": 1})
    assert StudySpec.model_validate(json.loads(spec.model_dump_json())) == spec


def test_a_model_that_is_named_on_the_command_line_is_not_screened(file: str) -> None:
    spec = read_spec(file, ["model.name=minilm"])
    assert (spec.models, spec.screen) == (["minilm"], None)


@pytest.mark.parametrize(
    ("overrides", "fault"),
    [
        (
            ["model.screen.keep=4"],
            "model.screen.keep: keeps 4 of 4 models, so none would be left out; keep fewer, or list more in space: "
            "model.name",
        ),
        (["model.screen.keep=0"], "model.screen.keep: should be greater than or equal to 1, not 0"),
        (["model.screen.kep=2"], "model.screen.kep: no such key; did you mean keep?"),
        (["run.model.screen.keep=2"], "run.model.screen: no such key; did you mean model.screen?"),
        (
            ["space="],
            "model.screen: there is nothing to choose from; list the candidates in space: model.name",
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_cannot_be_screened_is_a_fault_with_its_address(overrides: list[str], fault: str, file: str) -> None:
    if overrides == ["space="]:
        Path(file).write_text("model.screen: {keep: 2}\n")
        overrides = []
    with pytest.raises(ConfigError) as caught:
        read_spec(file, overrides)
    assert str(caught.value) == f"{file}: one fault\n  {fault}"


@pytest.mark.long
def test_a_screened_study_that_is_killed_goes_on_with_the_same_checkpoints(
    tiny_checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    (tmp_path / "reviews.csv").write_text(tiny.as_csv())
    candidates = [str(tiny_checkpoints[name]) for name in ("bert", "gpt2", "albert")]
    written = {
        "name": "screened",
        "model.screen": {"keep": 2, "rows": 60},
        "budget": {"trials": 3},
        "confirm": {"finalists": 0},
        "workers": {"count": 1, "threads": 1},
        "run": {"data": {"source": "reviews.csv"}, "train": {"epochs": 1.0, "precision": "fp32"}},
        "space": {"model.name": candidates, "train.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}},
    }
    (tmp_path / "my.yaml").write_text(json.dumps(written))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HPO_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-m", "hpo"]
    kept = tmp_path / "home" / "work" / "screened" / "report" / "screening.json"
    with subprocess.Popen([*command, "run", "my.yaml"], env=environment, cwd=tmp_path, start_new_session=True) as first:
        while not kept.exists():
            assert first.poll() is None
            time.sleep(0.2)
        os.killpg(first.pid, signal.SIGKILL)
    before = (kept.stat().st_mtime_ns, json.loads(kept.read_text()))
    again = subprocess.run([*command, "run", "my.yaml"], env=environment, cwd=tmp_path, timeout=250, check=False)
    assert again.returncode == 0
    assert (kept.stat().st_mtime_ns, json.loads(kept.read_text())) == before
    shortlist = before[1]["shortlist"]
    assert 1 <= len(shortlist) <= 2
    shown = subprocess.run(
        [*command, "show", "screened", "--json"], env=environment, cwd=tmp_path, capture_output=True, check=True
    )
    rows = json.loads(shown.stdout)
    assert len(rows) == 3
    assert {row["params"]["model.name"] for row in rows} == set(shortlist)
    people = subprocess.run(
        [*command, "show", "screened"], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "screened before the search: Fine-tune " in people.stdout
    client = MlflowClient(f"sqlite:///{tmp_path}/home/mlflow.db")
    experiment = client.get_experiment_by_name("screened")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id], "tags.`hpo.kind` = 'study'")
    assert run.data.tags["hpo.screening"].startswith("Fine-tune ")
    assert "**Screened** Fine-tune " in run.data.tags["mlflow.note.content"]
    assert {"screening.html", "screening.json"} <= {Path(one.path).name for one in artifacts(client, run.info.run_id)}


def artifacts(client: Any, run: str, path: str | None = None) -> list[Any]:
    found = client.list_artifacts(run, path)
    return [one for item in found for one in (artifacts(client, run, item.path) if item.is_dir else [item])]
