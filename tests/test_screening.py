"""Checkpoints are ranked before any is fine-tuned: scores as published, embeddings without padding, an order."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from pipelines.config import ModelConfig, RunConfig, TokensConfig, replaced
from pipelines.data import Dataset, save_dataset
from pipelines.errors import ConfigError, DataError
from pipelines.models import load_pretrained, new_classifier
from pipelines.screening.comparison import compare, config_of, mean_places
from pipelines.screening.embedding import embed
from pipelines.screening.job import screen
from pipelines.screening.linear import linear_probe
from pipelines.screening.page import in_millions, render
from pipelines.screening.sample import Sample, draw_sample
from pipelines.screening.transferability import h_score, logme
from pipelines.screening.verdict import duration
from pipelines.segment import ScreenJob
from pipelines.tokens import encode
from tests import tiny
from tests.screens import measures, screening

Floats = NDArray[np.float64]


def clouds(rows: int, width: int, classes: int, apart: float, seed: int = 0) -> tuple[Floats, NDArray[np.int64]]:
    """Features of classes whose means are some distance apart."""
    draw = np.random.default_rng(seed)
    labels = np.arange(rows) % classes
    return draw.normal(size=(rows, width)) + apart * draw.normal(size=(classes, width))[labels], labels


def most_evidence(features: Floats, target: Floats) -> float:
    """The best log density of y ~ N(0, I / beta + F F' / alpha), a row, found without any of our algebra."""

    def loss(logs: Floats) -> float:
        alpha, beta = np.exp(np.clip(logs, -30, 30))
        spread = np.eye(len(target)) / beta + features @ features.T / alpha
        return -float(multivariate_normal.logpdf(target, cov=spread))

    starts = [(a, b) for a in (-2.0, 2.0, 6.0) for b in (0.0, 3.0)]
    return -min(minimize(loss, start, method="Nelder-Mead").fun for start in starts) / len(target)


@pytest.mark.parametrize(
    ("rows", "width", "classes", "apart"), [(40, 3, 2, 1.0), (45, 5, 3, 0.3), (12, 20, 2, 0.5), (40, 3, 2, 0.0)]
)
def test_logme_is_the_largest_evidence_that_a_search_finds(rows: int, width: int, classes: int, apart: float) -> None:
    features, labels = clouds(rows, width, classes, apart)
    found = [most_evidence(features, (labels == one).astype(float)) for one in range(classes)]
    assert logme(features, labels) == pytest.approx(np.mean(found), abs=2e-4)


def test_logme_rises_with_the_distance_of_the_classes_and_not_with_the_scale() -> None:
    scores = [logme(*clouds(200, 8, 2, apart)) for apart in (0.0, 0.3, 1.0, 3.0)]
    assert scores == sorted(scores)
    features, labels = clouds(200, 8, 2, 1.0)
    assert logme(7 * features, labels) == pytest.approx(logme(features, labels), abs=1e-6)


def shrunk(features: Floats) -> tuple[Floats, float]:
    """Ledoit and Wolf 2004, lemma 3.2 and theorem 3.2, row by row."""
    centred = features - features.mean(axis=0)
    rows, width = centred.shape
    sample = centred.T @ centred / rows
    mean = np.trace(sample) / width
    distance = np.sum((sample - mean * np.eye(width)) ** 2) / width
    noise = sum(np.sum((np.outer(row, row) - sample) ** 2) for row in centred) / rows**2 / width
    intensity = min(noise, distance) / distance
    return (1 - intensity) * sample + intensity * mean * np.eye(width), intensity


@pytest.mark.parametrize(("rows", "width", "classes"), [(60, 4, 2), (50, 30, 3), (20, 40, 2)])
def test_h_score_is_its_definition(rows: int, width: int, classes: int) -> None:
    features, labels = clouds(rows, width, classes, 0.7)
    covariance, intensity = shrunk(features)
    between = np.zeros((width, width))
    for one in range(classes):
        shift = features[labels == one].mean(axis=0) - features.mean(axis=0)
        between += np.mean(labels == one) * np.outer(shift, shift)
    expected = (1 - intensity) * np.trace(np.linalg.inv(covariance) @ between)
    assert h_score(features, labels) == pytest.approx(expected, rel=1e-9)


def test_h_score_of_two_normal_clouds_is_what_theory_says() -> None:
    draw = np.random.default_rng(0)
    labels = np.arange(40_000) % 2
    features = draw.normal(size=(40_000, 3))
    features[:, 0] += np.where(labels == 1, 1.5, -1.5)  # cov(f) = 1 + 1.5^2 along it, of which 1.5^2 between
    assert h_score(features, labels) == pytest.approx(2.25 / 3.25, abs=0.01)


def a_sample(labels: NDArray[np.int64], groups: NDArray[np.int64]) -> Sample:
    return Sample([str(one) for one in groups], labels, groups, len(labels), seed=0)


def test_equal_texts_never_stand_on_both_sides_of_a_fold() -> None:
    draw = np.random.default_rng(0)
    groups = np.repeat(np.arange(150), 2)
    labels = draw.integers(0, 2, size=150)[groups]
    features = draw.normal(size=(150, 400))[groups]  # each text known by heart: a leak would have all of them right
    assert linear_probe(features, a_sample(labels, groups)).accuracy < 0.65


def test_linear_probe_finds_what_is_linear_and_says_how_sure_it_is() -> None:
    features, labels = clouds(300, 6, 3, 3.0)
    found = linear_probe(features, a_sample(labels, np.arange(300)))
    assert found.accuracy > 0.95
    assert found.error == pytest.approx((found.accuracy * (1 - found.accuracy) / 300) ** 0.5)


def test_a_class_of_a_single_row_does_not_stop_the_probe() -> None:
    labels = np.array([1] + [0] * 29)
    assert linear_probe(np.random.default_rng(0).normal(size=(30, 2)), a_sample(labels, np.arange(30))).accuracy > 0.9


def test_sample_is_stratified_the_same_each_time_and_another_by_another_seed(toy_dataset_3: Dataset) -> None:
    first, again, other = (draw_sample(toy_dataset_3, rows=90, seed=seed) for seed in (1, 1, 2))
    assert first.texts == again.texts != other.texts
    assert np.bincount(first.labels).tolist() == [30, 30, 30]
    assert (first.available, first.majority) == (240, pytest.approx(1 / 3))


def test_rows_of_a_group_are_kept_together_in_folds() -> None:
    data = tiny.dataset(sizes={"train": 60, "select": 0, "calibrate": 0, "test": 0})
    units = 7 + np.arange(60) // 3
    train = replace(data.splits["train"], units=units)
    sample = draw_sample(replace(data, splits={**data.splits, "train": train}))
    assert sample.texts == list(train.texts)
    assert sample.groups.tolist() == (units - 7).tolist()


def test_by_default_a_third_of_the_rows_is_taken_within_bounds() -> None:
    sizes = {"select": 0, "calibrate": 0, "test": 0}
    for rows, taken in ((240, 200), (150, 150), (900, 300)):
        assert len(draw_sample(tiny.dataset(sizes={"train": rows, **sizes})).texts) == taken


def test_too_little_to_compare_on_is_refused(toy_dataset: Dataset, toy_dataset_3: Dataset) -> None:
    with pytest.raises(ConfigError, match=r"^2 rows to screen on are fewer than the 3 classes; give 30 or more$"):
        draw_sample(toy_dataset_3, rows=2)
    with pytest.raises(DataError, match=r"^toy: 4 different texts to screen on are too few; the least is 10$"):
        draw_sample(toy_dataset, rows=4)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_embedding_is_the_layer_mean_of_each_text_alone_whatever_it_is_padded_with(
    family: str, tiny_checkpoints: dict[str, Path], toy_dataset: Dataset
) -> None:
    from transformers import AutoModel

    pretrained = load_pretrained(ModelConfig(name=str(tiny_checkpoints[family])), labels=toy_dataset.labels)
    texts = list(toy_dataset.splits["select"].texts[:20])
    encoded = encode(texts, pretrained.tokenizer, TokensConfig(max_length=40))
    network = new_classifier(pretrained, dropout=None, seed=0).eval()
    found = embed(network, encoded, pretrained.tokenizer.pad_token_id, bf16=False)
    assert sum(point.rows for point in found.points) == 20
    plain = AutoModel.from_pretrained(tiny_checkpoints[family]).eval()
    for row in (0, 7, 19):
        ids = torch.from_numpy(encoded.row(row).ids.astype(np.int64))[None]
        with torch.no_grad():
            states = plain(input_ids=ids, output_hidden_states=True).hidden_states
        assert len(states) == 3
        expected = (states[1] + states[2]).mean(dim=1)[0] / 2
        assert found.features[row] == pytest.approx(expected.numpy(), abs=1e-5)


def test_order_is_the_mean_of_three_places_and_equals_share_one() -> None:
    three = [measures("a", 0.8), measures("b", 0.7, logme=-0.1), measures("c", 0.7, h_score=0.1)]
    assert mean_places(three) == pytest.approx({"a": (2 + 1 + 1) / 3, "b": (1 + 2 + 2.5) / 3, "c": (3 + 3 + 2.5) / 3})
    assert [one.name for one in screening(*reversed(three)).measures] == ["a", "b", "c"]


def test_shortlist_has_the_first_ones_and_none_that_is_far_behind() -> None:
    four = [measures(name, score) for name, score in (("a", 0.80), ("b", 0.72), ("c", 0.61), ("d", 0.59))]
    assert screening(*four).shortlist == ("a", "b", "c")
    assert screening(*four, keep=4).shortlist == ("a", "b", "c")  # d gains 0.09, less than a third of 0.30
    assert screening(*four, keep=1).shortlist == ("a",)
    assert screening(measures("a", 0.515), measures("b", 0.51)).shortlist == ("a",)  # 0.01 is nothing sure
    assert screening(measures("a", 0.49)).shortlist == ("a",)


def test_front_has_whoever_is_beaten_by_none_at_both() -> None:
    found = screening(
        measures("best", 0.8, seconds_per_1000=9.0),
        measures("slow", 0.7, seconds_per_1000=9.0),
        measures("quick", 0.7, seconds_per_1000=1.0),
        measures("twin", 0.7, seconds_per_1000=1.0),
    )
    assert found.front == {"best", "quick", "twin"}


def test_verdict_says_whom_to_train_why_and_what_it_cost() -> None:
    found = screening(*[measures(name, score) for name, score in (("a", 0.8), ("b", 0.75), ("c", 0.7), ("d", 0.5))])
    assert found.verdict == (
        "Fine-tune a, b and c: they are first by LogME, H-score and linear probe together (linear probe: a 80.0 %, "
        "b 75.0 %, c 70.0 %, the best of the others 50.0 %). Crown none yet: how they embed texts untrained foretells "
        "fine-tuning only roughly. Leave out d. Its linear probe gains less over guessing (50.0 %) than a third of "
        "what the best one gains, or nothing beyond chance."
    )
    assert (
        found.cost == "Screening took 40 s; one full fine-tuning of each would take about 13.3 min, 20 times as long."
    )


def test_what_could_not_be_estimated_is_not_made_up() -> None:
    two = (measures("a", 0.8, fine_tuning=None), measures("b", 0.7))
    assert screening(*two).cost == (
        "Screening took 20 s; one full fine-tuning of b would take about 3.3 min, 20 times as long."
    )
    alone = screening(measures("a", 0.8, fine_tuning=None))
    assert alone.cost == "Screening took 10 s; what fine-tuning would take could not be measured here."
    assert alone.verdict == "Fine-tune a: there is no other; a linear probe has a 80.0 % right."


def test_page_shows_every_checkpoint_and_takes_no_name_for_markup() -> None:
    found = screening(measures("<b>a</b>", 0.8), measures("b", 0.7, license=None, fine_tuning=None))
    page = render(found)
    assert "<b>a</b>" not in page
    assert "&lt;b&gt;a&lt;/b&gt;" in page
    assert "not stated" in page
    assert page == render(found)
    assert "var(--accent)" in page.partition("<svg")[2].partition("</svg>")[0]


def test_numbers_are_written_for_people() -> None:
    assert [duration(seconds) for seconds in (0.42, 12, 100, 7200)] == ["0.4 s", "12 s", "1.7 min", "2.0 h"]
    assert [in_millions(count) for count in (44_322, 22_713_986)] == ["44,322", "22.7 M"]


def test_checkpoints_are_measured_on_real_texts_by_a_worker_as_by_the_command(
    tiny_checkpoints: dict[str, Path], toy_dataset: Dataset, tmp_path: Path
) -> None:
    texts = ["the film was boring " * 300, *toy_dataset.splits["train"].texts[1:]]
    splits = {**toy_dataset.splits, "train": replace(toy_dataset.splits["train"], texts=texts)}
    dataset = replace(toy_dataset, splits=splits)
    save_dataset(dataset, tmp_path / "data")
    asked = {"tokens.max_length": 600, "train.precision": "fp32"}  # more than BERT's positions: it is cut there
    configs = tuple(replaced(config_of(str(tiny_checkpoints[name])), asked) for name in ("bert", "gpt2"))
    told: list[dict[str, float]] = []

    class Watch:
        def stop_requested(self) -> bool:
            return False

        def tell(self, progress: dict[str, float]) -> None:
            told.append(progress)

    job = ScreenJob(configs, tmp_path / "data", tmp_path / "cache", keep=2, rows=240, seed=0)
    found = screen(job, watch=Watch())
    here = compare(configs, dataset, cache=tmp_path / "cache", rows=240)
    assert told == [{"screening": 1.0}, {"screening": 2.0}]
    for one, two in zip(found.measures, here.measures, strict=True):
        assert (one.name, one.logme, one.h_score, one.linear) == (two.name, two.logme, two.h_score, two.linear)
        assert (one.layers, one.width, one.license) == (2, tiny.HIDDEN, None)
        assert one.label in {"bert", "gpt2"}
        assert one.parameters * 4 <= one.memory < 1e9
        assert 0 < one.seconds_per_1000 < 100
        assert one.fine_tuning is not None
    assert found.measures[0].linear.accuracy > 0.55
    assert len(list((tmp_path / "cache").glob("*/manifest.json"))) == 2


def test_a_checkpoint_is_priced_as_its_family_is_trained() -> None:
    assert config_of("roberta").train.weight_decay == 0.1
    assert config_of("acme/own").train == RunConfig().train


def test_a_model_from_scratch_is_refused_before_anything_is_measured() -> None:
    with pytest.raises(ConfigError, match=r"^scratch:bpe: begins with random weights, so there is nothing"):
        config_of("scratch:bpe")
