import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hpo.yamlfile import load_yaml, parse_yaml
from pipelines.errors import ConfigError


def refusal(tmp_path: Path, content: str | bytes) -> str:
    """What is said about a file, without its directory."""
    path = tmp_path / "study.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError) as caught:
        load_yaml(path)
    assert caught.value.exit_code == 2
    return str(caught.value).replace(f"{tmp_path}/", "")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5),
        ("1E5", 1e5),
        ("+1.5e-3", 1.5e-3),
        (".5", 0.5),
        ("1.", 1.0),
        ("-2", -2),
        ("1_000", 1000),
        ("0", 0),
        ("true", True),
        ("False", False),
        ("null", None),
        ("", None),
        ("no", "no"),
        ("off", "off"),
        ("Yes", "Yes"),
        ("'5'", "5"),
        ("1e-5x", "1e-5x"),
    ],
)
def test_a_scalar_means_what_it_looks_like(text: str, value: Any) -> None:
    read = parse_yaml(f"key: {text}", where="-")["key"]
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize("text", ["010", "08", "0x1F", "0b1", "1:30", "2024-01-01", "2001-13-45", ".nan", "-.inf", "="])
def test_octal_base_60_and_dates_are_words(text: str) -> None:
    assert parse_yaml(f"key: {text}", where="-") == {"key": text}


def test_yaml_elsewhere_in_the_process_is_untouched() -> None:
    assert yaml.safe_load("a: no") == {"a": False}
    assert yaml.safe_load("a: 010") == {"a": 8}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name: a\nseed: 1\nname: b\n", "study.yaml:3:1: the key 'name' stands twice"),
        ("run: {seed: 1, seed: 2}", "study.yaml:1:16: the key 'seed' stands twice"),
        ("a: &x [1]\nb: *x", "study.yaml:2:4: aliases (*name) are not supported"),
        ("a: !!python/object/apply:os.system [ls]", "study.yaml:1:4: tags (!!python/object/apply:os.system) are not"),
        ("a: !!python/object:x.Y {}", "study.yaml:1:4: tags (!!python/object:x.Y) are not supported"),
        ("a: !!binary aGk=", "study.yaml:1:4: tags (!!binary) are not supported"),
        ("a: !own x", "study.yaml:1:4: tags (!own) are not supported"),
        ("a: !!int x", "study.yaml:1:4: tags (!!int) are not supported"),
        ("? [a]\n: 1", "study.yaml:1:3: a key must be a word or a number"),
        ("null: 1", "study.yaml:1:1: a key must be a word or a number"),
        ("a: 1\n---\nb: 2", "study.yaml:2:1: but found another document"),
        ("a: [1\nb: 2", "study.yaml:2:2: expected ',' or ']', but got ':'"),
        ("a:\n\tb: 1", "study.yaml:2:1: found character '\\t' that cannot start any token"),
        ("a: 'open", "study.yaml:1:9: found unexpected end of stream"),
        ("- 1\n- 2", "study.yaml: a study is a mapping of keys to values, this is not"),
        ("just words", "study.yaml: a study is a mapping of keys to values, this is not"),
        ("", "study.yaml: a study is a mapping of keys to values, this is empty"),
        ("# only a comment\n", "study.yaml: a study is a mapping of keys to values, this is empty"),
        ("name: café".encode("latin-1"), "study.yaml: not UTF-8 text; save the file as UTF-8"),
        ("name: a".encode("utf-16"), "study.yaml: not UTF-8 text; save the file as UTF-8"),
        (b"name: \x00", "study.yaml: not YAML (unacceptable character #x0000"),
        ("a: " + "9" * 5000, "study.yaml: not YAML (Exceeds the limit"),
    ],
)
def test_a_refusal_names_file_line_and_column(tmp_path: Path, content: str | bytes, message: str) -> None:
    assert refusal(tmp_path, content).startswith(message)


def test_a_bomb_of_aliases_is_refused_at_its_first_alias(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    assert refusal(tmp_path, "\n".join(lines)) == "study.yaml:2:10: aliases (*name) are not supported"


@pytest.mark.parametrize("opening", ["[", "{a: "])
def test_ten_thousand_brackets_are_refused(tmp_path: Path, opening: str) -> None:
    assert refusal(tmp_path, "a: " + opening * 10_000).startswith("study.yaml: not YAML (maximum recursion depth")


def test_a_merge_key_is_a_key_like_any_other() -> None:
    assert parse_yaml("<<: {a: 1}", where="-") == {"<<": {"a": 1}}


def test_a_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_bytes(b"\xef\xbb\xbfname: a")
    assert load_yaml(path) == {"name": "a"}


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"{tmp_path}: Is a directory"):
        load_yaml(tmp_path)


_LEAVES = st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.floats(allow_nan=False, allow_infinity=False)
_TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Zl", "Zp")), max_size=8)
_TREES = st.recursive(_LEAVES | _TEXTS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXTS, inner))


@settings(max_examples=50, deadline=None)
@given(_TREES)
def test_json_is_yaml(tree: Any) -> None:
    assert parse_yaml(json.dumps(tree, ensure_ascii=False), where="-") == tree


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="ab:-[]{}&*!?|>'\"#%@`,0123456789e.+ \n\t<=~"))
def test_any_text_is_read_or_refused_in_one_line(text: str) -> None:
    refused = None
    try:
        parse_yaml(text, where="study.yaml")
    except ConfigError as error:
        refused = str(error)
    assert refused is None or (refused.startswith("study.yaml:") and "\n" not in refused)
