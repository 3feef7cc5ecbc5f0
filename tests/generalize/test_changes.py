"""Texts written otherwise: each change is what it says, and the same for the same seed."""

import pytest

from pipelines.generalize.changes import CHANGES, changed

TEXT = "I don't think that the second act, though long, was Boring."
BY_NAME = {change.name: change for change in CHANGES}


def made(name: str, text: str = TEXT, seed: int = 0) -> str:
    return changed(text, BY_NAME[name], seed=seed)


@pytest.mark.parametrize("name", BY_NAME)
def test_a_change_alters_the_text_and_is_the_same_for_the_same_seed(name: str) -> None:
    assert made(name) != TEXT
    assert made(name) == made(name)


def test_other_seeds_make_other_typos() -> None:
    assert len({made("typos", seed=seed) for seed in range(8)}) > 4


def test_a_typo_keeps_the_first_and_the_last_letter_and_one_word_in_eight_has_one() -> None:
    for seed in range(30):
        now, before = made("typos", seed=seed).split(" "), TEXT.split(" ")
        (place,) = [at for at, pair in enumerate(zip(now, before, strict=True)) if pair[0] != pair[1]]
        assert (now[place][0], now[place][-1]) == (before[place][0], before[place][-1])
        assert abs(len(now[place]) - len(before[place])) <= 1


def test_negations_are_spelled_otherwise_and_mean_the_same() -> None:
    assert made("negation otherwise", "It isn't bad. Can’t say more; I won't.") == (
        "It is not bad. Cannot say more; I will not."
    )
    assert made("negation otherwise", "It is not bad, I cannot say more") == "It isn't bad, I can't say more"
    assert made("negation otherwise", "a plain text, and nothing not in it") == "a plain text, and nothing not in it"


def test_lengths_punctuation_and_blanks_are_changed_as_told() -> None:
    assert made("first half") == "I don't think that the second"
    assert made("first half", "a short text") == "a short text"
    assert made("no punctuation", "so, so!") == "so so"
    assert made("no punctuation", "?!") == "?!", "something must be left"
    assert made("exclamation", "so. ") == "so!!!"
    assert made("white space").split() == TEXT.split()
    assert made("negated", "Dull.") == "It is not true that dull."


def test_only_the_negated_text_means_something_else() -> None:
    assert [change.name for change in CHANGES if not change.keeps] == ["negated"]
