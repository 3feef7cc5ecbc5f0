"""A text is read in use as in training: the same token ids, whatever `tokens` says, for every kind of tokenizer."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.config import ModelConfig, TokensConfig
from pipelines.errors import ModelError
from pipelines.export import export_model, facts_of, read_facts, seal
from pipelines.files import digest
from pipelines.hpo_classifier import Classifier, Reading
from pipelines.loader import open_model, verify
from pipelines.models import load_pretrained, load_tokenizer, new_classifier
from pipelines.tokens import Tokenizer, cached, encode, fingerprint, tells_case

LABELS = ("negative", "positive")
KINDS = ("bert", "roberta", "gpt2", "albert", "deberta", "modernbert")
CASED = {"bert": False, "roberta": True, "gpt2": True, "albert": False, "deberta": True, "modernbert": True}
LONG = "the film was boring, on a rainy sunday, for the price of a ticket, as my brother said, wonderful"


@dataclass(frozen=True)
class Exported:
    """A tokenizer as it is trained with, and a classifier that was written with it."""

    tokenizer: Tokenizer
    classifier: Classifier


@pytest.fixture(scope="module")
def exported(tiny_checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exported]:
    home, found = tmp_path_factory.mktemp("exported"), {}
    for kind in KINDS:
        model = ModelConfig(name=str(tiny_checkpoints[kind]))
        pretrained = load_pretrained(model, labels=LABELS)
        network = new_classifier(pretrained, dropout=None, seed=1)
        export_model(network, pretrained.tokenizer, home / kind, labels=LABELS, tokens=TokensConfig(max_length=9))
        found[kind] = Exported(load_tokenizer(model), Classifier(home / kind, device="cpu"))
    return found


def variants() -> Iterator[TokensConfig]:
    for truncation in ("head", "tail", "head_tail"):
        for lowercase in (False, True):
            for normalize in ("none", "nfkc"):
                yield TokensConfig(max_length=7, truncation=truncation, lowercase=lowercase, normalize=normalize)  # type: ignore[arg-type]


def as_served(classifier: Classifier, config: TokensConfig) -> Classifier:
    """The classifier as it reads the facts of a model that was trained so."""
    facts = json.loads(json.dumps(vars(facts_of(LABELS, config))))
    classifier.reading = Reading.of(facts)
    return classifier


WRITING = st.text(
    st.one_of(
        st.sampled_from("the film WAS Boring, 🙂ﬁＡé\u00a0\u0301\t\n[SEP]<s></s>"),
        st.characters(exclude_categories=("Cs",)),
    ),
    max_size=60,
)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15, deadline=None)
@given(texts=st.lists(WRITING, max_size=4))
def test_texts_are_read_in_use_as_in_training(exported: dict[str, Exported], kind: str, texts: list[str]) -> None:
    texts = [LONG, *texts, "the film was wonderful", LONG, LONG, LONG]  # known enough not to be refused
    for config in variants():
        served = as_served(exported[kind].classifier, config)
        encoded = encode(texts, exported[kind].tokenizer, config)
        assert served.encode(texts) == [encoded.row(row).ids.tolist() for row in range(len(texts))]
        assert encoded.lengths.max() <= 7
        assert encoded.lengths.min() >= 1


@pytest.mark.parametrize("kind", KINDS)
def test_head_and_tail_are_a_quarter_and_three_inside_the_special_tokens(
    kind: str, exported: dict[str, Exported]
) -> None:
    tokenizer = exported[kind].tokenizer
    bare = tokenizer(LONG, add_special_tokens=False)["input_ids"]
    around = tokenizer.num_special_tokens_to_add()
    (row,) = Reading(max_length=10 + around, truncation="head_tail").rows([LONG], tokenizer)
    whole, each = tokenizer(LONG)["input_ids"], around // 2
    assert row == [*whole[:each], *bare[:3], *bare[-7:], *whole[len(whole) - each :]]  # of 2.5 and 7.5


def test_of_510_tokens_128_are_of_the_beginning(exported: dict[str, Exported]) -> None:
    text = " ".join(str(number % 10) for number in range(800))
    (row,) = Reading(max_length=512, truncation="head_tail").rows([text], exported["bert"].tokenizer)
    words = exported["bert"].tokenizer.convert_ids_to_tokens(row)
    expected = [*text.split()[:128], *text.split()[-382:]]
    assert words == ["[CLS]", *expected, "[SEP]"]


def test_a_text_that_fits_is_left_whole(exported: dict[str, Exported]) -> None:
    tokenizer = exported["bert"].tokenizer
    (whole,) = tokenizer([LONG])["input_ids"]
    for length, cut in ((len(whole), False), (len(whole) - 1, True)):
        (row,) = Reading(max_length=length, truncation="head_tail").rows([LONG], tokenizer)
        assert len(row) == length
        assert (row != whole) is cut


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_of_nothing_is_one_padding_token_in_training_and_in_use(
    kind: str, exported: dict[str, Exported]
) -> None:
    tokenizer = exported[kind].tokenizer
    (row,) = exported[kind].classifier.encode([""])
    assert encode([""], tokenizer, TokensConfig(max_length=9)).ids.tolist() == row
    assert row == (tokenizer("")["input_ids"] or [tokenizer.pad_token_id])
    assert exported[kind].classifier.encode([]) == []


def test_the_padding_token_stands_for_nothing_where_it_is_not_the_end_token(tiny_checkpoints: dict[str, Path]) -> None:
    tokenizer = load_tokenizer(ModelConfig(name=str(tiny_checkpoints["gpt2"])))
    tokenizer.pad_token = "!"
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    assert encode(["", LONG], tokenizer, TokensConfig()).row(0).ids.tolist() == [tokenizer.pad_token_id]


def test_texts_are_normalized_and_lower_cased_before_the_tokenizer(exported: dict[str, Exported]) -> None:
    def pieces(text: str, **changes: Any) -> list[int]:
        return exported["gpt2"].classifier.tokenizer.convert_ids_to_tokens(  # type: ignore[no-any-return]
            Reading(max_length=64, **changes).rows([text], exported["gpt2"].tokenizer)[0]
        )

    assert Reading(max_length=9, normalize="nfkc").prepared(" \ufb01ne\n \uff21\u00a0B ") == "fine A B"
    assert Reading(max_length=9, lowercase=True).prepared(" \ufb01ne\n \uff21 B") == " \ufb01ne\n \uff41 b"
    assert pieces("The FILM", lowercase=True) == pieces("the film") != pieces("The FILM")
    assert pieces("the\t \ufb01lm", normalize="nfkc") == pieces("the film") != pieces("the\t \ufb01lm")


def test_only_a_cased_tokenizer_tells_case(exported: dict[str, Exported]) -> None:
    assert {kind: tells_case(exported[kind].tokenizer) for kind in KINDS} == CASED


def test_each_way_of_reading_has_its_own_cache_and_the_plain_one_keeps_its_name(
    exported: dict[str, Exported], tmp_path: Path
) -> None:
    for config in variants():
        cached([LONG], "content", tokenizer=exported["gpt2"].tokenizer, config=config, home=tmp_path)
    assert len(list(tmp_path.glob("*/tokens.arrow"))) == 12
    plain = digest("content", fingerprint(exported["gpt2"].tokenizer), "7", "head")
    assert (tmp_path / plain[:32]).is_dir()  # as before there were other ways: what is encoded already stays of use


def test_slow_tokenizer_is_refused_in_one_line() -> None:
    slow = SimpleNamespace(name_or_path="acme/slow")
    with pytest.raises(ModelError, match=r"^model 'acme/slow' cannot be used: it has no fast tokenizer"):
        fingerprint(slow)


@pytest.mark.parametrize("config", [TokensConfig(max_length=9), next(reversed(list(variants())))], ids=str)
def test_facts_of_a_model_say_how_it_reads(config: TokensConfig, exported: dict[str, Exported], tmp_path: Path) -> None:
    directory = exported["gpt2"].classifier.directory
    shutil.copytree(directory, tmp_path / "model")
    seal(tmp_path / "model", facts_of(LABELS, config))
    facts = verify(tmp_path / "model")
    assert facts["schema"] == (1 if config.truncation == "head" else 2)  # older releases must not read it otherwise
    assert read_facts(tmp_path / "model") == facts_of(LABELS, config)
    assert open_model(tmp_path / "model").reading == Reading(**config.model_dump())


def test_model_of_an_older_release_is_read_as_before(exported: dict[str, Exported], tmp_path: Path) -> None:
    model = shutil.copytree(exported["gpt2"].classifier.directory, tmp_path / "model")
    facts = json.loads((model / "hpo.json").read_text())
    older = {name: value for name, value in facts.items() if name not in {"lowercase", "normalize"}}
    (model / "hpo.json").write_text(json.dumps(older))
    assert older["schema"] == 1
    assert open_model(model).reading == Reading(max_length=9)
    assert read_facts(model) == facts_of(LABELS, TokensConfig(max_length=9))
