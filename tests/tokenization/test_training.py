"""Tokenizers trained on texts, and the texts that they are compared on."""

import re
from collections import Counter

import pytest

from pipelines.errors import ConfigError
from pipelines.scratch.tokenizer import KINDS, drawn
from pipelines.tokenization import training
from pipelines.tokenization.corpus import Corpus
from pipelines.tokenization.training import train_candidates

from .candidates import TEXTS


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
