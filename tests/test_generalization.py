"""A registered model on other data: checked first, tested, and attached once to its version, its run and its card."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from numpy.typing import NDArray
from typer.testing import CliRunner

import pipelines.generalize.elsewhere as elsewhere_module
from hpo.cli import app
from pipelines import registry
from pipelines.data import Dataset
from pipelines.errors import ConfigError, DataError, UserError
from pipelines.generalize import answering
from pipelines.predictions import Predictions
from tests.court import Court, a_dataset, pack

OPINIONS = {"good": ("fine", "lovely", "great"), "bad": ("dull", "awful", "poor")}


def probabilities(texts: Sequence[str]) -> NDArray[np.float64]:
    """A model that knows its words, and takes every text that ends in 7 for the other class."""
    chances = np.array([0.9 if any(word in text for word in OPINIONS["good"]) else 0.2 for text in texts])
    chances = np.where([text.endswith("7") for text in texts], 1 - chances, chances)
    return np.stack([1 - chances, chances], axis=1)


def answers_on(_: Any, dataset: Dataset, **__: Any) -> Predictions:
    rows = dataset.splits["test"]
    texts = list(rows.texts)
    return Predictions(list(rows.ids), texts, rows.labels, probabilities(texts), dataset.labels)


@pytest.fixture
def court(tmp_path: Path, empty_mlflow: Path, monkeypatch: pytest.MonkeyPatch) -> Court:
    """One champion with 320 of 400 locked rows right, and three files beside it."""
    shutil.copy(empty_mlflow, tmp_path / "mlflow.db")
    monkeypatch.setattr(registry, "_packed", pack)
    monkeypatch.setattr(elsewhere_module, "answers_on", answers_on)
    monkeypatch.setattr(answering, "answers_on", answers_on)
    monkeypatch.setattr(answering, "ready", lambda directory: directory)
    monkeypatch.setattr(answering, "probabilities_of", lambda _, texts, **__: probabilities(texts))
    monkeypatch.setattr("pipelines.generalize.attached.draw_report", lambda *_: None)
    monkeypatch.setattr("pipelines.generalize.shift.RESAMPLES", 50)
    monkeypatch.setenv("HPO_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    write("phones.csv", [(f"a {word} phone, number {n}", label) for n, (word, label) in enumerate(opinions(60))])
    write(
        "stars.csv", [(f"a {word} meal, number {n}", f"{label} star") for n, (word, label) in enumerate(opinions(20))]
    )
    own = [(text, "good") for text in a_dataset().splits["train"].texts]
    write("known.csv", [*own, ("a lovely boat, number 1", "good")])
    court = Court(tmp_path)
    court.asks("one", right=320)
    return court


def opinions(rows: int) -> list[tuple[str, str]]:
    return [(OPINIONS[label][row % 3], label) for row in range(rows) for label in (("good", "bad")[row % 2],)]


def write(name: str, rows: list[tuple[str, str]]) -> None:
    lines = [f'"{text}",{label}' for text, label in rows]
    Path(name).write_text("\n".join(["text,label", *lines]) + "\n")


def evaluate(*words: str) -> Result:
    return CliRunner().invoke(app, ["evaluate", "sentiment", *words])


def refused(done: Result, kind: type[UserError]) -> str:
    assert isinstance(done.exception, kind), done.output
    assert "\n" not in str(done.exception)
    return str(done.exception)


def state(court: Court) -> dict[str, Any]:
    """All that is attached to the version."""
    version = court.client.get_model_version("sentiment", "1")
    run = court.client.get_run(version.run_id)
    metrics = {name: value for name, value in run.data.metrics.items() if name.startswith(("external", "robustness"))}
    history = {name: len(court.client.get_metric_history(version.run_id, name)) for name in metrics}
    inputs = [(one.dataset.name, one.tags[0].value, one.dataset.digest) for one in run.inputs.dataset_inputs]
    folders = {
        folder.path: sorted(Path(file.path).name for file in court.client.list_artifacts(version.run_id, folder.path))
        for kind in ("external", "robustness")
        for folder in court.client.list_artifacts(version.run_id, kind)
    }
    return {
        "tags": {name: text for name, text in version.tags.items() if name.startswith(("external", "robustness"))},
        "card": version.description,
        "metrics": metrics,
        "history": history,
        "inputs": inputs,
        "folders": folders,
    }


def test_scores_drops_and_intervals_are_found_and_attached_to_version_run_and_card(court: Court) -> None:
    done = evaluate("--data", "phones.csv", "--json", "--html", "page.html")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    (one,) = found["data"]
    by_name = {shift["measure"]: shift for shift in one["measures"]}
    assert (one["rows"], one["home_rows"]) == (60, 400)
    assert one["scores"]["accuracy"] == pytest.approx(0.9)
    assert by_name["accuracy"]["home"]["value"] == pytest.approx(0.8)
    assert by_name["accuracy"]["worse"]["value"] == pytest.approx(-0.1)
    assert by_name["accuracy"]["worse"]["low"] < -0.1 < by_name["accuracy"]["worse"]["high"]
    assert one["shares"] == {"bad": {"labels": 0.5, "answers": 0.4}, "good": {"labels": 0.5, "answers": 0.6}}
    assert one["beside_tfidf"]["accuracy"]["b"] == pytest.approx(0.9)
    assert len(one["mistakes"]) == 6
    kept = state(court)
    assert kept["tags"]["external.phones.csv"].startswith("phones.csv: accuracy 0.900 (")
    assert kept["metrics"]["external.phones.csv.accuracy"] == pytest.approx(0.9)
    assert kept["metrics"]["external.phones.csv.worse.accuracy"] == pytest.approx(-0.1)
    assert ("phones.csv", "external") in {(name, context) for name, context, _ in kept["inputs"]}
    assert kept["folders"] == {"external/phones.csv": ["predictions.parquet", "report.html", "report.json"]}
    assert "## On other texts" in kept["card"]
    assert kept["card"].index("| phones.csv | 60 | 0 | 0.900 (") < kept["card"].index("## Limits")
    assert "phones.csv: accuracy 0.900" in Path("page.html").read_text()
    assert court.openings() == {"promotion": 1}, "the locked rows were not looked at again"


def test_twice_is_as_once_and_a_further_set_stands_beside(court: Court) -> None:
    assert evaluate("--data", "phones.csv").exit_code == 0
    once = state(court)
    assert evaluate("--data", "phones.csv").exit_code == 0
    assert state(court) == once
    assert set(once["history"].values()) == {1}
    assert evaluate("--data", "stars.csv", "--map", "good star=good", "--map", "bad star=bad").exit_code == 0
    both = state(court)
    assert set(both["folders"]) == {"external/phones.csv", "external/stars.csv"}
    assert both["card"].count("## On other texts") == 1
    assert "| phones.csv | 60 |" in both["card"]
    assert "| stars.csv | 20 |" in both["card"]
    assert len(both["inputs"]) == len(set(both["inputs"])) == len(once["inputs"]) + 1


def test_nothing_is_attached_on_request_and_the_models_files_never_change(court: Court) -> None:
    before = state(court)
    weights = court.client.get_model_version("sentiment", "1").tags["hpo.weights"]
    assert evaluate("--data", "phones.csv", "--no-track").exit_code == 0
    assert state(court) == before
    assert evaluate("--data", "phones.csv").exit_code == 0
    assert court.client.get_model_version("sentiment", "1").tags["hpo.weights"] == weights
    shutil.rmtree(court.places.cache / "models")
    assert evaluate("--data", "phones.csv").exit_code == 0, "what is downloaded anew has its hashes still"


def test_rows_that_the_training_saw_are_counted_and_scores_without_them_given(court: Court) -> None:
    text = a_dataset().splits["train"].texts[1]
    write("mixed.csv", [(text, "good"), ("a lovely boat", "good"), ("a poor boat", "bad"), ("a great car", "bad")])
    done = evaluate("--data", "mixed.csv", "--json")
    (one,) = json.loads(done.stdout)["data"]
    assert (one["seen"]["exact"], one["seen"]["near"]) == (1, 0)
    assert one["seen"]["examples"][0]["text"] == text
    accuracy = {shift["measure"]: shift["there"]["value"] for shift in one["unseen"]}["accuracy"]
    assert (one["scores"]["accuracy"], accuracy) == (0.5, pytest.approx(2 / 3))
    assert "without seen rows" in evaluate("--data", "mixed.csv").stdout


def test_a_set_of_mostly_known_rows_is_refused_unless_it_is_wanted(court: Court) -> None:
    line = refused(evaluate("--data", "known.csv"), DataError)
    assert line.startswith("known.csv: 12 of its 13 rows overlap with the data that sentiment version 1 was made with")
    assert state(court)["tags"] == {}
    assert evaluate("--data", "known.csv", "--allow-overlap").exit_code == 0


def test_the_models_locked_rows_are_left_out_since_no_look_at_them_goes_uncounted(court: Court) -> None:
    locked = a_dataset().splits["test"].texts
    write("mixed.csv", [(locked[0].upper(), "bad"), ("a lovely boat", "good"), ("a poor boat", "bad")])
    done = evaluate("--data", "mixed.csv", "--json")
    (one,) = json.loads(done.stdout)["data"]
    assert one["rows"] == 2
    assert any(
        note.startswith("mixed.csv: 1 row left out: its locked test rows (--split test") for note in one["notes"]
    )
    write("locked.csv", [(text, "good") for text in locked])
    assert refused(evaluate("--data", "locked.csv"), DataError).endswith("; no row is left to test on")
    assert court.openings() == {"promotion": 1}


def test_labels_that_cannot_be_matched_are_refused_before_anything_is_tested(court: Court) -> None:
    line = refused(evaluate("--data", "phones.csv", "--data", "stars.csv"), DataError)
    assert line.startswith("stars.csv: of its labels 'bad star' and 'good star' cannot be matched with a class")
    assert state(court)["tags"] == {}


def test_a_map_may_be_a_file_for_all_sets_or_for_single_ones(court: Court) -> None:
    Path("map.yaml").write_text("stars.csv: {good star: good, bad star: null}\n")
    done = evaluate("--data", "phones.csv", "--data", "stars.csv", "--map", "map.yaml", "--json")
    sets = json.loads(done.stdout)["data"]
    assert [one["rows"] for one in sets] == [60, 10]
    assert [one["home_rows"] for one in sets] == [400, 200], "only rows of the classes that there are can be compared"
    assert "stars.csv: has no row of the model's class 'bad'." in done.stderr
    Path("map.yaml").write_text("star.csv: {good star: good}\n")
    line = refused(evaluate("--data", "stars.csv", "--map", "map.yaml"), ConfigError)
    assert line == "--map map.yaml: 'star.csv' is none of the data sets (stars.csv)"
    line = refused(evaluate("--data", "stars.csv", "--map", "none.yaml"), ConfigError)
    assert line == "--map none.yaml: No such file or directory"


def test_sets_of_one_name_and_options_that_contradict_are_refused(court: Court) -> None:
    Path("other").mkdir()
    shutil.copy("phones.csv", "other/phones.csv")
    assert "are both called phones.csv; rename one" in refused(
        evaluate("--data", "phones.csv", "--data", "other/phones.csv"), ConfigError
    )
    assert "--data DATA, --robustness, or --split test" in refused(evaluate(), ConfigError)
    assert "do not go together" in refused(evaluate("--split", "test", "--data", "phones.csv"), ConfigError)
    assert "--robustness; add that" in refused(evaluate("--data", "phones.csv", "--checks", "c.yaml"), ConfigError)
    assert "name a data set" in refused(evaluate("--robustness", "--map", "a=b"), ConfigError)


def test_robustness_is_tested_on_the_select_rows_and_attached(court: Court) -> None:
    Path("own.yaml").write_text(
        "checks:\n- {name: praise, kind: minimum functionality, texts: [a fine day, a grim day], expect: good}\n"
    )
    done = evaluate("--robustness", "--checks", "own.yaml", "--json", "--html", "page.html")
    assert done.exit_code == 0, done.output
    (one,) = json.loads(done.stdout)["robustness"]
    assert (one["name"], one["rows"], one["seed"]) == ("toy (select)", 8, 0)
    checks = {check["name"]: check for check in one["checks"]}
    assert (checks["praise"]["cases"], checks["praise"]["failed"]) == (2, 1)
    assert "first names" in checks
    assert "plain praise" not in checks, "the model does not know positive"
    assert "check 'plain praise': the model has no class 'positive'" in done.stderr
    kept = state(court)
    assert kept["metrics"]["robustness.toy-select.check.praise.failures"] == 0.5
    assert kept["tags"]["robustness.toy-select"] == one["verdict"]
    assert "Behavioural checks: 3 of 4 without a failure; it fails cases of praise." in kept["card"]
    assert "Changed texts: toy (select)" in Path("page.html").read_text()
    assert "praise" in evaluate("--robustness", "--checks", "own.yaml").stdout
    done = evaluate("--robustness", "--rows", "5", "--no-track", "--json")
    assert json.loads(done.stdout)["robustness"][0]["rows"] == 5


def test_robustness_on_another_set_and_without_the_studys_data(court: Court) -> None:
    shutil.rmtree(court.places.study("one") / "data")
    line = refused(evaluate("--robustness"), DataError)
    assert "the data of its study is not here, so there are no rows to change" in line
    done = evaluate("--robustness", "--data", "phones.csv", "--json")
    assert json.loads(done.stdout)["robustness"][0]["rows"] == 60
    done = evaluate("--data", "phones.csv", "--json")
    assert json.loads(done.stdout)["data"][0]["beside_tfidf"] is None
    assert "near duplicates: not looked for" in json.loads(done.stdout)["data"][0]["seen"]["basis"]


def test_a_check_of_a_class_that_the_model_lacks_is_refused(court: Court) -> None:
    Path("own.yaml").write_text("checks:\n- {name: x, kind: minimum functionality, texts: [a], expect: superb}\n")
    line = refused(evaluate("--robustness", "--checks", "own.yaml"), ConfigError)
    assert line == "check 'x': the model has no class 'superb'; its classes are 'bad', 'good'"
