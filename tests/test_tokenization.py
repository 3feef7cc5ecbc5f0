"""`hpo tokenizers`: what is measured of a tokenizer, what is trained, what it says, and what it refuses."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing

from pipelines.data import Dataset
from pipelines.errors import ConfigError
from pipelines.scratch.tokenizer import KINDS, drawn
from pipelines.tokenization import corpus as corpus_module
from pipelines.tokenization import training
from pipelines.tokenization.candidates import Candidate, named_apart
from pipelines.tokenization.comparison import Comparison, compare
from pipelines.tokenization.corpus import Corpus
from pipelines.tokenization.examples import Piece, choose_examples, pieces_of_text
from pipelines.tokenization.lengths import Cut, Recommended, grid, in_percent, recommend
from pipelines.tokenization.measuring import Measures, measure
from pipelines.tokenization.page import render
from pipelines.tokenization.survival import TRAITS, Survival, survivals
from pipelines.tokenization.training import train_candidates
from tests import tiny

_LICENSE = Path(__file__).parents[1] / "LICENSE"
TEXTS = [line.strip() for line in _LICENSE.read_text(encoding="utf-8").splitlines() if line.strip()]
OPINIONS = list(tiny.dataset().splits["train"].texts)


def a_candidate(name: str, backend: Any, *, unknown: int | None = 0, positions: int | None = None) -> Candidate:
    return Candidate(name, "checkpoint", f"the tokenizer of {name}", backend, unknown, positions)


def whole_words(*words: str, name: str = "words", ends: bool = True, lower: bool = False, **more: Any) -> Candidate:
    """A tokenizer that knows just these words, cut at white space, between two special tokens."""
    vocabulary = {word: number for number, word in enumerate(("[UNK]", "[CLS]", "[SEP]", *words))}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.add_special_tokens(["[UNK]", "[CLS]", "[SEP]"])
    if lower:
        backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    if ends:
        backend.post_processor = TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    return a_candidate(name, backend, **more)


def without_vocabulary() -> Candidate:
    """A byte-level tokenizer that came without its files: it makes nothing of any text."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    return a_candidate("empty", backend, unknown=None)


def measured(candidate: Candidate, *texts: str) -> Measures:
    return measure(candidate, Corpus.of(texts), None)


def a_dataset(train: list[str], select: list[str] | None = None) -> Dataset:
    base = tiny.dataset(sizes={"train": len(train), "select": len(select or []), "calibrate": 0, "test": 0})
    for name, texts in (("train", train), ("select", select or [])):
        base.splits[name].texts[:] = texts  # type: ignore[index]
    return base


class TestTraining:
    @pytest.mark.parametrize("kind", KINDS)
    def test_the_same_texts_give_the_same_tokenizer(self, kind: str) -> None:
        made = {train_candidates([kind], [300], TEXTS)[0].backend.to_str() for _ in range(4)}
        assert len(made) == 1

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_trained_tokenizer_has_the_size_asked_for_and_gives_the_text_back(self, kind: str) -> None:
        text = "Zoë's 2 films weren't bad"
        (candidate,) = train_candidates([kind], [320], [*TEXTS, text])
        assert (candidate.name, candidate.size, candidate.specials) == (f"{kind} 320", 320, 2)
        ids = candidate.backend.encode(text).ids
        assert [candidate.backend.id_to_token(ids[place]) for place in (0, -1)] == ["[CLS]", "[SEP]"]
        assert "".join(candidate.backend.decode(ids).split()) == "".join(text.split())
        assert candidate.backend.token_to_id("[UNK]") == candidate.unknown

    def test_sizes_that_are_too_small_are_refused_all_at_once_with_what_can(self) -> None:
        with pytest.raises(ConfigError) as caught:
            train_candidates(list(KINDS), [20, 300], TEXTS)
        message = str(caught.value)
        for kind in KINDS:
            assert re.search(rf"\b{kind} needs \d+ at least, its special tokens and alphabet, not 20\b", message)
        assert message.startswith("--vocab: bpe needs ")
        assert message.endswith("; choose other sizes, or leave that kind out")

    @pytest.mark.parametrize("kind", KINDS)
    def test_of_a_size_above_what_the_texts_give_there_is_what_they_give(self, kind: str) -> None:
        said: list[str] = []
        (candidate,) = train_candidates([kind], [9000, 8000], TEXTS, say=said.append)
        most = candidate.size
        assert candidate.name == f"{kind} {most}"
        assert said[1:] == [f"{kind}: these texts give {most} entries, not {size}" for size in ("9,000", "8,000")]
        assert train_candidates([kind], [most], TEXTS)[0].size == most < 8000

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_size_that_is_not_asked_for_is_what_the_texts_give(self, kind: str) -> None:
        (candidate,) = train_candidates([kind], [], TEXTS)
        assert candidate.name == f"{kind} {candidate.size}"
        assert train_candidates([kind], [4000], TEXTS)[0].size == candidate.size < 4000

    def test_a_size_that_is_not_asked_for_holds_the_alphabet(self) -> None:
        letters = "".join(map(chr, range(0x4E00, 0x4E00 + 5000)))
        assert train_candidates(["bpe"], [], [letters, letters])[0].size > 5000

    @pytest.mark.parametrize("kind", ["bpe", "wordpiece", "bytes"])
    def test_the_smallest_vocabulary_is_the_alphabet(self, kind: str) -> None:
        with pytest.raises(ConfigError) as caught:
            train_candidates([kind], [20], TEXTS)
        (least,) = re.findall(r"needs (\d+) at least", str(caught.value))
        assert train_candidates([kind], [int(least)], TEXTS)[0].size == int(least)

    def test_of_many_texts_a_sample_is_trained_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(training, "TRAINED_ON", 50)
        said: list[str] = []
        (candidate,) = train_candidates(["bpe"], [90], TEXTS, say=said.append)
        assert said == ["training bpe on 50 texts"]
        assert candidate.backend.to_str() == train_candidates(["bpe"], [90], drawn(TEXTS, 50))[0].backend.to_str()


class TestCorpus:
    def test_a_sample_is_always_the_same_in_the_order_of_the_texts(self) -> None:
        texts = [f"text {number:04d}" for number in range(500)]
        sample = drawn(texts, 100)
        assert sample == drawn(texts, 100) == sorted(set(sample))
        assert len(sample) == 100
        assert sample != texts[:100]
        assert drawn(texts[:100], 100) == texts[:100]

    def test_characters_are_code_points_and_white_space_is_not_visible(self) -> None:
        corpus = Corpus.of(["a b", "\u00a0😀é", ""])
        assert corpus.starts.tolist() == [0, 3, 6, 6]
        assert corpus.visible.tolist() == [True, False, True, False, True, True]
        assert corpus.words == Counter({"a": 1, "b": 1, "😀é": 1})


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


HOSTILE = "<script>alert(1)</script> & 'Zoë' {{ 7*7 }} $x^2$ 😀"


class Reader(HTMLParser):
    """Collects a page's elements, attributes and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += attrs
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="module")
def hostile() -> Comparison:
    """A comparison in which every text that a user can choose is hostile, and one tokenizer is without vocabulary."""
    candidates = [
        whole_words("a", name=f"{HOSTILE} one"),
        without_vocabulary(),
        *train_candidates(["bytes"], [262], [HOSTILE, "alert alert"]),
    ]
    data = a_dataset([f"{HOSTILE} {number}" for number in range(30)], ["a"] * 3)
    return compare(candidates, Dataset(HOSTILE, HOSTILE, data.labels, data.splits, data.digest, ()))


class TestPage:
    def test_every_text_is_escaped_and_all_elements_are_closed(self, hostile: Comparison) -> None:
        page = render(hostile)
        read = Reader(page)
        assert read.open == []
        assert read.tags["script"] == 0
        assert "<script" not in page
        assert "49" not in re.findall(r"\{\{.*?\}\}|49 \$x", page)
        shown = "".join(read.words)
        assert shown.count("<script>alert(1)</script>") >= 4  # title, heading, names, example
        assert "$x^2$" in shown

    def test_it_needs_nothing_from_anywhere(self, hostile: Comparison) -> None:
        read = Reader(render(hostile))
        loading = {"src", "srcset", "data", "poster", "background", "action", "srcdoc"}
        assert [pair for pair in read.attributes if pair[0] in loading] == []
        links = [value for name, value in read.attributes if name in {"href", "xlink:href"}]
        assert all(value and value.startswith("#") for value in links)
        assert not {"link", "img", "iframe", "object", "embed", "base", "image"} & set(read.tags)
        assert "url(http" not in render(hostile)
        assert "@import" not in render(hostile)

    def test_it_is_light_or_dark_and_the_picture_with_it(self, hostile: Comparison) -> None:
        page = render(hostile)
        assert "@media (prefers-color-scheme: dark)" in page
        (svg,) = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
        for variable in ("--ink", "--muted", "--line", "--accent"):
            assert f"var({variable})" in svg
        assert not re.search(r"#(fff|ffffff|000|000000)\b", svg)

    def test_the_same_comparison_gives_the_same_page(self, hostile: Comparison) -> None:
        assert render(hostile) == render(hostile)

    def test_the_picture_names_each_tokenizer_and_what_its_length_cuts(self) -> None:
        texts = ["a " * count for count in range(1, 101)]
        found = compare([whole_words("a", name="one"), whole_words("a", name="two", positions=64)], a_dataset(texts))
        (svg,) = re.findall(r"<svg.*?</svg>", render(found), flags=re.DOTALL)
        words = re.findall(r">([^<>]+)</text>", svg)
        assert {"one", "two"} <= set(words)
        assert words.count("cuts 38 %") == 2  # more than 62 words: at 64, for both
        assert words.count("cuts none") == 1  # at 128, which the second has no positions for

    def test_only_what_is_cut_is_drawn_in_the_warning_colour(self) -> None:
        texts = ["a " * count for count in range(1, 101)]
        for positions, warned in ((128, False), (64, True)):
            found = compare([whole_words("a", positions=positions)], a_dataset(texts))
            (svg,) = re.findall(r"<svg.*?</svg>", render(found), flags=re.DOTALL)
            assert ("var(--warn)" in svg) is warned


def test_the_json_holds_everything_and_no_number_that_is_none(hostile: Comparison) -> None:
    value = json.loads(json.dumps(hostile.as_json(), allow_nan=False))
    assert value["data"]["texts"] == 30
    assert [one["broken"] for one in value["tokenizers"]] == [True, True, False]
    pairs = value["tokenizers"][2]
    assert pairs["unseen"].keys() == {"tokens_per_word", "characters_per_token", "unknown", "lost", "byte_fallback"}
    assert pairs["max_length"] == hostile.measures[2].recommended.length
    assert pairs["lengths"]["longest"] == int(hostile.measures[2].lengths.max())
    assert [row["length"] for row in pairs["truncation"]] == [16, 32, 64, 128, 256, 512]
    example: Mapping[str, Any] = value["examples"][0]
    assert HOSTILE in example["text"]
    shown = example["tokenizers"]["bytes 262"]
    assert shown["tokens"] == len(shown["pieces"])
