"""Which examples are shown, and what is said of a comparison."""

import re

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from pipelines.scratch.tokenizer import KINDS
from pipelines.tokenization import corpus as corpus_module
from pipelines.tokenization.candidates import Candidate, named_apart
from pipelines.tokenization.comparison import compare
from pipelines.tokenization.corpus import Corpus
from pipelines.tokenization.examples import Piece, choose_examples, pieces_of_text
from pipelines.tokenization.training import train_candidates
from tests import tiny

from .candidates import TEXTS, a_candidate, a_dataset, measured, whole_words, without_vocabulary

OPINIONS = list(tiny.dataset().splits["train"].texts)


class TestExamples:
    def test_texts_are_chosen_for_what_they_show_and_always_the_same(self) -> None:
        texts = ["plain words", "a café", "Good 2 see!", "Zoë isn't 3 ✨", "dis·puted one here", "x" * 300]
        candidates = [whole_words("a", name="one"), train_candidates(["bytes"], [270], TEXTS)[0]]
        lengths = [measured(candidate, *texts).lengths for candidate in candidates]
        chosen = choose_examples(texts, candidates, lengths)
        assert [(one.text, one.why) for one in chosen] == [
            ("Zoë isn't 3 ✨", "shows case, accents, emoji, numbers, negations"),
            ("dis·puted one here", "the tokenizers differ most"),
        ]
        assert choose_examples(texts, candidates, lengths) == chosen
        assert list(chosen[0].pieces) == ["one", "bytes 270"]

    def test_of_long_texts_the_first_words_are_shown(self) -> None:
        candidate = whole_words("a")
        (example,) = choose_examples(["Word " * 100], [candidate], [np.array([102])])
        assert example.text == " ".join(["Word"] * 21)

    def test_pieces_say_what_is_unknown_what_is_a_fragment_and_where_words_begin(self) -> None:
        (pairs,) = train_candidates(["bytes"], [261], TEXTS)
        assert pieces_of_text(pairs, "a é")[-2:] == (
            Piece("\ufffd", "fragment", False),
            Piece("\ufffd", "fragment", False),
        )
        words = whole_words("a")
        assert pieces_of_text(words, "a b") == (Piece("a", "known", True), Piece("b", "unknown", True))
        (example,) = choose_examples(["a B"], [words], [np.array([4])])
        assert example.lines() == {"words": "a [B]"}

    @pytest.mark.parametrize("kind", KINDS)
    def test_tokens_are_shown_without_the_marks_of_their_vocabulary(self, kind: str) -> None:
        (candidate,) = train_candidates([kind], [300], TEXTS)
        (example,) = choose_examples(["the film wonder"], [candidate], [np.array([9])]) or [None]
        assert example is None  # it shows nothing, and one tokenizer cannot differ from itself
        pieces = pieces_of_text(candidate, "the film wonder")
        assert "".join(piece.text for piece in pieces).replace("␣", "") == "thefilmwonder"
        assert sum(piece.begins for piece in pieces) == 3


class TestVerdict:
    def said(self, *candidates: Candidate, texts: list[str]) -> str:
        return compare(candidates, a_dataset(texts)).verdict

    def test_it_names_the_thriftiest_what_is_lost_and_the_length(self) -> None:
        one = whole_words("good", "film", "2", name="low", lower=True)
        assert self.said(one, texts=["Good film 2"] * 4) == (
            "low needs 1.00 tokens a word. low loses case. Take tokens.max_length 16: it cuts nothing."
        )

    def test_several_checkpoints_are_ranked_and_a_vocabulary_of_ones_own_is_weighed(self) -> None:
        letters = Tokenizer(models.BPE({c: n for n, c in enumerate("?abcdefghijklmnopqrstuvwxyz,")}, [], unk_token="?"))
        letters.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        (own,) = train_candidates(["unigram"], [90], OPINIONS)
        halves = a_candidate("letters", letters)
        said = self.said(halves, own, texts=OPINIONS)
        assert re.match(
            r"letters needs \d\.\d\d tokens a word\. A vocabulary of the data's own \(unigram 90, \d\.\d\d\) would "
            r"need \d\d\.\d % fewer tokens than letters, but no pretrained model has it\. "
            r"Take tokens.max_length \d+: it cuts ",
            said,
        )
        both = self.said(halves, whole_words("film", name="whole"), texts=["the film film"] * 4)
        assert both.startswith("whole needs the fewest tokens, 1.00 a word (letters 3.67).")
        assert "whole does not know 27.3 % of the characters." in both

    def test_a_tokenizer_without_vocabulary_is_warned_of_first(self) -> None:
        said = self.said(whole_words("a", name="sound"), without_vocabulary(), whole_words("z"), texts=["a a"] * 4)
        why = "its vocabulary is missing, or the texts are in another script."
        assert said == (
            f"Do not use empty: it makes no token of these texts; {why} "
            f"Do not use words: it does not know 100 % of the characters; {why} "
            "sound needs 1.00 tokens a word. Take tokens.max_length 16: it cuts nothing."
        )

    def test_lengths_that_differ_are_named_for_each(self) -> None:
        (pairs,) = train_candidates(["bytes"], [261], TEXTS)
        pairs = a_candidate("pairs", pairs.backend, unknown=None)
        said = self.said(whole_words("word", name="words"), pairs, texts=["word " * 10] * 4)
        assert said.endswith("Take tokens.max_length 16 for words, 64 for pairs.")

    def test_what_was_measured_is_said(self, monkeypatch: pytest.MonkeyPatch) -> None:
        found = compare([whole_words("a")], a_dataset(["a b"] * 6, ["a"] * 3))
        assert found.basis() == "6 texts of the train split of toy; unseen: 3 texts of the select split"
        monkeypatch.setattr(Corpus.of.__func__, "__defaults__", (4,))  # type: ignore[attr-defined]
        found = compare([whole_words("a")], a_dataset(["a b"] * 6))
        assert found.basis() == "a sample of 4 of the 6 texts of the train split of toy"
        assert corpus_module.SAMPLE == 10_000


def test_equal_names_are_told_apart() -> None:
    names = [one.name for one in named_apart([whole_words("a"), whole_words("b"), whole_words("c", name="d")])]
    assert names == ["words", "words (2)", "d"]
