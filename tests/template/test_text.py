"""What a written study says."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hpo.specfile import read_spec
from hpo.template import LENGTHS, SUBSET, Answers, Findings, render_spec, scalar
from hpo.yamlfile import parse_yaml
from pipelines.families import FAMILIES

NASTY = [
    "plain",
    "two words",
    "a: b",
    "# no comment",
    "text # 2",
    '"quoted"',
    "it's",
    "back\\slash\\",
    "null",
    "true",
    "no",
    "1e5",
    "0x1F",
    "2024-01-01",
    "- item",
    "[list]",
    "{map: 1}",
    "*alias",
    "&anchor",
    "!tag",
    "%directive",
    "@at",
    "`tick`",
    "| block",
    "> folded",
    " outer spaces ",
    "tab\there",
    "line\nname: other",
    "carriage\rreturn",
    "next\x85line\u2028and\u2029paragraph",
    "\ufeffbyte order mark",
    "bell\x07",
    "\x7f",
    "\udc80",  # a byte of a file name that is no UTF-8
    "😀 emoji 👩‍💻",
    "Bewertung äöü",
    "評価",
    "---",
    "...",
    "?",
    "~",
    "=",
    "<<",
]


def findings(**changes):
    values = {
        "rows": {"train": 600, "select": 150, "calibrate": 50, "test": 200},
        "classes": {"bad": 500, "good": 500},
        "words": (18, 34, 51),
        "tokens": 50,
    }
    return Findings(**(values | changes))


def answers(**changes):
    values = {
        "file": "my.yaml",
        "name": "mine",
        "source": "sample:movies",
        "models": {"minilm": FAMILIES["minilm"]},
        "trials": 20,
        "register_as": "mine",
    }
    return Answers(**(values | changes))


def rendered(asked=None, found=None):
    return parse_yaml(render_spec(asked or answers(), found or findings()), where="rendered")


@pytest.mark.parametrize("text", NASTY)
def test_a_scalar_is_one_line_and_reads_back_as_the_same_text(text):
    assert parse_yaml(f"key: {scalar(text)}  # comment", where="test") == {"key": text}
    assert len(scalar(text).splitlines()) == 1


def test_ordinary_words_stay_bare_and_others_are_quoted():
    bare = ["reviews.csv", "data/my reviews.csv", "stars", "owner/name-2"]
    assert [scalar(text) for text in bare] == bare
    assert scalar("yes") == '"yes"'
    assert scalar("sample:movies") == '"sample:movies"'
    assert scalar("") == '""'
    assert scalar("😀") == '"😀"'


@given(st.lists(st.text() | st.sampled_from(NASTY), min_size=9, max_size=9, unique=True))
@settings(max_examples=200, deadline=None)
@example(NASTY[2:11])
@example([*NASTY[26:34], ""])
def test_any_texts_come_back_from_the_written_study_as_they_were(texts):
    name, source, text, label, model, other, one, two, file = texts
    models = {model: FAMILIES["bert"], other: FAMILIES["gpt2"]}
    asked = answers(
        file=file,
        name=name,
        source=source,
        text=text,
        label=label,
        models=models,
        label_names={one: two, two: one},
        register_as=name,
    )
    tree = rendered(asked, findings(classes={one: 10, two: 90}))
    expected = {"source": source, "text": text, "label": label, "label_names": {one: two, two: one}}
    assert tree["run"]["data"] == expected
    assert tree["name"] == tree["register_as"] == name
    assert tree["space"]["model.name"] == [model, other]
    assert list(tree["space"]["train.learning_rate"]["per_model"]) == [other]
    assert list(tree) == ["name", "objective", "budget", "sampler", "schedule", "run", "space", "register_as"]


@given(
    st.integers(1, 100_000),
    st.integers(1, 10**7),
    st.integers(0, 10**5),
    st.lists(st.integers(1, 10**6), min_size=2, max_size=30),
    st.lists(st.sampled_from([*FAMILIES, "owner/unknown"]), min_size=1, unique=True),
)
@settings(max_examples=60, deadline=None)
def test_every_written_study_is_free_of_faults(tmp_path_factory, trials, rows, tokens, counts, models):
    found = findings(
        rows={"train": rows, "select": 5, "calibrate": 5, "test": 5},
        classes={str(label): count for label, count in enumerate(counts)},
        tokens=tokens,
    )
    asked = answers(trials=trials, models={model: FAMILIES.get(model) for model in models})
    path = tmp_path_factory.mktemp("study") / "my.yaml"
    path.write_text(render_spec(asked, found), encoding="utf-8")
    spec = read_spec(str(path))
    assert spec.models == models
    assert spec.budget.trials == trials
    assert spec.run.tokens.max_length in LENGTHS
    assert spec.run.data.train_rows == (SUBSET if rows > 2 * SUBSET else None)
    for model in models:
        known = FAMILIES[model].defaults["train.learning_rate"] if model in FAMILIES else 5e-5
        rates = spec.space["train.learning_rate"]
        own = rates.per_model.get(model, rates)
        assert own.low < known < own.high


def test_settings_that_are_commented_out_are_right_as_well(tmp_path):
    text = render_spec(answers(register_as=None), findings(classes={"0": 5, "1": 5}))
    path = tmp_path / "my.yaml"
    path.write_text(re.sub(r"^( *)# (?=[a-z_]+: )", r"\1", text, flags=re.MULTILINE), encoding="utf-8")
    spec = read_spec(str(path))
    assert spec.budget.minutes == 120
    assert spec.register_as == "NAME"
    assert spec.run.data.model_dump(include={"text", "label", "group", "test", "label_names"}) == {
        "text": "COLUMN",
        "label": "COLUMN",
        "group": "COLUMN",
        "test": "FILE",
        "label_names": {"0": "NAME", "1": "NAME"},
    }


def test_many_rows_are_searched_on_a_subset_with_the_reason():
    text = render_spec(answers(), findings(rows={"train": 60_000, "select": 1, "calibrate": 1, "test": 1}))
    assert re.search("train_rows: 10000 +# of 60,000: a subset finds good settings sooner; take this out for all", text)


def test_few_rows_get_more_epochs_and_smaller_batches():
    few = rendered(found=findings(rows={"train": 300, "select": 50}))
    some = rendered(found=findings(rows={"train": 3000, "select": 500}))
    assert (few["run"]["train"]["epochs"], some["run"]["train"]["epochs"]) == (5, 3)
    assert (few["space"]["train.batch_size"], some["space"]["train.batch_size"]) == ([8, 16, 32], [16, 32])
