"""What a pretrained network makes of texts, without training: one vector a text."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipelines.batches import evaluation_batches
from pipelines.cost import Point
from pipelines.errors import ModelError
from pipelines.tokens import Encoded

_TOKENS = 4_096  # per batch: the states of all layers are in memory at once


@dataclass(frozen=True, eq=False)
class Embedded:
    """Texts as vectors, and what that took."""

    features: NDArray[np.float64]
    """(texts, hidden)."""
    points: tuple[Point, ...]
    """Seconds of each batch."""

    @property
    def seconds(self) -> float:
        """Of all batches."""
        return sum(point.value for point in self.points)


@torch.inference_mode()
def embed(network: nn.Module, encoded: Encoded, pad: int, *, bf16: bool) -> Embedded:
    """The layer mean of each text: the mean over its tokens, special ones included and padding left out, of the mean
    over the outputs of all transformer layers (the last one as the model's head gets it; the embedding table's own
    output is left out).

    `network` is a transformers classifier in evaluation mode; the texts go through in batches of equal length, in bf16
    where asked for. Raises `ModelError` where the architecture shows no layers, or what comes out is not finite.
    """
    device = next(network.parameters()).device
    features: NDArray[np.float64] | None = None
    points = []
    for rows in evaluation_batches(encoded.lengths, tokens=_TOKENS):
        start = time.perf_counter()
        ids, mask = (torch.from_numpy(array).to(device) for array in encoded.padded(rows, pad))
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
            states = _states(network, ids, mask)
        vectors = _layer_mean(states, mask).cpu().numpy()
        points.append(Point(len(rows), ids.shape[1], time.perf_counter() - start))
        features = np.empty((len(encoded), vectors.shape[1])) if features is None else features
        features[rows] = vectors
    if features is None or not np.isfinite(features).all():
        raise ModelError(f"model {network.config.name_or_path!r}: what its layers make of these texts is not finite")  # type: ignore[union-attr]
    return Embedded(features, tuple(points))


def _states(network: nn.Module, ids: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
    """The output of each layer, (rows, tokens, hidden)."""
    base: Any = network.base_model
    output = base(input_ids=ids, attention_mask=mask, output_hidden_states=True)
    states = getattr(output, "hidden_states", None) or getattr(output, "encoder_hidden_states", None)
    if states is None or len(states) < 2:
        raise ModelError(f"model {network.config.name_or_path!r}: its architecture shows no layers to screen it by")  # type: ignore[union-attr]
    return tuple(states[1:])


def _layer_mean(states: tuple[Tensor, ...], mask: Tensor) -> Tensor:
    """(rows, hidden), in fp32."""
    share = mask.float() / mask.sum(dim=1, keepdim=True)
    return torch.stack([torch.einsum("rth,rt->rh", one.float(), share) for one in states]).mean(dim=0)
