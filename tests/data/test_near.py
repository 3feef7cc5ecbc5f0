"""Near duplicates as pairs of rows."""

import random
from itertools import product

import numpy as np
import pytest

from pipelines.data import Near, near, near_duplicates

SYLLABLES = [consonant + vowel for consonant, vowel in product("bdfgklmnprst", "aeiou")]


def sentences(count: int, *, words: int = 12, seed: int = 0) -> list[str]:
    """Unrelated sentences of one small vocabulary."""
    draw, vocabulary = random.Random(seed), [first + second for first, second in product(SYLLABLES, repeat=2)]
    return [" ".join(draw.choices(vocabulary, k=words)) for _ in range(count)]


def _typo(text: str, draw: random.Random) -> str:
    place = draw.randrange(len(text))
    return f"{text[:place]}{draw.choice('qxz')}{text[place + 1 :]}"


def _swap(text: str, draw: random.Random) -> str:
    place = draw.randrange(1, len(text) - 2)
    return f"{text[:place]}{text[place + 1]}{text[place]}{text[place + 2 :]}"


def _word_more(text: str, draw: random.Random) -> str:
    words = text.split()
    words.insert(draw.randrange(len(words)), "really")
    return " ".join(words)


def _case(text: str, draw: random.Random) -> str:
    return "".join(draw.choice((char.upper(), char)) for char in text)


def _punctuation(text: str, draw: random.Random) -> str:
    return text.replace(" ", draw.choice((", ", " - ", "...  "))) + "!?"


@pytest.mark.parametrize("change", [_typo, _swap, _word_more, _case, _punctuation])
def test_rows_that_were_changed_a_little_are_found_and_no_others(change) -> None:  # type: ignore[no-untyped-def]
    draw, left = random.Random(1), sentences(300)
    pairs = near_duplicates(left, [change(text, draw) for text in reversed(left)])
    assert [(pair.left, pair.right) for pair in pairs] == [(row, 299 - row) for row in range(300)]
    assert all(near.THRESHOLD <= pair.similarity <= 1 for pair in pairs)


def test_unrelated_sentences_that_share_a_phrase_are_not_near() -> None:
    left = [
        "The soundtrack alone is worth the price of admission.",
        "One of the best movies of the year.",
        "Too simple for its own good.",
        "A small movie with a big impact.",
    ]
    right = [
        "The acting alone is worth the price of admission.",
        "One of the worst movies of the year.",
        "...too sappy for its own good.",
        "A small movie with a big heart.",
    ]
    assert near_duplicates(left, right) == []


def test_similarity_is_the_share_of_triples_that_both_texts_have() -> None:
    # " great buy " has 9 triples, " a great buy " those and " a ", "a g".
    assert near_duplicates(["Great buy."], ["a great buy"]) == [Near(0, 0, 9 / 11)]
    assert near_duplicates(["Great buy."], ["a great buy"], threshold=0.82) == []


def test_which_side_is_left_makes_no_difference() -> None:
    draw, left = random.Random(2), sentences(200)
    right = [_typo(draw.choice(left), draw) for _ in range(200)] + sentences(50, seed=3)
    there, back = near_duplicates(left, right), near_duplicates(right, left)
    assert len(there) >= 200
    assert sorted(Near(pair.right, pair.left, pair.similarity) for pair in back) == there


def test_without_a_right_side_each_pair_stands_once_and_no_row_meets_itself() -> None:
    texts = ["a gentle and honest film", "something else", "A gentle and honest film!", "a gentle, honest film"]
    assert [(pair.left, pair.right) for pair in near_duplicates(texts, threshold=0.7)] == [(0, 2), (0, 3), (2, 3)]


def test_same_texts_give_the_same_pairs_and_leave_the_random_state_alone() -> None:
    draw = random.Random(4)
    texts = [text for one in sentences(200) for text in (one, _typo(one, draw))]
    np.random.seed(7)
    first = near_duplicates(texts)
    drawn = np.random.random()
    np.random.seed(8)
    assert near_duplicates(texts) == first
    np.random.seed(7)
    assert np.random.random() == drawn


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("ok", "OK!"),
        ("!!!", "!!!"),
        ("שלום עולם", "שלום, עולם"),
        ("映画はとても良かったです", "映画は、とても良かったです。"),
        ("हिन्दी फ़िल्म अच्छी थी", "हिन्दी फ़िल्म, अच्छी थी।"),
        ("cafe\u0301 noir", "caf\u00e9 noir"),
        ("🙂🙂", "🙂🙂"),
    ],
)
def test_texts_of_every_script_are_compared(one: str, two: str) -> None:
    assert len(near_duplicates([one], [two])) == 1


@pytest.mark.parametrize(("one", "two"), [("!!!", "..."), ("🙂", "🙁"), ("हिन्दी", "हन्द"), ("5 €", "5 $"), ("a", "b")])
def test_short_texts_that_differ_are_not_near(one: str, two: str) -> None:
    assert near_duplicates([one], [two]) == []


def test_nothing_is_near_to_nothing() -> None:
    assert near_duplicates([]) == near_duplicates([], ["a film"]) == near_duplicates(["a film"], []) == []


def test_documents_of_one_vocabulary_are_not_near_but_their_copies_with_typos_are() -> None:
    draw, left = random.Random(5), sentences(30, words=1500)
    right = left
    for _ in range(5):
        right = [_typo(text, draw) for text in right]
    pairs = near_duplicates([*left, "ok"], [*right, "OK!"])
    assert [(pair.left, pair.right) for pair in pairs] == [(row, row) for row in range(31)]


def test_a_crowd_of_rows_that_look_alike_costs_no_square() -> None:
    texts = [f"order number {row} was shipped on time to the customer" for row in range(3000)]
    pairs = near_duplicates(texts)
    assert len(pairs) < 3000 * 2 * near.CROWD, "of 4.5 million"
    assert {pair.right for pair in pairs} == set(range(1, 3000)), "each row is told all the same"
