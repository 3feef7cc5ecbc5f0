"""What is measured of a tokenizer: tokens a word, what it loses, and which length to take."""

from collections import Counter

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers

from pipelines.tokenization.candidates import Candidate
from pipelines.tokenization.corpus import Corpus
from pipelines.tokenization.lengths import Cut, Recommended, grid, in_percent, recommend
from pipelines.tokenization.measuring import measure
from pipelines.tokenization.survival import TRAITS, Survival, survivals
from pipelines.tokenization.training import train_candidates

from .candidates import TEXTS, a_candidate, measured, whole_words, without_vocabulary


class TestRates:
    def test_rates_are_those_counted_by_hand(self) -> None:
        one = measured(whole_words("good", "film"), "good film", "bad film")
        assert one.seen.tokens_per_word == 1.0
        assert one.seen.characters_per_token == 17 / 4
        assert one.seen.unknown == 1 / 4
        assert one.seen.lost == pytest.approx(3 / 15)  # `bad`, white space left out
        assert one.seen.byte_fallback == 0
        assert one.used == 3 / 5
        assert one.lengths.tolist() == [4, 4]
        assert not one.is_broken

    def test_texts_in_many_calls_give_what_one_call_gives(self, monkeypatch: pytest.MonkeyPatch) -> None:
        (candidate,) = train_candidates(["bytes"], [300], TEXTS)
        whole = measured(candidate, *TEXTS)
        monkeypatch.setattr("pipelines.tokenization.measuring._CHUNK", 7)
        again = measured(candidate, *TEXTS)
        assert (again.seen, again.cuts) == (whole.seen, whole.cuts)
        assert again.lengths.tolist() == whole.lengths.tolist()

    def test_pieces_of_a_character_are_counted_as_byte_fallback(self) -> None:
        (candidate,) = train_candidates(["bytes"], [261], TEXTS)
        one = measured(candidate, "aé😀")  # 1, 2 and 4 bytes, none merged
        assert one.seen.byte_fallback == pytest.approx(6 / 7)
        assert (one.seen.unknown, one.seen.lost) == (0, 0)

    def test_bytes_written_as_sentencepiece_does_are_byte_fallback_even_when_a_byte_is_a_character(self) -> None:
        names = ["<unk>", "a", *(f"<0x{byte:02X}>" for byte in range(256))]
        model = models.BPE(
            {name: number for number, name in enumerate(names)}, [], unk_token="<unk>", byte_fallback=True
        )
        one = measured(a_candidate("llama", Tokenizer(model)), "ab€")
        assert one.seen.byte_fallback == pytest.approx(4 / 5)  # b is one byte, the sign three

    def test_a_replacement_character_in_the_text_is_no_byte_fallback(self) -> None:
        assert measured(whole_words("\ufffd", "a"), "a \ufffd").seen.byte_fallback == 0

    def test_what_is_in_no_token_is_lost(self) -> None:
        candidate = whole_words("a", "b")
        candidate.backend.normalizer = normalizers.Replace("!", "")
        one = measured(candidate, "a!! b")
        assert (one.seen.unknown, one.seen.lost) == (0, pytest.approx(2 / 4))

    def test_white_space_within_tokens_does_not_count_as_kept(self) -> None:
        (candidate,) = train_candidates(["bpe"], [100], TEXTS)
        assert measured(candidate, *TEXTS).seen.lost == 0
        assert measured(candidate, "a 中 a").seen.lost == pytest.approx(1 / 3)

    def test_unseen_texts_have_rates_of_their_own(self) -> None:
        one = measure(whole_words("good"), Corpus.of(["good"]), Corpus.of(["bad good"]))
        assert (one.seen.unknown, one.unseen and one.unseen.unknown) == (0, 0.5)

    @pytest.mark.parametrize("candidate", [whole_words("x"), without_vocabulary()], ids=["all unknown", "no tokens"])
    def test_a_tokenizer_without_its_vocabulary_is_broken(self, candidate: Candidate) -> None:
        assert measured(candidate, "a good film").is_broken


class TestLengths:
    def test_cuts_are_those_counted_by_hand(self) -> None:
        texts = ["a " * 10, "bb " * 14 + "a", "a " * 40]
        one = measured(whole_words("a", "bb"), *texts)
        sixteen, thirty_two, *_ = one.cuts
        assert sixteen.length == 16  # 14 words and two special tokens
        assert sixteen.texts == pytest.approx(2 / 3)
        behind = (len(texts[1]) - 41) + (len(texts[2]) - 27)  # the 14th word ends there
        assert sixteen.characters == pytest.approx(behind / sum(map(len, texts)))
        assert sixteen.tokens == pytest.approx((12 + 16 + 16) / 3)
        assert (thirty_two.texts, thirty_two.tokens) == (pytest.approx(1 / 3), pytest.approx((12 + 17 + 32) / 3))
        assert [cut.texts for cut in one.cuts[2:]] == [0, 0, 0, 0]

    @pytest.mark.parametrize(
        ("positions", "longest", "expected"),
        [
            (512, 70, [16, 32, 64, 128, 256, 512]),
            (None, 70, [16, 32, 64, 128, 256, 512]),
            (256, 3000, [16, 32, 64, 128, 256]),
            (None, 600, [16, 32, 64, 128, 256, 512, 1024]),
            (8192, 3000, [16, 32, 64, 128, 256, 512, 1024, 2048, 4096]),
            (100_000, 100_000, [16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192]),
            (40, 70, [16, 32, 40]),
            (40, 20, [16, 32]),
            (8, 20, [8]),
        ],
    )
    def test_lengths_within_the_models_positions_are_tried(
        self, positions: int | None, longest: int, expected: list[int]
    ) -> None:
        assert grid(positions, np.array([5, longest])) == expected

    @pytest.mark.parametrize(
        ("rows", "expected"),
        [
            (
                [(16, 0.5, 0.3, 15), (32, 0.01, 0.005, 20), (64, 0.0, 0.0, 21)],
                (
                    32,
                    "cuts 1.0 % of the texts and 0.5 % of the characters; 16 would cut 50.0 % of the texts and 30.0 % "
                    "of the characters; 64 would cut nothing and compute 5.0 % more tokens",
                ),
            ),
            (
                [(16, 0.5, 0.3, 15), (32, 0.01, 0.0051, 20), (64, 0.0, 0.0, 21)],
                (64, "cuts nothing; 32 would cut 1.0 % of the texts and 0.5 % of the characters"),
            ),
            ([(16, 0.0, 0.0, 9), (32, 0.0, 0.0, 9)], (16, "cuts nothing")),
            (
                [(16, 0.9, 0.8, 16), (32, 0.4, 0.0001, 30)],
                (
                    32,
                    "cuts 40.0 % of the texts and under 0.1 % of the characters; that is much, but there is no longer "
                    "one; 16 would cut 90.0 % of the texts and 80.0 % of the characters",
                ),
            ),
        ],
        ids=["just enough", "just too much", "short texts", "none is enough"],
    )
    def test_the_smallest_length_that_cuts_little_is_recommended_with_its_reason(
        self, rows: list[tuple[int, float, float, float]], expected: tuple[int, str]
    ) -> None:
        assert recommend([Cut(*row) for row in rows]) == Recommended(*expected)


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (0, "0 %"),
        (1e-9, "under 0.1 %"),
        (0.0005, "0.1 %"),
        (0.1234, "12.3 %"),
        (0.9994, "99.9 %"),
        (0.9999, "over 99.9 %"),
        (1.0, "100 %"),
    ],
)
def test_nothing_and_all_are_said_of_nothing_and_all_alone(share: float, words: str) -> None:
    assert in_percent(share) == words


class TestSurvival:
    @pytest.mark.parametrize(
        ("trait", "word", "shows"),
        [
            ("case", "McDonald", "MD"),
            ("case", "film", ""),
            ("accents", "Élan", "é"),
            ("accents", "cafe\u0301", "é"),  # taken apart
            ("accents", "film", ""),
            ("accents", "한국", ""),  # syllables fall apart, but into letters without marks
            ("emoji", "good!👍🏽", "👍🏽"),
            ("emoji", "✨", "✨"),
            ("emoji", "5€", ""),
            ("numbers", "$1,000.50", "100050"),
            ("numbers", "x²", ""),
            ("negations", "Don't", "n't"),
            ("negations", "DON’T.", "n't"),
            ("negations", "don ' t", "n't"),  # as BERT gives it back
            ("negations", "isn't it, couldn't he", "n'tn't"),
            ("negations", "wouldn't've", "n't"),
            ("negations", "n'th", ""),
        ],
    )
    def test_what_of_a_word_shows_a_trait(self, trait: str, word: str, shows: str) -> None:
        assert TRAITS[trait](word) == shows

    def test_each_occurrence_counts_and_what_is_unknown_does_not_survive(self) -> None:
        words = Counter({"Good": 3, "BAD": 1, "café": 2, "plain": 9, "42": 2, "don't": 1, "won't": 1})
        kept = survivals(whole_words("good", "Good", "cafe", "café", "42", "don't").backend, words)
        assert kept["case"] == Survival(4, 3 / 4)
        assert kept["accents"] == Survival(2, 1.0)
        assert kept["numbers"] == Survival(2, 1.0)
        assert kept["negations"] == Survival(2, 1 / 2)
        assert kept["emoji"] == Survival(0, None)

    def test_a_trait_must_survive_as_a_whole(self) -> None:
        letters = Tokenizer(models.BPE({"?": 0, "A": 1, "1": 2}, [], unk_token="?"))
        letters.add_special_tokens(["?"])
        kept = survivals(letters, Counter({"AB": 1, "A": 1, "12": 1}))
        assert (kept["case"].share, kept["numbers"].share) == (1 / 2, 0)

    def test_a_lower_casing_tokenizer_loses_case_and_accents_alone(self) -> None:
        lower = whole_words("good", "cafe", "2", "don't", lower=True).backend
        kept = survivals(lower, Counter({"Good": 1, "café": 1, "2": 1, "Don't": 1}))
        shares = {name: left.share for name, left in kept.items()}
        assert shares == {"case": 0, "accents": 0, "emoji": None, "numbers": 1, "negations": 1}
