"""Adapters, frozen parts, rates by layer, gradient checkpointing: what is trained, and what stays as it was."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipelines import run as run_module
from pipelines.adapt import adapt, check, layers_of, plain, rate_scales, train_mode
from pipelines.config import ModelConfig, RunConfig, TrainConfig, replaced
from pipelines.data import Dataset
from pipelines.errors import ModelError
from pipelines.families import ANATOMIES
from pipelines.models import Pretrained, load_pretrained, new_classifier
from pipelines.run import run, warm_up
from pipelines.segment import Unwatched, WarmUpJob
from pipelines.tokens import encode
from pipelines.train import Material, Trainee, new_trainee, predict_logits, train_steps
from pipelines.workbench import Workbench
from tests import tiny

PLAIN = RunConfig(
    train=TrainConfig(batch_size=24, learning_rate=1e-2, precision="fp32", epochs=2.0, warmup_ratio=0.0),
    model=ModelConfig(dropout=0.0),
)
HEADS = {
    "bert": ("bert.pooler.", "classifier."),
    "roberta": ("classifier.",),
    "gpt2": ("score.",),
    "distilbert": ("pre_classifier.", "classifier."),
    "electra": ("classifier.",),
    "albert": ("albert.pooler.", "classifier."),
    "deberta": ("pooler.", "classifier."),
    "modernbert": ("head.", "classifier."),
}
WITHOUT_ALBERT = [family for family in tiny.FAMILIES if family != "albert"]


class Bench:
    """Loads each tiny checkpoint once, and starts trainees of it."""

    def __init__(self, checkpoints: dict[str, Path], dataset: Dataset) -> None:
        self._checkpoints, self._split = checkpoints, dataset.splits["train"]
        self._loaded: dict[str, Pretrained] = {}

    def pretrained(self, family: str) -> Pretrained:
        if family not in self._loaded:
            model = ModelConfig(name=str(self._checkpoints[family]))
            self._loaded[family] = load_pretrained(model, labels=("negative", "positive"))
        return self._loaded[family]

    def material(self, family: str) -> Material:
        tokenizer = self.pretrained(family).tokenizer
        return Material(encode(self._split.texts, tokenizer, PLAIN.tokens), self._split.labels, tokenizer.pad_token_id)

    def network(self, family: str, config: RunConfig) -> nn.Module:
        fresh = new_classifier(self.pretrained(family), dropout=config.model.dropout, seed=config.seed)
        return adapt(fresh, config)

    def trainee(self, family: str, **changes: Any) -> Trainee:
        config = replaced(PLAIN, changes)
        return new_trainee(config, self.network(family, config), self._split.labels, classes=2)

    def losses(self, family: str, steps: int = 4, **changes: Any) -> list[float]:
        return self.train(self.trainee(family, **changes), family, steps)

    def train(self, trainee: Trainee, family: str, steps: int) -> list[float]:
        logs = train_steps(trainee, self.material(family), until=trainee.step + steps)
        return [log.loss.item() for log in logs]


@pytest.fixture(scope="module")
def bench(tiny_checkpoints: dict[str, Path], toy_dataset: Dataset) -> Bench:
    return Bench(tiny_checkpoints, toy_dataset)


def weights(network: nn.Module) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in network.named_parameters()}


def moved(bench: Bench, trainee: Trainee, family: str) -> set[str]:
    """Names of the weights that some steps change."""
    before = weights(trainee.model)
    bench.train(trainee, family, 3)
    return {name for name, weight in weights(trainee.model).items() if not torch.equal(weight, before[name])}


# --- adapters


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


# --- frozen parts


@pytest.mark.parametrize("family", WITHOUT_ALBERT)
def test_frozen_layers_stay_and_all_above_learns(family: str, bench: Bench) -> None:
    trainee = bench.trainee(family, **{"train.frozen_layers": 1})
    parts = ANATOMIES[trainee.model.config.model_type]
    below = (*(f"{name}." for name in parts.embeddings), f"{parts.layers}.0.")
    frozen = {name for name, _ in trainee.model.named_parameters() if name.startswith(below)}
    changed = moved(bench, trainee, family)
    assert len(frozen) > 3
    assert changed == {name for name, _ in trainee.model.named_parameters()} - frozen


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_frozen_embeddings_stay_and_the_layers_learn(family: str, bench: Bench) -> None:
    trainee = bench.trainee(family, **{"train.freeze_embeddings": True})
    parts = ANATOMIES[trainee.model.config.model_type]
    frozen = {
        name
        for name, _ in trainee.model.named_parameters()
        if name.startswith(tuple(f"{part}." for part in parts.embeddings))
    }
    word = trainee.model.get_input_embeddings().weight
    assert any(weight is word for name, weight in trainee.model.named_parameters() if name in frozen)
    assert moved(bench, trainee, family) == {name for name, _ in trainee.model.named_parameters()} - frozen


@pytest.mark.parametrize("family", WITHOUT_ALBERT)
def test_frozen_layers_run_without_dropout_and_the_others_with_it(family: str, bench: Bench) -> None:
    network = bench.network(family, replaced(PLAIN, {"train.frozen_layers": 1, "model.dropout": 0.5}))
    train_mode(network, replaced(PLAIN, {"train.frozen_layers": 1}))
    first, second = ([] for _ in range(2))  # type: ignore[var-annotated]
    for layer, outputs in zip(layers_of(network), (first, second), strict=True):
        layer.register_forward_hook(
            lambda module, given, out, outputs=outputs: outputs.append(out[0] if isinstance(out, tuple) else out)
        )
    ids, mask = (torch.from_numpy(part) for part in bench.material(family).encoded.padded(np.arange(8), 0))
    for _ in range(2):
        network(input_ids=ids, attention_mask=mask)
    assert torch.equal(*first)
    assert not torch.allclose(*second)


# --- rates by layer


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_rates_decay_from_the_head_to_the_embeddings(family: str, bench: Bench) -> None:
    network = bench.trainee(family).model
    parts, scales = ANATOMIES[network.config.model_type], rate_scales(network, 0.5)
    layers = 1 if family == "albert" else 2
    expected = {f"{name}.": 0.5 ** (layers + 1) for name in parts.embeddings}
    expected |= {f"{parts.layers}.{index}.": 0.5 ** (layers - index) for index in range(layers)}
    expected |= dict.fromkeys(HEADS[family], 1.0)
    for start, scale in expected.items():
        own = {own for name, own in scales.items() if name.startswith(start)}
        assert own <= {scale}, start
    assert set(scales.values()) == {0.5**depth for depth in range(layers + 2)}
    assert set(rate_scales(network, 1.0).values()) == {1.0}


def test_each_group_steps_at_its_own_rate_and_the_head_at_the_full_one(bench: Bench) -> None:
    trainee = bench.trainee("bert", **{"train.layer_decay": 0.5})
    scales = rate_scales(trainee.model, 0.5)
    log = next(train_steps(trainee, bench.material("bert"), until=1))
    assert log.learning_rate == 1e-2
    rates = {id(w): group["lr"] for group in trainee.optimizer.param_groups for w in group["params"]}
    for name, weight in trainee.model.named_parameters():
        assert rates[id(weight)] == 1e-2 * scales[name], name


def test_no_decay_is_one_group_of_matrices_and_one_of_vectors(bench: Bench) -> None:
    groups = bench.trainee("bert").optimizer.param_groups
    assert [{weight.ndim for weight in group["params"]} for group in groups] == [{2}, {1}]
    assert [group["weight_decay"] for group in groups] == [0.01, 0.0]


# --- gradient checkpointing


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("family", WITHOUT_ALBERT)
def test_checkpointed_gradients_are_the_same(family: str, dropout: float, bench: Bench) -> None:
    plainly = bench.losses(family, **{"model.dropout": dropout})
    again = bench.losses(family, **{"model.dropout": dropout, "train.gradient_checkpointing": True})
    assert again == pytest.approx(plainly, abs=1e-6)


def remembered(bench: Bench, **changes: Any) -> int:
    """Bytes that one forward pass keeps for the way back."""
    trainee, total = bench.trainee("bert", **changes), [0]
    ids, mask = (torch.from_numpy(part) for part in bench.material("bert").encoded.padded(np.arange(24), 0))
    train_mode(trainee.model, trainee.config)

    def pack(tensor: Tensor) -> Tensor:
        total[0] += tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        trainee.model(input_ids=ids, attention_mask=mask)
    return total[0]


def test_checkpointed_layers_remember_less(bench: Bench) -> None:
    assert remembered(bench, **{"train.gradient_checkpointing": True}) < remembered(bench) / 2


# --- what cannot be done


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("bert", {"train.frozen_layers": 3}, "train.frozen_layers: 3 is more than the 2 layers of model {name!r}"),
        ("gpt2", {"train.frozen_layers": 7}, "train.frozen_layers: 7 is more than the 2 layers of model {name!r}"),
        (
            "albert",
            {"train.frozen_layers": 1},
            "train.frozen_layers: the layers of model {name!r} share their weights, so none can be frozen alone; set "
            "train.frozen_layers=0",
        ),
        (
            "albert",
            {"train.gradient_checkpointing": True},
            "train.gradient_checkpointing: the architecture of model {name!r} (albert) cannot do it; set "
            "train.gradient_checkpointing=false",
        ),
    ],
)
def test_what_a_model_cannot_do_is_refused_on_warm_up(
    family: str,
    changes: dict[str, Any],
    message: str,
    workbench: Workbench,
    tiny_checkpoints: dict[str, Path],
    toy_data_dir: Path,
    tmp_path: Path,
) -> None:
    job = tiny.job(tiny_checkpoints[family], toy_data_dir, tmp_path, **changes)
    with pytest.raises(ModelError) as caught:
        warm_up(WarmUpJob((job.config,), toy_data_dir, job.cache), watch=Unwatched())
    assert str(caught.value) == message.format(name=str(tiny_checkpoints[family]))


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"lora.rank": 8}, "lora.rank=0"),
        ({"train.frozen_layers": 1}, "train.frozen_layers=0"),
        ({"train.freeze_embeddings": True}, "train.freeze_embeddings=false"),
        ({"train.layer_decay": 0.9}, "train.layer_decay=1.0"),
    ],
)
def test_unknown_architecture_is_refused_with_the_remedy(changes: dict[str, Any], remedy: str) -> None:
    from transformers import XLNetConfig

    config = replaced(PLAIN, {"model.name": "acme/xl", **changes})
    with pytest.raises(ModelError) as caught:
        check(XLNetConfig(), config)
    address = remedy.partition("=")[0]
    assert str(caught.value) == (
        f"{address}: the parts of model 'acme/xl' are not known (its architecture is 'xlnet'); set {remedy}"
    )
    check(XLNetConfig(), PLAIN)


@pytest.mark.parametrize("model_type", ANATOMIES)
def test_every_known_architecture_has_the_parts_that_are_named(model_type: str) -> None:
    from transformers import AutoConfig, AutoModelForSequenceClassification

    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 40}
    config = AutoConfig.for_model(model_type, **small, intermediate_size=16, pad_token_id=0)
    network = AutoModelForSequenceClassification.from_config(config)
    adapt(network, replaced(PLAIN, {"lora.rank": 2, "train.freeze_embeddings": True}))
    open_ = [name for name, weight in network.named_parameters() if weight.requires_grad]
    assert any("lora_A" in name for name in open_)
    assert all("lora_" in name or name.startswith(tuple(ANATOMIES[model_type].head)) for name in open_)


def test_hub_checkpoint_in_memory_is_never_changed(bench: Bench) -> None:
    before = {name: weight.clone() for name, weight in bench.pretrained("bert").weights.items()}
    trainee = bench.trainee("bert", **{"lora.rank": 4})
    bench.train(trainee, "bert", 3)
    plain(trainee.model)
    assert all(torch.equal(weight, before[name]) for name, weight in bench.pretrained("bert").weights.items())
