"""A comparison of tokenizers as a page and as JSON."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from html.parser import HTMLParser
from typing import Any

import pytest

from pipelines.data import Dataset
from pipelines.tokenization.comparison import Comparison, compare
from pipelines.tokenization.page import render
from pipelines.tokenization.training import train_candidates

from .candidates import a_dataset, whole_words, without_vocabulary

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
