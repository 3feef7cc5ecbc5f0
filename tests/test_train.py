"""The training loop: what was sampled arrives in it, and its numbers are those of a plain loop."""

import math
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipelines import run as run_module
from pipelines.batches import epoch_batches, evaluation_steps, total_steps
from pipelines.config import ModelConfig, RunConfig, TrainConfig, flatten, replaced
from pipelines.data import Dataset, save_dataset
from pipelines.errors import ConfigError
from pipelines.journal import read_journal
from pipelines.models import Pretrained, load_pretrained, new_classifier
from pipelines.run import run
from pipelines.segment import SegmentJob
from pipelines.tokens import encode
from pipelines.train import (
    Material,
    StepLog,
    Trainee,
    forward,
    loss_weights,
    new_trainee,
    predict_logits,
    rate_factor,
    train_steps,
)
from pipelines.workbench import Trial, Workbench
from tests import tiny

PLAIN = RunConfig(train=TrainConfig(batch_size=24, learning_rate=1e-3, precision="fp32", epochs=2.0))
CPU = torch.device("cpu")

PROVEN: set[str] = set()
"""Addresses that a test below proves to arrive."""

Test = Callable[..., None]


def arrives(*addresses: str) -> Callable[[Test], Test]:
    """Marks a test as the proof that what stands at these addresses reaches the training."""

    def mark(test: Test) -> Test:
        PROVEN.update(addresses)
        return test

    return mark


@pytest.fixture(scope="module")
def bert(tiny_bert: Path) -> Pretrained:
    return load_pretrained(ModelConfig(name=str(tiny_bert)), labels=("negative", "positive"))


@pytest.fixture(scope="module")
def material(toy_dataset: Dataset, bert: Pretrained) -> Material:
    split = toy_dataset.splits["train"]
    encoded = encode(split.texts, bert.tokenizer, PLAIN.tokens)
    return Material(encoded, split.labels, bert.tokenizer.pad_token_id)


@pytest.fixture(scope="module")
def uneven(material: Material) -> Material:
    """The same rows with labels of which one in five is positive."""
    return replace(material, labels=(np.arange(len(material.labels)) % 5 == 0).astype(np.int64))


def start(config: RunConfig, bert: Pretrained, material: Material) -> Trainee:
    """A fresh trainee; dropout is off unless the configuration switches it on."""
    network = new_classifier(bert, dropout=config.model.dropout or 0.0, seed=config.seed)
    return new_trainee(config, network, material.labels, classes=2)


def train(trainee: Trainee, material: Material, steps: int) -> list[StepLog]:
    return list(train_steps(trainee, material, until=trainee.step + steps))


def losses(trainee: Trainee, material: Material, steps: int) -> list[float]:
    return [log.loss.item() for log in train(trainee, material, steps)]


def changed(**values: Any) -> RunConfig:
    """The plain configuration with other training settings."""
    return replaced(PLAIN, {f"train.{name}": value for name, value in values.items()})


def passes(trainee: Trainee) -> list[int]:
    """Gets the number of rows of every forward pass from now on."""
    sizes: list[int] = []

    def note(module: nn.Module, arguments: Any, options: dict[str, Tensor]) -> None:
        sizes.append(len(options["input_ids"]))

    trainee.model.register_forward_pre_hook(note, with_kwargs=True)
    return sizes


def inputs(material: Material, rows: Any) -> dict[str, Tensor]:
    ids, mask = material.encoded.padded(rows, material.pad)
    return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}


def batches(config: RunConfig, material: Material) -> Iterator[Any]:
    """The rows of step after step."""
    for epoch in range(1000):
        yield from epoch_batches(material.encoded.lengths, config.train.batch_size, seed=config.seed, epoch=epoch)


# --- what was sampled arrives


def adamw_by_hand(config: RunConfig, bert: Pretrained, material: Material, steps: int) -> dict[str, Tensor]:
    """The weights after some steps of AdamW as its paper writes it, with the linear schedule and no dropout."""
    settings = config.train
    network = new_classifier(bert, dropout=0.0, seed=config.seed)
    weights = dict(network.named_parameters())
    first = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    second = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    total = total_steps(len(material.labels), settings)
    for step, rows in zip(range(steps), batches(config, material), strict=False):
        network.zero_grad()
        labels = torch.from_numpy(material.labels[rows])
        functional.cross_entropy(network(**inputs(material, rows)).logits, labels).backward()
        norm = torch.sqrt(sum(weight.grad.square().sum() for weight in weights.values()))
        shrink = min(1.0, (settings.max_grad_norm or torch.inf) / float(norm))
        warmup = round(settings.warmup_ratio * total)
        rate = settings.learning_rate * min(step / warmup if warmup else 1.0, (total - step) / (total - warmup))
        with torch.no_grad():
            for name, weight in weights.items():
                gradient = weight.grad * shrink
                first[name] = settings.beta1 * first[name] + (1 - settings.beta1) * gradient
                second[name] = settings.beta2 * second[name] + (1 - settings.beta2) * gradient**2
                mean = first[name] / (1 - settings.beta1 ** (step + 1))
                spread = second[name] / (1 - settings.beta2 ** (step + 1))
                if weight.ndim > 1:
                    weight *= 1 - rate * settings.weight_decay
                weight -= rate * mean / (spread.sqrt() + settings.epsilon)
    return {name: weight.detach() for name, weight in weights.items()}


@arrives(
    "train.learning_rate",
    "train.weight_decay",
    "train.beta1",
    "train.beta2",
    "train.epsilon",
    "train.max_grad_norm",
)
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"learning_rate": 3e-4},
        {"weight_decay": 8.0},
        {"beta1": 0.5},
        {"beta2": 0.9},
        {"epsilon": 1e-2},
        {"max_grad_norm": 0.05},
        {"max_grad_norm": None},
    ],
    ids=str,
)
def test_optimizer_settings_do_what_adamw_does_with_them(
    change: dict[str, Any], bert: Pretrained, material: Material
) -> None:
    # Epsilon is large enough for the sums to be well-conditioned, the norm small enough to bind.
    usual = {"warmup_ratio": 0.1, "epsilon": 1e-4, "max_grad_norm": 0.5}
    config, plain = changed(**(usual | change)), changed(**usual)
    trainee = start(config, bert, material)
    train(trainee, material, 6)
    weights = {name: weight.detach() for name, weight in trainee.model.named_parameters()}
    expected = adamw_by_hand(config, bert, material, 6)
    assert weights.keys() == expected.keys()
    for name, weight in weights.items():
        assert torch.allclose(weight, expected[name], rtol=1e-4, atol=3e-6), name
    if change:
        others = adamw_by_hand(plain, bert, material, 6)
        assert max(float((weights[name] - others[name]).abs().max()) for name in weights) > 1e-4


def test_first_step_with_warm_up_changes_nothing_and_without_it_does(bert: Pretrained, material: Material) -> None:
    for ratio, moves in ((0.1, False), (0.0, True)):
        trainee = start(changed(warmup_ratio=ratio), bert, material)
        before = {name: weight.detach().clone() for name, weight in trainee.model.named_parameters()}
        train(trainee, material, 1)
        after = dict(trainee.model.named_parameters())
        assert any(not torch.equal(after[name], before[name]) for name in after) is moves


def theirs(name: str, *, total: int, warmup: int, cooldown: int) -> list[float]:
    """The factors of transformers' own schedules."""
    import transformers

    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    if name == "constant_with_cooldown":
        schedule = transformers.get_wsd_schedule(
            optimizer,
            num_warmup_steps=warmup,
            num_stable_steps=total - warmup - cooldown,
            num_decay_steps=cooldown,
            warmup_type="linear",
            decay_type="linear",
            min_lr_ratio=0.0,
        )
    else:
        make = getattr(transformers, f"get_{name}_schedule_with_warmup")
        schedule = make(optimizer, num_warmup_steps=warmup, num_training_steps=total)
    factors = []
    for _ in range(total):
        factors.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return factors


@arrives("train.schedule", "train.warmup_ratio", "train.cooldown_ratio")
@pytest.mark.parametrize("warmup_ratio", [0.0, 0.12, 0.45])
@pytest.mark.parametrize("cooldown_ratio", [0.21, 0.5])
@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant_with_cooldown"])
def test_learning_rate_follows_the_schedule_of_transformers(
    schedule: Any, warmup_ratio: float, cooldown_ratio: float, bert: Pretrained, material: Material
) -> None:
    config = changed(schedule=schedule, warmup_ratio=warmup_ratio, cooldown_ratio=cooldown_ratio)
    total = 20
    warmup, cooldown = math.ceil(warmup_ratio * total), math.ceil(cooldown_ratio * total)  # as the Trainer rounds
    expected = theirs(schedule, total=total, warmup=warmup, cooldown=cooldown)
    assert [rate_factor(step, total, config.train) for step in range(total)] == pytest.approx(expected, abs=1e-12)

    trainee, rates = start(config, bert, material), []
    for log in train_steps(trainee, material, until=total):
        assert {group["lr"] for group in trainee.optimizer.param_groups} == {log.learning_rate}
        rates.append(log.learning_rate)
    assert rates == pytest.approx([1e-3 * factor for factor in expected], abs=1e-15)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant_with_cooldown"])
@pytest.mark.parametrize("total", [1, 2, 3, 7, 1000])
def test_learning_rate_stays_between_zero_and_its_peak(schedule: Any, total: int) -> None:
    for ratio in (0.0, 0.001, 0.5, 1.0):
        config = TrainConfig(schedule=schedule, warmup_ratio=ratio, cooldown_ratio=min(0.2, 1 - ratio))
        factors = [rate_factor(step, total, config) for step in range(total)]
        assert all(0 <= factor <= 1 for factor in factors)
        assert ratio == 1.0 or total < 3 or max(factors) == pytest.approx(1.0, abs=0.51)


@arrives("train.batch_size")
@pytest.mark.parametrize(("batch_size", "steps"), [(24, 10), (32, 8), (240, 1), (1000, 1)])
def test_batch_size_is_the_rows_of_an_optimizer_step(
    batch_size: int, steps: int, bert: Pretrained, material: Material
) -> None:
    trainee = start(changed(batch_size=batch_size, epochs=1.0), bert, material)
    sizes = passes(trainee)
    assert trainee.total_steps == steps
    train(trainee, material, 1000)
    assert sorted(sizes, reverse=True) == [
        *[batch_size] * (240 // batch_size),
        *[240 % batch_size] * (240 % batch_size > 0),
    ]


@arrives("train.micro_batch_size")
@pytest.mark.parametrize(
    ("micro", "sizes"),
    [(None, [24, 24]), (24, [24, 24]), (100, [24, 24]), (10, [10, 10, 4, 10, 10, 4]), (12, [12] * 4)],
)
def test_micro_batch_size_is_the_rows_of_a_forward_pass(
    micro: int | None, sizes: list[int], bert: Pretrained, material: Material
) -> None:
    trainee = start(changed(micro_batch_size=micro), bert, material)
    seen = passes(trainee)
    assert len(train(trainee, material, 2)) == 2
    assert seen == sizes


@arrives("train.label_smoothing")
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.6])
def test_label_smoothing_is_that_of_torch(smoothing: float, bert: Pretrained, material: Material) -> None:
    trainee = start(changed(label_smoothing=smoothing), bert, material)
    rows = next(batches(PLAIN, material))
    with torch.no_grad():
        logits = trainee.model(**inputs(material, rows)).logits
    expected = functional.cross_entropy(logits, torch.from_numpy(material.labels[rows]), label_smoothing=smoothing)
    assert losses(trainee, material, 1) == pytest.approx([float(expected)], rel=1e-5)


@arrives("train.class_weights")
@pytest.mark.parametrize("kind", ["none", "balanced"])
def test_class_weights_are_those_of_scikit_learn(kind: Any, bert: Pretrained, uneven: Material) -> None:
    from sklearn.utils.class_weight import compute_class_weight

    weights = compute_class_weight(None if kind == "none" else kind, classes=np.arange(2), y=uneven.labels)
    config = changed(class_weights=kind)
    assert loss_weights(uneven.labels, classes=2, config=config.train) == pytest.approx(weights)
    trainee = start(config, bert, uneven)
    rows = next(batches(PLAIN, uneven))
    with torch.no_grad():
        logits = trainee.model(**inputs(uneven, rows)).logits
    labels = torch.from_numpy(uneven.labels[rows])
    expected = functional.cross_entropy(logits, labels, weight=torch.tensor(weights, dtype=torch.float32))
    assert losses(trainee, uneven, 1) == pytest.approx([float(expected)], rel=1e-5)


def test_class_without_training_rows_gets_a_finite_weight() -> None:
    weights = loss_weights(np.array([0, 0, 1]), classes=3, config=TrainConfig(class_weights="balanced"))
    assert weights.tolist() == [0.5, 1.0, 1.0]


@arrives("train.epochs")
@pytest.mark.parametrize(("epochs", "steps"), [(0.5, 5), (1.0, 10), (2.3, 23)])
def test_epochs_are_passes_over_the_rows(epochs: float, steps: int, bert: Pretrained, material: Material) -> None:
    trainee = start(changed(epochs=epochs), bert, material)
    assert trainee.total_steps == steps
    logs = train(trainee, material, 1000)
    assert [log.step for log in logs] == list(range(1, steps + 1))
    assert logs[-1].learning_rate == pytest.approx(1e-3 / (steps - round(0.1 * steps + 0.4)))  # one step short of zero


@arrives("train.precision")
@pytest.mark.parametrize(("precision", "inside"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_precision_is_that_of_the_forward_pass(
    precision: str, inside: torch.dtype, bert: Pretrained, material: Material
) -> None:
    trainee, seen = start(changed(precision=precision), bert, material), set()
    trainee.model.bert.encoder.layer[0].output.dense.register_forward_hook(
        lambda module, arguments, output: seen.add(output.dtype)
    )
    train(trainee, material, 1)
    assert seen == {inside}
    assert {weight.dtype for weight in trainee.model.parameters()} == {torch.float32}
    assert predict_logits(trainee, material).dtype == np.float32
    assert seen == {inside}


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU can")
@pytest.mark.parametrize("precision", ["fp16", "tf32"])
def test_arithmetic_of_gpus_is_refused_where_it_would_silently_be_fp32(
    precision: str, bert: Pretrained, material: Material
) -> None:
    with pytest.raises(ConfigError) as caught:
        start(changed(precision=precision), bert, material)
    assert str(caught.value) == (
        f"train.precision: {precision} needs a GPU (a CPU would silently compute in fp32); take bf16 or fp32"
    )


@arrives("train.compile")
@pytest.mark.parametrize(
    ("change", "compiled"), [({"compile": "on"}, True), ({}, False), ({"compile": "on", "frozen_layers": 1}, False)]
)
def test_model_is_compiled_where_it_is_asked_for_and_can_be(
    change: dict[str, Any], compiled: bool, bert: Pretrained, material: Material, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(nn.Module, "compile", lambda module, *, dynamic: asked.append(dynamic))
    start(changed(**change), bert, material)
    assert asked == [True] * compiled


@pytest.mark.long
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles for a CPU with g++")
def test_compiled_model_has_the_losses_of_the_plain_one(bert: Pretrained, material: Material) -> None:
    usual, compiled = (losses(start(changed(compile=value), bert, material), material, 6) for value in ("off", "on"))
    assert compiled == pytest.approx(usual, rel=1e-4)


def test_one_trial_does_not_inherit_the_precision_of_another(bert: Pretrained, material: Material) -> None:
    start(changed(precision="bf16"), bert, material)
    assert start(changed(precision="fp32"), bert, material).accelerator.mixed_precision == "no"


@arrives("seed")
def test_seed_draws_head_batches_and_dropout(bert: Pretrained, material: Material) -> None:
    def noise(seed: int) -> list[float]:
        # The same head and the same batches for both: what is left is dropout.
        config = replaced(changed(batch_size=240, epochs=5.0), {"seed": seed, "model.dropout": 0.3})
        network = new_classifier(bert, dropout=0.3, seed=0)
        return losses(new_trainee(config, network, material.labels, classes=2), material, 2)

    heads, orders = [], []
    for seed in (0, 1):
        trainee = start(replaced(PLAIN, {"seed": seed}), bert, material)
        heads.append(trainee.model.classifier.weight.detach().clone())
        seen: list[list[int]] = []
        trainee.model.register_forward_pre_hook(
            lambda module, arguments, options, seen=seen: seen.append(options["input_ids"].tolist()), with_kwargs=True
        )
        train(trainee, material, 2)
        orders.append(seen)
    assert not torch.equal(*heads)
    assert orders[0] != orders[1]
    assert noise(0) == noise(0)
    assert noise(0) != noise(1)


def test_seed_and_step_alone_decide_the_noise(bert: Pretrained, material: Material) -> None:
    config = replaced(PLAIN, {"model.dropout": 0.3})
    quiet = losses(start(config, bert, material), material, 4)
    trainee, disturbed = start(config, bert, material), []
    for log in train_steps(trainee, material, until=4):
        disturbed.append(log.loss.item())
        torch.rand(1000)  # somebody else draws numbers too
    assert disturbed == quiet


def pick_up(workbench: Workbench, job: SegmentJob) -> Trial:
    job.directory.mkdir(parents=True)
    return workbench.trial(job)


def test_every_step_has_noise_of_its_own(bert: Pretrained, material: Material, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.arange(24)
    monkeypatch.setattr("pipelines.train.epoch_batches", lambda *_, **__: [rows] * 10)
    for dropout, different in ((0.0, 1), (0.3, 4)):
        config = replaced(changed(learning_rate=1e-12), {"model.dropout": dropout})
        seen = losses(start(config, bert, material), material, 4)
        assert len(set(seen)) == different


@arrives("model.name", "model.dropout", "tokens.max_length")
def test_model_and_length_of_the_job_are_those_that_train(
    workbench: Workbench, tiny_checkpoints: dict[str, Path], toy_data_dir: Path, tmp_path: Path
) -> None:
    for family, dropout, length in (("bert", 0.0, 12), ("roberta", 0.4, 20), ("bert", None, 12)):
        job = tiny.job(
            tiny_checkpoints[family],
            toy_data_dir,
            tmp_path / f"{family}-{dropout}",
            **{"model.dropout": dropout, "tokens.max_length": length},
        )
        trial = pick_up(workbench, job)
        config = trial.trainee.model.config
        assert config.model_type == family
        assert config.hidden_dropout_prob == (0.1 if dropout is None else dropout)
        for material in (trial.train, trial.select):
            assert material.encoded.lengths.max() == length


@arrives("tokens.truncation")
def test_truncation_of_the_job_is_what_trains(
    workbench: Workbench, tiny_bert: Path, toy_data_dir: Path, tmp_path: Path
) -> None:
    rows = {}
    for truncation in ("head", "tail"):
        job = tiny.job(tiny_bert, toy_data_dir, tmp_path / truncation, **{"tokens.truncation": truncation})
        trial = pick_up(workbench, job)
        longest = int(trial.train.encoded.lengths.argmax())
        ids = trial.train.encoded.row(longest).ids.tolist()
        text = trial.dataset.splits["train"].texts[longest]
        rows[truncation] = (ids[1:-1], trial.pretrained.tokenizer(text)["input_ids"][1:-1])
    ids, whole = rows["head"]
    assert len(whole) > len(ids) == 22
    assert ids == whole[:22]
    ids, whole = rows["tail"]
    assert ids == whole[-22:]


@arrives("tokens.lowercase", "tokens.normalize")
def test_texts_train_as_the_job_wants_them_read(
    workbench: Workbench, tiny_checkpoints: dict[str, Path], toy_dataset: Dataset, tmp_path: Path
) -> None:
    train = toy_dataset.splits["train"]
    shouted = replace(train, texts=[text.upper().replace(" ", "\u2003") for text in train.texts])
    splits = {**toy_dataset.splits, "train": shouted}
    save_dataset(replace(toy_dataset, splits=splits, digest="shouted"), tmp_path / "data")
    changes = {"tokens.lowercase": True, "tokens.normalize": "nfkc"}
    trial = pick_up(workbench, tiny.job(tiny_checkpoints["roberta"], tmp_path / "data", tmp_path, **changes))
    expected = trial.pretrained.tokenizer(list(train.texts), truncation=True, max_length=24)["input_ids"]
    assert [trial.train.encoded.row(row).ids.tolist() for row in range(len(train))] == expected


@arrives("scratch.layers", "scratch.heads")
def test_a_model_from_scratch_has_the_size_that_the_job_names(
    workbench: Workbench, toy_data_dir: Path, tmp_path: Path
) -> None:
    changes = {"model.name": "scratch:wordpiece-150", "scratch.layers": 1, "scratch.heads": 2}
    trial = pick_up(workbench, tiny.job(Path("scratch:wordpiece-150"), toy_data_dir, tmp_path, **changes))
    assert trial.pretrained.config.num_hidden_layers == 1
    assert (trial.pretrained.config.num_attention_heads, trial.pretrained.config.hidden_size) == (2, 128)


@arrives("model.revision")
def test_revision_of_the_job_chooses_the_weights(
    workbench: Workbench, hub_cache: str, toy_data_dir: Path, tmp_path: Path
) -> None:
    weights = []
    for revision in (None, "v2"):
        job = tiny.job(Path(hub_cache), toy_data_dir, tmp_path / str(revision), **{"model.revision": revision})
        model = pick_up(workbench, job).trainee.model
        weights.append(model.bert.embeddings.word_embeddings.weight.detach().clone())
    assert torch.equal(weights[0] * 2, weights[1])


@arrives("train.evaluations")
@pytest.mark.parametrize("evaluations", [1, 3])
@pytest.mark.usefixtures("workbench", "no_pictures")
def test_evaluations_are_so_many(evaluations: int, tiny_bert: Path, toy_data_dir: Path, tmp_path: Path) -> None:
    job = tiny.job(tiny_bert, toy_data_dir, tmp_path, **{"train.evaluations": evaluations})
    assert run(job).finished
    records = [record for record in read_journal(job.directory / "progress.jsonl") if record["kind"] == "evaluation"]
    assert [record["step"] for record in records] == evaluation_steps(240, job.config.train)
    assert len(records) == evaluations


@arrives("train.early_stopping")
@pytest.mark.parametrize(
    ("patience", "log_losses", "end"),
    [
        (None, [0.5, 0.6, 0.7, 0.8, 0.9], 10),
        (1, [0.5, 0.4, 0.4, 0.3, 0.2], 6),  # equal is not better
        (2, [0.5, 0.6, 0.4, 0.6, 0.5], 10),
        (2, [0.5, 0.4, 0.6, 0.5, 0.3], 8),
        (9, [0.5, 0.6, 0.7, 0.8, 0.9], 10),
    ],
)
@pytest.mark.usefixtures("workbench", "no_pictures")
def test_early_stopping_waits_for_so_many_evaluations(
    patience: int | None,
    log_losses: list[float],
    end: int,
    monkeypatch: pytest.MonkeyPatch,
    tiny_bert: Path,
    toy_data_dir: Path,
    tmp_path: Path,
) -> None:
    to_come = iter(log_losses)
    monkeypatch.setattr(run_module, "score", lambda predictions: {"log_loss": next(to_come), "accuracy": 0.5})
    changes = {"train.evaluations": 5, "train.early_stopping": patience}
    job = tiny.job(tiny_bert, toy_data_dir, tmp_path, **changes)
    result = run(job)
    assert (result.step, result.finished, result.total_steps) == (end, True, 10)
    assert result.scores["log_loss"] == log_losses[end // 2 - 1]
    assert (job.directory / "model" / "model.safetensors").is_file()


class Clock:
    """A clock that goes on by ten seconds at each look at its monotonic time."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 10.0
        return self.now

    def perf_counter(self) -> float:
        return self.now


@arrives("train.checkpoint_seconds")
@pytest.mark.parametrize(("seconds", "steps"), [(0.0, list(range(1, 11))), (65.0, [4, 8]), (1e6, [])])
@pytest.mark.usefixtures("workbench", "no_pictures")
def test_checkpoints_are_so_many_seconds_apart(
    seconds: float,
    steps: list[int],
    monkeypatch: pytest.MonkeyPatch,
    tiny_bert: Path,
    toy_data_dir: Path,
    tmp_path: Path,
) -> None:
    committed: list[int] = []
    save = run_module.save_checkpoint

    def noted(trainee: Trainee, home: Path, *, fingerprint: str) -> Path:
        committed.append(trainee.step)
        return save(trainee, home, fingerprint=fingerprint)

    monkeypatch.setattr(run_module, "save_checkpoint", noted)
    monkeypatch.setattr(run_module, "time", Clock())
    # Two looks a step, and a third after a commit.
    monkeypatch.setattr(run_module, "_SYSTEM_SECONDS", 1e9)
    changes = {"train.evaluations": 1, "train.checkpoint_seconds": seconds}
    job = tiny.job(tiny_bert, toy_data_dir, tmp_path, **changes)
    assert run(job).finished
    assert committed == steps


def three_steps(job: SegmentJob) -> tuple[Trainee, set[str]]:
    """The trainee of a job, and the names of the weights that three steps of it changed."""
    job.directory.mkdir(parents=True)
    trial = Workbench().trial(job)
    network = trial.trainee.model
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    train(trial.trainee, trial.train, 3)
    return trial.trainee, {name for name, weight in network.named_parameters() if not torch.equal(weight, before[name])}


@arrives("lora.rank", "lora.alpha", "lora.dropout")
def test_adapters_of_the_job_are_those_that_train(tiny_bert: Path, toy_data_dir: Path, tmp_path: Path) -> None:
    changes = {"lora.rank": 3, "lora.alpha": 12.0, "lora.dropout": 0.25}
    trainee, changed_ones = three_steps(tiny.job(tiny_bert, toy_data_dir, tmp_path, **changes))
    query = trainee.model.bert.encoder.layer[1].attention.self.query
    assert query.lora_A["default"].weight.shape == (3, tiny.HIDDEN)
    assert query.scaling == {"default": 12.0 / 3}
    assert query.lora_dropout["default"].p == 0.25
    assert all("lora_" in name or name.startswith(("classifier", "bert.pooler")) for name in changed_ones)


@arrives("train.frozen_layers", "train.freeze_embeddings")
@pytest.mark.parametrize(
    ("changes", "frozen"),
    [
        ({}, ()),
        ({"train.freeze_embeddings": True}, ("bert.embeddings.",)),
        ({"train.frozen_layers": 1}, ("bert.embeddings.", "bert.encoder.layer.0.")),
        ({"train.frozen_layers": 2}, ("bert.embeddings.", "bert.encoder.layer.")),
    ],
)
def test_what_the_job_freezes_does_not_train(
    changes: dict[str, Any], frozen: tuple[str, ...], tiny_bert: Path, toy_data_dir: Path, tmp_path: Path
) -> None:
    trainee, changed_ones = three_steps(tiny.job(tiny_bert, toy_data_dir, tmp_path, **changes))
    names = {name for name, _ in trainee.model.named_parameters()}
    assert changed_ones == {name for name in names if not name.startswith(frozen or "-")}


@arrives("train.layer_decay", "train.gradient_checkpointing")
def test_decay_and_checkpointing_of_the_job_are_those_that_train(
    tiny_bert: Path, toy_data_dir: Path, tmp_path: Path
) -> None:
    changes = {"train.layer_decay": 0.5, "train.gradient_checkpointing": True}
    trainee, _ = three_steps(tiny.job(tiny_bert, toy_data_dir, tmp_path, **changes))
    assert {group["scale"] for group in trainee.optimizer.param_groups} == {1.0, 0.5, 0.25, 0.125}
    assert trainee.model.is_gradient_checkpointing
    plain, _ = three_steps(tiny.job(tiny_bert, toy_data_dir, tmp_path / "plain"))
    assert {group["scale"] for group in plain.optimizer.param_groups} == {1.0}
    assert not plain.model.is_gradient_checkpointing


def test_every_setting_is_proven_to_arrive() -> None:
    addresses = {address for address in flatten(RunConfig().model_dump()) if not address.startswith("data.")}
    assert addresses == PROVEN


# --- the numbers


def test_same_seed_gives_the_same_losses_to_the_bit(bert: Pretrained, material: Material) -> None:
    config = replaced(PLAIN, {"model.dropout": 0.2})
    first, again = (losses(start(config, bert, material), material, 12) for _ in range(2))
    assert first == again
    assert len(set(first)) == 12


def test_losses_are_those_of_a_plain_transformers_loop(bert: Pretrained, material: Material) -> None:
    import transformers

    config = changed(epochs=2.0, warmup_ratio=0.1, weight_decay=0.01, max_grad_norm=1.0, learning_rate=2e-3)
    network = new_classifier(bert, dropout=0.0, seed=config.seed).train()
    spared = ("bias", "LayerNorm.weight")
    groups = [
        {"params": [w for n, w in network.named_parameters() if n.endswith(spared)], "weight_decay": 0.0},
        {"params": [w for n, w in network.named_parameters() if not n.endswith(spared)], "weight_decay": 0.01},
    ]
    optimizer = torch.optim.AdamW(groups, lr=2e-3, betas=(0.9, 0.999), eps=1e-8)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, num_warmup_steps=2, num_training_steps=20)
    expected = []
    for _, rows in zip(range(20), batches(config, material), strict=False):
        loss = network(**inputs(material, rows), labels=torch.from_numpy(material.labels[rows])).loss
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        expected.append(loss.item())

    trainee = start(config, bert, material)
    assert losses(trainee, material, 20) == pytest.approx(expected, abs=1e-5)
    untouched = new_classifier(bert, dropout=0.0, seed=config.seed).state_dict()
    trained = trainee.model.state_dict()
    for name, weight in network.state_dict().items():
        if not name.endswith("key.bias"):  # attention does not depend on it: its gradient is rounding noise
            assert torch.allclose(weight, trained[name], atol=1e-4), name
            assert float((weight - untouched[name]).abs().max()) > 1e-3, name


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", ["none", "balanced"])
@pytest.mark.parametrize("micro", [1, 5, 10, 12])
def test_accumulated_gradient_is_that_of_the_plain_batch(
    micro: int, weights: Any, smoothing: float, bert: Pretrained, uneven: Material
) -> None:
    usual = {"class_weights": weights, "label_smoothing": smoothing, "max_grad_norm": None}
    plain, parts = (start(changed(**usual, micro_batch_size=size), bert, uneven) for size in (None, micro))
    (whole,), (summed,) = train(plain, uneven, 1), train(parts, uneven, 1)
    assert summed.loss.item() == pytest.approx(whole.loss.item(), rel=1e-5)
    assert summed.grad_norm.item() == pytest.approx(whole.grad_norm.item(), rel=1e-4)
    for expected, actual in zip(plain.model.parameters(), parts.model.parameters(), strict=True):
        assert expected.grad is not None
        assert actual.grad is not None
        assert torch.allclose(actual.grad, expected.grad, rtol=1e-3, atol=1e-6)
    assert whole.grad_norm.item() > 0.1


def test_memory_that_runs_out_halves_the_micro_batch_and_changes_no_loss(
    bert: Pretrained, material: Material, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = losses(start(PLAIN, bert, material), material, 4)
    trainee, sizes = start(PLAIN, bert, material), []

    def small(model: nn.Module, material: Material, rows: Any, *, device: torch.device) -> Tensor:
        if len(rows) > 7:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: 9 bytes")
        sizes.append(len(rows))
        return forward(model, material, rows, device=device)

    monkeypatch.setattr("pipelines.train.forward", small)
    assert losses(trainee, material, 4) == pytest.approx(usual, rel=1e-5)
    assert trainee.micro_batch == 6  # 24, 12, 6
    assert sizes == [6] * 16
    assert trainee.notes == [
        "memory ran out at step 1: micro-batches of 12 from there",
        "memory ran out at step 1: micro-batches of 6 from there",
    ]


def test_other_errors_of_torch_are_not_taken_for_a_lack_of_memory(
    bert: Pretrained, material: Material, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Tensor:
        raise RuntimeError("shapes cannot be multiplied")

    monkeypatch.setattr("pipelines.train.forward", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        train(start(PLAIN, bert, material), material, 1)


_TRAIN_WITH_LITTLE_MEMORY = """
import resource, sys
from pathlib import Path
import numpy as np
from pipelines.config import ModelConfig, RunConfig, replaced
from pipelines.models import load_pretrained, new_classifier
from pipelines.tokens import Encoded
from pipelines.train import Material, new_trainee, train_steps

bert = load_pretrained(ModelConfig(name=sys.argv[1]), labels=("a", "b"))
config = replaced(RunConfig(), {"train.batch_size": 1024, "train.precision": "fp32"})
rows = Material(Encoded(np.full(1024 * 400, 7, dtype=np.int32), np.arange(1025) * 400), np.arange(1024) % 2, 0)
trainee = new_trainee(config, new_classifier(bert, dropout=0.0, seed=0), rows.labels, classes=2)
in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (in_use + 900 * 2**20, -1))
(log,) = train_steps(trainee, rows, until=1)
print(trainee.micro_batch, log.loss.item() > 0, *trainee.notes, sep="; ")
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
def test_step_larger_than_the_memory_limit_is_done_in_parts(tiny_bert: Path) -> None:
    command = [sys.executable, "-c", _TRAIN_WITH_LITTLE_MEMORY, str(tiny_bert)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    micro, trained, first, *_ = done.stdout.strip().splitlines()[-1].split("; ")
    assert int(micro) in {8, 16, 32, 64, 128, 256, 512}
    assert (trained, first) == ("True", "memory ran out at step 1: micro-batches of 512 from there")


def test_bf16_learns(bert: Pretrained, material: Material) -> None:
    trainee = start(changed(precision="bf16", epochs=3.0, learning_rate=5e-3), bert, material)
    seen = losses(trainee, material, 30)
    assert np.mean(seen[-5:]) < 0.5 * np.mean(seen[:5])
    accuracy = np.mean(predict_logits(trainee, material).argmax(axis=1) == material.labels)
    assert accuracy > 0.9


def test_norm_that_is_told_is_that_before_clipping(bert: Pretrained, material: Material) -> None:
    free, clipped = (start(changed(max_grad_norm=norm), bert, material) for norm in (None, 0.01))
    (first,), (second,) = train(free, material, 1), train(clipped, material, 1)
    assert first.grad_norm.item() == pytest.approx(second.grad_norm.item(), rel=1e-5)
    assert first.grad_norm.item() > 0.1


def test_training_may_stop_anywhere_and_go_on(bert: Pretrained, material: Material) -> None:
    config = replaced(PLAIN, {"model.dropout": 0.2})
    whole = losses(start(config, bert, material), material, 20)
    trainee = start(config, bert, material)
    parts = [losses(trainee, material, count) for count in (3, 7, 5, 0, 5)]  # epochs end at 10 and 20
    left = train_steps(trainee, material, until=20)
    assert list(left) == []
    assert [loss for part in parts for loss in part] == whole


def test_abandoned_generator_loses_no_step(bert: Pretrained, material: Material) -> None:
    whole = losses(start(PLAIN, bert, material), material, 5)
    trainee = start(PLAIN, bert, material)
    first = [next(train_steps(trainee, material, until=5)).loss.item() for _ in range(2)]
    assert [*first, *losses(trainee, material, 3)] == whole


def test_training_ends_with_its_horizon(bert: Pretrained, material: Material) -> None:
    trainee = start(changed(epochs=0.3), bert, material)
    assert len(list(train_steps(trainee, material, until=10**6))) == 3
    assert trainee.step == trainee.total_steps == 3


def test_predictions_come_in_the_order_of_the_rows_and_leave_no_trace(bert: Pretrained, material: Material) -> None:
    config = replaced(PLAIN, {"model.dropout": 0.5})
    trainee = start(config, bert, material)
    logits = predict_logits(trainee, material)
    assert np.array_equal(logits, predict_logits(trainee, material))  # no dropout
    with torch.no_grad():
        for row in (0, 7, 239):
            alone = trainee.model(**inputs(material, np.array([row]))).logits
            assert logits[row] == pytest.approx(alone[0].numpy(), abs=1e-5)
    assert losses(trainee, material, 2) == losses(start(config, bert, material), material, 2)


def test_vectors_are_spared_from_weight_decay(bert: Pretrained, material: Material) -> None:
    trainee = start(changed(weight_decay=0.3), bert, material)
    decay = {id(w): group["weight_decay"] for group in trainee.optimizer.param_groups for w in group["params"]}
    for name, weight in trainee.model.named_parameters():
        spared = name.endswith("bias") or "LayerNorm" in name
        assert decay[id(weight)] == (0.0 if spared else 0.3), name
