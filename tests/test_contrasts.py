"""`hpo compare STUDY --by SETTINGS`: variants in pairs, what is found, how it is said, and what is refused."""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from hpo.cli import app
from hpo.contrasts import compare_variants, in_words
from hpo.contrasts.variants import addresses, short
from hpo.executors.local import LocalExecutor
from hpo.places import Places
from pipelines.compare import compare_metric, mcnemar
from pipelines.contrasts import compare_all, holm
from pipelines.errors import ConfigError, DataError
from pipelines.files import read_json, write_json
from pipelines.predictions import Predictions, softmax, write_parquet
from tests.stub import a_controller, a_spec, instruct

ROWS = 400
LABELS = np.random.default_rng(0).integers(0, 2, ROWS)


def predictions(lead: float, seed: int, *, rows: str = "reviews") -> Predictions:
    """What a model says of rows that are always the same; the greater its lead, the better."""
    noise = np.random.default_rng(seed).normal(size=(ROWS, 2))
    probabilities = softmax(lead * np.eye(2)[LABELS] + noise)
    ids, texts = [f"{rows}:{row}" for row in range(ROWS)], [f"text {row}" for row in range(ROWS)]
    return Predictions(ids=ids, texts=texts, labels=LABELS, probabilities=probabilities, names=("bad", "good"))


def test_holms_p_values_are_those_of_a_calculation_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.5, 0.2]) == pytest.approx([1.0, 1.0, 0.6])
    assert holm([]) == []


def test_of_many_equal_models_few_families_of_pairs_show_any_difference() -> None:
    draw, false = np.random.default_rng(1), 0
    for _ in range(300):
        right = draw.random((6, 200)) < 0.8
        won = [(right[b] & ~right[a]).sum() for a in range(6) for b in range(a + 1, 6)]
        lost = [(right[a] & ~right[b]).sum() for a in range(6) for b in range(a + 1, 6)]
        false += min(holm(mcnemar(won, lost).tolist())) <= 0.05
    assert false <= 300 * 0.05


@pytest.mark.parametrize("metric", ["accuracy", "log_loss"])
def test_pairs_are_compared_as_two_models_are_at_a_level_for_all_of_them(metric: str) -> None:
    said = [predictions(lead, seed).probabilities for lead, seed in ((1.0, 1), (1.2, 2), (2.0, 3))]
    found = compare_all(metric, LABELS, said)
    assert found is not None
    measured, pairs = found
    assert [(pair.a, pair.b) for pair in pairs] == [(0, 1), (0, 2), (1, 2)]
    assert [pair.adjusted for pair in pairs] == holm([pair.difference.p for pair in pairs])
    for pair in pairs:
        alone = compare_metric(metric, LABELS, said[pair.a], said[pair.b], resamples=4000, level=1 - 0.05 / 3)
        assert alone is not None
        one = pair.difference
        assert (one.a, one.b, one.test) == (alone.a, alone.b, alone.test)
        assert one.p == pytest.approx(alone.p, rel=0.2 if metric == "log_loss" else 1e-12, abs=1e-3)
        width = alone.high - alone.low
        assert (one.low, one.high) == pytest.approx((alone.low, alone.high), abs=0.1 * width)
        assert measured[pair.a].low < measured[pair.a].value == one.a < measured[pair.a].high
    assert compare_all("auroc", np.zeros(ROWS, dtype=np.int64), said) is None


def test_by_takes_sections_and_addresses_and_says_what_there_is() -> None:
    assert addresses(["tokens"]) == (
        "tokens.max_length",
        "tokens.truncation",
        "tokens.lowercase",
        "tokens.normalize",
    )
    assert addresses(["model.name", "tokens.truncation", "model.name"]) == ("model.name", "tokens.truncation")
    with pytest.raises(
        ConfigError, match=r"^--by: 'token' is no setting, and no section of settings; did you mean tok"
    ):
        addresses(["token"])
    with pytest.raises(ConfigError, match=r"sections are data, tokens, model, train, lora, scratch$"):
        addresses(["zzz"])


def test_names_are_as_short_as_they_can_be_told_apart() -> None:
    asked = ("tokens.max_length", "model.dropout", "lora.dropout")
    assert dict(short(asked)) == dict(zip(asked, ("max_length", "model.dropout", "lora.dropout"), strict=True))
    assert [in_words(value) for value in (True, None, 1, "none", 0.5)] == ["true", "null", "1", "none", "0.5"]


LEADS = {("head", 32): 1.0, ("tail", 32): 1.1, ("head", 64): 2.0, ("tail", 64): 2.1}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    """Two studies of the same grid with another seed each; the longer input is better, the end that is kept is not."""
    home = tmp_path_factory.mktemp("home")
    space = {"tokens.max_length": [32, 64], "tokens.truncation": ["head", "tail"]}
    with closing(LocalExecutor(workers=1, threads=1, logs=home / "logs")) as executor:
        for seed, name in enumerate(("grid", "again")):
            instruct(home / "work" / name, faults={})
            spec = a_spec(name=name, space=space, sampler="grid", objective="accuracy", run={"seed": seed})
            study = a_controller(spec, home, executor)
            study.run()
    for name, seed in (("grid", 1), ("again", 20)):
        for trial in range(4):
            params = read_json(study.places.trial(name, trial) / "trial.json")["params"]
            lead = LEADS[params["tokens.truncation"], params["tokens.max_length"]]
            file = study.places.trial(name, trial) / "artifacts" / "predictions.parquet"
            write_parquet(predictions(lead, seed + trial), file)
    return study.places


def hpo(places: Places, *words: str) -> Result:
    options = ["--tracking-uri", places.tracking, "--storage", places.storage]
    return CliRunner().invoke(app, [*words, *options], env={"HPO_HOME": str(places.home)})


def test_each_pair_says_which_settings_differ(places: Places) -> None:
    found = compare_variants(["grid"], ["tokens"], places=places)
    assert found.by == ("tokens.max_length", "tokens.truncation")  # lower-casing and normalization do not differ
    assert (found.metric, found.rows, found.beside, found.caution()) == ("accuracy", ROWS, (), None)
    assert [one.settings["tokens.max_length"] for one in found.variants] == [64, 64, 32, 32]
    values = [one.value for one in found.measured]
    assert values == sorted(values, reverse=True)
    for pair in found.pairs:
        first, second = (found.variants[one].settings for one in (pair.a, pair.b))
        assert found.changed(pair) == {key: [first[key], second[key]] for key in first if first[key] != second[key]}
    assert {pair.a // 2 != pair.b // 2 for pair in found.found} == {True}  # never two of the same length
    assert len(found.found) == 4
    assert found.verdict() == (
        f"The best is {found.name(0)}: accuracy {values[0]:.4f}. 4 of 6 pairs differ by more than chance (Holm, 5%). "
        f"Not to be told from it: {found.name(1)}."
    )
    assert found.name(0) == f"max_length 64, truncation {found.variants[0].settings['tokens.truncation']}"


def test_trials_that_agree_in_what_is_asked_are_one_variant(places: Places) -> None:
    found = compare_variants(["grid", "again"], ["tokens"], places=places)
    assert [len(one.trials) for one in found.variants] == [2, 2, 2, 2]
    assert {pair.difference.test for pair in found.pairs} == {"bootstrap"}
    assert sorted(name.partition("/")[0] for name in found.variants[0].trials) == ["again", "grid"]
    mixed = compare_variants(["grid", "again"], ["tokens.truncation"], places=places)
    assert (mixed.beside, mixed.matched) == (("tokens.max_length",), False)  # two seeds at each length
    assert mixed.caution() == "the trials differ in tokens.max_length as well, so a difference may come from there"


def test_trials_of_a_grid_are_compared_at_equal_values_of_what_nobody_asks_about(places: Places) -> None:
    one = compare_variants(["grid"], ["tokens.truncation"], places=places)
    assert [variant.probabilities.shape for variant in one.variants] == [(2, ROWS, 2), (2, ROWS, 2)]
    assert (one.beside, one.matched, one.caution()) == (("tokens.max_length",), True, None)
    assert len({variant.otherwise for variant in one.variants}) == 1
    (pair,) = one.pairs
    right = [(variant.probabilities.argmax(axis=2) == LABELS).mean(axis=0) for variant in one.variants]
    assert pair.difference.difference == pytest.approx((right[1] - right[0]).mean())
    half = 1.96 * (right[1] - right[0]).std() / ROWS**0.5  # of a mean of independent rows
    assert (pair.difference.high - pair.difference.low) / 2 == pytest.approx(half, rel=0.1)
    assert one.verdict().startswith("No difference that these rows could show in 1 pair; the best is truncation ")
    longer = compare_variants(["grid"], ["tokens.max_length"], places=places)
    assert longer.verdict().startswith("The best is max_length 64: accuracy ")
    shown = hpo(places, "compare", "grid", "--by", "tokens.max_length").stdout
    assert "scores are means over the same values of tokens.truncation" in " ".join(shown.split())


def test_json_and_tables_say_the_same(places: Places, tmp_path: Path) -> None:
    done = hpo(places, "compare", "grid", "--by", "tokens", "--json", "--picture", str(tmp_path / "pairs.svg"))
    assert done.exit_code == 0, done.output
    shown = json.loads(done.stdout)
    assert (tmp_path / "pairs.svg").read_text().startswith("<?xml")
    assert (shown["by"], shown["also_differ"]) == (["tokens.max_length", "tokens.truncation"], [])
    assert len(shown["variants"]) == 4
    assert [pair["differs"] for pair in shown["pairs"]].count(True) == 4
    first = shown["pairs"][0]
    assert first["difference"] == pytest.approx(first["b"] - first["a"])
    table = hpo(places, "compare", "grid", "--by", "tokens").stdout
    for text in ("400 rows, select split; grid by tokens.max_length, tokens.truncation", shown["verdict"][:40]):
        assert text in table
    assert "Caution" not in table


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (
            ["grid"],
            ConfigError,
            "compare two models, A and B; or a study's trials by their settings: STUDY --by tokens",
        ),
        (
            ["grid/0", "grid/1", "--picture", "x.png"],
            ConfigError,
            "or a study's trials by their settings: STUDY --by tokens",
        ),
        (["grid", "--by", "lora"], DataError, "all complete trials are the same in what --by names"),
        (["grids", "--by", "tokens"], ConfigError, "there is no study 'grids'; did you mean grid?"),
        (
            ["grid", "--by", "tokens", "--picture", "x.gif"],
            ConfigError,
            "--picture x.gif: name a file that ends in .png or .svg",
        ),
        (["grid", "--by", "tokens", "--picture", "no/x.png"], ConfigError, "no/x.png: its directory does not exist"),
    ],
    ids=str,
)
def test_what_cannot_be_compared_is_refused(
    places: Places, words: list[str], error: type[Exception], message: str
) -> None:
    done = hpo(places, "compare", *words)
    assert type(done.exception) is error
    assert message in str(done.exception)


def test_studies_of_other_rows_are_refused(places: Places) -> None:
    file = places.trial("again", 0) / "artifacts" / "predictions.parquet"
    before = file.read_bytes()
    write_parquet(predictions(1.0, 1, rows="others"), file)
    try:
        with pytest.raises(DataError, match=r"grid/0 and again/0 were scored on different rows"):
            compare_variants(["grid", "again"], ["tokens"], places=places)
    finally:
        file.write_bytes(before)


def test_more_variants_than_can_be_told_apart_are_refused(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpo.contrasts.variants.MOST", 3)
    with pytest.raises(DataError, match=r"^4 variants are too many to tell apart \(3 at most\); let --by name fewer"):
        compare_variants(["grid"], ["tokens"], places=places)


def test_a_trial_from_before_a_setting_existed_had_its_default(places: Places) -> None:
    file = places.trial("grid", 0) / "trial.json"
    record: dict[str, Any] = read_json(file)
    params = {address: value for address, value in record["params"].items() if address != "tokens.normalize"}
    write_json(file, record | {"params": params})
    assert compare_variants(["grid"], ["tokens"], places=places).by == ("tokens.max_length", "tokens.truncation")
