"""Low-rank adapters: what they learn, and what they leave behind."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pipelines import run as run_module
from pipelines.adapt import adapt, layers_of, plain
from pipelines.config import replaced
from pipelines.models import new_classifier
from pipelines.run import run
from pipelines.train import predict_logits
from pipelines.workbench import Workbench
from tests import tiny

from .bench import HEADS, PLAIN, WITHOUT_ALBERT, Bench, moved, weights


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_only_adapters_and_the_whole_head_learn(family: str, bench: Bench) -> None:
    trainee = bench.trainee(family, **{"lora.rank": 4})
    adapters = {name for name, _ in trainee.model.named_parameters() if "lora_" in name}
    head = {name for name, _ in trainee.model.named_parameters() if name.startswith(HEADS[family])}
    layers = 1 if family == "albert" else 2
    matrices = 1 if family in {"gpt2", "modernbert"} else 2
    assert len(adapters) == 2 * layers * matrices
    changed = moved(bench, trainee, family)
    assert changed == adapters | head
    assert {name for name, weight in trainee.model.named_parameters() if weight.grad is not None} == changed


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_fresh_adapters_add_nothing_and_a_step_more_than_rounding(family: str, bench: Bench) -> None:
    adapted, full = bench.trainee(family, **{"lora.rank": 4}), bench.trainee(family)
    material = bench.material(family)
    assert np.allclose(predict_logits(adapted, material), predict_logits(full, material), atol=1e-6)
    bench.train(adapted, family, 3)
    assert not np.allclose(predict_logits(adapted, material), predict_logits(full, material), atol=1e-2)


def test_fresh_adapters_are_a_function_of_the_seed(bench: Bench) -> None:
    def adapters(seed: int, drawn: int = 0) -> Tensor:
        network = new_classifier(bench.pretrained("bert"), dropout=None, seed=seed)
        torch.rand(drawn)  # whatever else was drawn before
        adapt(network, replaced(PLAIN, {"lora.rank": 4, "seed": seed}))
        return torch.cat([weight.flatten() for name, weight in weights(network).items() if "lora_A" in name])

    assert torch.equal(adapters(0), adapters(0, drawn=7))
    assert not torch.allclose(adapters(0), adapters(1))


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_merged_network_is_plain_and_says_the_same(family: str, bench: Bench) -> None:
    trainee, material = bench.trainee(family, **{"lora.rank": 4}), bench.material(family)
    bench.train(trainee, family, 3)
    expected = predict_logits(trainee, material)
    merged = plain(trainee.model)
    assert np.abs(predict_logits(trainee, material) - expected).max() < 1e-5
    assert merged.state_dict().keys() == bench.trainee(family).model.state_dict().keys()
    assert not any("peft" in type(module).__module__ for module in merged.modules())
    assert plain(merged) is merged


def test_alpha_scales_what_adapters_add_and_dropout_disturbs_it(bench: Bench) -> None:
    usual = bench.losses("bert", **{"lora.rank": 4})
    assert bench.losses("bert", **{"lora.rank": 4}) == usual
    assert bench.losses("bert", **{"lora.rank": 4, "lora.alpha": 64.0}) != usual
    assert bench.losses("bert", **{"lora.rank": 4, "lora.dropout": 0.5}) != usual


@pytest.mark.parametrize("family", WITHOUT_ALBERT)
def test_frozen_layers_get_no_adapters(family: str, bench: Bench) -> None:
    trainee = bench.trainee(family, **{"lora.rank": 4, "train.frozen_layers": 1})
    assert not any("lora_" in name for name, _ in layers_of(trainee.model)[0].named_parameters())
    changed = moved(bench, trainee, family)
    assert any("lora_" in name for name in changed)
    assert all("lora_" in name or name.startswith(HEADS[family]) for name in changed)


def test_adapters_with_all_layers_frozen_leave_the_head(bench: Bench) -> None:
    trainee = bench.trainee("bert", **{"lora.rank": 4, "train.frozen_layers": 2})
    assert {name.partition(".")[0] for name in moved(bench, trainee, "bert")} == {"bert", "classifier"}
    assert plain(trainee.model) is trainee.model


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("family", ["bert", "gpt2", "distilbert", "modernbert"])
def test_exported_model_is_plain_and_scores_as_it_was_trained(
    family: str, workbench: Workbench, tiny_checkpoints: dict[str, Path], toy_data_dir: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForSequenceClassification

    job = tiny.job(tiny_checkpoints[family], toy_data_dir, tmp_path, **{"lora.rank": 4, "train.frozen_layers": 1})
    seen: list[Any] = []
    predict = run_module.predict_logits
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "predict_logits", lambda *given, each=None: seen.append(predict(*given)) or seen[-1])
        result = run(job)
    exported, report = AutoModelForSequenceClassification.from_pretrained(
        job.directory / "model", output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert result.scores["parameters"] == sum(weight.numel() for weight in exported.parameters())
    assert 0 < result.scores["trained_parameters"] < result.scores["parameters"] / 3
    assert not any("peft" in file.read_text() for file in (job.directory / "model").glob("*.json"))
    select = next(iter((workbench._trial and [workbench._trial.select]) or []))
    ids, mask = (torch.from_numpy(part) for part in select.encoded.padded(np.arange(60), select.pad))
    with torch.no_grad():
        logits = exported.eval()(input_ids=ids, attention_mask=mask).logits.numpy()
    assert np.abs(logits - seen[1]).max() < 1e-5  # those of the last evaluation
