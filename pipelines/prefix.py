"""What frozen layers make of each row: computed once, kept as a memory-mapped file, and entered from there.

A frozen prefix (the embeddings and the first layers) runs as at inference, so its output for a row never changes.
"""

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipelines.adapt import anatomy_of, frozen_parts, layers_of
from pipelines.batches import evaluation_batches
from pipelines.config import RunConfig
from pipelines.files import built_once, digest, new_directory, read_sealed, sha256, write_json
from pipelines.tokens import Encoded

_LARGEST = 2 * 2**30  # bytes of one file
_DISK_SHARE = 0.1  # of the free disk that one file may take
_TOKENS = 8_192  # per batch


@dataclass(frozen=True)
class Prefix:
    """The output of a network's first layers for many rows."""

    layers: int
    """How many layers it is the output of."""
    states: Tensor
    """(tokens, hidden) of all rows, end to end, memory-mapped."""
    offsets: NDArray[np.int64]
    """(rows + 1,) row `i` is `states[offsets[i]:offsets[i + 1]]`."""

    def padded(self, rows: NDArray[np.int64]) -> Tensor:
        """Some rows as one block, (rows, longest, hidden), with zeros behind short rows: attention masks them."""
        parts = [self.states[self.offsets[row] : self.offsets[row + 1]] for row in rows]
        return nn.utils.rnn.pad_sequence(parts, batch_first=True)


def kept(network: nn.Module, encoded: Encoded, pad: int, *, config: RunConfig, home: Path) -> Prefix | None:
    """The frozen layers' output for every row, from `home` or computed now; leaves the network in evaluation mode.

    None when no layers are frozen, or when the file would be too large: then they are run at each step, without
    gradient. A damaged file is noticed by its hash and written anew.
    """
    layers = config.train.frozen_layers
    if not layers or not len(encoded) or not _can_be_kept(network, encoded, home):
        return None
    key = digest(encoded.rows, _weights_key(network, config), str(layers), _arithmetic(network, config))
    return built_once(
        home / key[:32],
        read=lambda directory: _read(directory, layers, encoded.offsets),
        write=lambda directory: _write(network, encoded, pad, layers=layers, directory=directory),
    )


@contextmanager
def entering(network: nn.Module, prefix: Prefix | None, rows: NDArray[np.int64]) -> Iterator[None]:
    """Within the block a forward pass of the network on these rows enters behind the frozen layers.

    All else is the model's own forward. The embeddings are still looked up: masks are made from their shape.
    """
    if prefix is None:
        yield
        return
    states = prefix.padded(rows).to(next(network.parameters()).device, non_blocking=True)
    with _layers(network, [_Border(network, states), *layers_of(network)[prefix.layers :]]):
        yield


class _Border(nn.Module):
    """Stands behind the frozen layers: notes what comes out of them, or gives in their place what once came."""

    def __init__(self, network: nn.Module, given: Tensor | None = None) -> None:
        super().__init__()
        self.states = given
        self._is_given = given is not None
        self._gives_tuple = anatomy_of(network).gives_tuple
        self.attention_type = getattr(layers_of(network)[0], "attention_type", None)  # ModernBERT asks each layer

    def forward(self, states: Tensor, *_: Any, **__: Any) -> Any:
        self.states = self.states if self._is_given else states
        return (self.states, None) if self._gives_tuple else self.states


@contextmanager
def _layers(network: nn.Module, layers: Sequence[nn.Module]) -> Iterator[None]:
    """Within the block the network has these layers."""
    owner_name, _, name = anatomy_of(network).layers.rpartition(".")
    owner = network.get_submodule(owner_name)
    own = getattr(owner, name)
    setattr(owner, name, nn.ModuleList(layers))
    try:
        yield
    finally:
        setattr(owner, name, own)


def _can_be_kept(network: nn.Module, encoded: Encoded, home: Path) -> bool:
    size = len(encoded.ids) * network.config.hidden_size * 4  # type: ignore[union-attr, operator]
    home.mkdir(parents=True, exist_ok=True)
    # The first DeBERTa-v2 models mix the embeddings into the output of layer 0: they cannot be entered behind it.
    mixes = getattr(network.get_submodule(anatomy_of(network).layers.rpartition(".")[0]), "conv", None) is not None
    return not mixes and bool(size <= min(_LARGEST, _DISK_SHARE * shutil.disk_usage(home).free))


def _weights_key(network: nn.Module, config: RunConfig) -> str:
    state = hashlib.sha256()
    for part in frozen_parts(network, config):
        for name, weight in part.state_dict().items():
            state.update(name.encode())
            state.update(weight.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return state.hexdigest()


def _arithmetic(network: nn.Module, config: RunConfig) -> str:
    """Whatever else the numbers depend on."""
    import transformers

    device = next(network.parameters()).device.type
    return f"{config.train.precision} {device} {torch.__version__} {transformers.__version__}"


def _read(directory: Path, layers: int, offsets: NDArray[np.int64]) -> Prefix | None:
    """The states in a directory, memory-mapped; None where they are absent or damaged."""
    manifest = read_sealed(directory, "states.bin")
    if manifest is None:
        return None
    dtype, hidden = getattr(torch, manifest["dtype"]), manifest["hidden"]
    states = torch.from_file(str(directory / "states.bin"), size=int(offsets[-1]) * hidden, dtype=dtype)
    return Prefix(layers, states.view(-1, hidden), offsets)


def _write(network: nn.Module, encoded: Encoded, pad: int, *, layers: int, directory: Path) -> None:
    dtype, hidden = torch.float32, 0
    with new_directory(directory) as beside:
        file = beside / "states.bin"
        with file.open("wb") as out:
            for row, states in _computed(network, encoded, pad, layers=layers):
                dtype, hidden = states.dtype, states.shape[-1]
                out.seek(int(encoded.offsets[row]) * hidden * dtype.itemsize)
                out.write(states.contiguous().view(torch.uint8).numpy().data)
        facts = {"sha256": sha256(file), "dtype": str(dtype).removeprefix("torch."), "hidden": hidden}
        write_json(beside / "manifest.json", facts | {"rows": encoded.rows})


@torch.inference_mode()
def _computed(network: nn.Module, encoded: Encoded, pad: int, *, layers: int) -> Iterator[tuple[int, Tensor]]:
    """Each row with its states, (tokens of the row, hidden), on the CPU; shortest rows first."""
    own, device = layers_of(network), next(network.parameters()).device
    border = _Border(network)
    network.eval()
    for rows in evaluation_batches(encoded.lengths, tokens=_TOKENS):
        ids, mask = (torch.from_numpy(array).to(device) for array in encoded.padded(rows, pad))
        with _layers(network, [*own[:layers], border]):
            network(input_ids=ids, attention_mask=mask)
        for row, states in zip(rows, border.states.cpu(), strict=True):  # type: ignore[union-attr]
            yield int(row), states[: encoded.lengths[row]]
