"""The command `hpo tokenizers`: real checkpoints, real MLflow, and bad input in one line."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from mlflow import MlflowClient
from mlflow.entities import Run
from typer.testing import CliRunner

from hpo.cli import app
from pipelines.config import ModelConfig, RunConfig, TokensConfig, replaced
from pipelines.errors import ConfigError, DataError, ModelError, StorageError, UserError
from pipelines.families import locate
from pipelines.models import load_tokenizer
from pipelines.tokenization.candidates import load_candidates
from pipelines.tokenization.corpus import Corpus
from pipelines.tokenization.measuring import measure
from pipelines.tokens import encode
from tests import tiny

ROOT = Path(__file__).parents[1]


@pytest.fixture
def home(tmp_path: Path, empty_mlflow: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home with MLflow's tables, and `reviews.csv` beside it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HPO_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    shutil.copy(empty_mlflow, tmp_path / "home" / "mlflow.db")
    (tmp_path / "reviews.csv").write_text(tiny.as_csv())
    return tmp_path / "home"


def tokenizers(*words: str) -> Result:
    return CliRunner().invoke(app, ["tokenizers", *words])


def runs(home: Path) -> list[Run]:
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    experiment = client.get_experiment_by_name("tokenizers")
    return list(client.search_runs([experiment.experiment_id])) if experiment else []


def refused(done: Result, kind: type[UserError]) -> str:
    assert isinstance(done.exception, kind), done.output
    assert "\n" not in str(done.exception)
    return str(done.exception)


def test_checkpoints_and_trained_tokenizers_are_compared_and_kept_in_mlflow(
    home: Path, tiny_checkpoints: dict[str, Path]
) -> None:
    models = f"{tiny_checkpoints['bert']},{tiny_checkpoints['gpt2']}"
    words = ["--data", "reviews.csv", "--models", models, "--train", "wordpiece", "--vocab", "120,140"]
    done = tokenizers(*words, "--json", "--html", "page.html")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    names = ["bert", "gpt2", "wordpiece 120", "wordpiece 140"]
    assert [one["name"] for one in found["tokenizers"]] == names
    by_name: dict[str, Any] = {one["name"]: one for one in found["tokenizers"]}
    assert (by_name["bert"]["positions"], by_name["gpt2"]["positions"]) == (512, 1024)
    assert (by_name["bert"]["special_tokens_per_text"], by_name["gpt2"]["special_tokens_per_text"]) == (2, 0)
    page = Path("page.html").read_text()
    for name, model in (("bert", str(tiny_checkpoints["bert"])), ("wordpiece 120", "scratch:wordpiece-120")):
        assert by_name[name]["settings"] == {"model.name": model, "tokens.max_length": by_name[name]["max_length"]}
        assert replaced(RunConfig(), by_name[name]["settings"]).model.name == model
        assert f"<code>model.name={model} tokens.max_length={by_name[name]['max_length']}</code>" in page
    (run,) = runs(home)
    assert done.stderr.splitlines()[-1] == f"kept in MLflow: experiment tokenizers, run {run.info.run_id}"
    assert (run.info.status, run.info.run_name) == ("FINISHED", "reviews.csv")
    assert run.data.tags["mlflow.note.content"] == found["verdict"]
    assert run.data.params["wordpiece 120/origin"] == "trained"
    assert run.data.params["bert/max_length"] == str(by_name["bert"]["max_length"])
    for name, one in by_name.items():
        assert run.data.metrics[f"{name}/tokens_per_word"] == pytest.approx(one["tokens_per_word"])
        assert run.data.metrics[f"{name}/unseen/unknown"] == pytest.approx(one["unseen"]["unknown"])
        assert run.data.metrics[f"{name}/texts_cut/16"] == pytest.approx(one["truncation"][0]["texts"])
    inputs = {item.tags[0].value: item.dataset for item in run.inputs.dataset_inputs}
    assert inputs.keys() == {"train", "select"}
    assert json.loads(inputs["train"].profile)["rows"] == found["data"]["texts"]
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    kept = client.download_artifacts(run.info.run_id, "tokenizers.html")
    assert Path(kept).read_text() == page
    stored = json.loads(Path(client.download_artifacts(run.info.run_id, "tokenizers.json")).read_text())
    assert stored == found
    assert run.info.artifact_uri.startswith((home / "artifacts" / "tokenizers").as_uri())


def test_names_of_any_kind_are_kept_in_mlflow(home: Path, tiny_bert: Path) -> None:
    names = ["модель", "a+b: <c> 😀", "x" * 255]
    for name in names:
        shutil.copytree(tiny_bert, name)
    done = tokenizers("--data", "reviews.csv", "--models", ",".join(names))
    assert done.exit_code == 0, done.output
    (run,) = runs(home)
    kept = {key.partition("/")[0] for key in run.data.metrics}
    assert kept == {"модель", "a-b- -c- -", "x" * 180}


def test_the_table_says_on_what_it_was_measured_and_no_track_leaves_mlflow_alone(
    home: Path, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.connection.connect", lambda _: pytest.fail("MLflow was asked"))
    done = tokenizers("--data", "reviews.csv", "--models", str(tiny_bert), "--no-track")
    assert done.exit_code == 0, done.output
    first, second, *_ = done.stdout.splitlines()
    assert first.startswith("measured on ")
    assert "texts of the train split of reviews.csv; unseen: " in first
    assert second.startswith("bert needs 1.")
    assert runs(home) == []


def test_a_checkpoint_without_its_vocabulary_is_warned_of(home: Path, tiny_bert: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_bert, tmp_path / "bare")
    (tmp_path / "bare" / "tokenizer.json").unlink()
    done = tokenizers("--data", "reviews.csv", "--models", f"{tiny_bert},bare", "--json", "--no-track")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [one["broken"] for one in found["tokenizers"]] == [False, True]
    assert found["verdict"].startswith("Do not use bare: it ")


def test_what_tokenizer_json_cuts_and_pads_is_undone_and_positions_are_the_models(
    tiny_bert: Path, tmp_path: Path
) -> None:
    from tokenizers import Tokenizer

    shutil.copytree(tiny_bert, tmp_path / "cut")
    backend = Tokenizer.from_file(str(tmp_path / "cut" / "tokenizer.json"))
    backend.enable_truncation(8)
    backend.enable_padding(length=64)
    backend.save(str(tmp_path / "cut" / "tokenizer.json"))
    (candidate,) = load_candidates([str(tmp_path / "cut")])
    assert len(candidate.backend.encode("the film was boring " * 30).ids) == 122
    assert len(candidate.backend.encode("film").ids) == 3
    assert candidate.positions == 512


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_lengths_are_those_that_training_sees(family: str, tiny_checkpoints: dict[str, Path]) -> None:
    texts = [f"{text}, as my brother said " * 3 for text in tiny.dataset().splits["train"].texts]
    (candidate,) = load_candidates([str(tiny_checkpoints[family])])
    one = measure(candidate, Corpus.of(texts), None)
    tokenizer = load_tokenizer(ModelConfig(name=str(tiny_checkpoints[family])))
    assert one.lengths.tolist() == encode(texts, tokenizer, TokensConfig(max_length=500)).lengths.tolist()
    for cut in one.cuts[:3]:
        lengths = encode(texts, tokenizer, TokensConfig(max_length=cut.length)).lengths
        assert cut.tokens == pytest.approx(lengths.mean())
        assert cut.texts == pytest.approx((one.lengths > cut.length).mean())
    assert 0 < one.cuts[1].characters < one.cuts[0].characters


@pytest.mark.skipif(not Path(locate("minilm")).is_dir(), reason="needs the packaged checkpoint")
def test_the_packaged_checkpoint_says_what_it_is_short_for() -> None:
    (candidate,) = load_candidates(["minilm", "minilm"])
    assert candidate.what == "short for sentence-transformers/all-MiniLM-L6-v2"
    assert (candidate.size, candidate.positions, candidate.specials) == (30522, 512, 2)


def test_a_directory_with_a_tokenizer_alone_will_do(tiny_bert: Path, tmp_path: Path) -> None:
    (tmp_path / "alone").mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_bert / name, tmp_path / "alone" / name)
    settings = json.loads((tmp_path / "alone" / "tokenizer_config.json").read_text())
    for stated, positions in ((384, 384), (10**30, None)):
        (tmp_path / "alone" / "tokenizer_config.json").write_text(json.dumps(settings | {"model_max_length": stated}))
        (candidate,) = load_candidates([str(tmp_path / "alone")])
        assert candidate.positions == positions


@pytest.mark.parametrize(
    ("words", "kind", "message"),
    [
        (["--data", ""], ConfigError, "--data is empty; name a file, a preset or a hub id"),
        (["--data", "absent.csv"], DataError, "absent.csv: "),
        (["--data", "empty.csv"], DataError, "empty.csv"),
        (["--data", "odd.csv"], DataError, "odd.csv"),
        (["--models", "minilm,,bert"], ConfigError, "--models 'minilm,,bert': a checkpoint is missing; "),
        (["--models", "./absent"], ModelError, "model './absent' cannot be used: there is no such directory"),
        (["--models", "acme/absent"], ModelError, "model 'acme/absent' cannot be used: it is not on this machine"),
        (["--train", "unigrm"], ConfigError, "--train: 'unigrm' is no kind of tokenizer; did you mean unigram?"),
        (
            ["--train", "bpe,x"],
            ConfigError,
            "--train: 'x' is no kind of tokenizer; the kinds are bpe, unigram, wordpiece, bytes",
        ),
        (["--train", "bpe", "--vocab", "many"], ConfigError, "--vocab: 'many' is no whole number from 1 to 1000000"),
        (["--train", "bpe", "--vocab", "0"], ConfigError, "--vocab: '0' is no whole number from 1 to 1000000"),
        (["--train", "bpe", "--vocab", "-5"], ConfigError, "--vocab: '-5' is no whole number from 1 to 1000000"),
        (["--vocab", "4000"], ConfigError, "--vocab says how large trained vocabularies are; say what to train by"),
        (["--train", "bpe", "--vocab", "5"], ConfigError, "--vocab: bpe needs "),
        (["--html", "."], ConfigError, "--html .: is a directory"),
        (["--html", "absent/page.html"], ConfigError, "--html absent/page.html: its directory does not exist"),
        (["--tracking-uri", "file:mlruns"], StorageError, "tracking file:mlruns: MLflow no longer writes"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_refused_in_one_line(words: list[str], kind: type[UserError], message: str, home: Path) -> None:
    Path("empty.csv").write_text("")
    Path("odd.csv").write_text("a,b,c\nx,y,z\n")
    given = words if "--data" in words else ["--data", "reviews.csv", *words]
    said = refused(tokenizers(*given), kind)
    assert said.startswith(message)
    assert runs(home) == []


def test_columns_that_are_not_found_are_named_by_options(home: Path) -> None:
    Path("odd.csv").write_text("a,b,c\nx,y,z\n")
    assert refused(tokenizers("--data", "odd.csv"), DataError).endswith(" (here: --text COLUMN --label COLUMN)")


def test_when_mlflow_is_away_what_was_found_is_shown_all_the_same(home: Path, tiny_bert: Path) -> None:
    words = ["--data", "reviews.csv", "--models", str(tiny_bert), "--json", "--tracking-uri", "http://127.0.0.1:9"]
    done = tokenizers(*words)
    said = refused(done, StorageError)
    assert said.endswith("; only MLflow lacks what was found (--no-track leaves it out)")
    assert json.loads(done.stdout)["tokenizers"][0]["name"] == "bert"


def test_training_alone_needs_no_checkpoint_and_no_torch(home: Path) -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from hpo.cli import app\n"
        "words = ['tokenizers', '--data', 'reviews.csv', '--train', 'bytes', '--vocab', '300', '--no-track']\n"
        "done = CliRunner().invoke(app, words); assert done.exit_code == 0, done.output\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], env=_env(), check=False).returncode == 0


def _env() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": str(ROOT)}
