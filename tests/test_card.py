import dataclasses
import itertools
import re

import pytest
import yaml
from huggingface_hub import ModelCard
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from pipelines.calibration import CalibrationFacts
from pipelines.card import CardFacts, render_card
from pipelines.markdown import escape
from pipelines.scores import metric_key

MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
SCRIPT = "<script>alert('x')</script>"
NASTY = [
    SCRIPT,
    "a|b",
    "line\nbreak | x\n\n# heading",
    "**bold** _it_ `code` ~~gone~~",
    "![i](http://x/y.png)",
    "[a](javascript:alert(1))",
    "&lt;b&gt;",
    "back\\slash\\|pipe",
    "---",
    "1. list",
    "- list",
    "__init__",
    "<!-- hidden -->",
]


def facts(**changes):
    labels = changes.get("labels", ("bad", "good"))
    scores = {"accuracy": 0.9123456, "log_loss": 0.25, "mcc": 0.8}
    for label in labels:
        scores |= {f"{kind}.{metric_key(label)}": 0.75 for kind in ("precision", "recall", "f1")}
        scores[f"support.{metric_key(label)}"] = 1234.0
    values = {
        "name": "movies",
        "base_model": "google-bert/bert-base-uncased",
        "base_license": "apache-2.0",
        "task": "Sentiment of film reviews",
        "labels": labels,
        "dataset": "sample:movies",
        "dataset_digest": "sha256:0123",
        "rows": {"train": 700, "select": 150, "test": 150},
        "class_counts": {split: dict.fromkeys(labels, 350) for split in ("train", "select", "test")},
        "select_scores": scores,
        "test_scores": scores | {"accuracy": 0.87},
        "params": {"train.learning_rate": 5e-05, "train.batch_size": 32},
        "study": "first",
        "trial": 7,
        "run_id": "abc123",
        "created": "2025-06-01",
        "versions": {"torch": "2.10.0", "transformers": "5.3.0"},
        "notes": ["Trained on a laptop."],
        "attribution": "Reviews by Pang and Lee (2005).\nhttps://example.org/some_page",
        "max_length": 128,
    }
    return CardFacts(**values | changes)


def front_matter(card):
    return yaml.safe_load(re.match(r"---\n(.*?)\n---\n", card, flags=re.DOTALL)[1])


def tokens_of(card):
    return MARKDOWN.parse(re.sub(r"\A---\n.*?\n---\n", "", card, flags=re.DOTALL))


def plain(inline):
    """The text that a reader sees; anything but text and line breaks shows up as its kind in angle brackets."""
    return "".join(t.content if t.type in ("text", "text_special") else f"<{t.type}>" for t in inline.children)


def tables_of(card):
    tables = []
    for token, following in itertools.pairwise(tokens_of(card)):
        if token.type == "table_open":
            tables.append([])
        elif token.type == "tr_open":
            tables[-1].append([])
        elif token.type in ("td_open", "th_open"):
            tables[-1][-1].append(plain(following))
    return tables


def test_front_matter_is_what_the_hub_expects():
    card = ModelCard(render_card(facts()))
    data = card.data.to_dict()
    assert data["library_name"] == "transformers"
    assert data["pipeline_tag"] == "text-classification"
    assert data["base_model"] == "google-bert/bert-base-uncased"
    assert data["metrics"] == ["accuracy", "matthews_correlation", "log_loss"]
    results = {(r.dataset_split, r.metric_type): r.metric_value for r in card.data.eval_results}
    assert results[("test", "accuracy")] == 0.87
    assert results[("select", "accuracy")] == 0.9123456
    assert results[("test", "matthews_correlation")] == 0.8
    assert {r.dataset_name for r in card.data.eval_results} == {"sample:movies"}
    assert all("optimistic" in r.metric_name for r in card.data.eval_results if r.dataset_split == "select")


def test_local_base_model_is_no_link_on_the_hub():
    card = render_card(facts(base_model="/data/my model"))
    assert "base_model" not in front_matter(card)
    assert "fine-tuned from /data/my model" in card


def test_tables_hold_the_numbers():
    counts = {"train": {"bad": 300, "good": 400}, "select": {"bad": 70, "good": 80}}
    data, scores, classes, settings, provenance = tables_of(render_card(facts(class_counts=counts)))
    assert data == [
        ["class", "train", "select", "test"],
        ["(all)", "700", "150", "150"],
        ["bad", "300", "70", "–"],
        ["good", "400", "80", "–"],
    ]
    assert [row[:4] for row in scores[1:]] == [
        ["accuracy", "0.9123", "0.8700", "maximize"],
        ["mcc", "0.8000", "0.8000", "maximize"],
        ["log_loss", "0.2500", "0.2500", "minimize"],
    ]
    assert classes[1:] == [[label, "0.7500", "0.7500", "0.7500", "1,234"] for label in ("bad", "good")]
    assert settings[1:] == [["train.batch_size", "32"], ["train.learning_rate", "5e-05"]]
    assert ["MLflow run", "abc123"] in provenance
    assert ["torch", "2.10.0"] in provenance


def test_select_scores_are_called_optimistic_and_test_scores_the_ones_to_quote():
    card = render_card(facts())
    assert "The select split was used to choose this model among others, so its scores are optimistic." in card
    assert "its scores are the ones to quote" in card
    assert "On the test split:" in card


CALIBRATED = CalibrationFacts(
    rows=1500,
    temperature=1.37,
    thresholds=(0.7, 0.3),
    metric="macro_f1",
    before={"log_loss": 0.5, "ece": 0.08, "macro_f1": 0.71},
    after={"log_loss": 0.42, "ece": 0.01, "macro_f1": 0.75},
)


def test_calibration_is_told_with_what_it_brought():
    card = render_card(facts(calibration=CALIBRATED))
    assert "On 1,500 calibrate rows" in card
    assert "Temperature 1.37 (Guo et al. 2017)" in card
    assert "Thresholds for macro_f1: bad 0.7000, good 0.3000." in card
    (table,) = [table for table in tables_of(card) if table[0] == ["score", "before", "after"]]
    assert table[1:] == [
        ["log_loss", "0.5000", "0.4200"],
        ["ece", "0.0800", "0.0100"],
        ["macro_f1", "0.7100", "0.7500"],
    ]


def test_a_model_that_was_left_as_it_is_says_why():
    notes = ("the class a|b has no calibrate rows, so nothing was fitted.",)
    card = render_card(facts(calibration=CalibrationFacts(rows=70, notes=notes)))
    assert "- the class a\\|b has no calibrate rows, so nothing was fitted." in card
    assert "Temperature" not in card
    assert "Before and after" not in card
    assert "Nothing was asked for" in render_card(facts(calibration=CalibrationFacts(rows=70)))
    assert "## Calibration" not in render_card(facts())


def test_locked_test_split_is_said_and_no_test_score_is_shown():
    card = render_card(facts(test_scores=None))
    assert "The test split is still locked, so there is no unbiased score yet." in card
    assert {row[2] for row in tables_of(card)[1][1:]} == {"–"}
    assert "On the select split (optimistic):" in card
    assert {r["dataset"]["split"] for r in front_matter(card)["model-index"][0]["results"]} == {"select"}


def test_undefined_scores_of_a_class_are_dashes():
    scores = {"accuracy": 1.0, "recall.bad": 1.0, "support.bad": 3.0}
    classes = tables_of(render_card(facts(test_scores=scores)))[2]
    assert classes[1:] == [["bad", "–", "1.0000", "–", "3"], ["good", "–", "–", "–", "–"]]


@pytest.mark.parametrize(
    ("counts", "sentence"),
    [
        ({"bad": 100, "good": 250}, "good has 2.5 times as many training rows as bad"),
        ({"bad": 300, "good": 0}, "The class good has no training rows at all"),
        ({"bad": 300}, "The class good has no training rows at all"),
    ],
)
def test_imbalance_is_named_where_there_is_some(counts, sentence):
    assert sentence in render_card(facts(class_counts={"train": counts}))


@pytest.mark.parametrize("counts", [{}, {"train": {"bad": 100, "good": 140}}])
def test_imbalance_is_not_mentioned_where_there_is_none(counts):
    card = render_card(facts(class_counts=counts))
    assert "imbalanced" not in card
    assert "no training rows" not in card


def test_limits_and_usage_name_the_length_and_the_model():
    card = render_card(facts(name="my model", max_length=4096))
    assert "Only the first 4,096 tokens of a text are read" in card
    assert "hpo pull 'my model' model" in card
    assert 'pipeline("text-classification", model="model", truncation=True, max_length=4096)' in card
    assert 'mlflow.pyfunc.load_model("models:/my model@champion")' in card
    assert "- Trained on a laptop." in card


def test_card_says_what_transformers_alone_would_leave_out():
    differs = "With transformers alone, answers differ"
    assert differs not in render_card(facts(truncation="tail"))
    card = render_card(facts(truncation="head_tail", lowercase=True, normalize="nfkc", max_length=512))
    assert "the beginning and the end (a quarter and three quarters) of at most 512 tokens of a text are read" in card
    assert f"**{differs}**: `hpo` and MLflow normalize each text (Unicode's NFKC, each run of white space" in card
    assert (
        "white space one blank), lower-case it and keep both ends of a long one (`tokens.truncation: head_tail`; "
        in card
    )
    assert f"**{differs}**: `hpo` and MLflow lower-case it before" in render_card(facts(lowercase=True))


def test_python_in_the_card_compiles():
    blocks = [t.content for t in tokens_of(render_card(facts(name="a\"b'c\\"))) if t.info == "python"]
    assert len(blocks) == 2
    for block in blocks:
        compile(block, "card", "exec")


def test_absent_parts_leave_no_empty_section():
    card = render_card(facts(attribution=None, run_id=None, base_license=None))
    assert "Attribution" not in card
    assert ["MLflow run", "–"] in tables_of(card)[4]
    assert "(licence unknown)" in card


def test_attribution_keeps_its_lines_and_addresses():
    card = render_card(facts())
    assert card.endswith("## Attribution\n\nReviews by Pang and Lee (2005).\n\nhttps://example.org/some_page\n")


@pytest.mark.parametrize("text", NASTY)
def test_user_text_is_shown_as_it_is_everywhere_and_never_as_markup(text):
    shown = " ".join(text.split())
    fields = dict.fromkeys(["name", "base_model", "base_license", "task", "dataset", "dataset_digest"], text)
    fields |= dict.fromkeys(["study", "run_id", "created", "attribution"], text)
    labels = (text, "good")
    card = render_card(facts(**fields, labels=labels, notes=[text], params={text: text}, versions={text: text}))
    data, _, classes, settings, provenance = tables_of(card)
    assert [row[0] for row in data] == ["class", "(all)", shown, "good"]
    assert classes[1] == [shown, "0.7500", "0.7500", "0.7500", "1,234"]
    assert settings[1] == [shown, shown]
    assert ["study", shown] in provenance
    assert [shown, shown] in provenance
    tokens = tokens_of(card)
    kinds = {t.type for t in tokens} | {c.type for t in tokens for c in t.children or []}
    forbidden = {"html_block", "html_inline", "image", "link_open", "strong_open", "em_open", "s_open", "hr"}
    assert not kinds & (forbidden | {"ordered_list_open", "blockquote_open"})
    code = [child.content for token in tokens for child in token.children or [] if child.type == "code_inline"]
    assert code == ["model", "hpo evaluate --data", "tokens.truncation"]
    assert sum(t.type == "bullet_list_open" for t in tokens) == 1
    headings = [plain(after) for t, after in itertools.pairwise(tokens) if t.type == "heading_open"]
    assert headings == [
        shown, "How to use it", "Data", "Scores", "By class", "Limits", "Training", "Provenance", "Attribution"
    ]  # fmt: skip
    assert front_matter(card)["model-index"][0]["name"] == text


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30))
@example("\\|")
@example("&amp;")
@example("a_b_c __d__ _e_")
@example("+")
@example("12)")
def test_escaped_text_reads_back_as_itself(text):
    tokens = MARKDOWN.parse(escape(text))
    shown = " ".join(text.split())
    assert [t.type for t in tokens] == (["paragraph_open", "inline", "paragraph_close"] if shown else [])
    assert "".join(plain(t) for t in tokens if t.type == "inline") == shown


def test_card_is_a_pure_function_of_its_facts():
    assert render_card(facts()) == render_card(dataclasses.replace(facts()))
