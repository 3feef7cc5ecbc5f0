"""Exported models answer as the trained ones; a directory that was touched is refused before anything in it runs."""

import ast
import hashlib
import io
import json
import os
import pickle
import resource
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from pipelines import hpo_classifier
from pipelines.config import ModelConfig, TokensConfig
from pipelines.errors import ModelError
from pipelines.export import ModelFacts, export_model, read_facts, seal
from pipelines.hpo_classifier import Classifier
from pipelines.loader import open_model, verify
from pipelines.models import Pretrained, load_pretrained, new_classifier
from pipelines.predictions import softmax
from pipelines.tokens import encode
from tests import tiny
from tests.faults import shows

LABELS = ("negative", "positive")
LONG = "the film was boring, on a rainy sunday, for the price of a ticket, as my brother said, wonderful"
TEXTS = ["the film was wonderful", "", LONG, "awful", "🙂 moving", "the plot was bland, " * 30]


def export(pretrained: Pretrained, directory: Path, tokens: TokensConfig) -> torch.nn.Module:
    """An untrained classifier, written as a trial writes it; returns it."""
    network = new_classifier(pretrained, dropout=None, seed=1).eval()
    export_model(network, pretrained.tokenizer, directory, labels=LABELS, tokens=tokens)
    return network


@torch.inference_mode()
def trained_probabilities(network: Any, pretrained: Pretrained, tokens: TokensConfig) -> Any:
    """What the model in memory says about each text alone, encoded as for training."""
    encoded = encode(TEXTS, pretrained.tokenizer, tokens)
    logits = []
    for row in range(len(TEXTS)):
        ids, mask = encoded.padded(np.array([row]), pretrained.tokenizer.pad_token_id)
        logits.append(network(torch.from_numpy(ids), attention_mask=torch.from_numpy(mask)).logits[0].numpy())
    return softmax(np.stack(logits))


@pytest.mark.parametrize("truncation", ["head", "tail"])
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_exported_model_answers_as_the_one_in_memory(
    family: str, truncation: Any, tiny_checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    from transformers import pipeline

    pretrained = load_pretrained(ModelConfig(name=str(tiny_checkpoints[family])), labels=LABELS)
    tokens = TokensConfig(max_length=12, truncation=truncation)
    network = export(pretrained, tmp_path / "model", tokens)
    expected = trained_probabilities(network, pretrained, tokens)
    assert float(np.ptp(expected[:, 1])) > 0.02  # texts differ, so equality means something

    classifier = open_model(tmp_path / "model")
    assert classifier.labels == LABELS
    assert classifier.probabilities(TEXTS) == pytest.approx(expected, abs=1e-5)

    answers = pipeline("text-classification", model=str(tmp_path / "model"), device="cpu")(
        [text for text in TEXTS if text], truncation=True
    )
    rows = [row for row, text in enumerate(TEXTS) if text]
    assert [answer["label"] for answer in answers] == [LABELS[expected[row].argmax()] for row in rows]
    assert [answer["score"] for answer in answers] == pytest.approx(expected[rows].max(axis=1), abs=1e-5)


@pytest.fixture(scope="module")
def sealed(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pretrained = load_pretrained(ModelConfig(name=str(tiny_bert)), labels=LABELS)
    directory = tmp_path_factory.mktemp("exported") / "model"
    export(pretrained, directory, TokensConfig(max_length=12))
    return directory


@pytest.fixture
def model(sealed: Path, tmp_path: Path) -> Path:
    """A sound exported model of one's own."""
    shutil.copytree(sealed, tmp_path / "model")
    return tmp_path / "model"


def test_sound_model_is_verified_and_its_facts_are_read(model: Path) -> None:
    facts = verify(model)
    assert facts["labels"] == list(LABELS)
    assert set(facts["files"]) == {path.name for path in model.iterdir()} - {"hpo.json"}
    assert read_facts(model) == ModelFacts(labels=LABELS, max_length=12, truncation="head", schema=1)


def test_answers_do_not_depend_on_the_company(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = open_model(model)
    together = classifier.probabilities(TEXTS)
    assert together.sum(axis=1) == pytest.approx(np.ones(len(TEXTS)))
    assert np.concatenate([classifier.probabilities([text]) for text in TEXTS]) == pytest.approx(together, abs=1e-6)
    monkeypatch.setattr(Classifier, "batch_tokens", 1)
    assert classifier.probabilities(TEXTS) == pytest.approx(together, abs=1e-6)
    assert classifier.probabilities([]).shape == (0, 2)


def test_batches_hold_all_rows_within_the_limit() -> None:
    lengths = [3, 9, 1, 40, 9, 5, 5, 2]
    batches = hpo_classifier._batches(lengths, 20)
    assert sorted(row for batch in batches for row in batch) == list(range(8))
    assert all(len(batch) * max(lengths[row] for row in batch) <= 20 or len(batch) == 1 for batch in batches)
    assert [len(batch) for batch in batches] == [4, 2, 1, 1]


def test_classifier_stands_alone() -> None:
    tree = ast.parse(Path(hpo_classifier.__file__).read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "." for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {name for name in imported if name.partition(".")[0] in {"pipelines", "hpo", ""}}


# --- directories that were touched


class Traitor:
    """Runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self._mark),)


def edit(name: str, **changes: Any) -> Callable[[Path], None]:
    def edited(model: Path) -> None:
        values = json.loads((model / name).read_text())
        (model / name).write_text(json.dumps(values | changes))

    return edited


def edit_sealed(name: str, **changes: Any) -> Callable[[Path], None]:
    """As someone does who can write the hashes anew."""

    def edited(model: Path) -> None:
        edit(name, **changes)(model)
        seal(model, read_facts(model))

    return edited


def flip(model: Path) -> None:
    content = bytearray((model / "model.safetensors").read_bytes())
    content[-1000] ^= 1
    (model / "model.safetensors").write_bytes(content)


def link(model: Path) -> None:
    shutil.copy(model / "config.json", model.parent / "config.json")
    (model / "config.json").unlink()
    (model / "config.json").symlink_to(model.parent / "config.json")


def sealed_file(name: str, content: str) -> Callable[[Path], None]:
    def added(model: Path) -> None:
        (model / name).write_text(content)
        seal(model, read_facts(model))

    return added


def edit_facts(change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def edited(model: Path) -> None:
        (model.parent / "other.json").write_text("{}")
        facts = json.loads((model / "hpo.json").read_text())
        change(facts)
        (model / "hpo.json").write_text(json.dumps(facts))

    return edited


def zip_bomb() -> bytes:
    """Two hundred megabytes of zeros in less than one; never in memory as a whole."""
    packed = io.BytesIO()
    with (
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("model.safetensors", "w") as member,
    ):
        for _ in range(200):
            member.write(bytes(2**20))
    return packed.getvalue()


EMPTY = hashlib.sha256(b"{}").hexdigest()
RUNS = "__import__('os').mkdir({mark!r})"

DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "not one of ours": (
        lambda model: (model / "hpo.json").unlink(),
        "{model}: no model of ours (hpo.json is missing)",
    ),
    "M03 missing weights": (
        lambda model: (model / "model.safetensors").unlink(),
        "{model}/model.safetensors: missing; pull the model again",
    ),
    "M03 missing tokenizer": (
        lambda model: (model / "tokenizer.json").unlink(),
        "{model}/tokenizer.json: missing; pull the model again",
    ),
    "M04 truncated weights": (
        lambda model: os.truncate(model / "model.safetensors", 1000),
        "{model}/model.safetensors: damaged (its content is not what was written); pull the model again",
    ),
    "M05 flipped bit": (
        flip,
        "{model}/model.safetensors: damaged (its content is not what was written); pull the model again",
    ),
    "M10 other vocabulary": (
        edit("tokenizer.json", version="2.0"),
        "{model}/tokenizer.json: damaged (its content is not what was written); pull the model again",
    ),
    "torn facts": (
        lambda model: os.truncate(model / "hpo.json", 60),
        "{model}/hpo.json: damaged (Expecting value: ",
    ),
    "facts that are a list": (
        lambda model: (model / "hpo.json").write_text("[]"),
        "{model}/hpo.json: damaged (no JSON object); pull the model again",
    ),
    "facts without hashes": (
        lambda model: (model / "hpo.json").write_text('{"schema": 1, "labels": []}'),
        "{model}/hpo.json: damaged (files or labels are missing); pull the model again",
    ),
    "M07 facts that lead out of the directory": (
        edit_facts(lambda facts: facts["files"].update({"../other.json": {"bytes": 2, "sha256": EMPTY}})),
        "{model}: ../other.json does not belong into a model; nothing was loaded",
    ),
    "facts with half a hash": (
        edit_facts(lambda facts: facts["files"]["config.json"].pop("sha256")),
        "{model}/hpo.json: damaged (no size and hash of config.json); pull the model again",
    ),
    "facts without a length": (
        edit("hpo.json", max_length=None),
        "{model}/hpo.json: damaged (max_length None, truncation head); pull the model again",
    ),
    "facts of another truncation": (
        edit("hpo.json", truncation="middle"),
        "{model}/hpo.json: damaged (max_length 12, truncation middle); pull the model again",
    ),
    "facts of another lower-casing": (
        edit("hpo.json", lowercase="yes"),
        "{model}/hpo.json: damaged (lowercase yes, normalize none); pull the model again",
    ),
    "facts of another normalization": (
        edit("hpo.json", normalize="nfd"),
        "{model}/hpo.json: damaged (lowercase False, normalize nfd); pull the model again",
    ),
    "thresholds of another number of classes": (
        edit("hpo.json", calibration={"thresholds": [0.2, 0.3, 0.5]}),
        "{model}/hpo.json: damaged (thresholds [0.2, 0.3, 0.5]); pull the model again",
    ),
    "thresholds that are no numbers": (
        edit("hpo.json", calibration={"thresholds": [0.5, "half"]}),
        "{model}/hpo.json: damaged (thresholds [0.5, 'half']); pull the model again",
    ),
    "a threshold of zero": (
        edit("hpo.json", calibration={"thresholds": [1, 0]}),
        "{model}/hpo.json: damaged (thresholds [1, 0]); pull the model again",
    ),
    "brackets without end": (
        lambda model: (model / "hpo.json").write_text("[" * 100_000),
        "{model}/hpo.json: damaged (",
    ),
    "M13 newer schema": (
        edit("hpo.json", schema=3),
        "{model}: written by a newer version (schema 3); update hpo-finetune",
    ),
    "M06 module beside it": (
        lambda model: (model / "evil.py").write_text(RUNS.format(mark=str(model.parent / "ran"))),
        "{model}: evil.py does not belong into a model; nothing was loaded",
    ),
    "M06 module with a hash": (
        sealed_file("modeling.py", "raise SystemExit"),
        "{model}: modeling.py does not belong into a model; nothing was loaded",
    ),
    "M06 pickle": (
        lambda model: (model / "extra.pkl").write_bytes(pickle.dumps(Traitor(model.parent / "ran"))),
        "{model}: extra.pkl does not belong into a model; nothing was loaded",
    ),
    "M06 pickled weights": (
        lambda model: torch.save(Traitor(model.parent / "ran"), model / "pytorch_model.bin"),
        "{model}: pytorch_model.bin does not belong into a model; nothing was loaded",
    ),
    "M06 adapter": (
        lambda model: (model / "adapter_config.json").write_text("{}"),
        "{model}: adapter_config.json does not belong into a model; nothing was loaded",
    ),
    "known name, no hash": (
        lambda model: (model / "added_tokens.json").write_text("{}"),
        "{model}: added_tokens.json was added after the model was written; nothing was loaded",
    ),
    "M07 symlink": (link, "{model}: config.json does not belong into a model; nothing was loaded"),
    "M07 sub-directory": (
        lambda model: (model / "onnx").mkdir(),
        "{model}: onnx does not belong into a model; nothing was loaded",
    ),
    "M07 known name in a sub-directory": (
        lambda model: ((model / "a").mkdir(), (model / "a" / "config.json").write_text("{}")),
        "{model}: a does not belong into a model; nothing was loaded",
    ),
    "M06 auto_map in the configuration": (
        edit_sealed("config.json", auto_map={"AutoModelForSequenceClassification": "evil.Model"}),
        "{model}: its configuration wants to run code (auto_map); nothing was loaded",
    ),
    "M06 auto_map in the tokenizer": (
        edit_sealed("tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Tokenizer", None]}),
        "{model}: its configuration wants to run code (auto_map); nothing was loaded",
    ),
    "M06 auto_map in a nested configuration": (
        edit_sealed("config.json", text_config={"layers": [{"auto_map": {"AutoModel": "evil.Model"}}]}),
        "{model}: its configuration wants to run code (auto_map); nothing was loaded",
    ),
    "M06 pipeline of its own": (
        edit_sealed("config.json", custom_pipelines={"text-classification": {"impl": "evil.Pipeline"}}),
        "{model}: its configuration wants to run code (custom_pipelines); nothing was loaded",
    ),
    "M06 packed weights that another library opens": (
        edit_sealed("config.json", quantization_config={"quant_method": "fp8"}),
        "{model}: its configuration wants to run code (quantization_config); nothing was loaded",
    ),
    "M06 weights of another file": (
        edit_sealed("config.json", transformers_weights="adapter.safetensors"),
        "{model}: its configuration wants to run code (transformers_weights); nothing was loaded",
    ),
    "M15 zip bomb": (
        lambda model: (model / "model.zip").write_bytes(zip_bomb()),
        "{model}: model.zip does not belong into a model; nothing was loaded",
    ),
    "M06 kernel from the hub": (
        edit_sealed("config.json", attn_implementation="acme/kernel"),
        "{model}: its configuration wants to run code (attn_implementation); nothing was loaded",
    ),
    "M09 labels in another order": (
        edit("hpo.json", labels=["positive", "negative"]),
        "{model}: config.json names the classes ['negative', 'positive'], hpo.json ['positive', 'negative']",
    ),
    "M09 labels numbered in another order": (
        edit_sealed("config.json", id2label={"1": "negative", "0": "positive"}),
        "{model}: config.json names the classes ['positive', 'negative'], hpo.json ['negative', 'positive']",
    ),
    "M08 another number of labels": (
        edit_sealed("config.json", id2label={"0": "negative", "1": "positive", "2": "neutral"}),
        "{model}: config.json names the classes ['negative', 'positive', 'neutral'], hpo.json ['negative', 'positive']",
    ),
    "M08 labels that are not numbered": (
        edit_sealed("config.json", id2label={"first": "negative"}),
        "{model}: config.json names the classes [], hpo.json ['negative', 'positive']",
    ),
    "M03 no configuration": (
        lambda model: ((model / "config.json").unlink(), seal(model, read_facts(model))),
        "{model}/config.json: missing; pull the model again",
    ),
}


@shows("damaged file", "I")
@pytest.mark.parametrize("damage", DAMAGES)
def test_touched_model_is_refused_before_anything_runs(
    damage: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change, expected = DAMAGES[damage]
    change(model)
    monkeypatch.syspath_prepend(str(model))
    monkeypatch.setattr(Classifier, "__init__", lambda *_, **__: pytest.fail("it was loaded"))
    with pytest.raises(ModelError) as caught:
        open_model(model)
    assert str(caught.value).startswith(expected.format(model=model))
    assert "\n" not in str(caught.value)
    assert not (model.parent / "ran").exists()


def test_traps_of_these_tests_would_snap(tmp_path: Path) -> None:
    exec(RUNS.format(mark=str(tmp_path / "by code")))
    pickle.loads(pickle.dumps(Traitor(tmp_path / "by pickle")))
    assert {path.name for path in tmp_path.iterdir()} == {"by code", "by pickle"}


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


def test_missing_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no model of ours \(hpo.json is missing\)"):
        verify(tmp_path / "absent")


def test_export_replaces_an_older_model_whole(model: Path, tiny_bert: Path) -> None:
    (model / "leftover.txt").write_text("of an older version")
    pretrained = load_pretrained(ModelConfig(name=str(tiny_bert)), labels=LABELS)
    export(pretrained, model, TokensConfig(max_length=12))
    verify(model)
    assert [path.name for path in model.parent.iterdir()] == ["model"]
