"""MLflow's own files around the model, and its own loader."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.commands import new_home

from .registered import TEXT, Registered, code, mark, run, with_module


def with_loader_module(registered: Registered) -> None:
    """Let MLmodel name a loader of its own, as MLflow allows."""
    stored = registered.stored()
    (stored / "code" / "evil_loader.py").write_text(
        code(registered) + "class Model:\n    predict = None\n\ndef _load_pyfunc(path):\n    return Model()\n"
    )
    values = yaml.safe_load((stored / "MLmodel").read_text())
    values["flavors"]["python_function"] |= {"loader_module": "evil_loader", "code": "code"}
    (stored / "MLmodel").write_text(yaml.safe_dump(values))


def test_m06_a_loader_in_mlmodel_is_never_read_by_our_commands(
    registered: Registered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = registered.classify("sentiment")
    with_loader_module(registered)
    shutil.rmtree(registered.home / "cache")
    assert run(monkeypatch, "pull", "sentiment", str(tmp_path / "out")) == 0
    assert "sentiment version 1 ->" in capsys.readouterr().out
    assert run(monkeypatch, "predict", "sentiment", TEXT, "--json") == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert answer == expected
    assert not mark(registered).exists()
    assert not {path.name for path in (tmp_path / "out").iterdir()} & {"MLmodel", "code"}


def test_mlflows_own_loader_does_run_it(registered: Registered, monkeypatch: pytest.MonkeyPatch) -> None:
    """So the trap above would snap, and ARCHITECTURE.md is right to warn of it."""
    import mlflow.pyfunc

    with_loader_module(registered)
    monkeypatch.setattr(sys, "path", [*sys.path])
    mlflow.pyfunc.load_model(str(registered.stored()))
    assert mark(registered).exists()
    sys.modules.pop("evil_loader", None)


def test_mlflow_gives_the_answers_of_our_commands(registered: Registered) -> None:
    """What registration packs beside the model is our classifier, and it decides as we do."""
    import mlflow.pyfunc

    table = mlflow.pyfunc.load_model(str(registered.stored())).predict([TEXT])
    ours = registered.classify("sentiment")
    assert table["label"].tolist() == [ours["label"]]
    assert np.allclose(table[["p.bad", "p.good"]].to_numpy(), [[*ours["probabilities"].values()]], atol=1e-5)


def test_a_file_of_texts_gets_the_answers_of_its_texts(
    registered: Registered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in.csv").write_text(f"text\n{TEXT}\n")
    out = tmp_path / "out.jsonl"
    assert run(monkeypatch, "predict", "sentiment", "--file", str(tmp_path / "in.csv"), "--out", str(out)) == 0
    ours = registered.classify("sentiment")
    expected = {f"p.{label}": probability for label, probability in ours["probabilities"].items()}
    answer = {"text": TEXT, "label": ours["label"], "probability": ours["probability"]}
    assert json.loads(out.read_text()) == answer | expected


def test_a_touched_artifact_ends_a_command_of_the_shell_with_exit_code_5(registered: Registered) -> None:
    with_module(registered)
    shell = new_home(registered.path, HPO_HOME=str(registered.home))
    done = shell.hpo("predict", "sentiment@champion", TEXT)
    assert done.returncode == 5
    assert done.stderr == "error: sentiment/1: evil.py does not belong into a model; nothing was loaded\n"
    assert not mark(registered).exists()
