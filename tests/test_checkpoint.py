"""A trial's state on disk is the whole state, is never half, and a damaged one is never read."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.checkpoint import read_sound_manifest, restore_checkpoint, save_checkpoint
from pipelines.config import ModelConfig, RunConfig, TrainConfig, replaced
from pipelines.data import Dataset
from pipelines.models import Pretrained, load_pretrained, new_classifier
from pipelines.tokens import encode
from pipelines.train import Material, Trainee, new_trainee, train_steps
from tests import tiny
from tests.faults import shows

CONFIG = replaced(
    RunConfig(train=TrainConfig(batch_size=16, learning_rate=1e-3, precision="fp32")), {"model.dropout": 0.2}
)


class Maker:
    """Makes fresh trainees of one checkpoint."""

    def __init__(self, pretrained: Pretrained, dataset: Dataset) -> None:
        split = dataset.splits["train"]
        encoded = encode(split.texts, pretrained.tokenizer, CONFIG.tokens)
        self.material = Material(encoded, split.labels, pretrained.tokenizer.pad_token_id)
        self._pretrained = pretrained

    def trainee(self, config: RunConfig = CONFIG) -> Trainee:
        network = new_classifier(self._pretrained, dropout=config.model.dropout, seed=config.seed)
        return new_trainee(config, network, self.material.labels, classes=2)

    def train(self, trainee: Trainee, steps: int) -> list[float]:
        logs = train_steps(trainee, self.material, until=trainee.step + steps)
        return [log.loss.item() for log in logs]


@pytest.fixture(scope="module")
def maker(tiny_bert: Path, toy_dataset: Dataset) -> Maker:
    return Maker(load_pretrained(ModelConfig(name=str(tiny_bert)), labels=toy_dataset.labels), toy_dataset)


@pytest.fixture
def home(maker: Maker, tmp_path: Path) -> Path:
    """Checkpoints of steps 2 and 4, under the fingerprint `ours`."""
    trainee = maker.trainee()
    for _ in range(2):
        maker.train(trainee, 2)
        save_checkpoint(trainee, tmp_path / "checkpoints", fingerprint="ours")
    return tmp_path / "checkpoints"


def names(home: Path) -> list[str]:
    return sorted(path.name for path in home.iterdir())


def state(trainee: Trainee) -> dict[str, torch.Tensor]:
    """Everything that training moves, copied."""
    tensors = dict(trainee.model.state_dict())
    for index, entry in trainee.optimizer.state_dict()["state"].items():
        tensors |= {f"{index}.{name}": tensor for name, tensor in entry.items()}
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def assert_equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_training_goes_on_to_the_bit_from_a_checkpoint_of_every_family(
    family: str, tiny_checkpoints: dict[str, Path], toy_dataset: Dataset, tmp_path: Path
) -> None:
    pretrained = load_pretrained(ModelConfig(name=str(tiny_checkpoints[family])), labels=toy_dataset.labels)
    maker = Maker(pretrained, toy_dataset)
    whole = maker.trainee()
    maker.train(whole, 3)
    whole.window = [1.25, 3.0]
    save_checkpoint(whole, tmp_path, fingerprint="ours")
    resumed = maker.trainee()
    assert restore_checkpoint(resumed, tmp_path, fingerprint="ours")
    assert (resumed.step, resumed.window) == (3, [1.25, 3.0])
    assert_equal(state(resumed), state(whole))
    assert maker.train(resumed, 3) == maker.train(whole, 3)
    assert_equal(state(resumed), state(whole))


def test_bf16_training_goes_on_to_the_bit(maker: Maker, tmp_path: Path) -> None:
    config = replaced(CONFIG, {"train.precision": "bf16"})
    whole = maker.trainee(config)
    maker.train(whole, 2)
    save_checkpoint(whole, tmp_path, fingerprint="ours")
    resumed = maker.trainee(config)
    assert restore_checkpoint(resumed, tmp_path, fingerprint="ours")
    assert maker.train(resumed, 2) == maker.train(whole, 2)


def test_saving_changes_nothing_in_the_training(maker: Maker, tmp_path: Path) -> None:
    plain, saved = maker.trainee(), maker.trainee()
    losses = maker.train(plain, 4)
    first = maker.train(saved, 2)
    save_checkpoint(saved, tmp_path, fingerprint="ours")
    assert [*first, *maker.train(saved, 2)] == losses


def test_checkpoint_before_the_first_step_is_a_checkpoint(maker: Maker, tmp_path: Path) -> None:
    save_checkpoint(maker.trainee(), tmp_path, fingerprint="ours")
    resumed, plain = maker.trainee(), maker.trainee()
    assert restore_checkpoint(resumed, tmp_path, fingerprint="ours")
    assert maker.train(resumed, 2) == maker.train(plain, 2)


def test_gradient_scale_of_fp16_is_kept(maker: Maker, tmp_path: Path) -> None:
    trainee, resumed = maker.trainee(), maker.trainee()
    trainee.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    resumed.accelerator.scaler = torch.amp.GradScaler("cpu")
    trainee.accelerator.scaler.scale(torch.ones(()))
    save_checkpoint(trainee, tmp_path, fingerprint="ours")
    assert restore_checkpoint(resumed, tmp_path, fingerprint="ours")
    assert resumed.accelerator.scaler.get_scale() == 1024.0


def test_checkpoint_is_safetensors_and_json(home: Path) -> None:
    assert names(home / "step-00000004") == ["manifest.json", "model.safetensors", "optimizer.safetensors"]


def test_only_the_two_newest_stay(maker: Maker, home: Path) -> None:
    trainee = maker.trainee()
    restore_checkpoint(trainee, home, fingerprint="ours")
    for _ in range(2):
        maker.train(trainee, 1)
        assert save_checkpoint(trainee, home, fingerprint="ours").is_dir()
    assert names(home) == ["step-00000005", "step-00000006"]


def test_no_checkpoint_is_no_error(maker: Maker, tmp_path: Path) -> None:
    trainee = maker.trainee()
    before = state(trainee)
    assert not restore_checkpoint(trainee, tmp_path / "absent", fingerprint="ours")
    assert trainee.step == 0
    assert_equal(state(trainee), before)


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-5] ^= 16
    file.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "flipped bit in the weights": lambda step: flip(step / "model.safetensors"),
    "flipped bit in the optimizer": lambda step: flip(step / "optimizer.safetensors"),
    "truncated weights": lambda step: os.truncate(step / "model.safetensors", 500),
    "empty optimizer": lambda step: os.truncate(step / "optimizer.safetensors", 0),
    "missing weights": lambda step: (step / "model.safetensors").unlink(),
    "missing manifest": lambda step: (step / "manifest.json").unlink(),
    "torn manifest": lambda step: os.truncate(step / "manifest.json", 100),
    "empty manifest": lambda step: os.truncate(step / "manifest.json", 0),
}


@shows("damaged file", "F")
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_newest_falls_back_to_the_one_before(damage: str, maker: Maker, home: Path) -> None:
    DAMAGES[damage](home / "step-00000004")
    assert read_sound_manifest(home / "step-00000004") is None
    resumed, whole = maker.trainee(), maker.trainee()
    assert restore_checkpoint(resumed, home, fingerprint="ours")
    assert resumed.step == 2
    maker.train(whole, 4)
    maker.train(resumed, 2)
    assert_equal(state(resumed), state(whole))
    save_checkpoint(resumed, home, fingerprint="ours")  # in place of the damaged one
    assert read_sound_manifest(home / "step-00000004") is not None
    assert names(home) == ["step-00000002", "step-00000004"]


def test_nothing_is_touched_when_all_are_damaged(maker: Maker, home: Path) -> None:
    for step in home.iterdir():
        flip(step / "optimizer.safetensors")
    trainee = maker.trainee()
    before = state(trainee)
    assert not restore_checkpoint(trainee, home, fingerprint="ours")
    assert trainee.step == 0
    assert_equal(state(trainee), before)


@shows("changed spec or data", "F")
def test_checkpoints_of_another_configuration_are_ignored(maker: Maker, home: Path) -> None:
    trainee = maker.trainee()
    assert not restore_checkpoint(trainee, home, fingerprint="theirs")
    assert trainee.step == 0


def test_own_checkpoint_survives_those_of_another_configuration_that_came_further(maker: Maker, home: Path) -> None:
    trainee = maker.trainee()
    maker.train(trainee, 1)
    assert save_checkpoint(trainee, home, fingerprint="theirs").is_dir()
    assert restore_checkpoint(maker.trainee(), home, fingerprint="theirs")
    assert names(home) == ["step-00000001"]


def test_leftover_of_a_crash_is_never_read(maker: Maker, home: Path) -> None:
    (home / "step-00000004").rename(home / ".step-00000009.abcd1234.tmp")
    trainee = maker.trainee()
    assert restore_checkpoint(trainee, home, fingerprint="ours")
    assert trainee.step == 2


@shows("disk full", "F")
def test_full_disk_leaves_the_old_checkpoints_and_nothing_else(
    maker: Maker, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainee = maker.trainee()
    restore_checkpoint(trainee, home, fingerprint="ours")
    maker.train(trainee, 1)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(trainee, home, fingerprint="ours")
    assert names(home) == ["step-00000002", "step-00000004"]
    assert read_sound_manifest(home / "step-00000004") is not None
