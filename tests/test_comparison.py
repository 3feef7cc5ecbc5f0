"""`hpo compare`: what it finds, how it says it, and what it refuses."""

import json
import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from hpo.cli import app
from hpo.comparison import Scored, compare_models, find_scored, in_order_of
from hpo.executors.local import LocalExecutor
from hpo.places import Places
from pipelines.errors import ConfigError, DataError, ModelError
from pipelines.predictions import Predictions, softmax, write_parquet
from pipelines.scores import METRICS, score
from tests.stub import a_controller, a_spec, instruct

ROWS = 200


def predictions(lead: float, seed: int) -> Predictions:
    """What a model says of rows that are always the same; the greater its lead, the better."""
    labels = np.random.default_rng(0).integers(0, 2, ROWS)
    noise = np.random.default_rng(seed).normal(size=(ROWS, 2))
    return Predictions(
        ids=[f"reviews.csv:{row}" for row in range(ROWS)],
        texts=[f"text {'x' * (row % 9)} {row}" for row in range(ROWS)],
        labels=labels,
        probabilities=softmax(lead * np.eye(2)[labels] + noise),
        names=("bad", "good"),
    )


WEAK, STRONG = predictions(0.5, seed=1), predictions(3.0, seed=2)


def keep(places: Places, trial: int, said: Predictions) -> Path:
    path = places.trial("toy", trial) / "artifacts" / "predictions.parquet"
    write_parquet(said, path)
    return path


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory, empty_mlflow: Path) -> Places:
    """A study whose trials 0, 3 and 4 are complete, and a registered model `toys`: version 1 comes from trial 3."""
    home = tmp_path_factory.mktemp("home")
    with closing(LocalExecutor(workers=1, threads=1, logs=home / "logs")) as executor:
        instruct(home / "work" / "toy", faults={"1": "raise", "2": "infeasible"})
        study = a_controller(a_spec(budget={"trials": 5}, objective="log_loss"), home, executor)
        study.run()
    shutil.copy(empty_mlflow, home / "mlflow.db")
    found = replace(study.places, tracking=f"sqlite:///{home}/mlflow.db")
    keep(found, 0, WEAK)
    register(found, keep(found, 3, STRONG))
    return found


def register(places: Places, path: Path) -> None:
    """Version 1 of `toys`, its champion, with these predictions; version 2 with none; a model called like the study."""
    client = MlflowClient(places.tracking)
    experiment = client.create_experiment("toy", artifact_location=(places.artifacts / "toy").as_uri())
    tags = {"hpo.study": "toy", "hpo.trial": "3"}
    for name, artifact in (("toys", path), ("toys", None), ("toy", path)):
        run = client.create_run(experiment)
        if artifact is not None:
            client.log_artifact(run.info.run_id, str(artifact))
        if not client.search_registered_models(f"name = '{name}'"):
            client.create_registered_model(name)
        client.create_model_version(name, source="somewhere", run_id=run.info.run_id, tags=tags)
    client.set_registered_model_alias("toys", "champion", "1")


def hpo(places: Places, *words: str) -> str:
    done = CliRunner().invoke(
        app,
        [*words, "--tracking-uri", places.tracking, "--storage", places.storage],
        env={"HPO_HOME": str(places.home)},
    )
    assert done.exit_code == 0, done.output
    return done.stdout


def test_two_trials_are_compared_by_every_metric_the_objective_first(places: Places) -> None:
    found = compare_models("toy/0", "toy/3", places=places, resamples=200)
    assert [one.metric for one in found.differences] == ["log_loss", *(name for name in METRICS if name != "log_loss")]
    weak, strong = score(WEAK), score(STRONG)
    for one in found.differences:
        assert (one.a, one.b) == pytest.approx((weak[one.metric], strong[one.metric]), abs=1e-12)
    figures = f"log_loss {weak['log_loss']:.4f} against {strong['log_loss']:.4f}, p 0.00498 (permutation)"
    assert found.verdict() == f"B is better: {figures}"
    assert compare_models("toy/3", "toy/0", places=places, resamples=200).verdict().startswith("A is better: ")


def test_a_model_and_the_trial_it_comes_from_do_not_differ(places: Places) -> None:
    for reference in ("toys", "toys@champion", "toys/1", "models:/toys/1", "models:/toys@champion"):
        found = compare_models("toy/3", reference, places=places, resamples=20)
        assert found.b.words == "toys version 1 (trial 3 of study toy)"
        assert found.verdict().startswith("no difference that these rows could show: log_loss ")
        assert found.as_json()["flips"] == {"won": 0, "lost": 0}


def test_a_number_is_a_trial_where_there_is_such_a_study(places: Places) -> None:
    assert find_scored("toy/0", places=places).words == "trial 0 of study toy"
    assert find_scored("models:/toy/1", places=places).words == "toy version 1 (trial 3 of study toy)"


def test_json_says_everything(places: Places) -> None:
    shown = json.loads(hpo(places, "compare", "toy/0", "toys@champion", "--json"))
    assert json.loads(json.dumps(shown, allow_nan=False)) == shown
    assert shown["a"] == {"reference": "toy/0", "what": "trial 0 of study toy"}
    assert (shown["split"], shown["rows"], shown["objective"], shown["better"]) == ("select", ROWS, "log_loss", "b")
    first = shown["metrics"][0]
    assert first["difference"] == pytest.approx(first["b"] - first["a"])
    assert first["low"] < first["difference"] < first["high"] < 0
    won = int((STRONG.correct & ~WEAK.correct).sum())
    assert shown["flips"] == {"won": won, "lost": int((WEAK.correct & ~STRONG.correct).sum())}
    assert sum(one["won"] for one in shown["slices"] if one["name"].startswith("class ")) == won
    assert sum(one["rows"] for one in shown["slices"] if one["name"].endswith(" characters")) == ROWS
    for side, (right, wrong) in {"won": ("b", "a"), "lost": ("a", "b")}.items():
        assert 1 <= len(shown["examples"][side]) <= 5
        for one in shown["examples"][side]:
            assert one[right] == one["label"] != one[wrong]
            assert one["text"] == WEAK.texts[WEAK.ids.index(one["id"])]


def test_a_person_is_shown_who_is_better_by_how_much_where_and_which_texts(places: Places) -> None:
    shown = hpo(places, "compare", "toy/0", "toy/3")
    won = int((STRONG.correct & ~WEAK.correct).sum())
    lost = int((WEAK.correct & ~STRONG.correct).sum())
    for text in (
        "A: trial 0 of study toy\nB: trial 3 of study toy\n200 rows, select split\nB is better: log_loss ",
        "exact McNemar",
        f"texts that B alone has right: {won}; A alone: {lost}\n",
        "class good",
        "another seed may turn a small difference around",
    ):
        assert text in shown


def test_rows_and_classes_may_stand_in_another_order() -> None:
    order = np.random.default_rng(7).permutation(ROWS)
    shuffled = Predictions(
        ids=[STRONG.ids[row] for row in order],
        texts=[STRONG.texts[row] for row in order],
        labels=1 - STRONG.labels[order],
        probabilities=STRONG.probabilities[order][:, ::-1],
        names=("good", "bad"),
    )
    again = in_order_of(Scored("a", None, "", WEAK), Scored("b", None, "", shuffled))
    assert again.names == STRONG.names
    assert again.labels.tolist() == STRONG.labels.tolist()
    assert again.probabilities.tolist() == STRONG.probabilities.tolist()


def test_models_of_different_rows_or_classes_are_not_compared() -> None:
    half = slice(0, 120)
    other = replace(
        STRONG,
        ids=STRONG.ids[half],
        texts=["changed", *STRONG.texts[1:120]],
        labels=STRONG.labels[half],
        probabilities=STRONG.probabilities[half],
    )
    with pytest.raises(DataError) as caught:
        in_order_of(Scored("toy/0", None, "", WEAK), Scored("other/1", None, "", other))
    assert str(caught.value) == (
        "toy/0 and other/1 were scored on different rows (200 and 120, of which 119 are the same); "
        "compare models of the same data and splits"
    )
    changed = replace(STRONG, texts=["changed", *STRONG.texts[1:]])
    with pytest.raises(DataError, match=r"\(200 and 200, of which 199 are the same\)"):
        in_order_of(Scored("toy/0", None, "", WEAK), Scored("other/1", None, "", changed))
    with pytest.raises(DataError) as caught:
        in_order_of(
            Scored("toy/0", None, "", WEAK), Scored("other/1", None, "", replace(STRONG, names=("bad", "fine")))
        )
    assert str(caught.value) == "toy/0 knows the classes ['bad', 'good'], other/1 ['bad', 'fine']"


def test_what_cannot_be_compared_is_refused_in_one_line(places: Places) -> None:
    gone = places.trial("toy", 4) / "artifacts" / "predictions.parquet"
    cases: dict[str, tuple[type[Exception], str]] = {
        "toy/1": (DataError, "toy/1 is FAIL: predictions are kept of COMPLETE trials; those are: 0, 3, 4"),
        "toy/2": (DataError, "toy/2 is PRUNED: predictions are kept of COMPLETE trials; those are: 0, 3, 4"),
        "toy/4": (DataError, f"toy/4: no predictions are stored ({gone} is missing); name another trial"),
        "toy/9": (ConfigError, "study 'toy' has no trial 9"),
        "nope": (ModelError, "there is no registered model 'nope'; there are: toy, toys; the studies are: toy"),
        "toys/7": (
            ModelError,
            "toys/7: no such version or alias; aliases: champion; versions: 1, 2; the studies are: toy",
        ),
    }
    for reference, (kind, message) in cases.items():
        with pytest.raises(kind) as caught:
            find_scored(reference, places=places)
        assert str(caught.value) == message
    with pytest.raises(ModelError, match=r"^toys/2: no predictions are stored with its run: ") as caught:
        find_scored("toys/2", places=places)
    assert "\n" not in str(caught.value)


def test_a_study_alone_is_answered_with_how_to_name_a_trial(places: Places) -> None:
    with pytest.raises(ConfigError) as caught:
        find_scored("toy", places=places)  # a model is called so too, but has no champion
    assert str(caught.value) == "toy is a study: name one of its trials, for instance toy/0"
