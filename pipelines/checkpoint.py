"""A trial's state on disk: committed whole, checked by hash before it is read, never a pickle."""

import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, load_model, save_file, save_model

from pipelines.files import new_directory, read_json, sha256, write_json
from pipelines.train import Trainee

_KEEP = 2  # the newest, and one before it in case the newest proves damaged


def save_checkpoint(trainee: Trainee, home: Path, *, fingerprint: str) -> Path:
    """Commit weights, optimizer and step under `home/step-N`, and drop what is older than the last two."""
    target = home / f"step-{trainee.step:08d}"
    with new_directory(target) as beside:
        save_model(trainee.accelerator.unwrap_model(trainee.model), str(beside / "model.safetensors"))
        save_file(_optimizer_tensors(trainee), beside / "optimizer.safetensors")
        scaler = trainee.accelerator.scaler
        manifest = {
            "fingerprint": fingerprint,
            "step": trainee.step,
            "window": trainee.window,
            "scaler": scaler.state_dict() if scaler is not None else None,
            "files": {file.name: {"bytes": file.stat().st_size, "sha256": sha256(file)} for file in beside.iterdir()},
        }
        write_json(beside / "manifest.json", manifest)
    # A checkpoint of a later step is damaged or another configuration's: this training has not come there yet.
    earlier = [directory for directory in _checkpoints(home) if directory.name < target.name]
    for old in {*_checkpoints(home)} - {target, *earlier[: _KEEP - 1]}:
        shutil.rmtree(old, ignore_errors=True)
    return target


def restore_checkpoint(trainee: Trainee, home: Path, *, fingerprint: str) -> bool:
    """Continue from the newest sound checkpoint of this very configuration; False where there is none."""
    for directory in _checkpoints(home):
        manifest = read_sound_manifest(directory)
        if manifest is not None and manifest["fingerprint"] == fingerprint:
            load_model(trainee.accelerator.unwrap_model(trainee.model), directory / "model.safetensors")
            _restore_optimizer(trainee, directory / "optimizer.safetensors")
            if manifest["scaler"] is not None and trainee.accelerator.scaler is not None:
                trainee.accelerator.scaler.load_state_dict(manifest["scaler"])
            trainee.step, trainee.window = manifest["step"], manifest["window"]
            return True
    return False


def read_sound_manifest(directory: Path) -> dict[str, Any] | None:
    """The manifest of a checkpoint whose files all have the size and hash it states; None for any other."""
    try:
        manifest: dict[str, Any] | None = read_json(directory / "manifest.json")
    except ValueError:
        return None
    if manifest is None:
        return None
    for name, expected in manifest["files"].items():
        file = directory / name
        if not file.is_file() or file.stat().st_size != expected["bytes"] or sha256(file) != expected["sha256"]:
            return None
    return manifest


def _checkpoints(home: Path) -> list[Path]:
    """Committed checkpoints, newest first."""
    return sorted(home.glob("step-*"), reverse=True)


def _optimizer_tensors(trainee: Trainee) -> dict[str, torch.Tensor]:
    state = trainee.optimizer.state_dict()["state"]
    return {f"{index}.{name}": tensor for index, entry in state.items() for name, tensor in entry.items()}


def _restore_optimizer(trainee: Trainee, file: Path) -> None:
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in load_file(file).items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = tensor
    groups = trainee.optimizer.state_dict()["param_groups"]
    trainee.optimizer.load_state_dict({"state": state, "param_groups": groups})
