"""The frozen layers' output: kept once, shared, checked before it is read, and as good as running the layers."""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pipelines import prefix as prefix_module
from pipelines import run as run_module
from pipelines.adapt import adapt, layers_of
from pipelines.config import ModelConfig, RunConfig, TrainConfig, replaced
from pipelines.data import Dataset
from pipelines.files import read_json
from pipelines.models import load_pretrained, new_classifier
from pipelines.prefix import Prefix, kept
from pipelines.run import train_segment
from pipelines.segment import Unwatched
from pipelines.tokens import encode
from pipelines.train import Material, Trainee, new_trainee, predict_logits, train_steps
from pipelines.workbench import Workbench
from tests import tiny
from tests.faults import shows

from .jobs import Fresh, assert_interruption_changes_nothing, make_job

CONFIG = RunConfig(
    train=TrainConfig(batch_size=24, learning_rate=5e-3, precision="fp32", epochs=2.0, frozen_layers=1),
    model=ModelConfig(dropout=0.2),
)
FAMILIES = [family for family in tiny.FAMILIES if family != "albert"]


class Bench:
    """Starts trainees of one tiny checkpoint, with and without what its frozen layers say."""

    def __init__(self, checkpoint: Path, dataset: Dataset, home: Path) -> None:
        self._pretrained = load_pretrained(ModelConfig(name=str(checkpoint)), labels=("negative", "positive"))
        split = dataset.splits["train"]
        encoded = encode(split.texts, self._pretrained.tokenizer, CONFIG.tokens)
        self.material = Material(encoded, split.labels, self._pretrained.tokenizer.pad_token_id)
        self.home = home

    def trainee(self, config: RunConfig = CONFIG) -> Trainee:
        network = new_classifier(self._pretrained, dropout=config.model.dropout, seed=config.seed)
        return new_trainee(config, adapt(network, config), self.material.labels, classes=2)

    def kept(self, trainee: Trainee) -> Prefix | None:
        encoded, pad = self.material.encoded, self.material.pad
        return kept(trainee.model, encoded, pad, config=trainee.config, home=self.home)

    def with_prefix(self, trainee: Trainee) -> Material:
        found = self.kept(trainee)
        assert found is not None
        return replace(self.material, prefix=found)


@pytest.fixture
def bench(tiny_bert: Path, toy_dataset: Dataset, tmp_path: Path) -> Bench:
    return Bench(tiny_bert, toy_dataset, tmp_path)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows that were run through frozen layers, one by one."""
    rows: list[int] = []
    compute = prefix_module._computed

    def noted(*given: Any, **options: Any) -> Iterator[Any]:
        for row, states in compute(*given, **options):
            rows.append(row)
            yield row, states

    monkeypatch.setattr(prefix_module, "_computed", noted)
    return rows


def losses(trainee: Trainee, material: Material, steps: int = 12) -> list[float]:
    return [log.loss.item() for log in train_steps(trainee, material, until=trainee.step + steps)]


def calls(network: nn.Module) -> list[int]:
    """Gets the number of each layer that is run from now on."""
    seen: list[int] = []
    for index, layer in enumerate(layers_of(network)):
        layer.register_forward_hook(lambda *_, index=index: seen.append(index))
    return seen


# --- as good as running the layers


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"train.frozen_layers": 2},
        {"lora.rank": 4, "lora.dropout": 0.1},
        {"train.micro_batch_size": 10, "train.gradient_checkpointing": True},
        {"train.precision": "bf16"},
    ],
    ids=str,
)
@pytest.mark.parametrize("family", FAMILIES)
def test_training_from_what_is_kept_has_the_losses_of_running_the_layers(
    family: str, changes: dict[str, Any], tiny_checkpoints: dict[str, Path], toy_dataset: Dataset, tmp_path: Path
) -> None:
    bench, config = Bench(tiny_checkpoints[family], toy_dataset, tmp_path), replaced(CONFIG, changes)
    plainly, entered = bench.trainee(config), bench.trainee(config)
    material = bench.with_prefix(entered)
    tolerance = 3e-2 if config.train.precision == "bf16" else 1e-5  # padding changes how bf16 rounds
    seen = calls(entered.model)
    assert losses(entered, material) == pytest.approx(losses(plainly, bench.material), abs=tolerance)
    assert min(seen, default=9) >= config.train.frozen_layers  # the frozen ones did not run
    # Two trainings that round differently drift apart; here it is the prediction that counts.
    entered.model.load_state_dict(plainly.model.state_dict())
    expected = predict_logits(plainly, bench.material)
    assert predict_logits(entered, material) == pytest.approx(expected, abs=tolerance * (10 if tolerance > 1e-3 else 1))


@pytest.mark.parametrize("family", FAMILIES)
def test_states_are_the_input_of_the_first_trained_layer(
    family: str, tiny_checkpoints: dict[str, Path], toy_dataset: Dataset, tmp_path: Path
) -> None:
    bench = Bench(tiny_checkpoints[family], toy_dataset, tmp_path)
    trainee = bench.trainee()
    material, seen = bench.with_prefix(trainee), []
    layers_of(trainee.model)[1].register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    rows = np.array([5, 0, 17])
    predict = replace(material, prefix=None)
    from pipelines.train import forward

    with torch.no_grad():
        forward(trainee.model.eval(), predict, rows, device=torch.device("cpu"))
    states, lengths = material.prefix.padded(rows), bench.material.encoded.lengths[rows]  # type: ignore[union-attr]
    for row, length in enumerate(lengths):
        assert torch.allclose(states[row, :length], seen[0][row, :length], atol=1e-5)
        assert not states[row, length:].any()


def test_rest_of_the_network_is_left_as_it_was(bench: Bench) -> None:
    trainee = bench.trainee()
    names = list(trainee.model.state_dict())
    losses(trainee, bench.with_prefix(trainee), steps=2)
    assert list(trainee.model.state_dict()) == names
    assert [layer.training for layer in layers_of(trainee.model)] == [False, True]
    assert len(layers_of(trainee.model)) == 2


def test_nothing_is_kept_without_frozen_layers(bench: Bench) -> None:
    config = replaced(CONFIG, {"train.frozen_layers": 0, "train.freeze_embeddings": True})
    assert bench.kept(bench.trainee(config)) is None


# --- computed once


def test_rows_are_run_once_for_equal_prefixes_and_again_for_others(bench: Bench, computed: list[int]) -> None:
    for changes in ({}, {"model.dropout": 0.0}, {"seed": 3}, {"lora.rank": 2}, {"train.learning_rate": 1.0}):
        bench.with_prefix(bench.trainee(replaced(CONFIG, changes)))
    assert sorted(computed) == list(range(240))
    for count, changes in enumerate(({"train.frozen_layers": 2}, {"train.precision": "bf16"}), start=2):
        bench.with_prefix(bench.trainee(replaced(CONFIG, changes)))
        assert len(computed) == 240 * count
    trainee = bench.trainee()
    with torch.no_grad():
        layers_of(trainee.model)[0].output.dense.weight[0, 0] += 1  # type: ignore[union-attr, index]
    bench.with_prefix(trainee)
    assert len(computed) == 240 * 4
    bench.material = replace(bench.material, encoded=bench.material.encoded.row(0))
    bench.with_prefix(bench.trainee())
    assert len(computed) == 240 * 4 + 1


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "flipped bit": lambda home: _flip(home / "states.bin"),
    "truncated": lambda home: os.truncate(home / "states.bin", 1000),
    "empty": lambda home: os.truncate(home / "states.bin", 0),
    "missing": lambda home: (home / "states.bin").unlink(),
    "no manifest": lambda home: (home / "manifest.json").unlink(),
    "torn manifest": lambda home: os.truncate(home / "manifest.json", 20),
}


def _flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@shows("damaged file", "D")
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_file_is_noticed_and_written_anew(damage: str, bench: Bench, computed: list[int]) -> None:
    expected = bench.kept(bench.trainee()).states.clone()  # type: ignore[union-attr]
    (home,) = (path for path in bench.home.iterdir() if path.is_dir())
    DAMAGES[damage](home)
    assert torch.equal(bench.kept(bench.trainee()).states, expected)  # type: ignore[union-attr]
    assert len(computed) == 480
    bench.kept(bench.trainee())
    assert len(computed) == 480
    assert sorted(path.suffix for path in bench.home.iterdir()) == ["", ".lock"]


def test_kept_states_tell_of_which_rows_they_are(bench: Bench) -> None:
    bench.kept(bench.trainee())
    (manifest,) = (read_json(file) for file in bench.home.glob("*/manifest.json"))
    assert manifest["rows"] == bench.material.encoded.rows


def test_what_would_be_too_large_is_not_kept_and_trains_all_the_same(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = len(bench.material.encoded.ids) * tiny.HIDDEN * 4
    monkeypatch.setattr(prefix_module, "_LARGEST", size - 1)
    assert bench.kept(bench.trainee()) is None
    assert list(bench.home.iterdir()) == []
    assert len(losses(bench.trainee(), bench.material, steps=2)) == 2
    monkeypatch.setattr(prefix_module, "_LARGEST", size)
    assert bench.kept(bench.trainee()) is not None


@shows("disk full", "D")
def test_full_disk_is_not_filled_further(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefix_module, "_DISK_SHARE", 1e-12)
    assert bench.kept(bench.trainee()) is None


def _in_another_process(bench: Bench, start: Any, answers: Any) -> None:
    trainee, rows, compute = bench.trainee(), [0], prefix_module._computed

    def counting(*given: Any, **options: Any) -> Iterator[Any]:
        for pair in compute(*given, **options):
            rows[0] += 1
            yield pair

    prefix_module._computed = counting  # type: ignore[assignment]
    start.wait()
    answers.put((rows, float(bench.kept(trainee).states.double().sum())))  # type: ignore[union-attr]


def test_of_concurrent_processes_one_computes_and_the_others_wait(bench: Bench) -> None:
    context, count = multiprocessing.get_context("fork"), 3
    start, answers = context.Barrier(count), context.Queue()
    processes = [
        context.Process(target=_in_another_process, args=(bench, start, answers), daemon=True) for _ in range(count)
    ]
    for process in processes:
        process.start()
    results = [answers.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert sorted(rows for (rows,), _ in results) == [0, 0, 240]
    assert len({total for _, total in results}) == 1


# --- whole runs


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize(
    "changes",
    [
        {"lora.rank": 4, "lora.dropout": 0.1},
        {"train.frozen_layers": 1},
        {"lora.rank": 4, "train.frozen_layers": 1, "train.layer_decay": 0.8},
        {"train.layer_decay": 0.8, "train.freeze_embeddings": True, "train.gradient_checkpointing": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_interrupted_run_ends_as_the_uninterrupted_one_to_the_bit(
    family: str,
    changes: dict[str, Any],
    fresh: Fresh,
    tiny_checkpoints: dict[str, Path],
    toy_data_dir: Path,
    tmp_path: Path,
) -> None:
    assert_interruption_changes_nothing(make_job(tiny_checkpoints[family], toy_data_dir, tmp_path, **changes), fresh)


@pytest.mark.usefixtures("no_pictures")
def test_warm_process_keeps_the_states_of_a_prefix(
    workbench: Workbench, computed: list[int], tiny_bert: Path, toy_data_dir: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    reads: list[Path] = []
    read = prefix_module._read
    monkeypatch.setattr(prefix_module, "_read", lambda *given: reads.append(given[0]) or read(*given))
    for number, rate in enumerate((1e-3, 2e-3, 3e-3)):
        changes = {"train.frozen_layers": 1, "train.learning_rate": rate}
        job = tiny.job(tiny_bert, toy_data_dir, tmp_path, **changes)
        job = replace(job, trial=f"toy/{number}", directory=tmp_path / str(number), until=5)
        train_segment(job, watch=Unwatched())
        assert run_module._WORKBENCH._trial is not None
        assert run_module._WORKBENCH._trial.train.prefix is not None
        assert run_module._WORKBENCH._trial.select.prefix is not None
    assert len(computed) == 240 + 60
    assert len(reads) == 2 * 3  # train and select: absent, absent under the lock, written
