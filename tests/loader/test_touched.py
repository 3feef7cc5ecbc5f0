"""A directory that was touched is refused before anything of it runs."""

import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.errors import ModelError
from pipelines.export import read_facts, seal
from pipelines.hpo_classifier import Classifier
from pipelines.loader import open_model, verify
from tests.faults import shows

from .sealed import edit, edit_sealed, zip_bomb


class Traitor:
    """Runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self._mark),)


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


def test_missing_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no model of ours \(hpo.json is missing\)"):
        verify(tmp_path / "absent")
