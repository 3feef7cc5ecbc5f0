"""A data set's labels become a model's classes only where there is no doubt; the rest is asked for."""

import pytest

from pipelines.errors import ConfigError, DataError
from pipelines.generalize.labels import match_labels

OURS = ("negative", "positive")


def matched(theirs: list[str], ours: tuple[str, ...] = OURS, **told: str) -> dict[str, str | None]:
    return match_labels(theirs, ours, told=told, shown="d.csv")


def test_equal_names_are_matched_whatever_their_case_and_spaces() -> None:
    assert matched([" Negative", "POSITIVE "]) == {" Negative": "negative", "POSITIVE ": "positive"}
    assert matched(["2.0", "1"], ("1", "2", "3")) == {"2.0": "2", "1": "1"}


def test_short_forms_and_zero_and_one_are_understood_on_either_side() -> None:
    assert matched(["neg", "Pos"]) == {"neg": "negative", "Pos": "positive"}
    assert matched(["0", "1"]) == {"0": "negative", "1": "positive"}
    assert matched(["negative", "positive"], ("0", "1")) == {"negative": "0", "positive": "1"}
    assert matched(["False", "True"], ("bad", "positive"), false="bad") == {"False": "bad", "True": "positive"}


def test_numbers_are_no_synonyms_where_they_could_mean_something_else() -> None:
    for theirs, ours in ((["0", "1"], ("negative", "neutral", "positive")), (["1", "2"], OURS), (["1"], OURS)):
        with pytest.raises(DataError, match=r"cannot be matched with a class of the model"):
            matched(theirs, ours)


def test_a_name_that_two_classes_of_the_model_share_matches_neither() -> None:
    with pytest.raises(DataError, match="of its labels 'neg' cannot be matched"):
        matched(["neg"], ("negative", "NEG ative".replace(" ", ""), "positive"))


def test_what_is_told_goes_first_and_nothing_leaves_rows_out() -> None:
    found = matched(["neg", "neutral", "pos"], neutral="", neg="positive")
    assert found == {"neg": "positive", "neutral": None, "pos": "positive"}


def test_what_cannot_be_matched_is_refused_with_what_to_write() -> None:
    with pytest.raises(DataError) as refused:
        matched(["1 star", "5 stars"])
    assert str(refused.value) == (
        "d.csv: of its labels '1 star' and '5 stars' cannot be matched with a class of the model ('negative' and "
        "'positive'); say what each is, for instance --map '1 star=negative', or leave its rows out by --map '1 star='"
    )


def test_a_map_of_what_is_not_there_is_refused_with_a_suggestion() -> None:
    with pytest.raises(ConfigError, match=r"--map nega=negative: d.csv has no label 'nega'; did you mean 'neg'\?"):
        matched(["neg", "pos"], nega="negative")
    with pytest.raises(ConfigError, match=r"--map neg=negativ: the model has no class 'negativ'; did you mean 'neg"):
        matched(["neg", "pos"], neg="negativ")
