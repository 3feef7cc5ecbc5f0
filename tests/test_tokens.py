"""Texts become tokens once; the cache is shared by processes, and a damaged one is made again."""

import multiprocessing
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines import tokens
from pipelines.config import ModelConfig, TokensConfig
from pipelines.data import Dataset
from pipelines.errors import ModelError
from pipelines.files import read_json
from pipelines.models import load_tokenizer
from pipelines.tokens import Encoded, Tokenizer, cached, encode, fingerprint
from tests import tiny
from tests.faults import shows

TEXTS = [
    "the film was wonderful",
    "awful",
    "",
    "the plot was boring, on a rainy sunday, as my brother said",
    "🙂 moving",
]
LONG = "the film was boring, on a rainy sunday, for the price of a ticket, as my brother said, wonderful"
CONFIG = TokensConfig(max_length=16)


@pytest.fixture
def tokenizer(tiny_bert: Path) -> Tokenizer:
    return load_tokenizer(ModelConfig(name=str(tiny_bert)))


class Counted:
    """A tokenizer that counts the texts it is given."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer, self.texts = tokenizer, 0

    def __call__(self, texts: Sequence[str], **options: Any) -> Any:
        self.texts += len(texts)
        return self._tokenizer(texts, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)


@pytest.fixture
def counted(tokenizer: Tokenizer) -> Counted:
    return Counted(tokenizer)


def rows(encoded: Encoded) -> list[list[int]]:
    return [encoded.row(index).ids.tolist() for index in range(len(encoded))]


@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize("truncation", ["head", "tail"])
def test_tokens_are_those_of_the_tokenizer_one_text_at_a_time(
    family: str, truncation: str, tiny_checkpoints: dict[str, Path]
) -> None:
    config = TokensConfig(max_length=9, truncation=truncation)  # type: ignore[arg-type]
    name = ModelConfig(name=str(tiny_checkpoints[family]))
    encoded = encode(TEXTS, load_tokenizer(name), config)
    alone = load_tokenizer(name)
    alone.truncation_side = {"head": "right", "tail": "left"}[truncation]
    expected = [alone(text, truncation=True, max_length=9)["input_ids"] or [alone.eos_token_id] for text in TEXTS]
    assert rows(encoded) == expected
    assert encoded.lengths.tolist() == [len(row) for row in expected]
    assert len(encoded) == len(TEXTS)


def test_truncation_keeps_the_end_that_was_asked_for(tokenizer: Tokenizer) -> None:
    def words(truncation: str) -> list[str]:
        (ids,) = rows(encode([LONG], tokenizer, TokensConfig(max_length=6, truncation=truncation)))  # type: ignore[arg-type]
        assert len(ids) == 6
        return list(tokenizer.convert_ids_to_tokens(ids))

    assert words("head") == ["[CLS]", "the", "film", "was", "boring", "[SEP]"]
    assert words("tail") == ["[CLS]", "brother", "said", ",", "wonderful", "[SEP]"]
    assert words("head")[1] == "the"  # the side is set at every call


def test_many_texts_are_encoded_in_the_same_way_as_few(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = rows(encode(TEXTS * 3, tokenizer, CONFIG))
    monkeypatch.setattr(tokens, "_CHUNK", 4)
    assert rows(encode(TEXTS * 3, tokenizer, CONFIG)) == whole


def test_padding_is_on_the_right_and_masked() -> None:
    encoded = Encoded(ids=np.array([5, 6, 7, 8, 9], np.int32), offsets=np.array([0, 2, 2, 5], np.int64))
    ids, mask = encoded.padded(np.array([2, 0]), pad=1)
    assert ids.tolist() == [[7, 8, 9], [5, 6, 1]]
    assert mask.tolist() == [[1, 1, 1], [1, 1, 0]]
    assert (ids.dtype, mask.dtype) == (np.int64, np.int64)


def test_cached_tokens_equal_fresh_ones(tokenizer: Tokenizer, tmp_path: Path) -> None:
    fresh = encode(TEXTS, tokenizer, CONFIG)
    for _ in range(2):
        kept = cached(TEXTS, "content", tokenizer=tokenizer, config=CONFIG, home=tmp_path)
        assert rows(kept) == rows(fresh)
        assert (kept.ids.dtype, kept.offsets.dtype) == (np.int32, np.int64)


def test_cached_tokens_tell_whose_they_are(tokenizer: Tokenizer, tmp_path: Path) -> None:
    kept = cached(TEXTS, "content", tokenizer=tokenizer, config=CONFIG, home=tmp_path)
    (manifest,) = (read_json(file) for file in tmp_path.glob("*/manifest.json"))
    assert (manifest["content"], manifest["rows"]) == ("content", kept.rows)
    assert kept.rows != kept.row(0).rows


def test_texts_are_tokenized_once(counted: Counted, tiny_bert: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"config": CONFIG, "home": tmp_path}
    cached(TEXTS, "content", tokenizer=counted, **options)
    cached(TEXTS, "other", tokenizer=counted, **options)
    assert counted.texts == 2 * len(TEXTS)
    for content in ("content", "other", "content"):
        cached(TEXTS, content, tokenizer=counted, **options)
    assert counted.texts == 2 * len(TEXTS)
    another = Counted(load_tokenizer(ModelConfig(name=str(tiny_bert))))  # as another process has it
    another.backend_tokenizer.enable_padding(length=64)
    cached(TEXTS, "content", tokenizer=another, **options)
    assert another.texts == 0


@pytest.mark.parametrize(
    "change",
    [
        {"content": "other rows"},
        {"config": TokensConfig(max_length=17)},
        {"config": TokensConfig(max_length=16, truncation="tail")},
    ],
    ids=str,
)
def test_other_texts_or_options_are_tokenized_anew(change: dict[str, Any], counted: Counted, tmp_path: Path) -> None:
    options: dict[str, Any] = {"content": "content", "config": CONFIG, "tokenizer": counted, "home": tmp_path}
    cached(TEXTS, **options)
    cached(TEXTS, **(options | change))
    assert counted.texts == 2 * len(TEXTS)


def test_other_tokenizer_tokenizes_anew(tiny_checkpoints: dict[str, Path], tmp_path: Path) -> None:
    prints = {}
    for family, directory in tiny_checkpoints.items():
        counted = Counted(load_tokenizer(ModelConfig(name=str(directory))))
        prints[family] = fingerprint(counted)
        cached(TEXTS, "content", tokenizer=counted, config=CONFIG, home=tmp_path)
    assert len({prints[family] for family in ("bert", "roberta", "gpt2", "albert", "deberta", "modernbert")}) == 6
    assert len(list(tmp_path.glob("*/tokens.arrow"))) == len(set(prints.values()))


@shows("damaged file", "D")
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokens.arrow", b""),
        ("tokens.arrow", b"flip"),
        ("tokens.arrow", None),
        ("manifest.json", b'{"sha'),
        ("manifest.json", b""),
        ("manifest.json", None),
    ],
    ids=str,
)
def test_damaged_cache_is_made_again(name: str, content: bytes | None, counted: Counted, tmp_path: Path) -> None:
    expected = rows(cached(TEXTS, "content", tokenizer=counted, config=CONFIG, home=tmp_path))
    (file,) = tmp_path.glob(f"*/{name}")
    if content is None:
        file.unlink()
    elif content == b"flip":
        whole = bytearray(file.read_bytes())
        whole[len(whole) // 2] ^= 1
        file.write_bytes(whole)
    else:
        file.write_bytes(content)
    assert rows(cached(TEXTS, "content", tokenizer=counted, config=CONFIG, home=tmp_path)) == expected
    assert counted.texts == 2 * len(TEXTS)
    cached(TEXTS, "content", tokenizer=counted, config=CONFIG, home=tmp_path)
    assert counted.texts == 2 * len(TEXTS)
    assert not list(tmp_path.glob(".*"))


def _in_another_process(model: str, home: str, start: Any, answers: Any) -> None:
    counted = Counted(load_tokenizer(ModelConfig(name=model)))
    start.wait()
    encoded = cached(TEXTS * 500, "content", tokenizer=counted, config=CONFIG, home=Path(home))
    answers.put((counted.texts, int(encoded.ids.sum()), len(encoded)))


def test_of_concurrent_processes_one_tokenizes_and_the_others_wait(tiny_bert: Path, tmp_path: Path) -> None:
    context, count = multiprocessing.get_context("fork"), 3
    start, answers = context.Barrier(count), context.Queue()
    arguments = (str(tiny_bert), str(tmp_path), start, answers)
    processes = [context.Process(target=_in_another_process, args=arguments) for _ in range(count)]
    for process in processes:
        process.start()
    results = [answers.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    texts, sums, lengths = zip(*results, strict=True)
    assert sorted(texts) == [0, 0, 500 * len(TEXTS)]
    assert len(set(sums)) == 1
    assert set(lengths) == {500 * len(TEXTS)}


@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2", "albert"])
def test_tokenizer_without_its_vocabulary_is_refused(
    family: str, tiny_checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    directory = tmp_path / "model"
    shutil.copytree(tiny_checkpoints[family], directory)
    (directory / "tokenizer.json").unlink()
    tokenizer = load_tokenizer(ModelConfig(name=str(directory)))
    with pytest.raises(ModelError, match=r"knows almost nothing of this text \(0 of \d+ tokens\): its vocabulary is"):
        cached(TEXTS, "content", tokenizer=tokenizer, config=CONFIG, home=tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*/*"))


def test_text_in_another_script_is_refused_and_some_unknown_words_are_not(tokenizer: Tokenizer) -> None:
    with pytest.raises(ModelError, match="or the text is in another script"):
        encode(["один хороший фильм", "фильм"], tokenizer, CONFIG)
    encode(["the film was хороший", "фильм"], tokenizer, CONFIG)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_blank_texts_alone_are_no_reason_to_refuse(family: str, tiny_checkpoints: dict[str, Path]) -> None:
    encoded = encode(["", " "], load_tokenizer(ModelConfig(name=str(tiny_checkpoints[family]))), CONFIG)
    assert encoded.lengths.min() >= 1  # no text is without a token: the model needs something to look at


def test_empty_split_has_no_tokens(counted: Counted, tmp_path: Path) -> None:
    for _ in range(2):
        encoded = cached([], "content", tokenizer=counted, config=CONFIG, home=tmp_path)
        assert (len(encoded), len(encoded.ids), encoded.lengths.tolist()) == (0, 0, [])
    assert counted.texts == 0


def test_texts_of_a_data_set_are_read_from_its_file(
    toy_dataset: Dataset, toy_data_dir: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    from pipelines.data import open_dataset

    stored = open_dataset(toy_data_dir).splits["train"].texts
    encoded = cached(stored, "content", tokenizer=tokenizer, config=CONFIG, home=tmp_path)
    assert rows(encoded) == rows(encode(toy_dataset.splits["train"].texts, tokenizer, CONFIG))
