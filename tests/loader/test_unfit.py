"""Files that are as they were sealed and still make no model."""

import json
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipelines.config import ModelConfig, TokensConfig
from pipelines.errors import ModelError
from pipelines.export import ModelFacts, read_facts, seal
from pipelines.loader import open_model, verify
from pipelines.models import load_pretrained

from .sealed import LABELS, TEXTS, edit, edit_sealed, export, zip_bomb


def test_order_in_which_the_configuration_lists_its_labels_does_not_matter(model: Path) -> None:
    edit_sealed("config.json", id2label={"1": "positive", "0": "negative"})(model)
    assert open_model(model).labels == LABELS


def test_more_labels_than_ten_are_in_the_order_of_their_numbers(model: Path) -> None:
    names = tuple(f"class {number}" for number in range(12))
    edit("config.json", id2label={str(number): name for number, name in enumerate(names)})(model)
    seal(model, ModelFacts(labels=names, max_length=12, truncation="head"))
    assert verify(model)["labels"] == list(names)


def change_weights(model: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    """As someone does who can write the hashes anew."""
    weights = load_file(model / "model.safetensors")
    change(weights)
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    seal(model, read_facts(model))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_m11_weights_that_are_no_numbers_are_refused(value: float, model: Path) -> None:
    change_weights(model, lambda weights: weights["classifier.bias"].__setitem__(1, value))
    with pytest.raises(ModelError) as caught:
        open_model(model)
    assert str(caught.value) == f"{model}: the weights classifier.bias hold NaN or infinity"


def refusal(model: Path) -> str:
    """Why a model cannot be opened, in one line."""
    with pytest.raises(ModelError) as caught:
        open_model(model)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_m08_weights_of_another_number_of_classes_are_refused(model: Path) -> None:
    def widen(weights: dict[str, torch.Tensor]) -> None:
        weights["classifier.weight"] = weights["classifier.weight"].repeat(2, 1)
        weights["classifier.bias"] = weights["classifier.bias"].repeat(2)

    change_weights(model, widen)
    assert refusal(model).startswith(f"{model}: cannot be loaded (")


def test_m03_weights_that_lack_a_part_are_refused_and_not_drawn_at_random(model: Path) -> None:
    change_weights(model, lambda weights: weights.pop("classifier.weight"))
    expected = f"{model}: cannot be loaded (the weights lack classifier.weight); pull the model again"
    assert refusal(model) == expected


def test_m10_a_tokenizer_with_tokens_beyond_the_model_is_refused(model: Path) -> None:
    values = json.loads((model / "tokenizer.json").read_text())
    rows = len(values["model"]["vocab"])
    values["model"]["vocab"]["quixotic"] = rows + 5
    (model / "tokenizer.json").write_text(json.dumps(values))
    seal(model, read_facts(model))
    expected = f"the tokenizer gives tokens up to {rows + 5}, the model knows {rows}; it is another model's"
    assert refusal(model) == f"{model}: {expected}"


def test_m10_a_configuration_of_another_vocabulary_is_refused(model: Path) -> None:
    edit_sealed("config.json", vocab_size=7)(model)
    assert refusal(model).startswith(f"{model}: cannot be loaded (")


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_m12_weights_of_half_precision_are_computed_in_full_on_a_cpu(kind: torch.dtype, model: Path) -> None:
    def halve(weights: dict[str, torch.Tensor]) -> None:
        weights.update({name: tensor.to(kind) for name, tensor in weights.items()})

    expected = open_model(model).probabilities(TEXTS)
    change_weights(model, halve)
    edit_sealed("config.json", dtype=str(kind).removeprefix("torch."))(model)
    classifier = open_model(model, device="cpu")
    assert {weight.dtype for weight in classifier.model.parameters()} == {torch.float32}
    assert classifier.probabilities(TEXTS) == pytest.approx(expected, abs=0.02)


def test_m15_a_zip_bomb_in_the_place_of_the_weights_is_not_unpacked(model: Path) -> None:
    (model / "model.safetensors").write_bytes(zip_bomb())
    seal(model, read_facts(model))
    files, before = {path.name for path in model.iterdir()}, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert refusal(model).startswith(f"{model}: cannot be loaded (")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000, "kilobytes"
    assert {path.name for path in model.iterdir()} == files


def test_a_model_of_an_architecture_that_nobody_knows_is_refused_in_one_line(model: Path) -> None:
    edit_sealed("config.json", model_type="evil")(model)
    assert refusal(model).startswith(f"{model}: cannot be loaded (")


def test_a_class_may_be_called_as_a_setting_is(model: Path) -> None:
    edit("config.json", id2label={"0": "auto_map", "1": "use_kernels"}, label2id={"auto_map": 0, "use_kernels": 1})(
        model
    )
    seal(model, ModelFacts(labels=("auto_map", "use_kernels"), max_length=12, truncation="head"))
    assert open_model(model).labels == ("auto_map", "use_kernels")


def test_m14_weights_larger_than_any_model_are_not_even_read(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.loader._LARGEST", 100_000)
    monkeypatch.setattr("pipelines.loader.sha256", lambda file: pytest.fail("it was read"))
    size = (model / "model.safetensors").stat().st_size
    with pytest.raises(ModelError) as caught:
        verify(model)
    expected = f"{model}: model.safetensors: {size} bytes are more than the 100000 that it may have; nothing was loaded"
    assert str(caught.value) == expected


@pytest.mark.parametrize("name", ["hpo.json", "config.json", "tokenizer_config.json"])
def test_m14_a_file_too_large_to_be_parsed_is_not_even_read(
    name: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (model / name).open("ab") as file:
        file.truncate(65 * 2**20)  # takes no room on the disk
    monkeypatch.setattr("pipelines.loader.sha256", lambda file: pytest.fail("it was read"))
    with pytest.raises(ModelError, match=f"{name}: 68157440 bytes are more than the 67108864 that it may have"):
        verify(model)


def test_export_replaces_an_older_model_whole(model: Path, tiny_bert: Path) -> None:
    (model / "leftover.txt").write_text("of an older version")
    pretrained = load_pretrained(ModelConfig(name=str(tiny_bert)), labels=LABELS)
    export(pretrained, model, TokensConfig(max_length=12))
    verify(model)
    assert [path.name for path in model.parent.iterdir()] == ["model"]
