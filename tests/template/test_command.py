"""`hpo init-spec`: a few questions, and a study that is free of faults."""

import csv
import re
import shlex
import sys

import pytest
from typer.testing import CliRunner

from hpo.cli import app, main
from hpo.specfile import read_spec
from pipelines.errors import ConfigError, DataError

WORDS = ["plot", "scene", "actor", "story", "camera", "music", "line", "ending", "script", "cast"]


def write_csv(path, counts, *, columns=("text", "label"), words=8):
    """A file with so many rows of each class; returns its name."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for label, count in counts.items():
            for row in range(count):
                text = " ".join(WORDS[(row + place) % len(WORDS)] for place in range(words))
                writer.writerow([f"{label} film {row} {text}", label])
    return path.name


def init_spec(*arguments, **options):
    return CliRunner().invoke(app, ["init-spec", *map(str, arguments)], **options)


def test_defaults_make_a_study_that_is_free_of_faults(here):
    data = write_csv(here / "reviews.csv", {"bad": 50, "good": 50})
    result = init_spec("--data", data, "-y")
    assert result.exit_code == 0, result.output
    spec = read_spec("reviews.yaml")
    assert spec.name == spec.register_as == "reviews"
    assert (spec.run.data.source, spec.run.data.text, spec.run.data.label) == ("reviews.csv", None, None)
    assert spec.models == ["minilm"]
    assert spec.budget.trials == 20
    assert [objective.metric for objective in spec.objective] == ["accuracy"]
    assert "train.class_weights" not in spec.space


def test_the_findings_and_the_next_commands_are_shown(here):
    data = write_csv(here / "reviews.csv", {"bad": 50, "good": 150})
    lines = init_spec("my study.yaml", "--data", data, "-y").output.splitlines()
    assert lines[0] == "200 rows: train 120, select 31, calibrate 9, test 40"
    assert lines[1] == "2 classes: bad 50 (25%) and good 150 (75%)"
    assert lines[2] == "words in a text: half have at most 11, 95 % at most 11, the longest has 11"
    assert lines[3].startswith("  bad: bad film ")
    assert lines[4].startswith("  good: good film ")
    assert lines[-2:] == ["written: my study.yaml", "next:  hpo check 'my study.yaml'  |  hpo run 'my study.yaml'"]


def test_the_next_commands_in_the_file_are_right(here):
    data = write_csv(here / "reviews.csv", {"bad": 50, "good": 50})
    init_spec("my study.yaml", "--data", data, "-y", "--name", "mine")
    text = (here / "my study.yaml").read_text(encoding="utf-8")
    commands = [shlex.split(line) for line in re.findall(r"hpo run (.*)", text)]
    assert len(commands) == 2
    for file, *overrides in commands:
        assert read_spec(file, overrides).name == ("longer" if overrides else "mine")


def test_uneven_classes_are_scored_by_macro_f1_and_may_be_weighted(here):
    data = write_csv(here / "reviews.csv", {"bad": 30, "fair": 40, "good": 200})
    assert init_spec("--data", data, "-y").exit_code == 0
    spec = read_spec("reviews.yaml")
    assert [objective.metric for objective in spec.objective] == ["macro_f1"]
    assert spec.space["train.class_weights"].choices == ["none", "balanced"]
    text = (here / "reviews.yaml").read_text(encoding="utf-8")
    assert "all classes count alike; the largest has 6.7 times the rows of the smallest" in text
    assert "the classes: bad 30, fair 40 and good 200" in text


@pytest.mark.parametrize(
    ("text", "label"), [("review: full", "# stars"), ('the "text"', "it's a label"), ("😀", "評価"), ("null", "true")]
)
def test_odd_column_names_are_kept(here, text, label):
    data = write_csv(here / "reviews.csv", {"bad": 50, "good": 50}, columns=(text, label))
    result = init_spec("--data", data, "--text", text, "--label", label, "-y")
    assert result.exit_code == 0, result.output
    data_config = read_spec("reviews.yaml").run.data
    assert (data_config.text, data_config.label) == (text, label)


@pytest.mark.parametrize(("words", "expected"), [(5, 32), (20, 64), (60, 128), (120, 256), (800, 256)])
def test_longer_texts_get_more_tokens_up_to_a_limit(here, words, expected):
    data = write_csv(here / "reviews.csv", {"bad": 30, "good": 30}, words=words)
    assert init_spec("--data", data, "-y").exit_code == 0
    assert read_spec("reviews.yaml").run.tokens.max_length == expected
    assert ("truncation: head" in (here / "reviews.yaml").read_text()) == (words == 800)


def test_several_models_are_searched_each_with_its_own_learning_rates(here):
    data = write_csv(here / "reviews.csv", {"bad": 50, "good": 50})
    models = ["minilm", "roberta", "electra", "owner/unknown"]
    chosen = [part for model in models for part in ("--model", model)]
    assert init_spec("--data", data, "-y", *chosen).exit_code == 0
    spec = read_spec("reviews.yaml")
    assert spec.models == models
    assert spec.budget.trials == 50
    rates = spec.space["train.learning_rate"]
    assert (rates.low, rates.high) == (2e-5, 5e-4)
    ranges = {model: (own.low, own.high) for model, own in rates.per_model.items()}
    assert ranges == {"roberta": (1e-5, 3e-5), "electra": (3e-5, 1.5e-4), "owner/unknown": (1e-5, 1e-4)}


def test_a_local_directory_is_a_model_and_its_family_is_recognized(here):
    data = write_csv(here / "reviews.csv", {"bad": 50, "good": 50})
    (here / "mine").mkdir()
    (here / "mine" / "config.json").write_text('{"model_type": "roberta"}')
    assert init_spec("--data", data, "-y", "--model", "./mine").exit_code == 0
    spec = read_spec("reviews.yaml")
    assert spec.models == ["./mine"]
    assert spec.space["train.learning_rate"].high == 3e-5


def test_questions_are_answered_on_standard_input(here):
    data = write_csv(here / "reviews.csv", {"bad": 50, "good": 50})
    result = init_spec(input=f"{data}\nminilm, bert\n7\nfirst\n-\nout.yaml\n")
    assert result.exit_code == 0, result.output
    spec = read_spec("out.yaml")
    assert (spec.models, spec.budget.trials, spec.name, spec.register_as) == (["minilm", "bert"], 7, "first", None)


def test_enter_takes_the_default(here):
    data = write_csv(here / "reviews.csv", {"bad": 50, "good": 50})
    assert init_spec(input=f"{data}\n\n\n\n\n\n").exit_code == 0
    asked = (here / "reviews.yaml").read_text(encoding="utf-8")
    assert init_spec("other.yaml", "--data", data, "-y").exit_code == 0
    assert (here / "other.yaml").read_text(encoding="utf-8") == asked.replace("reviews.yaml", "other.yaml")


def test_what_an_option_answers_is_not_asked(here):
    data = write_csv(here / "reviews.csv", {"bad": 50, "good": 50})
    given = ["--data", data, "--model", "bert", "--trials", 5, "--name", "n", "--register-as", "r", "-o", "o.yaml"]
    result = init_spec(*given)
    assert result.exit_code == 0, result.output
    spec = read_spec("o.yaml")
    assert (spec.models, spec.budget.trials, spec.name, spec.register_as) == (["bert"], 5, "n", "r")


def test_a_wrong_answer_is_asked_again_with_the_reason(here):
    data = write_csv(here / "reviews.csv", {"bad": 50, "good": 50})
    (here / "taken.yaml").write_text("mine")
    replies = ["./absent", "bert", "many", "0", "9", "a name", "good", "", "taken.yaml", "free.yaml"]
    result = init_spec("--data", data, input="\n".join(replies) + "\n")
    assert result.exit_code == 0, result.output
    assert re.findall(r"Error: (.*)", result.output) == [
        "./absent: there is no such directory",
        "'many': the number of trials is a whole number from 1 to 100,000",
        "'0': the number of trials is a whole number from 1 to 100,000",
        "'a name': a name has letters, digits, '.', '_' and '-', 80 at most, the first a letter or digit",
        "taken.yaml: exists; name another file, or overwrite it by --force",
    ]
    assert read_spec("free.yaml").budget.trials == 9
    assert (here / "taken.yaml").read_text() == "mine"


def test_columns_that_cannot_be_found_are_asked_for(here):
    data = write_csv(here / "reviews.csv", {"bad": 50, "good": 50}, columns=("what", "which"))
    result = init_spec("out.yaml", "--data", data, input="what\nwhither\nwhich\n" + "\n" * 4)
    assert result.exit_code == 0, result.output
    assert "which column is the text and which the label? Set data.text and data.label" in result.output
    assert "no column 'whither' (data.label)" in result.output
    assert (read_spec("out.yaml").run.data.text, read_spec("out.yaml").run.data.label) == ("what", "which")


def test_blank_rows_and_names_of_labels_have_options(here):
    data = write_csv(here / "reviews.csv", {"-1": 50, "1": 50})
    with (here / data).open("a") as file:
        file.write("  ,1\n")
    given = ["--data", data, "-y", "--drop-blank", "--label-name", "-1=bad", "--label-name", "1=good"]
    result = init_spec(*given)
    assert result.exit_code == 0, result.output
    config = read_spec("reviews.yaml").run.data
    assert config.blank == "drop"
    assert config.label_names == {"-1": "bad", "1": "good"}


# What it refuses


def test_a_file_is_never_overwritten_unless_forced(here):
    data = write_csv(here / "reviews.csv", {"bad": 50, "good": 50})
    (here / "my.yaml").write_text("precious")
    for place in (["my.yaml"], ["--output", "my.yaml"]):
        result = init_spec(*place, "--data", data, "-y")
        assert isinstance(result.exception, ConfigError)
        assert str(result.exception) == "my.yaml: exists; name another file, or overwrite it by --force"
        assert (here / "my.yaml").read_text() == "precious"
    assert init_spec("my.yaml", "--data", data, "-y", "--force").exit_code == 0
    assert read_spec("my.yaml").name == "reviews"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-y"], "--data is missing, and there is no default for it"),
        (["--data", "", "-y"], "--data is empty; name a file, a preset or a hub id"),
        ([], "no answer to 'Data: a file, preset or hub id'; give --data, or --yes for the defaults"),
        (["a.yaml", "-o", "b.yaml"], "FILE is a.yaml, but --output is b.yaml; give one of them"),
        (["no/where.yaml", "-y"], "no/where.yaml: its directory does not exist"),
        (["."], ".: is a directory"),
        (["--data", "reviews.csv", "-y", "--name", "a/b"], "'a/b': a name has letters, digits, '.', '_' and '-', "),
        (["--data", "reviews.csv", "-y", "--register-as", ""], "'': a name has letters, digits, '.', '_' and '-', "),
        (["--data", "reviews.csv", "-y", "--model", " , "], "name at least one checkpoint, for instance minilm"),
        (["--data", "reviews.csv", "-y", "--model", "./absent"], "./absent: there is no such directory"),
        (["--data", "reviews.csv", "-y", "--label-name", "1"], "--label-name 1: write LABEL=NAME, for instance 1=posi"),
        (["--data", "reviews.csv", "--text", "label", "--label", "label"], "data.text and data.label both name the "),
    ],
)
def test_a_wrong_argument_is_refused_in_one_line_and_nothing_is_written(here, arguments, message):
    write_csv(here / "reviews.csv", {"bad": 50, "good": 50})
    result = init_spec(*arguments)
    assert isinstance(result.exception, ConfigError)
    assert str(result.exception).startswith(message)
    assert "\n" not in str(result.exception)
    assert [path.name for path in here.iterdir()] == ["reviews.csv"]


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        ("a,b,c\nx,y,z\n", " (here: --text COLUMN --label COLUMN)"),
        ("text,label\n" + "".join(f"film {row},{row % 2}\n" for row in range(50)) + ",1\n", " (here: --drop-blank)"),
        ("text,label\nfilm,-1\nbook,1\n", " (here: --label-name LABEL=NAME)"),
        ("text,label\nfilm,good\nbook,good\n", "a classifier needs at least two classes"),
    ],
)
def test_bad_data_are_refused_with_the_remedy_in_options(here, content, hint):
    (here / "reviews.csv").write_text(content)
    result = init_spec("--data", "reviews.csv", "-y")
    assert isinstance(result.exception, DataError)
    assert str(result.exception).endswith(hint)
    assert not (here / "reviews.yaml").exists()


def test_bad_data_end_the_program_with_exit_code_3(here, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["hpo", "init-spec", "--data", "absent.csv", "-y"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 3
    assert capsys.readouterr().err == "error: absent.csv: no such file\n"
