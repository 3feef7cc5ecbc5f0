"""A study of a three-class file from its launch to its champion, by the commands that a person types."""

import json
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest

from tests.commands import Home, new_home
from tests.faults import shows

from .studies import TRIALS, assert_whole, write_study


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> Home:
    """A home in which the study has run to its end."""
    home = new_home(tmp_path_factory.mktemp("finished"))
    write_study(home.path, tiny_bert)
    done = home.hpo("run", "own.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    (home.path / "output.txt").write_text(done.stdout)
    return home


def test_a_study_of_a_three_class_csv_ends_with_a_champion(finished: Home) -> None:
    assert_whole(finished)
    (row,) = finished.json("list")
    assert (row["finished"], row["trials"], row["registers"]) == (TRIALS, TRIALS, "reviews")
    client = mlflow.MlflowClient(finished.tracking)
    version = client.get_model_version_by_alias("reviews", "champion")
    assert version.tags["hpo.study"] == "own"
    assert "How to use" in version.description


def test_near_duplicates_are_told_at_launch_and_their_texts_are_kept_in_no_file(finished: Home) -> None:
    said = (finished.path / "output.txt").read_text()
    (note,) = (line for line in said.splitlines() if "nearly repeat a row of another split" in line)
    assert "data: near duplicates: " in note
    assert " rows of test, " in note
    assert said.count("data: near duplicates, for instance (") == 3
    kept = json.loads((finished.path / "mlruns/work/own/data/dataset.json").read_text())["notes"]
    assert sum("near duplicates:" in line for line in kept) == 2
    assert not any("for instance" in line for line in kept)
    version = mlflow.MlflowClient(finished.tracking).get_model_version_by_alias("reviews", "champion")
    assert "nearly repeat a row of another split" in version.description


def test_the_first_trial_is_the_known_good_default(finished: Home) -> None:
    first = finished.json("show", "own", "0")
    assert first["params"]["train.learning_rate"] == pytest.approx(1e-4)  # BERT's 3e-5, moved into the range
    assert first["params"]["train.batch_size"] == 16  # BERT's 32 is no choice here; the nearest is


def test_a_study_says_what_it_was_predicted_to_take_and_what_it_took(finished: Home) -> None:
    work = finished.path / "mlruns/work/own"
    seconds = json.loads((work / "report/session.json").read_text())["seconds"]
    assert 0 < seconds["predicted"] < 300
    assert seconds["took"] >= seconds["wall"]
    words = f"predicted {seconds['predicted'] / 60:.1f} min, took {seconds['took'] / 60:.1f} min"
    assert words in (finished.path / "output.txt").read_text()
    for trial in range(TRIALS):
        record = json.loads((work / f"trial-{trial:05d}/trial.json").read_text())
        assert record["predicted"].keys() == {"prepare", "train", "evaluate", "finish"}
        assert record["predicted"].keys() <= record["seconds"].keys()


def test_only_the_best_trial_keeps_its_model_and_nobody_keeps_checkpoints(finished: Home) -> None:
    work = finished.path / "mlruns/work/own"
    (row,) = finished.json("list")
    assert [path.parent.name for path in work.glob("trial-*/model")] == [f"trial-{row['best_trial']:05d}"]
    assert not list(work.glob("*/checkpoints/*"))
    assert not list(work.rglob("*.tmp"))


def test_what_is_delivered_was_trained_anew_and_is_told_with_its_evidence(finished: Home) -> None:
    work = finished.path / "mlruns/work/own"
    selection = json.loads((work / "report/selection.json").read_text())
    assert selection["confirmed"]
    assert [path.parent.name for path in work.glob("confirm-*/model")] == [selection["name"]]
    client = mlflow.MlflowClient(finished.tracking)
    version = client.get_model_version_by_alias("reviews", "champion")
    assert version.tags["hpo.trial"] == str(selection["trial"])
    assert client.get_run(version.run_id).data.tags["hpo.run"] == selection["name"]
    said = (finished.path / "output.txt").read_text()
    assert f"winner: trial {selection['trial']}, trained anew with a fresh seed: macro_f1" in said
    assert "logistic regression over TF-IDF" in said
    (parent,) = [run for run in finished.runs("own") if run.data.tags["hpo.kind"] == "study"]
    assert parent.data.metrics["confirmed/macro_f1"] == pytest.approx(selection["score"])
    assert "selection.png" in {item.path for item in client.list_artifacts(parent.info.run_id)}


def test_the_doctor_finds_nothing_wrong_with_it(finished: Home) -> None:
    runs = len(finished.runs("own"))
    examined = {"studies": 1, "trials": TRIALS, "runs": runs, "checkpoints": 0, "versions": 1}
    assert finished.json("doctor", "own") == {"ok": True, "findings": [], "examined": examined}


def test_trials_are_replayed_bit_for_bit_and_nothing_is_written(finished: Home) -> None:
    kept = [file for file in (finished.path / "mlruns").rglob("*") if file.is_file() and "cache" not in file.parts]
    before = {file: file.read_bytes() for file in kept}
    (best,) = (row["best_trial"] for row in finished.json("list"))
    for number in {0, 1, best}:
        found = finished.json("rerun", f"own/{number}")
        assert found["bit_equal"], found["verdict"]
        assert found["weights"]["was"] == found["weights"]["now"] is not None
        assert [one["name"] for one in found["checks"] if one["same"] is not True] == []
    assert {file: file.read_bytes() for file in kept} == before
    assert not list((finished.path / "mlruns/cache/reruns").iterdir())


def test_pull_predict_and_mlflow_give_the_same_answers(finished: Home) -> None:
    texts = ["a great film, take 1", "an awful film", "an uneven film"]
    answers = finished.json("predict", "reviews@champion", *texts)
    assert [sorted(answer["probabilities"]) for answer in answers] == [["bad", "good", "mixed"]] * 3
    pulled = finished.hpo("pull", "reviews@champion", "out/model")
    assert pulled.returncode == 0, pulled.stderr
    assert (finished.path / "out/model/golden.json").exists()
    facts = json.loads((finished.path / "out/model/hpo.json").read_text())["calibration"]
    assert facts["temperature"] != 1.0 or facts["notes"], "it was calibrated, or the reason stands there"
    assert "## Calibration" in (finished.path / "out/model/README.md").read_text()
    script = (
        "import json, sys, mlflow, transformers\n"
        "texts = json.loads(sys.argv[1])\n"
        "pipe = transformers.pipeline('text-classification', 'out/model')\n"
        "mlflow.set_tracking_uri('sqlite:///mlruns/mlflow.db')\n"
        "table = mlflow.pyfunc.load_model('models:/reviews@champion').predict(texts)\n"
        "print(json.dumps([[row['label'], row['score']] for row in pipe(texts)]))\n"
        "print(table[['label', 'probability']].to_json(orient='values'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(texts)],
        cwd=finished.path,
        env=finished.env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines()[-2:]:
        for answer, (label, probability) in zip(answers, json.loads(line), strict=True):
            assert label == answer["label"]
            assert probability == pytest.approx(answer["probability"], abs=1e-5)


def test_a_trials_run_has_its_artifacts_inputs_and_provenance(finished: Home) -> None:
    (row,) = [row for row in finished.json("show", "own") if row["trial"] == 0]
    client = mlflow.MlflowClient(finished.tracking)
    names = {item.path for item in client.list_artifacts(row["run_id"])}
    pictures = {"confusion_matrix.png", "roc_curve.png", "pr_curve.png", "calibration_curve.png", "training.png"}
    assert pictures | {"predictions.parquet", "mistakes.json", "config.json"} <= names
    run = client.get_run(row["run_id"])
    assert {entry.tags[0].value for entry in run.inputs.dataset_inputs} == {"train", "select", "calibrate", "test"}
    assert run.data.params["train.learning_rate"] == str(row["searched"]["train.learning_rate"])
    assert "version.torch" in run.data.tags


def test_the_same_command_again_redoes_nothing(finished: Home) -> None:
    before = finished.json("show", "own")
    again = finished.hpo("run", "own.yaml")
    assert again.returncode == 0, again.stderr
    assert "all 4 trials are finished" in again.stdout
    assert finished.json("show", "own") == before
    client = mlflow.MlflowClient(finished.tracking)
    assert len(client.search_model_versions("name = 'reviews'")) == 1


@shows("changed spec or data", "A")
def test_a_changed_study_is_refused_with_the_difference(finished: Home) -> None:
    done = finished.hpo("run", "own.yaml", "train.epochs=5")
    assert done.returncode == 2
    assert "run.train.epochs: was 3.0, is 5" in done.stderr


def test_a_second_study_competes_with_the_champion(finished: Home) -> None:
    done = finished.hpo(
        "run", "own.yaml", "name=rival", "budget.trials=1", "train.epochs=0.2", "train.learning_rate=1e-6"
    )
    assert done.returncode == 0, done.stderr
    client = mlflow.MlflowClient(finished.tracking)
    assert client.get_model_version_by_alias("reviews", "champion").tags["hpo.study"] == "own"
    assert client.get_model_version_by_alias("reviews", "challenger").tags["hpo.study"] == "rival"
    decision = finished.json("promote", "rival")
    assert decision["reason"] == "not better than the champion on the locked test rows (macro_f1)"
    assert decision["candidate"] <= decision["champion"]
    told = finished.json("history", "reviews")
    assert [row["version"] for row in told["history"]] == ["1"]
    assert [(row["alias"], row["verdict"]["opening"]) for row in told["decisions"]] == [
        ("champion", 1),
        ("challenger", 2),
    ]
    assert told["decisions"][1]["verdict"]["test"] == "permutation"
    assert "opened twice (2 for promotion) for reviews" in finished.hpo("show", "own").stdout


def test_a_successor_learns_from_a_study_and_counts_its_own_trials_alone(finished: Home) -> None:
    command = ("run", "own.yaml", "name=wider", "budget.trials=1", "seed=3", "--from", "own")
    done = finished.hpo(*command)
    assert done.returncode == 0, done.stderr
    assert "learns from own: 4 of its 4 trials can be compared, and teach the sampler" in done.stdout
    assert len(finished.json("show", "wider")) == 1
    (parent,) = [run for run in finished.runs("wider") if run.data.tags["hpo.kind"] == "study"]
    assert parent.data.tags["hpo.learns_from"] == "own"
    (trial,) = [run for run in finished.runs("wider") if run.data.tags["hpo.kind"] == "trial"]
    assert trial.data.tags["hpo.trial"] == str(finished.json("show", "wider")[0]["trial"])
    assert finished.json("doctor", "wider")["ok"]
    assert finished.hpo(*command[:-2]).returncode == 0, "what it learns from is known"
    again = finished.hpo(*command[:-1], "rival")
    assert again.returncode == 2
    assert "study 'wider' has begun" in again.stderr


def test_a_trial_and_the_champion_are_compared_without_running_them(finished: Home) -> None:
    found = finished.json("compare", "own/0", "reviews@champion")
    (row,) = [row for row in finished.json("show", "own") if row["trial"] == 0]
    assert found["metrics"][0]["metric"] == found["objective"] == "macro_f1"
    assert found["metrics"][0]["a"] == pytest.approx(row["value"])
    selection = json.loads((finished.path / "mlruns/work/own/report/selection.json").read_text())
    assert found["metrics"][0]["b"] == pytest.approx(selection["score"])
    assert "Downloading" not in finished.hpo("compare", "own/0", "reviews@champion").stderr


@shows("tracker away", "A")
@shows("database away", "A")
def test_unknown_names_are_refused_in_one_line_with_the_remedy(finished: Home) -> None:
    cases = {
        ("show", "owm"): (2, "there is no study 'owm'; did you mean own?"),
        ("show", "own", "99"): (2, "study 'own' has no trial 99"),
        ("predict", "reviwes@champion", "x"): (5, "there is no registered model 'reviwes'"),
        ("predict", "reviews@boss", "x"): (5, "no such version or alias; aliases: "),
        ("predict", "reviews@champion", " "): (3, "text 1 is blank"),
        ("compare", "own/99", "reviews"): (2, "study 'own' has no trial 99"),
        ("compare", "owm/0", "reviews"): (5, "there is no registered model 'owm'"),
        ("pull", "reviews/99", "out/none"): (5, "no such version or alias"),
        ("pull", "reviews", "."): (5, "exists and is not an empty directory"),
        ("rollback", "reviwes"): (5, "nothing was decided about a registered model 'reviwes'; did you mean reviews?"),
        ("rollback", "reviews"): (5, "cannot be rolled back: version 1 is its only champion on record"),
        ("promote", "own", "--force"): (2, "--force and --why go together"),
        ("run", "nope.yaml"): (2, "no such file, and no shipped study of that name"),
        ("run", "own.yaml", "--tracking-uri", "file:runs"): (4, "MLflow no longer writes to plain files"),
        ("run", "own.yaml", "--tracking-uri", "http://127.0.0.1:9"): (4, "tracking http://127.0.0.1:9"),
        ("run", "own.yaml", "--storage", "postgresql://u:secret@127.0.0.1:9/x"): (4, "storage postgresql"),
    }
    for words, (code, text) in cases.items():
        done = finished.hpo(*words)
        assert (done.returncode, text in done.stderr) == (code, True), (words, done.returncode, done.stderr)
        assert "Traceback" not in done.stderr
        assert "secret" not in done.stderr + done.stdout


def test_two_objectives_are_optimized_together_without_pruning(tmp_path: Path, tiny_bert: Path) -> None:
    home = new_home(tmp_path)
    write_study(tmp_path, tiny_bert, trials=3)
    spec = (tmp_path / "own.yaml").read_text().replace("objective: macro_f1", "objective: [macro_f1, latency_ms]")
    (tmp_path / "own.yaml").write_text(spec.replace("name: random", "name: nsgaii"))
    done = home.hpo("run", "own.yaml")
    assert done.returncode == 0, done.stderr
    rows = home.json("show", "own")
    assert [row["state"] for row in rows] == ["COMPLETE"] * 3
    assert all(len(row["values"]) == 2 and row["values"][1] > 0 for row in rows)
