"""A model is asked again about changed texts, and about sentences whose answer is known; checks come from a file."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.errors import ConfigError
from pipelines.generalize.checks import cases_of, checks_from, fitting, shipped_checks
from pipelines.generalize.robustness import Changed, Checked, judge_robustness, share
from pipelines.predictions import Predictions

NAMES = ("negative", "positive")
TEXTS = ["a good film", "a bad film", "a GOOD song", "a good and long day, was it not?"]
LABELS = np.array([1, 0, 1, 1])


def ask(texts: Sequence[str]) -> NDArray[np.float64]:
    """A model that looks for the word good, in small letters, and is somewhat surer in short texts."""
    sure = np.array([0.9 if len(text) < 40 else 0.7 for text in texts])
    good = np.array(["good" in text for text in texts])
    chances = np.where(good, sure, 1 - sure)
    return np.stack([1 - chances, chances], axis=1)


def judged(*checks: dict[str, Any]) -> tuple[dict[str, Changed], list[Checked]]:
    predictions = Predictions([str(n) for n in range(4)], TEXTS, LABELS, ask(TEXTS), NAMES)
    parsed = checks_from({"checks": list(checks)}, where="own.yaml") if checks else []
    found = judge_robustness(predictions, ask, name="toy", key="toy", checks=parsed)
    return {one.name: one for one in found.changes}, list(found.checks)


def test_flips_and_accuracy_are_those_of_the_texts_that_a_change_alters() -> None:
    changes, _ = judged()
    upper = changes["upper case"]
    assert (upper.rows, upper.flips.value, upper.before, upper.after) == (4, 0.5, 0.75, 0.25)
    assert upper.difference.value == -0.5
    assert upper.difference.low < -0.5 < upper.difference.high
    lower = changes["lower case"]
    assert (lower.rows, lower.flips.value, lower.after) == (1, 1.0, 1.0)
    assert "negation otherwise" not in changes, "it alters none of these texts"
    assert changes["emoji"].flips.value == 0
    assert 0.4 < changes["emoji"].flips.high < 0.6


def test_the_share_has_wilsons_interval() -> None:
    found = share(2, 10)
    assert (found.value, round(found.low, 4), round(found.high, 4)) == (0.2, 0.0567, 0.5098)


def test_minimum_functionality_counts_wrong_answers() -> None:
    check = {"name": "praise", "kind": "minimum functionality", "texts": ["a {word} film"], "expect": "pos"}
    _, (found,) = judged(check | {"fill": {"word": ["good", "fine", "great"]}})
    assert (found.cases, found.failed) == (3, 2)
    assert found.examples[0] == {"text": "a fine film", "other": None, "what": "negative (90%)"}


def test_invariance_compares_every_word_with_the_first() -> None:
    check = {"name": "who", "kind": "invariance", "texts": ["{name} saw a {word} film"], "vary": "name"}
    _, (found,) = judged(check | {"fill": {"name": ["Anna", "Ines", "Mr Goodall, good man"], "word": ["bad", "good"]}})
    assert (found.cases, found.failed) == (4, 1)
    assert found.examples[0]["what"] == "negative (90%) → positive (90%)"


def test_direction_asks_that_a_class_does_not_become_less_probable() -> None:
    long = "and this is a long sentence that says nothing at all about it."
    check = {"name": "more", "kind": "direction", "texts": ["a good film"], "towards": "positive"}
    for tolerance, failed in ((0.1, 1), (0.3, 0)):
        _, (found,) = judged(check | {"add": ["good", long], "tolerance": tolerance})
        assert (found.cases, found.failed) == (2, failed)


def test_the_shipped_checks_are_whole_and_need_the_classes_of_sentiment() -> None:
    checks = shipped_checks()
    assert {check.kind for check in checks} == {"minimum functionality", "invariance", "direction"}
    assert 100 < sum(len(cases_of(check)) for check in checks) < 1000
    assert fitting(checks, ("neg", "pos")) == (checks, [])
    kept, notes = fitting(checks, ("sports", "politics"))
    assert {check.kind for check in kept} == {"invariance"}
    assert notes[0] == (
        "check 'plain praise': the model has no class 'positive'; its classes are 'sports', 'politics'; left out"
    )


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        ({"expect": None}, "own.yaml: checks[0].expect: Input should be a valid string"),
        ({"texts": ["{word} {more}"]}, "own.yaml: checks[0]: the texts have the blank {more}, and fill gives no words"),
        ({"texts": ["plain"]}, "own.yaml: checks[0]: fill gives words for {word}, and no text has that blank"),
        ({"texts": ["{word"]}, "own.yaml: checks[0]: expected '}' before end of string; write {{ and }} for braces"),
        ({"kind": "maximum"}, "own.yaml: checks[0]: Input tag 'maximum' found using 'kind' does not match any of"),
        ({"hope": 1}, "own.yaml: checks[0].hope: Extra inputs are not permitted"),
        (
            {"texts": ["{word}"], "fill": {"word": ["a"] * 2001}},
            "own.yaml: the check 'x' has 2,001 cases, 2,000 are the",
        ),
    ],
)
def test_a_faulty_file_is_refused_in_one_line_that_says_where(fault: dict[str, Any], line: str) -> None:
    good = {"name": "x", "kind": "minimum functionality", "texts": ["{word}"], "fill": {"word": ["a"]}, "expect": "y"}
    checks_from({"checks": [good]}, where="own.yaml")
    with pytest.raises(ConfigError) as refused:
        checks_from({"checks": [good | fault]}, where="own.yaml")
    assert str(refused.value).startswith(line)
    assert "\n" not in str(refused.value)


def test_two_checks_of_one_name_and_a_file_of_something_else_are_refused() -> None:
    good = {"name": "x", "kind": "minimum functionality", "texts": ["a"], "expect": "y"}
    with pytest.raises(ConfigError, match=r"own\.yaml: two checks are called 'x'; give each a name of its own"):
        checks_from({"checks": [good, good]}, where="own.yaml")
    with pytest.raises(ConfigError, match=r"own\.yaml: the file: Input should be a valid dictionary"):
        checks_from(["a"], where="own.yaml")
