import math
import re
import shlex

import pytest
from typer.testing import CliRunner

from hpo.cli import app
from hpo.contrasts.variants import addresses
from hpo.scheduling import rungs, scheduling
from hpo.space import address_of, default_trials, grid_of, trial_config
from hpo.specfile import read_spec, shipped_studies
from pipelines.config import flatten
from pipelines.families import FAMILIES, family_called

NAMES = ["bert", "distilbert", "gpt2", "quickstart", "roberta", "sentiment", "tokenizations", "vocabularies"]
GRIDS = ["tokenizations", "vocabularies"]  # they compare, and look for no winner
SEARCHES = [name for name in NAMES if name not in GRIDS]
FAMILY_STUDIES = ["bert", "distilbert", "gpt2", "roberta"]
# What a comment shows as the user's own data and directories, to be there when the example is tried.
OWN_DATA = "reviews.csv"


def text_of(name):
    return shipped_studies()[name].read_text(encoding="utf-8")


def commands(text):
    """The `hpo run` commands in the comments, each as its arguments; a backslash goes on in the next line."""
    joined = re.sub(r"\\\n# +", "", text)
    return [shlex.split(found) for found in re.findall(r"^# .*?hpo run (.+)$", joined, flags=re.MULTILINE)]


def commented_in(text):
    """The study with the settings taken in that stand commented out among the others."""
    return re.sub(r"^( +)# ", r"\1", text, flags=re.MULTILINE)


def searched_and_known(spec, model):
    """Trial 0 of a model as it is, and what it should be, by address."""
    trial = default_trials(spec)[spec.models.index(model)]
    known = flatten(trial_config(spec, {"model.name": model}).model_dump())
    return {address_of(name): value for name, value in trial.items()}, known


@pytest.fixture
def examples_place(tmp_path, monkeypatch):
    """A directory that holds what the comments' examples name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / OWN_DATA).write_text("review,stars\ngood,1\n")
    for name in FAMILY_STUDIES:
        local = tmp_path / f"{name}-local"
        local.mkdir()
        (local / "config.json").write_text(f'{{"model_type": "{FAMILIES[name].model_type}"}}')
    return tmp_path


def test_exactly_these_studies_are_shipped():
    assert list(shipped_studies()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_study_is_free_of_faults_and_named_like_its_file(name):
    spec = read_spec(name)
    assert spec.name == name
    assert spec.description
    assert spec.register_as == (None if name in GRIDS else "sentiment")
    assert spec.run.data.source == "sample:movies"


@pytest.mark.parametrize("name", FAMILY_STUDIES)
def test_a_family_study_trains_its_family(name):
    assert read_spec(name).models == [name]


def test_the_list_shows_what_each_study_is_for():
    lines = CliRunner().invoke(app, ["check", "--list"]).output.splitlines()
    assert [line.split()[0] for line in lines] == NAMES
    for name, line in zip(NAMES, lines, strict=True):
        purpose = line.removeprefix(name).strip()
        assert text_of(name).startswith(f"# {purpose}\n#\n")
        assert purpose.endswith(".")
        assert len(purpose.split()) > 5


@pytest.mark.parametrize("name", SEARCHES)
def test_the_known_good_defaults_lie_inside_the_ranges(name):
    spec = read_spec(name)
    for model in spec.models:
        trial, known = searched_and_known(spec, model)
        assert trial == {address: known[address] for address in trial}
        for address, value in family_called(model).defaults.items():
            assert known[address] == value, f"{name} overrides the default of {model} for {address}"


@pytest.mark.parametrize("name", NAMES)
def test_every_command_in_the_comments_works(name, examples_place):
    found = commands(text_of(name))
    assert [name] in found  # the launch line
    assert len(found) == {"quickstart": 2, "sentiment": 6, "vocabularies": 4}.get(name, 5)
    for study, *overrides in found:
        spec = read_spec(study, overrides)
        assert spec != read_spec(name) or not overrides


@pytest.mark.parametrize("name", [name for name in SEARCHES if name != "quickstart"])
def test_other_data_in_a_comment_goes_under_another_name_and_model(name):
    """Scores on other rows cannot be compared, neither within a study nor between champion and challenger."""
    others = [
        command for command in commands(text_of(name)) if any(part.startswith("data.source=") for part in command)
    ]
    assert len(others) >= 2
    for command in others:
        given = dict(part.split("=", 1) for part in command[1:])
        assert given["name"] != name
        assert given["register_as"] != "sentiment"


@pytest.mark.parametrize("name", FAMILY_STUDIES)
def test_a_local_directory_starts_from_the_defaults_of_its_family(name, examples_place):
    spec = read_spec(name, [f"model.name=./{name}-local"])
    assert default_trials(spec) == default_trials(read_spec(name))


@pytest.mark.parametrize("name", [name for name in NAMES if name != "quickstart"])
def test_settings_that_are_commented_out_are_right_as_well(name, tmp_path):
    changed = tmp_path / "changed.yaml"
    changed.write_text(commented_in(text_of(name)), encoding="utf-8")
    assert read_spec(str(changed)).budget.minutes is not None


def test_further_checkpoints_of_sentiment_start_from_their_own_defaults(tmp_path):
    changed = tmp_path / "changed.yaml"
    changed.write_text(commented_in(text_of("sentiment")), encoding="utf-8")
    spec = read_spec(str(changed))
    assert spec.models == ["minilm", "distilbert", "roberta"]
    for model in spec.models:
        trial, known = searched_and_known(spec, model)
        assert trial == {address: known[address] for address in trial}


@pytest.mark.parametrize("name", NAMES)
def test_a_study_says_how_long_it_takes_and_fits_the_width_of_the_code(name):
    head = text_of(name).split("\nname: ")[0]
    assert re.search(r"\b(minutes?|hours?)\b", head)
    assert max(map(len, text_of(name).splitlines())) <= 120


@pytest.mark.parametrize("name", FAMILY_STUDIES)
def test_all_trials_of_a_family_study_have_equal_length_so_that_they_compare_at_each_rung(name):
    spec = read_spec(name)
    assert "train.epochs" not in spec.space
    assert scheduling(spec).name == "halving"
    assert rungs(spec, rows=6_000) == [1_125, 2_250, 4_500, 9_000]


def test_no_trial_of_sentiment_is_compared_with_the_end_of_a_shorter_one():
    spec = read_spec("sentiment")
    epochs = spec.space["train.epochs"].choices
    parts = range(1, spec.run.train.evaluations + 1)
    for shorter in epochs:
        for longer in epochs:
            points = {longer * part for part in parts}
            assert shorter * spec.run.train.evaluations not in points or longer <= shorter


@pytest.mark.parametrize("name", GRIDS)
def test_a_study_that_compares_trains_each_variant_to_its_end_once_with_one_seed(name):
    spec = read_spec(name)
    assert scheduling(spec).name == "full"
    assert (spec.pruner.name, spec.confirm.finalists) == ("nop", 0)
    assert spec.budget.trials == math.prod(len(values) for values in grid_of(spec).values())
    assert default_trials(spec)  # every model is known
    asked = re.search(r"hpo compare (\S+) --by (\S+)", text_of(name))
    assert asked[1] == name
    assert set(addresses(asked[2].split(","))) >= set(spec.space)


@pytest.mark.parametrize("name", GRIDS)
def test_a_second_seed_of_a_study_that_compares_is_a_study_of_its_own(name, examples_place):
    second = next(command for command in commands(text_of(name)) if "run.seed=1" in command)
    spec = read_spec(name, second[1:])
    assert (spec.run.seed, spec.name) == (1, f"{name}-1")
    assert spec.run.model_copy(update={"seed": 0}) == read_spec(name).run
    assert f"hpo compare {name} {spec.name} --by " in text_of(name)
